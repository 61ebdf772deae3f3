//! What is known of a log without opening it.
//!
//! Most logs of a large node rest: nothing is read from them and nothing appended. Such a log has
//! no open file and no index in memory; [`Rested`] is all that is left of it.

use std::path::Path;

use types::{LeaderEpoch, Offset};

use crate::disk::Disk;
use crate::error::{IoContext, LogError};
use crate::log::Opening;
use crate::segment::{self, LOG};

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
