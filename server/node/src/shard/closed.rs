//! Partitions whose logs are closed: what is known of them, and how they are opened.
//!
//! A partition that nobody writes or reads has no open file, no task and no timer; [`Closed`] is
//! all there is of it. After a clean stop that is every partition: the checkpoints and one listing
//! of each directory say what must be known.
//!
//! Not here: when they are opened (`openings`).

use std::path::PathBuf;
use std::sync::Arc;

use log::{FolderKind, Log, LogConfig, LogError, Rested, Size};
use types::{Millis, Offset, TopicPartition};

use super::Shard;
use super::partition::PartitionId;
use crate::dirs::Dirs;
use crate::shared::Shared;
use crate::{clock, threads};

/// A partition of this shard whose log is closed.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Its name.
    pub name: TopicPartition,
    /// Position of its directory.
    pub dir: usize,
    known: Known,
    /// How far it is committed, where that may be less than all of it.
    high_watermark: Option<Offset>,
    /// What keeps it from being opened, if it was damaged.
    pub damage: Option<Damage>,
    /// Whether it is to end where it is damaged.
    pub cuts_damage: bool,
}

/// Damage that keeps a log from being opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Damage {
    /// Up to some place the log is sound.
    Broken,
    /// The device cannot read what has to be read, or the log cannot be opened up to its damage
    /// either: nothing of it is of use.
    Useless,
}

/// How much is known of a closed log.
#[derive(Clone, Debug)]
enum Known {
    /// There is nothing: no folder has been made for it.
    New,
    /// What the checkpoints say, and its size once that was asked for.
    Checkpoints { opening: log::Opening, size: Option<Size> },
    /// Everything.
    Rested(Rested),
}

/// What has to be done to open a log, on any thread.
pub struct OpenJob {
    dirs: Arc<Dirs>,
    id: PartitionId,
    closed: Closed,
    config: Arc<LogConfig>,
}

impl Closed {
    /// A partition without any data; its folder is made when it is opened.
    pub fn new(name: TopicPartition, dir: usize) -> Self {
        Self::of(name, dir, Known::New)
    }

    /// A partition whose log was put to rest.
    pub fn rested(name: TopicPartition, dir: usize, rested: Rested) -> Self {
        Self::of(name, dir, Known::Rested(rested))
    }

    /// A partition that was found at the start.
    pub fn found(name: TopicPartition, dir: usize, opening: log::Opening) -> Self {
        Self::of(name, dir, Known::Checkpoints { opening, size: None })
    }

    fn of(name: TopicPartition, dir: usize, known: Known) -> Self {
        Self { name, dir, known, high_watermark: None, damage: None, cuts_damage: false }
    }

    /// The same, to be opened up to where it is damaged.
    pub fn cutting_damage(self) -> Self {
        Self { damage: None, cuts_damage: true, ..self }
    }

    /// Takes note of why it cannot be opened. What cannot be opened up to its damage is of no use; what
    /// cannot be opened as an empty log either is not tried again and again.
    pub fn note_fault(&mut self, fault: &LogError) {
        let damage = Damage::of(fault).filter(|_| self.may_have_folder());
        self.damage = damage.map(|damage| if self.cuts_damage { Damage::Useless } else { damage });
    }

    /// The same, of which no more is known to be committed than this.
    pub fn committed_to(self, high_watermark: Offset) -> Self {
        Self { high_watermark: Some(high_watermark), ..self }
    }

    /// How far it is committed; `None` for all of it.
    pub fn high_watermark(&self) -> Option<Offset> {
        self.high_watermark
    }

    /// Everything before this offset was synced. After a clean stop that is the log's end.
    pub fn recovery_point(&self) -> Offset {
        self.opening().recovery_point
    }

    /// The first offset, as far as it has ever been set apart from that of the first segment.
    pub fn start_offset(&self) -> Offset {
        self.opening().start_offset
    }

    /// Up to where the log has been compacted.
    pub fn compacted_end(&self) -> Offset {
        self.opening().compacted_end
    }

    /// Bytes and number of its segments, if they are known.
    pub fn size(&self) -> Option<Size> {
        match &self.known {
            Known::New => Some(Rested::EMPTY.size),
            Known::Checkpoints { size, .. } => *size,
            Known::Rested(rested) => Some(rested.size),
        }
    }

    /// Notes the size.
    pub fn set_size(&mut self, measured: Size) {
        if let Known::Checkpoints { size, .. } = &mut self.known {
            *size = Some(measured);
        }
    }

    /// Whether retention may have something to delete at the wall time `now`, or nobody knows.
    pub fn is_due(&self, config: &LogConfig, now: Millis) -> bool {
        match &self.known {
            Known::New => false,
            Known::Checkpoints { .. } => true,
            Known::Rested(rested) => rested.is_due(config, now),
        }
    }

    /// Whether it may have a folder. A log that was open has one, even if nothing came of it.
    pub fn may_have_folder(&self) -> bool {
        !matches!(self.known, Known::New)
    }

    fn opening(&self) -> log::Opening {
        let opening = match &self.known {
            Known::New => Rested::EMPTY.opening(),
            Known::Checkpoints { opening, .. } => *opening,
            Known::Rested(rested) => rested.opening(),
        };
        let cuts_damage = self.cuts_damage;
        log::Opening { cuts_damage, is_clean: opening.is_clean && !cuts_damage, ..opening }
    }
}

impl Damage {
    fn of(fault: &LogError) -> Option<Self> {
        match fault {
            LogError::Damaged { .. } => Some(Self::Broken),
            LogError::Io { .. } if fault.is_unreadable() => Some(Self::Useless),
            LogError::Io { .. }
            | LogError::Malformed { .. }
            | LogError::Offline { .. }
            | LogError::Stalled { .. }
            | LogError::Locked { .. }
            | LogError::Foreign { .. }
            | LogError::Missing { .. } => None,
        }
    }
}

impl OpenJob {
    /// The job for a partition.
    pub fn new(dirs: Arc<Dirs>, id: PartitionId, closed: Closed, config: Arc<LogConfig>) -> Self {
        Self { dirs, id, closed, config }
    }

    /// Opens the log, or makes it where there is none. Blocks.
    ///
    /// # Errors
    /// [`LogError`], as [`Log::open`] gives it.
    pub fn run(self) -> Result<Log, LogError> {
        self.run_watched(&mut |_| {})
    }

    /// As [`OpenJob::run`]; `left` hears how many segments are still to be scanned.
    ///
    /// # Errors
    /// Those of [`OpenJob::run`].
    pub fn run_watched(self, left: &mut dyn FnMut(usize)) -> Result<Log, LogError> {
        let Self { dirs, id, closed, config } = self;
        let dir = &dirs.data()[closed.dir];
        let folder = dir.log_dir.folder(&closed.name);
        let disk = Arc::clone(&dirs.disk);
        let known = log::read_topic_id(disk.as_ref(), &folder)?;
        // What the checkpoints say is of a log that was there at the start, not of a new one that
        // has the name of a deleted one.
        let mut opening = if known.is_some() { closed.opening() } else { log::Opening::NEW };
        if known.is_some_and(|known| known != id.topic) {
            // Left behind by a topic of the same name that was deleted while this node was down.
            let stray = dir.log_dir.folder_of_kind(&closed.name, FolderKind::Stray, id.topic);
            tracing::warn!("{} belongs to another topic of that name, set aside", folder.display());
            disk.rename(&folder, &stray).map_err(|cause| LogError::Io {
                action: "rename",
                path: folder.clone(),
                cause,
            })?;
            opening = log::Opening::NEW;
        }
        let mut log = Log::open_watched(disk, folder, config, opening, clock::earliest(), left)?;
        if known != Some(id.topic) {
            log.write_topic_id(id.topic)?;
        }
        Ok(log)
    }
}

/// Lets every shard know the sizes of its closed logs, which the first one to ask pays for: the
/// folders are listed once.
pub async fn measure_closed(shared: &Arc<Shared>) {
    for index in 0..shared.mailboxes.shards() {
        let folders = shared.mailboxes.call(index, |shard| shard.unmeasured()).await;
        if folders.is_empty() {
            continue;
        }
        let disk = Arc::clone(&shared.dirs.disk);
        let sizes = threads::blocking(move || {
            let measured = folders.into_iter().filter_map(|(id, folder)| {
                // Who opens the log says what is wrong with it.
                Some((id, log::measure(disk.as_ref(), &folder).ok()?))
            });
            measured.collect()
        })
        .await;
        shared.mailboxes.call(index, move |shard| shard.note_sizes(sizes)).await;
    }
}

impl Shard {
    /// Closed partitions that are to be compacted by their settings, and their folders.
    pub fn closed_compacted(&self) -> Vec<(PartitionId, PathBuf, Closed)> {
        let closed = self.closed.borrow();
        let dirs = self.shared.dirs.data();
        let compacted = closed.iter().filter(|(id, one)| {
            one.may_have_folder() && self.settings_of(**id, &one.name.topic).log.compact
        });
        compacted
            .map(|(id, one)| (*id, dirs[one.dir].log_dir.folder(&one.name), one.clone()))
            .collect()
    }

    /// Closed partitions of which the size is not known, and their folders.
    fn unmeasured(&self) -> Vec<(PartitionId, PathBuf)> {
        let closed = self.closed.borrow();
        let unmeasured = closed.iter().filter(|(_, closed)| closed.size().is_none());
        let dirs = self.shared.dirs.data();
        unmeasured.map(|(id, one)| (*id, dirs[one.dir].log_dir.folder(&one.name))).collect()
    }

    /// Closed partitions that retention has to look at, at the wall time `now`.
    pub fn due_for_retention(&self, now: Millis) -> Vec<PartitionId> {
        let closed = self.closed.borrow();
        let due = closed.iter().filter(|(id, one)| {
            one.may_have_folder() && one.is_due(&self.settings_of(**id, &one.name.topic).log, now)
        });
        due.map(|(id, _)| *id).collect()
    }

    /// Notes what closed partitions measure.
    fn note_sizes(&self, sizes: Vec<(PartitionId, Size)>) {
        let mut closed = self.closed.borrow_mut();
        for (id, size) in sizes {
            if let Some(closed) = closed.get_mut(&id) {
                closed.set_size(size);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use log::{Opening, RealDisk};

    use super::*;

    #[test]
    fn what_is_damaged_is_known_by_its_fault() {
        let io = |action, errno| {
            let cause = std::io::Error::from_raw_os_error(errno);
            LogError::Io { action, path: PathBuf::from("/d/t-0/00000000000000000000.log"), cause }
        };
        let broken = LogError::Damaged {
            file: PathBuf::from("/d/t-0/00000000000000000000.log"),
            position: 0,
            reason: "wrong".to_owned(),
        };
        let cases = [
            (broken, Some(Damage::Broken)),
            (io("read", 5), Some(Damage::Useless)),
            (io("write", 5), None),
            (io("read", 13), None),
        ];
        for (fault, damage) in cases {
            let mut closed = Closed::found(TopicPartition::new("t", 0), 0, Opening::NEW);
            closed.note_fault(&fault);
            assert_eq!(closed.damage, damage, "{fault}");
            let mut cut = closed.cutting_damage();
            cut.note_fault(&fault);
            let expected = damage.map(|_| Damage::Useless);
            assert_eq!(cut.damage, expected, "{fault}, up to its damage");
            let mut new = Closed::new(TopicPartition::new("t", 0), 0);
            new.note_fault(&fault);
            assert_eq!(new.damage, None, "{fault}, as an empty log");
        }
    }

    #[test]
    fn a_log_that_stayed_empty_has_a_folder_once_it_was_open() {
        let dir = tempfile::tempdir().unwrap();
        let name = TopicPartition::new("t", 0);
        assert!(!Closed::new(name.clone(), 0).may_have_folder());
        let folder = dir.path().join("t-0");
        let config = Arc::new(LogConfig::default());
        let log =
            Log::open(Arc::new(RealDisk), folder.clone(), config, Opening::NEW, Millis(0)).unwrap();
        let closed = Closed::rested(name, 0, log.rest().unwrap());
        assert!(folder.exists() && closed.may_have_folder());
    }
}
