//! Indexes made anew from the log they belong to, where they are missing or lead astray.

use std::io;
use std::path::Path;
use std::sync::Arc;

use records::check_crc;
use types::{Millis, Offset};

use crate::disk::{Disk, DiskFile};
use crate::error::LogError;
use crate::scan::Scanner;
use crate::segment::ActiveSegment;

/// A stretch of a log whose indexes cannot be used.
pub(crate) struct Unindexed<'a> {
    pub file: &'a Arc<dyn DiskFile>,
    pub segment: Offset,
    /// Bytes of the file that hold batches.
    pub limit: u64,
    /// Every offset of the segment is before this one.
    pub behind: Offset,
    pub index_interval_bytes: u32,
}

/// The first batch that cannot be right, and the end of those before it.
pub(crate) struct Broken {
    pub position: u64,
    pub floor: Offset,
    pub reason: String,
}

impl Unindexed<'_> {
    /// Reads the whole segment, checks every batch, and gives its indexes. Blocks.
    pub fn scan(&self) -> io::Result<Result<ActiveSegment, Broken>> {
        let mut rebuilt = ActiveSegment::empty(self.segment, Arc::clone(self.file), Millis::ZERO);
        let mut scanner = Scanner::new(self.file.as_ref(), 0, self.limit);
        let mut floor = self.segment;
        loop {
            let (position, header) = match scanner.step()? {
                None => return Ok(Ok(rebuilt)),
                Some(Ok(step)) => step,
                Some(Err(error)) => {
                    let (position, reason) = (scanner.at(), error.to_string());
                    return Ok(Err(Broken { position, floor, reason }));
                }
            };
            let batch = scanner.batch(position, &header)?;
            let fault = match check_crc(batch, &header) {
                Err(error) => Some(error.to_string()),
                Ok(()) if header.base_offset() < floor || header.last_offset() >= self.behind => {
                    let found = header.base_offset();
                    Some(format!("a batch begins with offset {found} where {floor} is due"))
                }
                Ok(()) => None,
            };
            if let Some(reason) = fault {
                return Ok(Err(Broken { position, floor, reason }));
            }
            rebuilt.note(&header, self.index_interval_bytes);
            floor = header.next_offset();
        }
    }
}

/// Puts the indexes of a closed segment in the place of those on disk.
pub(crate) fn replace(
    rebuilt: &mut ActiveSegment,
    disk: &dyn Disk,
    dir: &Path,
    why: &str,
) -> Result<(), LogError> {
    // This completes the index of times, too.
    rebuilt.write_indexes(disk, dir)?;
    let segment = rebuilt.base;
    tracing::warn!(log = %dir.display(), %segment, why, "rebuilt the indexes of a segment");
    Ok(())
}
