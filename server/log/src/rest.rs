//! What is known of a log without opening it.
//!
//! Most logs of a large node rest: nothing is read from them and nothing appended. Such a log has
//! no open file and no index in memory; [`Rested`] is all that is left of it.

use std::path::Path;

use types::{LeaderEpoch, Offset};

use crate::Log;
use crate::disk::Disk;
use crate::error::{IoContext, LogError};
use crate::log::Opening;
use crate::segment::{self, LOG};

/// With more bytes than this an active segment leaves its indexes; with fewer, opening walks over
/// all of its headers.
const WALKED_BYTES_MAX: u64 = 1 << 20;

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
    };

    /// How it is opened again.
    pub fn opening(&self) -> Opening {
        Opening {
            start_offset: self.start_offset,
            recovery_point: self.end_offset,
            is_clean: true,
            ..Opening::NEW
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
    pub fn can_rest(&self) -> bool {
        !self.is_offline()
            && self.staged.is_empty()
            && self.durable_end == self.end
            && self.sync.is_idle()
            && !self.epochs.is_dirty()
            && self.deleted.is_empty()
            && self.pending_swap.is_none()
            && !self.is_uncleanable
    }

    /// Lets go of the files. What was not durable before is not durable now: only indexes and
    /// producer state are written, and not synced, since the log itself can replace both. Blocks.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn rest(mut self) -> Result<Rested, LogError> {
        let rested = Rested {
            start_offset: self.start,
            end_offset: self.end,
            compacted_end: self.compacted_end,
            latest_epoch: self.epochs.latest(),
            size: self.size(),
        };
        self.trim_active()?;
        if self.sync.active_is_dirty {
            let path = segment::path(&self.dir, self.active.base, LOG);
            self.active.file.sync_data().context("sync", &path)?;
        }
        if self.active.bytes > WALKED_BYTES_MAX {
            self.active.write_indexes(self.disk.as_ref(), &self.dir)?;
        } else {
            // Those of a former stop or of a crash may say something else.
            self.remove_active_indexes()?;
        }
        if !self.producers.is_empty() {
            self.take_snapshot()?;
        }
        Ok(rested)
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
    use types::Millis;

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
