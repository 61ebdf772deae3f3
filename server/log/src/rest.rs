//! What is known of a log without opening it.
//!
//! Most logs of a large node rest: nothing is read from them and nothing appended. Such a log has
//! no open file and no index in memory; [`Rested`] is all that is left of it.

use std::path::Path;

use types::{LeaderEpoch, Millis, Offset};

use crate::disk::Disk;
use crate::error::{IoContext, LogError};
use crate::log::Opening;
use crate::segment::{self, LOG};
use crate::{Log, LogConfig};

/// A log that is closed in good order, so that everything in it is durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rested {
    /// Offset of the first record that may be read.
    pub start_offset: Offset,
    /// Offset that the next record gets.
    pub end_offset: Offset,
    /// Up to where it has been compacted.
    pub compacted_end: Offset,
    /// The epoch of the newest batch.
    pub latest_epoch: Option<LeaderEpoch>,
    /// Bytes and number of its segments.
    pub size: Size,
    /// The oldest segment, where it holds anything.
    pub oldest: Option<Oldest>,
}

/// The oldest segment of a log: whether it may go decides whether anything may.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Oldest {
    /// Its greatest timestamp, or when its file changed last if it has none.
    pub newest_ms: Millis,
    /// Its bytes.
    pub bytes: u64,
    /// Whether all of it lies before the log's start.
    pub is_before_start: bool,
}

/// Bytes and number of the segments of a log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Size {
    /// Bytes of all segments, indexes apart.
    pub bytes: u64,
    /// How many there are.
    pub segments: usize,
    /// Where the last one begins.
    pub active_base: Offset,
}

impl Rested {
    /// A log that nothing was ever appended to; it needs no folder yet.
    pub const EMPTY: Self = Self {
        start_offset: Offset::ZERO,
        end_offset: Offset::ZERO,
        compacted_end: Offset::ZERO,
        latest_epoch: None,
        size: Size { bytes: 0, segments: 1, active_base: Offset::ZERO },
        oldest: None,
    };

    /// Whether retention with these settings would delete something at the wall time `now`.
    pub fn is_due(&self, config: &LogConfig, now: Millis) -> bool {
        self.oldest.is_some_and(|oldest| {
            let is_old = config.retention_ms.is_some_and(|age| now - oldest.newest_ms > age);
            let over = config.retention_bytes.map(|bytes| self.size.bytes.saturating_sub(bytes));
            let is_over = over.is_some_and(|over| oldest.bytes <= over);
            oldest.is_before_start || (config.delete && (is_old || is_over))
        })
    }

    /// How it is opened again.
    pub fn opening(&self) -> Opening {
        Opening {
            start_offset: self.start_offset,
            recovery_point: self.end_offset,
            compacted_end: self.compacted_end,
            is_clean: true,
            cuts_damage: false,
        }
    }
}

impl Log {
    /// Bytes and number of its segments.
    pub fn size(&self) -> Size {
        Size { bytes: self.bytes(), segments: self.segment_count(), active_base: self.active.base }
    }

    /// What was read and checked when the log was opened: nothing after a clean stop.
    pub fn scanned(&self) -> Size {
        self.scanned
    }

    /// Whether everything is durable and nothing is under way, so that the log may be put to rest.
    /// One with something to compact stays open.
    pub fn can_rest(&self) -> bool {
        let is_dirty =
            self.first_base() < self.active.base && self.compacted_end < self.active.base;
        let waits_for_compaction = self.config.compact && is_dirty;
        !waits_for_compaction
            && !self.is_offline()
            && self.staged.is_empty()
            && self.durable_end == self.end
            && self.sync.is_idle()
            && !self.epochs.is_dirty()
            && self.rolling.is_none()
            && self.deletion.is_none()
            && self.deleted.is_empty()
            && self.pending_swap.is_none()
            && !self.is_uncleanable
    }

    /// Lets go of the files. What spares the next opening work is written and synced. Blocks.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn rest(mut self) -> Result<Rested, LogError> {
        let rested = self.prepare_rest()?;
        self.sync_now()?;
        Ok(rested)
    }

    /// Writes what spares the next opening work. The log may be dropped once what
    /// [`Log::sync_ticket`] gives next is synced. Blocks.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn prepare_rest(&mut self) -> Result<Rested, LogError> {
        self.finish_roll()?;
        let rested = Rested {
            start_offset: self.start,
            end_offset: self.end,
            compacted_end: self.compacted_end,
            latest_epoch: self.epochs.latest(),
            size: self.size(),
            oldest: self.oldest()?,
        };
        self.trim_active()?;
        let indexes = self.active.write_indexes(self.disk.as_ref(), &self.dir)?;
        self.sync.files.extend(indexes);
        self.sync.dir_is_dirty = true;
        if !self.producers.is_empty() {
            self.take_snapshot()?;
        }
        Ok(rested)
    }

    fn oldest(&mut self) -> Result<Option<Oldest>, LogError> {
        let (bytes, changed) = match self.closed.first() {
            Some(first) => (first.bytes, first.modified),
            None => (self.active.bytes, self.active.created),
        };
        if bytes == 0 && self.closed.is_empty() {
            return Ok(None);
        }
        let newest = self.newest_of(0)?.map(|newest| Millis(newest.timestamp));
        Ok(Some(Oldest {
            newest_ms: newest.unwrap_or(changed),
            bytes,
            is_before_start: self.end_of(0) <= self.start,
        }))
    }
}

/// The size of the log in `folder`, by its files alone. Blocks.
///
/// # Errors
/// [`LogError::Io`].
pub fn measure(disk: &dyn Disk, folder: &Path) -> Result<Size, LogError> {
    let mut size = Size::default();
    for entry in disk.list(folder).context("list", folder)? {
        if let Some((base, LOG)) = segment::parse_name(&entry.name) {
            size.bytes += entry.bytes;
            size.segments += 1;
            size.active_base = size.active_base.max(base);
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{RealDisk, write_file};
    use crate::testing::{batch, idempotent, open, open_new, sync};
    use crate::{AppendOrigin, LogConfig};

    const EPOCH: LeaderEpoch = LeaderEpoch(3);

    #[test]
    fn a_log_that_rested_is_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_new(dir.path(), LogConfig::default());
        for sequence in 0..3 {
            let batch = idempotent(7, sequence, 1, 0);
            log.append_as_leader(batch, EPOCH, AppendOrigin::Client, Millis(0)).unwrap();
        }
        assert!(!log.can_rest(), "nothing is durable yet");
        sync(&mut log);
        assert!(log.can_rest());
        log.delete_records(Offset::new(1), Offset::new(3)).unwrap();
        assert!(!log.can_rest(), "the epochs have another start");
        sync(&mut log);
        let size = log.size();
        let rested = log.rest().unwrap();
        assert_eq!(
            rested,
            Rested {
                start_offset: Offset::new(1),
                end_offset: Offset::new(3),
                compacted_end: Offset::ZERO,
                latest_epoch: Some(EPOCH),
                size,
                oldest: Some(Oldest {
                    newest_ms: Millis(1000),
                    bytes: size.bytes,
                    is_before_start: false,
                }),
            }
        );
        let mut log = open(dir.path(), LogConfig::default(), rested.opening()).unwrap();
        assert_eq!((log.start_offset().get(), log.end_offset().get()), (1, 3));
        assert!(log.can_rest(), "opening changes nothing");
        let again = idempotent(7, 2, 1, 0);
        let info = log.append_as_leader(again, EPOCH, AppendOrigin::Client, Millis(0)).unwrap();
        assert!(info.is_duplicate, "its producers are known");
        log.append_as_leader(batch(1, 9), EPOCH, AppendOrigin::Client, Millis(0)).unwrap();
        assert_eq!(log.end_offset().get(), 4);
    }

    #[test]
    fn a_log_at_rest_is_due_when_its_oldest_segment_may_go() {
        let oldest = Oldest { newest_ms: Millis(1000), bytes: 60, is_before_start: false };
        let size = Size { bytes: 100, segments: 2, active_base: Offset::new(7) };
        let rested = Rested { size, oldest: Some(oldest), ..Rested::EMPTY };
        let config = |retention_ms, retention_bytes, delete| LogConfig {
            retention_ms,
            retention_bytes,
            delete,
            ..LogConfig::default()
        };
        let (young, old) = (Some(Millis(500)), Some(Millis(499)));
        let before_start = Oldest { is_before_start: true, ..oldest };
        let deleted = Rested { oldest: Some(before_start), ..rested };
        let cases = [
            ("as old as allowed", rested, config(young, None, true), false),
            ("older", rested, config(old, None, true), true),
            ("kept for ever", rested, config(None, None, true), false),
            ("not deleted by its policy", rested, config(old, Some(0), false), false),
            ("too little without it", rested, config(None, Some(41), true), false),
            ("enough without it", rested, config(None, Some(40), true), true),
            ("before the start", deleted, config(None, None, false), true),
            ("empty", Rested::EMPTY, config(old, Some(0), true), false),
        ];
        for (name, rested, config, is_due) in cases {
            assert_eq!(rested.is_due(&config, Millis(1500)), is_due, "{name}");
        }
    }

    #[test]
    fn the_size_of_a_log_is_that_of_its_segments_alone() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("00000000000000000000.log", 100),
            ("00000000000000000042.log", 10),
            ("00000000000000000000.index", 8),
            ("00000000000000000007.log.deleted", 1000),
            ("leader-epoch-checkpoint", 20),
        ] {
            write_file(&RealDisk, &dir.path().join(name), &vec![0; bytes]).unwrap();
        }
        let size = measure(&RealDisk, dir.path()).unwrap();
        assert_eq!(size, Size { bytes: 110, segments: 2, active_base: Offset::new(42) });
    }
}
