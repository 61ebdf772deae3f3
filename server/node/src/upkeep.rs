//! What has to be done again and again, and at the end: retention, compaction, checkpoints, the
//! clean stop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::metadata::Image;
use anyhow::bail;
use log::checkpoint::OffsetCheckpoint;
use log::{LogDir, LogError};
use tokio::time::Instant;
use types::{Millis, Offset, TopicPartition};

use crate::shard::{
    Closed as ClosedPartition, Partition, PartitionId, Shard, SharedPartition, call_shard,
};
use crate::shared::Shared;
use crate::{cleaner, clock, threads};

/// How often upkeep looks for logs that nobody uses.
const REST_INTERVAL: Duration = Duration::from_secs(60);
/// Rounds without use after which a log is closed.
const REST_ROUNDS: u8 = 5;
/// Closed logs that retention has open at once.
const CLOSED_AT_ONCE: usize = 32;
/// How long a stop waits for syncs that are under way.
const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// How often it looks whether they have ended.
const CLOSE_RETRY: Duration = Duration::from_millis(1);

/// The checkpoints of one log directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoints {
    recovery_points: OffsetCheckpoint,
    high_watermarks: OffsetCheckpoint,
    start_offsets: OffsetCheckpoint,
    compacted_ends: OffsetCheckpoint,
}

impl Checkpoints {
    /// What is known of a log that is closed, the high watermark apart.
    fn add(&mut self, closed: &ClosedPartition) {
        let name = &closed.name;
        self.recovery_points.insert(name.clone(), closed.recovery_point());
        if closed.compacted_end() > Offset::ZERO {
            self.compacted_ends.insert(name.clone(), closed.compacted_end());
        }
        if closed.start_offset() > Offset::ZERO {
            self.start_offsets.insert(name.clone(), closed.start_offset());
        }
    }
}

/// Checkpoints by directory.
type ByDir = BTreeMap<PathBuf, Checkpoints>;

/// What the shards leave behind at a stop.
pub struct Closed {
    /// The last state of the cluster that they had.
    pub image: Arc<Image>,
    checkpoints: ByDir,
    unopened: Vec<TopicPartition>,
    /// Directories in which a log could not be closed.
    unclean: BTreeSet<PathBuf>,
}

/// Begins a shard's upkeep. What is done for the whole node falls to shard 0, whose call runs on.
pub async fn run(shard: Rc<Shard>) {
    let upkeep = &shard.shared.config.upkeep;
    tokio::task::spawn_local(run_retention(Rc::clone(&shard)));
    tokio::task::spawn_local(run_flush(Rc::clone(&shard)));
    tokio::task::spawn_local(run_rest(Rc::clone(&shard)));
    if shard.index != 0 {
        return;
    }
    tokio::task::spawn_local(cleaner::run(Rc::clone(&shard)));
    let every = span(upkeep.recovery_point_interval_ms.min(upkeep.high_watermark_interval_ms));
    loop {
        // So that a step of the wall clock is seen soon.
        _ = clock::steady();
        tokio::time::sleep(every).await;
        // What is wrong with a directory has been told where it was found.
        _ = write_checkpoints(&shard).await;
    }
}

/// Syncs what nobody waited for (`thalweg.durability=async`), so that a crash has little to
/// recover: with the recovery points, or as often as `log.flush.scheduler.interval.ms` says.
async fn run_flush(shard: Rc<Shard>) {
    let upkeep = &shard.shared.config.upkeep;
    let recovery = upkeep.recovery_point_interval_ms;
    let every = span(upkeep.flush_check_interval_ms.map_or(recovery, |check| check.min(recovery)));
    loop {
        tokio::time::sleep(every).await;
        // By id, so that a stop does not have to wait for the whole round.
        let ids: Vec<_> = shard.partitions().iter().map(|one| one.borrow().id()).collect();
        for id in ids {
            let Some(partition) = shard.partition(id) else { continue };
            let ticket = partition.borrow_mut().begin_sync();
            let Some(ticket) = ticket else { continue };
            let outcome = threads::blocking(move || ticket.sync()).await;
            partition.borrow_mut().end_sync(outcome);
            // Appends that came meanwhile found a sync under way and wait for the next one.
            shard.commits.push(&partition);
        }
    }
}

async fn run_retention(shard: Rc<Shard>) {
    let every = span(shard.shared.config.upkeep.retention_check_interval_ms);
    loop {
        tokio::time::sleep(every).await;
        for partition in shard.partitions() {
            clean(&partition);
            // Other work goes on between two partitions.
            tokio::task::yield_now().await;
        }
        for group in shard.due_for_retention(clock::earliest()).chunks(CLOSED_AT_ONCE) {
            clean_closed(&shard, group).await;
        }
    }
}

/// Opens logs of which something may have to go, and closes them again.
async fn clean_closed(shard: &Rc<Shard>, ids: &[PartitionId]) {
    let (opened, all_opened) = tokio::sync::oneshot::channel();
    shard.when_all_open(ids.to_vec(), |_| _ = opened.send(()));
    if all_opened.await.is_err() {
        return;
    }
    for id in ids {
        let Some(partition) = shard.partition(*id) else { continue };
        clean(&partition);
        drop(partition);
        // Unless segments went, or somebody uses it by now.
        shard.put_to_rest(*id);
    }
}

/// Closes logs that nobody has used for a while.
async fn run_rest(shard: Rc<Shard>) {
    loop {
        tokio::time::sleep(REST_INTERVAL).await;
        for partition in shard.partitions() {
            let (id, rounds) = {
                let mut partition = partition.borrow_mut();
                (partition.id(), partition.age())
            };
            drop(partition);
            if rounds >= REST_ROUNDS {
                shard.put_to_rest(id);
            }
        }
    }
}

fn clean(partition: &SharedPartition) {
    let mut partition = partition.borrow_mut();
    if partition.is_offline() {
        return;
    }
    let now = clock::earliest();
    let high_watermark = partition.high_watermark();
    let name = partition.name().clone();
    partition.log_mut().remove_expired_producers(now);
    if let Err(fault) = partition.log_mut().delete_old_segments(high_watermark, now) {
        tracing::error!(partition = %name, "cannot delete old segments: {fault}");
        partition.take_fault(&fault);
    }
    remove_due(&mut partition);
}

/// Removes what the log has deleted and kept for `file.delete.delay.ms`.
pub fn remove_due(partition: &mut Partition) {
    let name = partition.name().clone();
    if let Some(removal) = partition.log_mut().take_removal(clock::monotonic()) {
        let dirs = Arc::clone(partition.dirs());
        tokio::task::spawn_blocking(move || {
            if let Err(fault) = removal.run() {
                tracing::warn!(partition = %name, "cannot remove files of old segments: {fault}");
                dirs.report(&fault);
            }
        });
    }
}

/// Keeps checkpoints in order: what was gathered later is never replaced by what was gathered
/// before it.
#[derive(Default)]
pub struct CheckpointOrder {
    gathered: AtomicU64,
    written: Mutex<Written>,
}

/// What was written last.
#[derive(Default)]
struct Written {
    number: u64,
    /// What the files of each directory hold, if that is known.
    files: ByDir,
}

/// Has the checkpoint files of every directory hold what all shards say now.
///
/// # Errors
/// If a file cannot be written, be it that its directory is offline; it is then as it was.
pub async fn write_checkpoints(shard: &Rc<Shard>) -> Result<(), LogError> {
    let shared = Arc::clone(&shard.shared);
    let number = shared.checkpoints.gathered.fetch_add(1, Ordering::Relaxed) + 1;
    let mut all = ByDir::new();
    for index in 0..shared.mailboxes.shards() {
        merge(&mut all, call_shard(shard, index, checkpoints_of).await);
    }
    let write = move || {
        // Held while the files are written, on the blocking pool and by nobody else.
        let mut written = shared.checkpoints.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.number < number {
            let faults = write_all(&shared, &all, &mut written.files);
            written.number = number;
            if let Some((_, fault)) = faults.into_iter().next() {
                return Err(fault);
            }
        }
        Ok(())
    };
    threads::blocking(write).await
}

fn checkpoints_of(shard: &Rc<Shard>) -> ByDir {
    let mut by_dir = ByDir::new();
    for partition in shard.partitions() {
        let partition = partition.borrow();
        let Some(parent) = partition.log().dir().parent() else { continue };
        let entry = by_dir.entry(parent.to_owned()).or_default();
        let name = partition.name().clone();
        entry.recovery_points.insert(name.clone(), partition.log().durable_end());
        entry.high_watermarks.insert(name.clone(), partition.high_watermark());
        if partition.log().compacted_end() > Offset::ZERO {
            entry.compacted_ends.insert(name.clone(), partition.log().compacted_end());
        }
        if partition.log().start_offset() > Offset::ZERO {
            entry.start_offsets.insert(name, partition.log().start_offset());
        }
    }
    for closed in shard.closed() {
        let dir = &shard.shared.dirs.data()[closed.dir];
        let entry = by_dir.entry(dir.path().to_owned()).or_default();
        entry.add(&closed);
        // A log is closed only when all of it is committed.
        entry.high_watermarks.insert(closed.name.clone(), closed.recovery_point());
    }
    // What was known of a log that cannot be opened holds until it can.
    for closed in shard.unopened().iter().filter(|closed| closed.may_have_folder()) {
        let dir = &shard.shared.dirs.data()[closed.dir];
        by_dir.entry(dir.path().to_owned()).or_default().add(closed);
    }
    by_dir
}

fn merge(all: &mut ByDir, part: ByDir) {
    for (path, mut checkpoints) in part {
        let entry = all.entry(path).or_default();
        entry.recovery_points.append(&mut checkpoints.recovery_points);
        entry.high_watermarks.append(&mut checkpoints.high_watermarks);
        entry.start_offsets.append(&mut checkpoints.start_offsets);
        entry.compacted_ends.append(&mut checkpoints.compacted_ends);
    }
}

/// Writes the checkpoints of the directories that are online, where they differ from `written`,
/// and gives what went wrong in which.
fn write_all(shared: &Shared, all: &ByDir, written: &mut ByDir) -> Vec<(PathBuf, LogError)> {
    let none = Checkpoints::default();
    let mut faults = Vec::new();
    for dir in shared.dirs.data().iter().filter(|dir| dir.is_online()) {
        let checkpoints = all.get(dir.path()).unwrap_or(&none);
        // What the files hold after a failure nobody knows.
        let former = written.remove(dir.path());
        match write_one(&dir.log_dir, checkpoints, former.as_ref()) {
            Ok(()) => _ = written.insert(dir.path().to_owned(), checkpoints.clone()),
            Err(fault) => {
                shared.dirs.report(&fault);
                faults.push((dir.path().to_owned(), fault));
            }
        }
    }
    faults
}

/// Writes the files that do not hold it yet.
fn write_one(
    log_dir: &LogDir,
    new: &Checkpoints,
    former: Option<&Checkpoints>,
) -> Result<(), LogError> {
    let is_new = |pick: fn(&Checkpoints) -> &OffsetCheckpoint| {
        former.is_none_or(|former| pick(former) != pick(new))
    };
    if is_new(|all| &all.start_offsets) {
        log_dir.write_start_offsets(&new.start_offsets)?;
    }
    if is_new(|all| &all.compacted_ends) {
        log_dir.write_compacted_ends(&new.compacted_ends)?;
    }
    if is_new(|all| &all.recovery_points) {
        log_dir.write_recovery_points(&new.recovery_points)?;
    }
    if is_new(|all| &all.high_watermarks) {
        log_dir.write_high_watermarks(&new.high_watermarks)?;
    }
    Ok(())
}

/// Has every request answered that waits for something which may never come.
///
/// # Errors
/// If a shard has died.
pub fn drain_shards(shared: &Shared) -> anyhow::Result<()> {
    // Readers wake only when all shards know, else they would begin to wait again.
    for step in [Shard::drain, Shard::wake_readers] {
        for index in 0..shared.mailboxes.shards() {
            let (reply, answer) = std::sync::mpsc::channel();
            shared.mailboxes.post(index, move |shard| {
                step(shard);
                _ = reply.send(());
            });
            if answer.recv().is_err() {
                bail!("shard {index} has died");
            }
        }
    }
    Ok(())
}

/// Closes the logs of every shard and ends the shards.
///
/// # Errors
/// If a shard has died.
pub fn close_shards(shared: &Shared) -> anyhow::Result<Closed> {
    let mut closed: Option<Closed> = None;
    for index in 0..shared.mailboxes.shards() {
        let (reply, answer) = std::sync::mpsc::channel();
        shared.mailboxes.post(index, move |shard| {
            let shard = Rc::clone(shard);
            tokio::task::spawn_local(async move { _ = reply.send(close_one(&shard).await) });
        });
        let Ok(part) = answer.recv() else { bail!("shard {index} has died") };
        match &mut closed {
            None => closed = Some(part),
            Some(all) => {
                merge(&mut all.checkpoints, part.checkpoints);
                all.unopened.extend(part.unopened);
                all.unclean.extend(part.unclean);
            }
        }
    }
    closed.ok_or_else(|| anyhow::anyhow!("a node has at least one shard"))
}

async fn close_one(shard: &Rc<Shard>) -> Closed {
    let grace_ends = Instant::now() + CLOSE_GRACE;
    while shard.is_in_use() && Instant::now() < grace_ends {
        tokio::time::sleep(CLOSE_RETRY).await;
    }
    let image = shard.image();
    let unopened = shard.unopened().into_iter().map(|closed| closed.name).collect();
    let checkpoints = checkpoints_of(shard);
    let mut closed = Closed { image, checkpoints, unopened, unclean: BTreeSet::new() };
    for (name, dir, result) in shard.close_all() {
        match result {
            Ok(end) => {
                for checkpoints in closed.checkpoints.values_mut() {
                    // Everything is synced now, and with one replica committed.
                    for map in [&mut checkpoints.recovery_points, &mut checkpoints.high_watermarks]
                    {
                        if let Some(offset) = map.get_mut(&name) {
                            *offset = end;
                        }
                    }
                }
            }
            Err(fault) => {
                tracing::error!(partition = %name, "cannot close the log: {fault}");
                closed.unclean.extend(dir);
            }
        }
    }
    shard.stop();
    closed
}

/// Writes the last checkpoints and the marks of a clean stop.
///
/// # Errors
/// If they cannot be written, or a log could not be closed; other directories have theirs.
pub fn mark_clean(
    shared: &Shared,
    closed: &Closed,
    epoch: Option<i64>,
    metadata_is_closed: bool,
) -> anyhow::Result<()> {
    let faults = write_all(shared, &closed.checkpoints, &mut ByDir::new());
    let mut unclean: BTreeSet<&Path> = faults.iter().map(|(dir, _)| dir.as_path()).collect();
    unclean.extend(closed.unclean.iter().map(PathBuf::as_path));
    for dir in &shared.dirs.all {
        let is_closed = metadata_is_closed || dir.path() != shared.dirs.metadata().path();
        if !dir.is_online() || !is_closed || unclean.contains(dir.path()) {
            continue;
        }
        // What could not be opened was not checked either: the next start must do that.
        let has = |name| shared.dirs.found(name).is_some_and(|found| found.path() == dir.path());
        if closed.unopened.iter().any(has) {
            continue;
        }
        dir.log_dir.mark_clean_shutdown(epoch.unwrap_or(-1))?;
    }
    if let Some((_, fault)) = faults.into_iter().next() {
        return Err(fault.into());
    }
    if !closed.unclean.is_empty() {
        bail!("not every log could be closed: the next start recovers as after a crash");
    }
    Ok(())
}

fn span(millis: Millis) -> Duration {
    Duration::from_millis(u64::try_from(millis.get()).unwrap_or(0).max(1))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use log::RealDisk;

    use super::*;

    #[test]
    fn only_files_that_change_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let log_dir = LogDir::open(Arc::new(RealDisk), folder.path().to_owned()).unwrap();
        let name = |file: &str| folder.path().join(file);
        let [recovery, marks] =
            ["recovery-point-offset-checkpoint", "replication-offset-checkpoint"].map(name);
        let former = Checkpoints::default();
        write_one(&log_dir, &former, None).unwrap();
        fs::remove_file(&recovery).unwrap();
        fs::remove_file(&marks).unwrap();
        let mut new = former.clone();
        new.high_watermarks.insert(TopicPartition::new("t", 0), Offset::new(1));
        write_one(&log_dir, &new, Some(&former)).unwrap();
        assert_eq!((recovery.exists(), marks.exists()), (false, true));
    }
}
