//! The threads that sync: a few for each log directory, which all shards share.
//!
//! Shards push tickets. A thread that is free takes its share of what waits; where many wait it
//! takes all of them and syncs the volume as a whole, and what comes meanwhile forms the next
//! group. The outcomes of a group go back to each shard as one piece of work. Figures and reasons
//! are in ADR 10.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use log::{DiskVolume, SyncError, SyncTicket, Synced, sync_together};

use crate::dirs::Dirs;
use crate::shard::Mailboxes;

/// Threads for each directory.
const THREADS: usize = 4;
/// From so many tickets on the volume is synced as a whole.
const TOGETHER_MIN: usize = 8;
/// For so many groups it is not, after it took longer than the files would have: someone else
/// writes much to the volume, and that came along.
const REST_GROUPS: u32 = 500;

/// A ticket and where its outcome goes.
#[derive(Debug)]
pub struct SyncJob {
    /// What to sync.
    pub ticket: SyncTicket,
    /// The shard that waits.
    pub shard: usize,
    /// By which it knows the partition.
    pub key: u64,
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
}

/// What the threads of one directory share.
#[derive(Debug)]
struct Waiting {
    jobs: Vec<SyncJob>,
    is_closed: bool,
    idle: usize,
    pace: Pace,
}

/// Whether to sync the volume as a whole.
#[derive(Debug)]
struct Pace {
    /// How long a file takes by itself, as a running average.
    each: Duration,
    /// Groups until it is tried again.
    rest: u32,
    /// Whether that is going on.
    is_together: bool,
}

impl SyncThreads {
    /// Starts the threads of each directory.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(dirs: &Dirs, mailboxes: &Mailboxes) -> anyhow::Result<Self> {
        let mut queues = Vec::new();
        for dir in dirs.data() {
            let volume = dirs.disk.volume(dir.path()).ok();
            // Without, the time to try it never comes.
            let rest = if volume.is_some() { 0 } else { u32::MAX };
            let pace = Pace { each: Duration::from_millis(1), rest, is_together: false };
            let waiting = Waiting { jobs: Vec::new(), is_closed: false, idle: 0, pace };
            let (waiting, wake) = (Mutex::new(waiting), Condvar::new());
            let queue = Arc::new(Queue { waiting, wake, volume });
            queues.push((dir.path().to_owned(), Arc::clone(&queue)));
            for _ in 0..THREADS {
                let (queue, mailboxes) = (Arc::clone(&queue), mailboxes.clone());
                let thread = thread::Builder::new().name("sync".to_owned());
                thread.spawn(move || queue.serve(&mailboxes)).context("cannot start a thread")?;
            }
        }
        Ok(Self { dirs: queues })
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
        while let Some(jobs) = self.next() {
            let (targets, tickets): (Vec<_>, Vec<_>) =
                jobs.into_iter().map(|job| ((job.shard, job.key), job.ticket)).unzip();
            let count = u32::try_from(tickets.len()).unwrap_or(u32::MAX);
            let begin = Instant::now();
            let volume = self.volume.as_deref().filter(|_| tickets.len() >= TOGETHER_MIN);
            let outcomes = match volume {
                Some(volume) => sync_together(volume, tickets),
                None => tickets.into_iter().map(SyncTicket::sync).collect(),
            };
            let mut waiting = self.lock();
            waiting.pace.note(volume.is_some(), count, begin.elapsed());
            let wakes = if volume.is_some() { waiting.threads_to_wake() } else { 0 };
            drop(waiting);
            (0..wakes).for_each(|_| self.wake.notify_one());
            deliver(mailboxes, targets, outcomes);
        }
    }

    /// What this thread has to do next; `None` at the end.
    fn next(&self) -> Option<Vec<SyncJob>> {
        let mut waiting = self.lock();
        loop {
            if waiting.is_closed {
                return None;
            }
            if let Some(jobs) = waiting.take() {
                return Some(jobs);
            }
            waiting.idle += 1;
            waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.idle -= 1;
        }
    }
}

impl Waiting {
    /// One thread for each ticket, as far as there are any; one where the volume will be synced.
    fn threads_to_wake(&self) -> usize {
        match self.jobs.len() {
            _ if self.pace.is_together => 0,
            TOGETHER_MIN.. if self.pace.rest == 0 => self.idle.min(1),
            waiting => self.idle.min(waiting),
        }
    }

    /// All where the volume is synced, else one thread's share.
    fn take(&mut self) -> Option<Vec<SyncJob>> {
        let count = self.jobs.len();
        if count == 0 || self.pace.is_together {
            return None;
        }
        if count >= TOGETHER_MIN && self.pace.rest == 0 {
            self.pace.is_together = true;
            return Some(std::mem::take(&mut self.jobs));
        }
        self.pace.rest = self.pace.rest.saturating_sub(1);
        // Below the number from which the volume would be synced.
        let share = count.div_ceil(THREADS).min(TOGETHER_MIN - 1);
        Some(self.jobs.drain(..share).collect())
    }
}

impl Pace {
    fn note(&mut self, was_together: bool, count: u32, took: Duration) {
        if was_together {
            self.is_together = false;
            if took > self.each * count {
                self.rest = REST_GROUPS;
            }
        } else if let Some(each) = took.checked_div(count) {
            self.each = (self.each * 7 + each) / 8;
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

    #[test]
    fn volume_is_left_alone_for_a_while_once_it_took_longer_than_the_files() {
        let each = Duration::from_millis(2);
        let mut pace = Pace { each, rest: 0, is_together: true };
        pace.note(true, 10, Duration::from_millis(19));
        assert_eq!((pace.is_together, pace.rest), (false, 0));
        pace.note(true, 10, Duration::from_millis(21));
        assert_eq!(pace.rest, REST_GROUPS);
        assert_eq!(pace.each, each, "of that one nothing is learnt about files");
    }

    #[test]
    fn time_of_a_file_follows_what_is_measured() {
        let mut pace = Pace { each: Duration::from_millis(8), rest: 0, is_together: false };
        pace.note(false, 2, Duration::from_millis(32));
        assert_eq!(pace.each, Duration::from_millis(9));
    }
}
