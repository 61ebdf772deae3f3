//! Recovery after a crash: every log of a directory that was not stopped cleanly is opened, checked
//! from its recovery point on, made durable, and put to rest.
//!
//! It runs before the shards, on `num.recovery.threads.per.data.dir` threads for each directory, and
//! says how far it is in the log and over HTTP.
//!
//! Not here: what of a log is checked and cut (`log`).

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ::metadata::Image;
use anyhow::Context;
use log::{DiskVolume, Log, LogError, Rested, Size, SyncTicket};
use rustc_hash::FxHashMap;
use types::TopicPartition;

use crate::shard::{OpenJob, PartitionId, log_config};
use crate::shared::Shared;
use crate::shares;

/// How often the log says how far it is.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// How far the recovery is; empty where there is nothing to recover.
#[derive(Default)]
pub struct Progress(OnceLock<Vec<DirProgress>>);

/// How far the recovery of one directory is.
pub struct DirProgress {
    /// The directory.
    pub path: PathBuf,
    logs: usize,
    done: AtomicUsize,
    segments: AtomicUsize,
    bytes: AtomicU64,
    /// Segments that are still to be scanned, of the log that each thread is at.
    left: Vec<AtomicUsize>,
}

/// What the recovery made of each log, for the shards to take.
#[derive(Default)]
pub struct Recovered(Mutex<FxHashMap<PartitionId, Verdict>>);

/// A log that may be opened, or what is wrong with it.
pub type Verdict = Result<Rested, LogError>;

type Job = (PartitionId, OpenJob);

impl Recovered {
    /// What became of the partition's log; `None` where it needed no recovery.
    pub fn take(&self, id: PartitionId) -> Option<Verdict> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }
}

impl Progress {
    /// The directories that are recovered.
    pub fn dirs(&self) -> &[DirProgress] {
        self.0.get().map_or(&[], Vec::as_slice)
    }
}

impl DirProgress {
    fn new(path: PathBuf, logs: usize, threads: usize) -> Self {
        Self {
            path,
            logs,
            done: AtomicUsize::new(0),
            segments: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            left: (0..threads).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// Logs that are still to be recovered.
    pub fn logs_left(&self) -> usize {
        self.logs - self.done.load(Ordering::Relaxed)
    }

    /// Segments that each thread has still to scan of the log that it is at.
    pub fn segments_left(&self) -> impl Iterator<Item = usize> {
        self.left.iter().map(|left| left.load(Ordering::Relaxed))
    }

    fn count(&self, scanned: Size) {
        self.segments.fetch_add(scanned.segments, Ordering::Relaxed);
        self.bytes.fetch_add(scanned.bytes, Ordering::Relaxed);
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Display for Progress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sum = |pick: fn(&DirProgress) -> usize| self.dirs().iter().map(pick).sum::<usize>();
        let (all, left) = (sum(|dir| dir.logs), sum(DirProgress::logs_left));
        let segments = sum(|dir| dir.segments.load(Ordering::Relaxed));
        let bytes: u64 = self.dirs().iter().map(|dir| dir.bytes.load(Ordering::Relaxed)).sum();
        let under_way = sum(|dir| dir.segments_left().sum());
        let done = all - left;
        write!(
            f,
            "{done} of {all} logs, {segments} segments and {bytes} bytes scanned, {under_way} \
             segments left in the logs under way"
        )
    }
}

/// Recovers what has to be.
///
/// # Errors
/// If a thread cannot be started.
pub fn run(shared: &Shared, image: &Image, progress: &Progress) -> anyhow::Result<Recovered> {
    let jobs = jobs(shared, image);
    let own = shared.broker_resource();
    let threads = shares::threads(&shared.config, &shared.layers(image, &own));
    let dirs = shared.dirs.data().iter().zip(&jobs);
    let dirs = dirs.map(|(dir, jobs)| DirProgress::new(dir.path().to_owned(), jobs.len(), threads));
    let dirs = progress.0.get_or_init(|| dirs.collect());
    let logs: usize = jobs.iter().map(Vec::len).sum();
    if logs == 0 {
        return Ok(Recovered::default());
    }
    let begin = Instant::now();
    tracing::info!(logs, "recovering after an unclean stop");
    let mut recovered = FxHashMap::default();
    thread::scope(|scope| {
        let (sender, outcomes) = mpsc::channel();
        for (dir, jobs) in dirs.iter().zip(jobs) {
            // Opened before anything is read, so that it tells of every write that failed since.
            let volume = shared.dirs.disk.volume(&dir.path).ok().map(Arc::<dyn DiskVolume>::from);
            let threads = threads.min(jobs.len());
            let jobs = Arc::new(Mutex::new(jobs));
            for at in 0..threads {
                let (jobs, sender) = (Arc::clone(&jobs), sender.clone());
                let volume = volume.clone();
                let work = move || {
                    while let Some(jobs) = shares::next(&jobs, threads) {
                        for recovered in recover(jobs, volume.as_deref(), (dir, at)) {
                            // Who collects them waits for every sender to go.
                            _ = sender.send(recovered);
                        }
                    }
                };
                let builder = thread::Builder::new().name("recovery".to_owned());
                builder.spawn_scoped(scope, work).context("cannot start a thread")?;
            }
        }
        drop(sender);
        loop {
            match outcomes.recv_timeout(REPORT_INTERVAL) {
                Ok((id, outcome)) => _ = recovered.insert(id, outcome),
                Err(RecvTimeoutError::Timeout) => tracing::info!("recovered {progress}"),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok::<_, anyhow::Error>(())
    })?;
    tracing::info!("recovered {progress} in {} ms", begin.elapsed().as_millis());
    Ok(Recovered(Mutex::new(recovered)))
}

/// Recovers some logs, which then share a sync.
fn recover(
    jobs: Vec<Job>,
    volume: Option<&dyn DiskVolume>,
    (progress, thread): (&DirProgress, usize),
) -> Vec<(PartitionId, Verdict)> {
    let mut outcomes = Vec::with_capacity(jobs.len());
    let (mut opened, mut tickets) = (Vec::new(), Vec::new());
    for (id, job) in jobs {
        match open(job, (progress, thread)) {
            Ok((log, rested, Some(ticket))) => {
                opened.push((id, log, rested));
                tickets.push(ticket);
            }
            Ok((_, rested, None)) => outcomes.push((id, Ok(rested))),
            Err(fault) => outcomes.push((id, Err(fault))),
        }
    }
    let synced = shares::sync(volume, tickets);
    for ((id, mut log, rested), synced) in opened.into_iter().zip(synced) {
        outcomes.push((id, log.synced(synced).map(|()| rested)));
    }
    outcomes
}

/// Opens a log, which checks it, and says what is to be synced before it may be put to rest.
fn open(
    job: OpenJob,
    (progress, thread): (&DirProgress, usize),
) -> Result<(Log, Rested, Option<SyncTicket>), LogError> {
    let mut left = |count| progress.left[thread].store(count, Ordering::Relaxed);
    let opened = job.run_watched(&mut left);
    left(0);
    progress.count(opened.as_ref().map_or(Size::default(), Log::scanned));
    let mut log = opened?;
    let rested = log.prepare_rest()?;
    let ticket = log.sync_ticket()?;
    Ok((log, rested, ticket))
}

/// The logs to recover, by the position of their directory.
fn jobs(shared: &Shared, image: &Image) -> Vec<Vec<Job>> {
    let dirs = shared.dirs.data();
    let mut jobs: Vec<Vec<Job>> = dirs.iter().map(|_| vec![]).collect();
    let here = shared.config.node_id;
    for topic in image.topics() {
        let mut config = None;
        for (index, replica) in topic.partitions() {
            let name = TopicPartition::new(Arc::clone(&topic.name), index);
            let Some(dir) = shared.dirs.found(&name) else {
                continue;
            };
            if dir.is_clean() || !dir.is_online() {
                continue;
            }
            let at = dirs.iter().position(|one| std::ptr::eq(one, dir));
            let (Some(at), true) = (at, replica.replicas.contains(&here)) else { continue };
            let resolve =
                || Arc::new(log_config(&shared.topic_config(image, &topic.name), &shared.config));
            let config = Arc::clone(config.get_or_insert_with(resolve));
            let id = PartitionId { topic: topic.id, index };
            let dirs = Arc::clone(&shared.dirs);
            jobs[at].push((id, OpenJob::new(dirs, id, dir.closed(name, at), config)));
        }
    }
    jobs
}

#[cfg(test)]
mod tests;
