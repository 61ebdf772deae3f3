//! What stands in a log file behind its last whole batch: nothing, zeros, a torn end, or damage.

use std::io;
use std::ops::Range;

use records::{BatchHeader, HEADER_BYTES, check_crc};
use types::{LeaderEpoch, Offset};

use crate::disk::{DiskFile, read_full_at};

/// Bytes looked through at once.
const SEARCH_BYTES: usize = 64 << 10;

/// Whether there are only zeros between the positions, as are written ahead of the data.
pub(crate) fn is_zero(file: &dyn DiskFile, within: Range<u64>) -> io::Result<bool> {
    let mut window = vec![0; SEARCH_BYTES];
    let mut at = within.start;
    while at < within.end {
        let left = usize::try_from(within.end - at).unwrap_or(usize::MAX);
        let wanted = window.len().min(left);
        let read = read_full_at(file, &mut window[..wanted], at)?;
        if read == 0 || window[..read].iter().any(|byte| *byte != 0) {
            return Ok(read == 0);
        }
        at += read as u64;
    }
    Ok(true)
}

/// Whether anything between the positions is a whole, valid batch with an offset from `next` on.
/// Batches have no alignment, so that every position is tried; nearly all fail at the first glance.
pub(crate) fn valid_batch_behind(
    file: &dyn DiskFile,
    within: Range<u64>,
    next: Offset,
    latest: Option<LeaderEpoch>,
) -> io::Result<bool> {
    let (mut at, until) = (within.start + 1, within.end);
    let epoch_min = latest.map_or(0, |epoch| epoch.0);
    let mut window = vec![0; SEARCH_BYTES];
    while at + HEADER_BYTES as u64 <= until {
        let left = usize::try_from(until - at).unwrap_or(usize::MAX);
        let wanted = window.len().min(left);
        let read = read_full_at(file, &mut window[..wanted], at)?;
        for skip in 0..(read + 1).saturating_sub(HEADER_BYTES) {
            let Ok(header) = BatchHeader::parse(&window[skip..read]) else { continue };
            let position = at + skip as u64;
            let reach = header.base_offset.wrapping_sub(next.get());
            // A value may hold a batch, but not one that this log's leaders have stamped.
            let is_ours = (0..=i64::from(i32::MAX)).contains(&reach)
                && header.partition_leader_epoch >= epoch_min;
            if !is_ours || position + header.batch_bytes() as u64 > until {
                continue;
            }
            let mut batch = vec![0; header.batch_bytes()];
            let read = read_full_at(file, &mut batch, position)?;
            if check_crc(&batch[..read], &header).is_ok() {
                return Ok(true);
            }
        }
        let stepped = (read + 1).saturating_sub(HEADER_BYTES);
        if stepped == 0 {
            break;
        }
        at += stepped as u64;
    }
    Ok(false)
}
