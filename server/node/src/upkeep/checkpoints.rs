//! The checkpoint files of the log directories: gathered from all shards, written where they change.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use log::checkpoint::OffsetCheckpoint;
use log::{LogDir, LogError};
use types::Offset;

use crate::shard::{Closed, Shard, call_shard};
use crate::shared::Shared;
use crate::threads;

/// The checkpoints of one log directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Checkpoints {
    pub recovery_points: OffsetCheckpoint,
    pub high_watermarks: OffsetCheckpoint,
    start_offsets: OffsetCheckpoint,
    compacted_ends: OffsetCheckpoint,
}

impl Checkpoints {
    /// What is known of a log that is closed, the high watermark apart.
    fn add(&mut self, closed: &Closed) {
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
pub(super) type ByDir = BTreeMap<PathBuf, Checkpoints>;

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

pub(super) fn checkpoints_of(shard: &Rc<Shard>) -> ByDir {
    let mut by_dir = ByDir::new();
    for partition in shard.partitions() {
        let partition = partition.borrow();
        let Some(parent) = partition.log().dir().parent() else { continue };
        let entry = by_dir.entry(parent.to_owned()).or_default();
        let name = partition.name().clone();
        entry.recovery_points.insert(name.clone(), partition.recovery_point());
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
        // A log without other replicas is closed only when all of it is committed.
        let high_watermark = closed.high_watermark().unwrap_or(closed.recovery_point());
        entry.high_watermarks.insert(closed.name.clone(), high_watermark);
    }
    // What was known of a log that cannot be opened holds until it can.
    for closed in shard.unopened().iter().filter(|closed| closed.may_have_folder()) {
        let dir = &shard.shared.dirs.data()[closed.dir];
        by_dir.entry(dir.path().to_owned()).or_default().add(closed);
    }
    by_dir
}

pub(super) fn merge(all: &mut ByDir, part: ByDir) {
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
pub(super) fn write_all(
    shared: &Shared,
    all: &ByDir,
    written: &mut ByDir,
) -> Vec<(PathBuf, LogError)> {
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use log::RealDisk;
    use types::TopicPartition;

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
