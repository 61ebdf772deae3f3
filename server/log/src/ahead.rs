//! Writing at the end of the active segment, with the file prepared for what comes behind it.
//!
//! A file that grows by one batch after the other costs the kernel several times the copy of the
//! bytes: it finds small pages and blocks for each of them. So blocks are reserved in steps, and a
//! write that needs new pages fills them with zeros up to a wide border, over which the next ones
//! write. What stands behind the data goes when the segment is closed, and after a crash.
//!
//! A sync within zeros that are on the device is cheap, too: the length of the file stays as it is,
//! so that there are only the pages to write. But each byte of a group that brings zeros goes to
//! the device twice; logs whose acknowledgements wait for it have them where groups are small.
//! Figures are in ADR 8 and ADR 19.

use std::io;

use bytes::Bytes;

use crate::disk::write_all_at;
use crate::error::lacks_room;
use crate::segment::ActiveSegment;

/// Below this a segment's file is as long as its data: most logs are small and stay so.
const ZEROS_FROM_BYTES: u64 = 256 << 10;
/// Zeros end at multiples of this.
const ZEROS_BYTES: u64 = 256 << 10;
/// The most that is written at once where zeros are to make the next syncs cheap: a dozen of them.
const SYNCED_BYTES_MAX: u64 = 24 << 10;
/// How much is reserved at once: an eighth of what is there, within these bounds.
const RESERVE_BYTES_MIN: u64 = 1 << 20;
const RESERVE_BYTES_MAX: u64 = 16 << 20;

static ZEROS: [u8; ZEROS_BYTES as usize] = [0; ZEROS_BYTES as usize];

/// How far the file of the active segment is prepared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ahead {
    reserved_end: u64,
    zeros_end: u64,
    /// There is no room for more than the data, or the file system cannot reserve.
    is_off: bool,
    /// The file may be longer than its data, or have more blocks.
    exceeds: bool,
}

impl Ahead {
    /// Of a file with `bytes` of data that a process left when it crashed: what it had reserved is
    /// still there.
    pub fn after_crash(bytes: u64, reserve_from: u64) -> Self {
        Self { exceeds: bytes >= reserve_from, ..Self::default() }
    }
}

impl ActiveSegment {
    /// Writes what is staged, which begins at `at` and ends where the segment does. `is_synced`
    /// says that a sync follows.
    ///
    /// # Errors
    /// Those of the system, which may have written some of it.
    pub fn write(
        &mut self,
        staged: &[Bytes],
        at: u64,
        is_synced: bool,
        (reserve_from, segment_bytes_max): (u64, u64),
    ) -> io::Result<()> {
        let limit = segment_bytes_max.max(self.bytes);
        if at >= reserve_from {
            self.reserve(at, limit);
        }
        let is_worth = !is_synced || self.bytes - at <= SYNCED_BYTES_MAX;
        let zeros = if is_worth { self.zeros_due(at, limit) } else { 0 };
        if zeros == 0 {
            return write_all_at(self.file.as_ref(), staged, at);
        }
        let mut parts: Vec<&[u8]> = staged.iter().map(AsRef::as_ref).collect();
        parts.push(&ZEROS[..zeros]);
        self.ahead.exceeds = true;
        self.ahead.zeros_end = self.bytes + zeros as u64;
        match write_all_at(self.file.as_ref(), &parts, at) {
            // It may be only the zeros that do not fit.
            Err(error) if lacks_room(&error) => {
                self.ahead.is_off = true;
                write_all_at(self.file.as_ref(), staged, at)
            }
            written => written,
        }
    }

    /// How many zeros are to follow what is written at `at` now.
    fn zeros_due(&self, at: u64, limit: u64) -> usize {
        if self.ahead.is_off || at < ZEROS_FROM_BYTES || self.bytes <= self.ahead.zeros_end {
            return 0;
        }
        let border = self.bytes.next_multiple_of(ZEROS_BYTES).min(limit);
        usize::try_from(border - self.bytes).expect("less than the distance of two borders")
    }

    fn reserve(&mut self, at: u64, limit: u64) {
        let ahead = &mut self.ahead;
        if ahead.is_off || self.bytes <= ahead.reserved_end {
            return;
        }
        let step = (at / 8).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX);
        let end = (self.bytes + step).min(limit);
        ahead.exceeds = true;
        match self.file.reserve(at, end - at) {
            Ok(()) => ahead.reserved_end = end,
            // Writing works without; if anything is wrong with the disk, it will say so.
            Err(_) => ahead.is_off = true,
        }
    }

    /// Gives back what stands behind the data; says whether the file has changed.
    ///
    /// # Errors
    /// Those of the system.
    pub fn trim(&mut self) -> io::Result<bool> {
        if !self.ahead.exceeds {
            return Ok(false);
        }
        self.file.set_len(self.bytes)?;
        self.ahead = Ahead::default();
        Ok(true)
    }

    /// Whether anything may stand behind the data.
    pub fn exceeds(&self) -> bool {
        self.ahead.exceeds
    }
}

#[cfg(test)]
mod tests;
