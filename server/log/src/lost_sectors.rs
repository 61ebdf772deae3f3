//! Whether a power cut explains a broken batch: a part of it was never written.
//!
//! Devices write whole sectors, in any order. A sector that was lost holds what was there before:
//! behind the former end of the file, zeros. A batch that is broken in another way was whole once,
//! and broke at rest.

use std::io;

use records::{BatchHeader, HEADER_BYTES};

use crate::disk::{DiskFile, read_full_at};

/// What devices write whole.
const SECTOR_BYTES: u64 = 512;
/// So many zeros at the end of a sector tell that the rest of it was not written.
const ZEROS: usize = 32;

/// What a power cut may have taken of a broken batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Loss {
    /// Sectors of it.
    Sectors,
    /// Its end, as the file ends before.
    End,
    /// Nothing: it broke in another way.
    Nothing,
}

impl Loss {
    /// Looks at the batch at `position` of a file with `file_bytes`.
    pub fn of(file: &dyn DiskFile, position: u64, file_bytes: u64) -> io::Result<Self> {
        let mut front = [0; HEADER_BYTES];
        let read = read_full_at(file, &mut front, position)?;
        let bytes = match BatchHeader::parse(&front[..read]) {
            Ok(header) => header.batch_bytes(),
            Err(_) => HEADER_BYTES,
        };
        let batch_end = position + bytes as u64;
        let end = batch_end.min(file_bytes);
        let mut at = position;
        while at < end {
            let behind = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
            let from = at.max(behind.saturating_sub(ZEROS as u64));
            let mut tail = [0; ZEROS];
            let wanted = usize::try_from(behind - from).unwrap_or(ZEROS);
            let read = read_full_at(file, &mut tail[..wanted], from)?;
            if tail[..read].iter().all(|byte| *byte == 0) {
                return Ok(Self::Sectors);
            }
            at = behind;
        }
        Ok(if batch_end > file_bytes { Self::End } else { Self::Nothing })
    }
}
