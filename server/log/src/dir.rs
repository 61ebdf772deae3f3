//! A log directory (`log.dirs`): its lock, its identity, its checkpoints, its partition folders.
//!
//! Not here: what a partition folder holds (`Log`), and which folders belong to this node.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::{TopicPartition, Uuid};

use crate::checkpoint::{OffsetCheckpoint, read_offsets, write_offsets};
use crate::disk::{
    DirEntry, DirLock, Disk, read_file_if_exists, remove_if_exists, write_file_atomically,
};
use crate::error::{IoContext, LogError};
use crate::meta_properties::MetaProperties;
use crate::whole_runs::WHOLE_RUNS;

const LOCK: &str = ".lock";
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
const START_OFFSETS: &str = "log-start-offset-checkpoint";
const COMPACTED_ENDS: &str = "cleaner-offset-checkpoint";
/// The files that only a formatted directory gets.
const LEFT_FILES: [&str; 6] =
    [CLEAN_SHUTDOWN, RECOVERY_POINTS, HIGH_WATERMARKS, START_OFFSETS, COMPACTED_ENDS, WHOLE_RUNS];
/// The longest name that file systems take.
const NAME_BYTES_MAX: usize = 255;

/// What a folder is to its partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FolderKind {
    /// The partition's log.
    Current,
    /// A copy that is to take the log's place once it has caught up.
    Future,
    /// Left over from a deleted partition; its topic name may be cut short.
    Deleted,
    /// Of a partition that the cluster did not know; kept for the administrator.
    Stray,
}

impl FolderKind {
    fn suffix(self) -> &'static str {
        match self {
            Self::Current => "",
            Self::Future => "-future",
            Self::Deleted => "-delete",
            Self::Stray => "-stray",
        }
    }
}

/// A partition's folder in a log directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PartitionFolder {
    /// Whose it is.
    pub partition: TopicPartition,
    /// What it is.
    pub kind: FolderKind,
    /// Where it is.
    pub path: PathBuf,
}

/// What the last process said when it stopped cleanly.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CleanShutdown {
    /// Epoch of the broker that stopped; `None` where the marker does not say.
    pub broker_epoch: Option<i64>,
}

/// A log directory that is locked against other processes as long as this value lives.
#[derive(Debug)]
pub struct LogDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    _lock: Box<dyn DirLock>,
}

impl LogDir {
    /// Makes the directory if needed and locks it.
    ///
    /// # Errors
    /// [`LogError::Locked`] where another process has it.
    pub fn open(disk: Arc<dyn Disk>, path: PathBuf) -> Result<Self, LogError> {
        create_for_good(disk.as_ref(), &path)?;
        let lock = path.join(LOCK);
        match disk.lock(&lock).context("lock", &lock)? {
            Some(lock) => {
                // What is read of it must not be undone by a power cut: a process that died may
                // have renamed a checkpoint and not synced that.
                disk.sync_dir(&path).of_sync(&path)?;
                Ok(Self { disk, path, _lock: lock })
            }
            None => Err(LogError::Locked { dir: path }),
        }
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose directory it is; `None` where it is not formatted.
    ///
    /// # Errors
    /// [`LogError::Malformed`] where that cannot be read.
    pub fn meta_properties(&self) -> Result<Option<MetaProperties>, LogError> {
        MetaProperties::read(self.disk.as_ref(), &self.path)
    }

    /// Formats the directory.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn write_meta_properties(&self, properties: &MetaProperties) -> Result<(), LogError> {
        properties.write(self.disk.as_ref(), &self.path)
    }

    /// The marker of a clean stop, which is gone afterwards: what follows is not clean until the
    /// next stop. `None` after a crash.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn take_clean_shutdown(&self) -> Result<Option<CleanShutdown>, LogError> {
        let path = self.path.join(CLEAN_SHUTDOWN);
        let content = read_file_if_exists(self.disk.as_ref(), &path).context("read", &path)?;
        let Some(content) = content else {
            self.settle()?;
            return Ok(None);
        };
        remove_if_exists(self.disk.as_ref(), &path).context("remove", &path)?;
        self.disk.sync_dir(&self.path).of_sync(&self.path)?;
        Ok(Some(CleanShutdown { broker_epoch: broker_epoch(&content) }))
    }

    /// Makes durable what a process that died has left in memory, before recovery relies on it: a
    /// power cut soon after could bring back segments and ends that it had cut, between what was
    /// written in their place.
    fn settle(&self) -> Result<(), LogError> {
        if self.folders()?.is_empty() {
            return Ok(());
        }
        let volume = self.disk.volume(&self.path).context("open", &self.path)?;
        volume.sync().of_sync(&self.path)
    }

    /// Marks the directory as cleanly stopped. All logs must have been closed and the checkpoints
    /// written.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn mark_clean_shutdown(&self, broker_epoch: i64) -> Result<(), LogError> {
        let path = self.path.join(CLEAN_SHUTDOWN);
        let content = format!(r#"{{"version":0,"brokerEpoch":{broker_epoch}}}"#);
        write_file_atomically(self.disk.as_ref(), &path, content.as_bytes()).context("write", &path)
    }

    /// Up to where each log was synced.
    ///
    /// # Errors
    /// [`LogError::Malformed`], as for the checkpoints below.
    pub fn recovery_points(&self) -> Result<OffsetCheckpoint, LogError> {
        self.read_checkpoint(RECOVERY_POINTS)
    }

    /// Replaces the recovery points.
    ///
    /// # Errors
    /// [`LogError::Io`], as for the checkpoints below.
    pub fn write_recovery_points(&self, offsets: &OffsetCheckpoint) -> Result<(), LogError> {
        self.write_checkpoint(RECOVERY_POINTS, offsets)
    }

    /// The high watermark of each log.
    ///
    /// # Errors
    /// [`LogError::Malformed`].
    pub fn high_watermarks(&self) -> Result<OffsetCheckpoint, LogError> {
        self.read_checkpoint(HIGH_WATERMARKS)
    }

    /// Replaces the high watermarks.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn write_high_watermarks(&self, offsets: &OffsetCheckpoint) -> Result<(), LogError> {
        self.write_checkpoint(HIGH_WATERMARKS, offsets)
    }

    /// The start of each log whose start lies within a segment; Kafka leaves out the others.
    ///
    /// # Errors
    /// [`LogError::Malformed`].
    pub fn start_offsets(&self) -> Result<OffsetCheckpoint, LogError> {
        self.read_checkpoint(START_OFFSETS)
    }

    /// Replaces the start offsets. They must be on disk before DeleteRecords is answered.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn write_start_offsets(&self, offsets: &OffsetCheckpoint) -> Result<(), LogError> {
        self.write_checkpoint(START_OFFSETS, offsets)
    }

    /// Up to where each log has been compacted.
    ///
    /// # Errors
    /// [`LogError::Malformed`].
    pub fn compacted_ends(&self) -> Result<OffsetCheckpoint, LogError> {
        self.read_checkpoint(COMPACTED_ENDS)
    }

    /// Replaces the ends of the compacted parts.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn write_compacted_ends(&self, offsets: &OffsetCheckpoint) -> Result<(), LogError> {
        self.write_checkpoint(COMPACTED_ENDS, offsets)
    }

    fn read_checkpoint(&self, name: &str) -> Result<OffsetCheckpoint, LogError> {
        read_offsets(self.disk.as_ref(), &self.path.join(name))
    }

    fn write_checkpoint(&self, name: &str, offsets: &OffsetCheckpoint) -> Result<(), LogError> {
        write_offsets(self.disk.as_ref(), &self.path.join(name), offsets)
    }

    /// All partition folders, in no order. Other folders are left out.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn folders(&self) -> Result<Vec<PartitionFolder>, LogError> {
        let entries = self.disk.list(&self.path).context("list", &self.path)?;
        let folders = entries.into_iter().filter(|entry| entry.is_dir).filter_map(|entry| {
            let (partition, kind) = parse_folder(&entry.name)?;
            Some(PartitionFolder { partition, kind, path: self.path.join(entry.name) })
        });
        Ok(folders.collect())
    }

    /// Names of what a node has left here; none in a directory that nobody has used. What is not
    /// a node's, as `lost+found`, does not count, nor does what is there before formatting.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn remains(&self) -> Result<Vec<String>, LogError> {
        let entries = self.disk.list(&self.path).context("list", &self.path)?;
        let is_left = |entry: &DirEntry| match entry.is_dir {
            true => parse_folder(&entry.name).is_some(),
            false => LEFT_FILES.contains(&entry.name.as_str()),
        };
        let mut names: Vec<_> = entries.into_iter().filter(is_left).map(|one| one.name).collect();
        names.sort();
        Ok(names)
    }

    /// Where the log of a partition is.
    pub fn folder(&self, partition: &TopicPartition) -> PathBuf {
        self.path.join(partition.to_string())
    }

    /// A folder of another kind for the partition; `unique` keeps it apart from all others.
    pub fn folder_of_kind(
        &self,
        partition: &TopicPartition,
        kind: FolderKind,
        unique: Uuid,
    ) -> PathBuf {
        if kind == FolderKind::Current {
            return self.folder(partition);
        }
        let hex: String = unique.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let rest = format!("-{}.{hex}{}", partition.partition, kind.suffix());
        // Long names are cut where the folder is to go anyway.
        let kept = partition.topic.len().min(NAME_BYTES_MAX.saturating_sub(rest.len()));
        let topic = match kind {
            FolderKind::Deleted | FolderKind::Stray => &partition.topic[..kept],
            FolderKind::Current | FolderKind::Future => &partition.topic[..],
        };
        self.path.join(format!("{topic}{rest}"))
    }

    /// Makes folders that were created or renamed survive a power cut. Blocks.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn sync(&self) -> Result<(), LogError> {
        self.disk.sync_dir(&self.path).of_sync(&self.path)
    }

    /// Removes a folder with all that is in it. Blocks.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn remove_folder(&self, folder: &Path) -> Result<(), LogError> {
        self.disk.remove_dir_all(folder).context("remove", folder)
    }

    /// Bytes of the volume: all, and those still free.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn volume_bytes(&self) -> Result<(u64, u64), LogError> {
        self.disk.volume_bytes(&self.path).context("inspect", &self.path)
    }
}

/// Makes a directory and those above it so that they survive a power cut.
fn create_for_good(disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
    let is_missing =
        |path: &&Path| disk.list(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let missing = path.ancestors().take_while(is_missing).count();
    disk.create_dir_all(path).context("create", path)?;
    // A process that died may have made the last one and not synced it.
    let parents = path.ancestors().skip(1).take(missing.max(1));
    for parent in parents.filter(|parent| !parent.as_os_str().is_empty()) {
        match disk.sync_dir(parent) {
            // Whoever may not read it did not make it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced.of_sync(parent)?,
        }
    }
    Ok(())
}

/// `topic-partition`, or `topic-partition.unique-kind`.
fn parse_folder(name: &str) -> Option<(TopicPartition, FolderKind)> {
    let kinds = [FolderKind::Future, FolderKind::Deleted, FolderKind::Stray];
    let marked = kinds.into_iter().find_map(|kind| {
        let (front, unique) = name.strip_suffix(kind.suffix())?.rsplit_once('.')?;
        let is_unique = unique.len() == 32 && unique.bytes().all(|b| b.is_ascii_hexdigit());
        is_unique.then_some((front, kind))
    });
    let (front, kind) = marked.unwrap_or((name, FolderKind::Current));
    let (topic, partition) = front.rsplit_once('-')?;
    let digits = !partition.is_empty() && partition.bytes().all(|b| b.is_ascii_digit());
    let partition = digits.then(|| partition.parse().ok())??;
    (!topic.is_empty()).then(|| (TopicPartition::new(topic, partition), kind))
}

/// The number in a clean-shutdown marker. Former versions of Kafka name it otherwise and quote it,
/// or leave the file empty.
fn broker_epoch(content: &[u8]) -> Option<i64> {
    let text = str::from_utf8(content).ok()?;
    let names = ["\"brokerEpoch\"", "\"broker_epoch\""];
    let (_, behind) = names.iter().find_map(|name| text.split_once(name))?;
    let is_number = |c: char| c.is_ascii_digit() || c == '-';
    let number = behind.trim_start_matches(|c| !is_number(c));
    let number = number.split(|c| !is_number(c)).next()?;
    number.parse().ok().filter(|epoch| *epoch >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{RealDisk, read_file};

    fn open(path: &Path) -> LogDir {
        LogDir::open(Arc::new(RealDisk), path.to_owned()).unwrap()
    }

    #[test]
    fn folder_names_are_kafkas() {
        let unique = "0123456789abcdef0123456789abcdef";
        let cases = [
            ("a-0".to_owned(), Some(("a", 0, FolderKind::Current))),
            ("my-topic.x-12".to_owned(), Some(("my-topic.x", 12, FolderKind::Current))),
            (format!("a-1.{unique}-future"), Some(("a", 1, FolderKind::Future))),
            (format!("a.b-1.{unique}-delete"), Some(("a.b", 1, FolderKind::Deleted))),
            (format!("a-1.{unique}-stray"), Some(("a", 1, FolderKind::Stray))),
            ("a-delete".to_owned(), None),
            ("lost+found".to_owned(), None),
            ("-0".to_owned(), None),
            ("a--1".to_owned(), Some(("a-", 1, FolderKind::Current))),
            ("a-99999999999".to_owned(), None),
        ];
        for (name, expected) in cases {
            let expected = expected.map(|(t, p, kind)| (TopicPartition::new(t, p), kind));
            assert_eq!(parse_folder(&name), expected, "{name}");
        }
    }

    #[test]
    fn marked_folders_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let dir = open(dir.path());
        let long = TopicPartition::new("t".repeat(249), 3);
        let unique = Uuid::from_bytes([0xab; 16]);
        let deleted = dir.folder_of_kind(&long, FolderKind::Deleted, unique);
        let name = deleted.file_name().unwrap().to_str().unwrap();
        assert_eq!(name.len(), NAME_BYTES_MAX);
        assert_eq!(parse_folder(name).unwrap().1, FolderKind::Deleted);
    }

    #[test]
    fn clean_shutdown_marker_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let log_dir = open(dir.path());
        assert_eq!(log_dir.take_clean_shutdown().unwrap(), None);
        log_dir.mark_clean_shutdown(42).unwrap();
        let marker = read_file(&RealDisk, &dir.path().join(CLEAN_SHUTDOWN)).unwrap();
        assert_eq!(marker, br#"{"version":0,"brokerEpoch":42}"#);
        let taken = CleanShutdown { broker_epoch: Some(42) };
        assert_eq!(log_dir.take_clean_shutdown().unwrap(), Some(taken));
        assert_eq!(log_dir.take_clean_shutdown().unwrap(), None);
    }

    #[test]
    fn markers_of_other_shapes_count_as_clean() {
        assert_eq!(broker_epoch(b""), None);
        assert_eq!(broker_epoch(br#"{"broker_epoch":"7","version":"0"}"#), Some(7));
        assert_eq!(broker_epoch(br#"{"version":"0","broker_epoch":"-1"}"#), None);
    }
}
