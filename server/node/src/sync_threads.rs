//! The threads that sync: a few for each log directory, which all shards share.
//!
//! Shards push tickets. One thread takes all that wait, as a group, and syncs the volume as a whole
//! where they are more than a few; what comes meanwhile forms the next group. Where the volume is
//! slow since others write to it, all threads sync file by file. The outcomes of a group go back to
//! each shard as one piece of work. Figures and reasons are in ADR 12.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use log::{DiskVolume, SyncError, SyncTicket, Synced, sync_together};

use crate::dirs::{Dirs, DiskCalls};
use crate::shard::Mailboxes;

/// Threads for each directory.
const THREADS: usize = 8;
/// From so many tickets on the volume is synced as a whole.
const TOGETHER_MIN: usize = 3;
/// For so many shares it is not, after it took longer than the files would have: someone else
/// writes much to the volume, and that came along. Twice as many each further time, up to a limit.
const REST_SHARES: u32 = 500;
const REST_SHARES_MAX: u32 = 64_000;
/// The most that one thread takes at once then.
const SHARE_MAX: usize = 8;

/// A ticket and where its outcome goes.
#[derive(Debug)]
pub struct SyncJob {
    /// What to sync.
    pub ticket: SyncTicket,
    /// The shard that waits.
    pub shard: usize,
    /// By which it knows the partition.
    pub key: u64,
    /// Whether anyone waits for it. What was acknowledged long ago may be much, and take its time.
    pub is_awaited: bool,
}

/// What became of the tickets of a shard, by their keys.
pub type Outcomes = Vec<(u64, Result<Synced, SyncError>)>;

/// The threads of all directories. They end when this is dropped.
#[derive(Debug)]
pub struct SyncThreads {
    dirs: Vec<(PathBuf, Arc<Queue>)>,
}

#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    volume: Option<Box<dyn DiskVolume>>,
    calls: Arc<DiskCalls>,
}

/// What the threads of one directory share.
#[derive(Debug)]
struct Waiting {
    jobs: Vec<SyncJob>,
    is_closed: bool,
    idle: usize,
    pace: Pace,
}

/// Whether to sync group by group, and large ones by the volume.
#[derive(Debug)]
struct Pace {
    /// How long a file takes by itself, as a running average.
    each: Duration,
    /// Shares until groups are tried again.
    rest: u32,
    /// How many there were the last time; 0 where the volume was quick since.
    last_rest: u32,
    /// Whether a group is being synced, so that the next one forms.
    has_group: bool,
}

impl SyncThreads {
    /// Starts the threads of each directory.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(dirs: &Dirs, mailboxes: &Mailboxes) -> anyhow::Result<Self> {
        let mut queues = Vec::new();
        for dir in dirs.data() {
            let path = dir.path().display();
            let volume = dirs.disk.volume(dir.path()).inspect_err(|error| {
                tracing::warn!("cannot sync the volume of {path} at once, only its files: {error}");
            });
            let volume = volume.ok();
            // Without, the time to try it never comes.
            let rest = if volume.is_some() { 0 } else { u32::MAX };
            let pace =
                Pace { each: Duration::from_millis(1), rest, last_rest: 0, has_group: false };
            let waiting = Waiting { jobs: Vec::new(), is_closed: false, idle: 0, pace };
            let (waiting, wake) = (Mutex::new(waiting), Condvar::new());
            let calls = Arc::clone(&dir.calls);
            let queue = Arc::new(Queue { waiting, wake, volume, calls });
            queues.push((dir.path().to_owned(), Arc::clone(&queue)));
            for _ in 0..THREADS {
                let (queue, mailboxes) = (Arc::clone(&queue), mailboxes.clone());
                let thread = thread::Builder::new().name("sync".to_owned());
                thread.spawn(move || queue.serve(&mailboxes)).context("cannot start a thread")?;
            }
        }
        Ok(Self { dirs: queues })
    }

    /// The volume of a directory, open since the start.
    pub fn volume(&self, dir: &Path) -> Option<&dyn DiskVolume> {
        let (_, queue) = self.dirs.iter().find(|(path, _)| path == dir)?;
        queue.volume.as_deref()
    }

    /// Has the tickets synced; the outcomes come as work for their shards.
    pub fn push(&self, jobs: Vec<SyncJob>) {
        let mut left = jobs;
        while let Some(first) = left.first() {
            let parent = first.ticket.dir().parent().map(Path::to_owned);
            let is_here = |job: &mut SyncJob| job.ticket.dir().parent() == parent.as_deref();
            let jobs = left.extract_if(.., is_here).collect();
            let found =
                self.dirs.iter().find(|(path, _)| Some(path.as_path()) == parent.as_deref());
            let (_, queue) = found.expect("every log lies in a log directory");
            queue.push(jobs);
        }
    }
}

impl Drop for SyncThreads {
    fn drop(&mut self) {
        for (_, queue) in &self.dirs {
            queue.lock().is_closed = true;
            queue.wake.notify_all();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, jobs: Vec<SyncJob>) {
        let mut waiting = self.lock();
        waiting.jobs.extend(jobs);
        let wakes = waiting.threads_to_wake();
        drop(waiting);
        (0..wakes).for_each(|_| self.wake.notify_one());
    }

    /// Syncs until the node ends.
    fn serve(&self, mailboxes: &Mailboxes) {
        while let Some((jobs, is_group)) = self.next() {
            let is_awaited = jobs.iter().any(|job| job.is_awaited);
            let (targets, tickets): (Vec<_>, Vec<_>) =
                jobs.into_iter().map(|job| ((job.shard, job.key), job.ticket)).unzip();
            let begin = Instant::now();
            let count = u32::try_from(tickets.len()).unwrap_or(u32::MAX);
            let is_large = is_group && tickets.len() >= TOGETHER_MIN;
            let volume = self.volume.as_deref().filter(|_| is_large);
            let call = is_awaited.then(|| self.calls.begin());
            let outcomes = match volume {
                Some(volume) => sync_together(volume, tickets),
                None => tickets.into_iter().map(SyncTicket::sync).collect(),
            };
            drop(call);
            // Before the next group is taken: whoever is answered adds to that one.
            deliver(mailboxes, targets, outcomes);
            let mut waiting = self.lock();
            waiting.pace.note(volume.is_some(), count, begin.elapsed());
            waiting.pace.has_group &= !is_group;
        }
    }

    /// What this thread has to do next, and whether it is a group; `None` at the end.
    fn next(&self) -> Option<(Vec<SyncJob>, bool)> {
        let mut waiting = self.lock();
        loop {
            if waiting.is_closed {
                return None;
            }
            if let Some(taken) = waiting.take() {
                return Some(taken);
            }
            waiting.idle += 1;
            waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.idle -= 1;
        }
    }
}

impl Waiting {
    /// One for a group; one for each ticket where they are synced one by one.
    fn threads_to_wake(&self) -> usize {
        match self.jobs.len() {
            _ if self.pace.has_group => 0,
            waiting if self.pace.rest == 0 => self.idle.min(waiting).min(1),
            waiting => self.idle.min(waiting),
        }
    }

    /// All that wait, as the next group; one thread's share where there are no groups.
    fn take(&mut self) -> Option<(Vec<SyncJob>, bool)> {
        let count = self.jobs.len();
        if count == 0 || self.pace.has_group {
            return None;
        }
        if self.pace.rest == 0 {
            self.pace.has_group = true;
            return Some((std::mem::take(&mut self.jobs), true));
        }
        self.pace.rest -= 1;
        let share = count.div_ceil(THREADS).min(SHARE_MAX);
        Some((self.jobs.drain(..share).collect(), false))
    }
}

impl Pace {
    /// Takes note of how long `count` tickets took, and whether the volume was synced for them.
    fn note(&mut self, by_volume: bool, count: u32, took: Duration) {
        if !by_volume {
            let each = took.checked_div(count).unwrap_or_default();
            self.each = (self.each * 7 + each) / 8;
        } else if took > self.each * count {
            self.rest = (self.last_rest * 2).clamp(REST_SHARES, REST_SHARES_MAX);
            self.last_rest = self.rest;
        } else {
            self.last_rest = 0;
        }
    }
}

/// Hands the outcomes to the shards, to each its own at once.
fn deliver(
    mailboxes: &Mailboxes,
    targets: Vec<(usize, u64)>,
    outcomes: Vec<Result<Synced, SyncError>>,
) {
    let mut by_shard: Vec<Outcomes> = (0..mailboxes.shards()).map(|_| Vec::new()).collect();
    for ((shard, key), outcome) in targets.into_iter().zip(outcomes) {
        by_shard[shard].push((key, outcome));
    }
    for (shard, outcomes) in by_shard.into_iter().enumerate() {
        if !outcomes.is_empty() {
            mailboxes.post(shard, move |shard| shard.end_syncs(outcomes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(each: u64, rest: u32) -> Pace {
        Pace { each: Duration::from_millis(each), rest, last_rest: 0, has_group: false }
    }

    #[test]
    fn volume_is_left_alone_for_a_while_once_it_took_longer_than_the_files() {
        let mut pace = pace(2, 0);
        pace.note(true, 10, Duration::from_millis(19));
        assert_eq!(pace.rest, 0);
        pace.note(true, 10, Duration::from_millis(21));
        assert_eq!(pace.rest, REST_SHARES);
        pace.note(true, 10, Duration::from_millis(21));
        assert_eq!(pace.rest, 2 * REST_SHARES, "longer each time");
        pace.note(true, 10, Duration::from_millis(19));
        pace.note(true, 10, Duration::from_millis(21));
        assert_eq!(pace.rest, REST_SHARES, "unless it was quick in between");
        assert_eq!(pace.each, Duration::from_millis(2), "of files nothing is learnt by that");
    }

    #[test]
    fn time_of_a_file_follows_what_is_measured() {
        let mut pace = pace(8, 0);
        pace.note(false, 2, Duration::from_millis(32));
        assert_eq!(pace.each, Duration::from_millis(9));
    }

    #[test]
    fn nobody_is_woken_while_a_group_is_synced() {
        let mut waiting = Waiting { jobs: jobs(5), is_closed: false, idle: 3, pace: pace(1, 0) };
        assert_eq!(waiting.threads_to_wake(), 1);
        let (group, is_group) = waiting.take().unwrap();
        assert_eq!((group.len(), is_group), (5, true));
        waiting.jobs = group;
        assert_eq!(waiting.threads_to_wake(), 0);
        assert!(waiting.take().is_none(), "they form the next group");
    }

    #[test]
    fn threads_share_what_waits_where_there_are_no_groups() {
        let mut waiting = Waiting { jobs: jobs(9), is_closed: false, idle: 3, pace: pace(1, 9) };
        assert_eq!(waiting.threads_to_wake(), 3);
        let (share, is_group) = waiting.take().unwrap();
        assert_eq!((share.len(), is_group, waiting.jobs.len()), (2, false, 7));
    }

    /// Tickets of so many new logs.
    fn jobs(count: u64) -> Vec<SyncJob> {
        let dir = tempfile::tempdir().unwrap();
        let job = |key| {
            let folder = dir.path().join(format!("t-{key}"));
            let (disk, config) = (Arc::new(log::RealDisk), Arc::default());
            let opening = log::Opening::NEW;
            let mut log = log::Log::open(disk, folder, config, opening, types::Millis(0)).unwrap();
            let ticket = log.sync_ticket().unwrap().unwrap();
            SyncJob { ticket, shard: 0, key, is_awaited: true }
        };
        (0..count).map(job).collect()
    }
}
