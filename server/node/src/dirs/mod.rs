//! The node's log directories: which partition lies where, which directory works and takes more.
//!
//! A directory in which the operating system refused to write or sync is not used any more until
//! the node starts anew ([`Dirs::report`]); `dir_failures` then takes its partitions offline.
//!
//! Not here: how they are opened (`open`), how long their disks take (`calls`).

mod calls;
mod open;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};

use ::metadata::FoundDirectory;
use log::checkpoint::OffsetCheckpoint;
use log::{CleanShutdown, Disk, LogDir, LogError};
use tokio::sync::Notify;
use types::{Offset, TopicPartition, Uuid};

pub use calls::{Call, DiskCalls, News};
pub use open::{absolute, fresh_id};

use crate::clock;
use crate::shard::Closed;

/// How often it is told that there is no room.
const TELL_EVERY_MS: i64 = 60_000;

/// One log directory of this node.
pub struct Dir {
    /// The locked directory.
    pub log_dir: LogDir,
    /// Its id.
    pub id: Uuid,
    /// What the last stop left, `None` after a crash.
    clean_stop: Option<CleanShutdown>,
    /// Runs of this broker of which it has all.
    whole_runs: Vec<Uuid>,
    recovery_points: OffsetCheckpoint,
    start_offsets: OffsetCheckpoint,
    high_watermarks: OffsetCheckpoint,
    compacted_ends: OffsetCheckpoint,
    logs: AtomicUsize,
    /// Nothing says yet that it is this node's.
    is_unformatted: bool,
    is_cordoned: AtomicBool,
    /// Why it is not used any more.
    failure: OnceLock<String>,
    /// What waits for its disk.
    pub calls: Arc<DiskCalls>,
}

/// A directory of `log.dirs` that could not be used at the start.
pub struct Unusable {
    /// Where it should be.
    pub path: PathBuf,
    /// Why it is not used.
    pub reason: String,
}

/// All log directories, and where the partitions lie that were there at the start.
pub struct Dirs {
    /// The directories, in the order of `log.dirs`; the metadata directory last, if it is none of
    /// them.
    pub all: Vec<Dir>,
    /// Those that could not be opened.
    pub unusable: Vec<Unusable>,
    /// How many of the opened take partitions.
    data_dirs: usize,
    /// Position of the directory of the metadata log.
    metadata: usize,
    /// Id of the cluster.
    pub cluster_id: String,
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// Wakes who takes the partitions of failed directories offline.
    pub failed: Notify,
    found: BTreeMap<TopicPartition, usize>,
    /// Where to say that the node cannot go on.
    end_of_node: Mutex<Sender<String>>,
    /// When it was told last that there is no room.
    told_at: AtomicI64,
    told_replaced: Once,
}

impl Dir {
    /// What the checkpoints say of a log that is to be opened.
    pub fn opening(&self, partition: &TopicPartition) -> log::Opening {
        let known = |offsets: &OffsetCheckpoint| offsets.get(partition).copied();
        log::Opening {
            start_offset: known(&self.start_offsets).unwrap_or(Offset::ZERO),
            recovery_point: known(&self.recovery_points).unwrap_or(Offset::ZERO),
            compacted_end: known(&self.compacted_ends).unwrap_or(Offset::ZERO),
            is_clean: self.is_clean(),
            cuts_damage: false,
        }
    }

    /// How far a log was known to be committed at the last checkpoint.
    pub fn high_watermark(&self, partition: &TopicPartition) -> Offset {
        self.high_watermarks.get(partition).copied().unwrap_or(Offset::ZERO)
    }

    /// A partition that lay here at the start; the directory is the one at `at`.
    pub fn closed(&self, partition: TopicPartition, at: usize) -> Closed {
        let opening = self.opening(&partition);
        Closed::found(partition, at, opening)
    }

    /// Whether it was stopped cleanly, so that logs need no recovery.
    pub fn is_clean(&self) -> bool {
        self.clean_stop.is_some()
    }

    /// What it said at the start of former runs.
    pub fn of_former_runs(&self) -> FoundDirectory {
        FoundDirectory {
            id: self.id,
            clean_epoch: self.clean_stop.and_then(|stop| stop.broker_epoch),
            whole_runs: self.whole_runs.clone(),
        }
    }

    /// Whether nothing in it has failed so far.
    pub fn is_online(&self) -> bool {
        self.failure.get().is_none()
    }

    /// Whether it takes no new partitions (`cordoned.log.dirs`).
    pub fn is_cordoned(&self) -> bool {
        self.is_cordoned.load(Ordering::Relaxed)
    }

    /// Notes that a log was placed here, or taken away.
    pub fn count(&self, placed: bool) {
        if placed {
            self.logs.fetch_add(1, Ordering::Relaxed);
        } else {
            self.logs.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The directory as a person writes it.
    pub fn path(&self) -> &Path {
        self.log_dir.path()
    }

    fn check_online(&self) -> Result<&Self, LogError> {
        let offline = || LogError::Offline { dir: self.path().to_owned() };
        if self.is_online() { Ok(self) } else { Err(offline()) }
    }
}

impl Dirs {
    /// The directory of the metadata log.
    pub fn metadata(&self) -> &Dir {
        &self.all[self.metadata]
    }

    /// The directories that take partitions, failed ones among them.
    pub fn data(&self) -> &[Dir] {
        &self.all[..self.data_dirs]
    }

    /// Ids of the directories that take partitions and work, or of those that do not any more.
    pub fn ids(&self, are_online: bool) -> Vec<Uuid> {
        let dirs = self.data().iter().filter(|dir| dir.is_online() == are_online);
        dirs.map(|dir| dir.id).collect()
    }

    /// Ids of the directories that take no new partitions.
    pub fn cordoned_ids(&self) -> Vec<Uuid> {
        self.data().iter().filter(|dir| dir.is_cordoned()).map(|dir| dir.id).collect()
    }

    /// Puts `cordoned.log.dirs` in force. Whether that has changed anything.
    pub fn set_cordoned(&self, paths: &[String]) -> bool {
        let mut changed = false;
        for dir in self.data() {
            let named =
                |path: &String| path == "*" || absolute(path.as_ref()) == absolute(dir.path());
            let cordon = paths.iter().any(named);
            changed |= dir.is_cordoned.swap(cordon, Ordering::Relaxed) != cordon;
        }
        changed
    }

    /// Where a partition lay at the start, if it was there.
    pub fn found(&self, partition: &TopicPartition) -> Option<&Dir> {
        self.found.get(partition).map(|&at| &self.all[at])
    }

    /// All partitions that lay here at the start, and where.
    pub fn all_found(&self) -> impl Iterator<Item = (&TopicPartition, &Dir)> {
        self.found.iter().map(|(partition, &at)| (partition, &self.all[at]))
    }

    /// Where a partition lay at the start, or where a new one goes: the directory that the cluster
    /// has written down for it, else the one with the fewest logs. `is_new` says that nothing was
    /// ever written to it.
    ///
    /// # Errors
    /// Where it lies in a directory that has failed, or may do so, or that this node does not have
    /// any more: an empty log in another one would pass for the whole.
    pub fn place(
        &self,
        partition: &TopicPartition,
        wanted: Option<Uuid>,
        is_new: bool,
    ) -> Result<&Dir, LogError> {
        if let Some(dir) = self.found(partition) {
            return dir.check_online();
        }
        if let Some(id) = wanted {
            let dir = self.data().iter().find(|dir| dir.id == id);
            return dir.ok_or_else(|| self.missing()).and_then(Dir::check_online);
        }
        if let Some(dir) = self.unusable.first().filter(|_| !is_new) {
            return Err(LogError::Offline { dir: dir.path.clone() });
        }
        let online = || self.data().iter().filter(|dir| dir.is_online());
        let fewest = |dir: &&Dir| dir.logs.load(Ordering::Relaxed);
        let open = online().filter(|dir| !dir.is_cordoned()).min_by_key(fewest);
        // The cluster has given it to this node: better there than nowhere.
        open.or_else(|| online().min_by_key(fewest)).ok_or_else(|| self.missing())
    }

    fn missing(&self) -> LogError {
        let reason = match self.unusable.first() {
            Some(dir) => format!("it may lie in {}: {}", dir.path.display(), dir.reason),
            None => {
                "it lies in one that log.dirs does not name any more, and no other replica is in \
                     sync: add it again; if its disk is lost, so are the records: delete the topic"
                    .to_owned()
            }
        };
        LogError::Missing { reason }
    }

    /// Says once that replicas lie in a directory that is gone, which is no harm: others have them.
    pub fn tell_replaced(&self) {
        self.told_replaced.call_once(|| {
            tracing::warn!(
                "a directory that this node had is not one of log.dirs any more, as after the loss \
                 of a disk: what other brokers have in sync is copied anew"
            );
        });
    }

    /// Takes note of what went wrong with a file. Where the operating system refused to write or
    /// sync it, its directory is not used any more; that there is no room is told, now and then.
    pub fn report(&self, fault: &LogError) {
        if fault.is_passing() {
            let (now, told_at) = (clock::monotonic().get(), self.told_at.load(Ordering::Relaxed));
            if now - told_at >= TELL_EVERY_MS {
                self.told_at.store(now, Ordering::Relaxed);
                tracing::error!(
                    "records are refused until there is room again, and nothing is lost: {fault}. \
                     Free or add some; the node goes on by itself"
                );
            }
            return;
        }
        let Some(dir) = fault.failed_path().and_then(|path| self.holding(path)) else { return };
        if dir.failure.set(fault.to_string()).is_ok() {
            tracing::error!(
                "log directory {} is offline until restart: {fault}. Its partitions are not served, \
                 others are. Mend or replace the disk, then restart the node",
                dir.path().display()
            );
            self.failed.notify_one();
        }
    }

    /// Whether the node cannot go on: without its metadata it knows nothing for certain, and
    /// without any directory it has nothing.
    pub fn lost(&self) -> Option<String> {
        let metadata = self.metadata();
        if let Some(reason) = metadata.failure.get() {
            let path = metadata.path().display();
            return Some(format!(
                "the directory of the metadata log, {path}, has failed: {reason}"
            ));
        }
        let lost = self.data().iter().all(|dir| !dir.is_online());
        lost.then(|| "all directories of log.dirs have failed".to_owned())
    }

    /// Has the node stop, since it cannot go on.
    pub fn end_node(&self, reason: String) {
        let ends = self.end_of_node.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody listens where the node is stopping already.
        _ = ends.send(reason);
    }

    /// A call to the disk of a log begins.
    pub fn begin_call(&self, log: &Path) -> Option<Call<'_>> {
        Some(self.holding(log)?.calls.begin())
    }

    /// A directory whose disk does not answer.
    pub fn hung(&self) -> Option<&Dir> {
        self.all.iter().find(|dir| dir.calls.is_hung())
    }

    /// What waits for the disk of a log.
    pub fn calls_of(&self, log: &Path) -> Arc<DiskCalls> {
        self.holding(log).map(|dir| Arc::clone(&dir.calls)).unwrap_or_default()
    }

    /// Whether a log lies in a directory that has failed.
    pub fn is_offline(&self, log: &Path) -> bool {
        self.holding(log).is_some_and(|dir| !dir.is_online())
    }

    /// The directory that holds a file: the innermost, should one lie in another.
    fn holding(&self, path: &Path) -> Option<&Dir> {
        let holding = self.all.iter().filter(|dir| path.starts_with(dir.path()));
        holding.max_by_key(|dir| dir.path().as_os_str().len())
    }
}

#[cfg(test)]
mod tests;
