//! Walking over the batches of a log file, for recovery and look-ups. Not for fetches: see `read`.

use std::io;
use std::ops::Range;

use records::{BatchError, BatchHeader, HEADER_BYTES};
use types::Offset;

use crate::disk::{DiskFile, fill};

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// The same where only headers are wanted: one page.
const HEADERS_CHUNK_BYTES: usize = 4 << 10;
/// What cannot be read takes a page along.
const PAGE_BYTES: u64 = 4 << 10;

/// Steps from batch to batch between two positions of a file.
pub(crate) struct Scanner<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    limit: u64,
    chunk_bytes: usize,
    /// Whether the bytes are not expected to be read again.
    is_once: bool,
    cold_bytes: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl<'a> Scanner<'a> {
    /// Begins with the batch at `at`; nothing at or behind `limit` is read.
    pub fn new(file: &'a dyn DiskFile, at: u64, limit: u64) -> Self {
        Self {
            file,
            at,
            limit,
            chunk_bytes: CHUNK_BYTES,
            is_once: false,
            cold_bytes: 0,
            buffer: Vec::new(),
            buffer_at: at,
        }
    }

    /// As [`Scanner::new`] from the file's front, for headers alone: little is read beside them.
    pub fn headers(file: &'a dyn DiskFile, limit: u64) -> Self {
        Self { chunk_bytes: HEADERS_CHUNK_BYTES, ..Self::new(file, 0, limit) }
    }

    /// As [`Scanner::new`] from the file's front, `chunk_bytes` at once, without keeping in memory
    /// what was not there before.
    pub fn once(file: &'a dyn DiskFile, limit: u64, chunk_bytes: usize) -> Self {
        Self { chunk_bytes, is_once: true, ..Self::new(file, 0, limit) }
    }

    /// Goes on with what stands at `at`.
    pub fn go_to(&mut self, at: u64) {
        self.at = at;
    }

    /// Whether nothing is read beside what is asked for.
    pub fn set_exact(&mut self, is_exact: bool) {
        self.chunk_bytes = if is_exact { 1 } else { CHUNK_BYTES };
        self.buffer.clear();
    }

    /// Whether the batch behind the one that was stepped over last denies what that says of its
    /// offsets, which no CRC covers.
    pub fn is_denied(&mut self, header: &BatchHeader) -> io::Result<bool> {
        let at = self.at;
        let behind = self.step()?;
        self.at = at;
        let is_before = |next: BatchHeader| next.base_offset() < header.next_offset();
        Ok(behind.and_then(Result::ok).is_some_and(|(_, next)| is_before(next)))
    }

    /// How many of the bytes that were read once were not in memory before.
    pub fn cold_bytes(&self) -> u64 {
        self.cold_bytes
    }

    /// Position behind the last batch that was stepped over.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next batch's position and header; `None` at the limit. After an error the scanner
    /// stands where it stood.
    pub fn step(&mut self) -> io::Result<Option<Result<(u64, BatchHeader), BatchError>>> {
        if self.at >= self.limit {
            return Ok(None);
        }
        let (at, left) = (self.at, self.limit - self.at);
        let header = BatchHeader::parse(self.bytes(at, HEADER_BYTES)?);
        let header = match header {
            Ok(header) => header,
            Err(error) => return Ok(Some(Err(error))),
        };
        let expected = header.batch_bytes();
        if expected as u64 > left {
            let found = usize::try_from(left).unwrap_or(usize::MAX);
            return Ok(Some(Err(BatchError::Truncated { expected, found })));
        }
        self.at += expected as u64;
        Ok(Some(Ok((at, header))))
    }

    /// The first of these positions where something stands that `is_like` takes for the header of a
    /// batch. What cannot be read is passed over, page by page.
    pub fn find(
        &mut self,
        within: Range<u64>,
        is_like: impl Fn(&BatchHeader) -> bool,
    ) -> Option<u64> {
        let (mut at, mut exact_until) = (within.start, 0);
        let found = loop {
            if at >= self.limit.min(within.end) {
                break None;
            }
            let next_page = (at / PAGE_BYTES + 1) * PAGE_BYTES;
            self.chunk_bytes = if at < exact_until { 1 } else { HEADERS_CHUNK_BYTES };
            self.go_to(at);
            match self.step() {
                Ok(Some(Ok((_, header)))) if is_like(&header) => break Some(at),
                Ok(_) => at += 1,
                // This page may be sound, and the next one not.
                Err(_) if at >= exact_until && !at.is_multiple_of(PAGE_BYTES) => {
                    exact_until = next_page;
                }
                Err(_) => at = next_page,
            }
        };
        self.set_exact(false);
        found
    }

    /// The bytes of a batch; fewer where the file ends before the limit.
    pub fn batch(&mut self, position: u64, header: &BatchHeader) -> io::Result<&[u8]> {
        self.bytes(position, header.batch_bytes())
    }

    /// At most `wanted` bytes at `at`, never more than lie before the limit.
    fn bytes(&mut self, at: u64, wanted: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.limit.saturating_sub(at)).unwrap_or(usize::MAX);
        let wanted = wanted.min(left);
        let inside = at.checked_sub(self.buffer_at).and_then(|skip| usize::try_from(skip).ok());
        let covered = inside.is_some_and(|skip| skip + wanted <= self.buffer.len());
        if !covered {
            self.buffer.resize(wanted.max(self.chunk_bytes).min(left), 0);
            let read = fill(&mut self.buffer, at, |into, at| {
                if !self.is_once {
                    return self.file.read_at(into, at);
                }
                let once = self.file.read_once_at(into, at)?;
                self.cold_bytes += if once.was_cached { 0 } else { once.bytes as u64 };
                Ok(once.bytes)
            });
            // After an error it holds nothing.
            self.buffer.truncate(read.as_ref().map_or(0, |read| *read));
            self.buffer_at = at;
            read?;
        }
        let skip = usize::try_from(at - self.buffer_at).expect("the buffer begins at or before");
        Ok(&self.buffer[skip..(skip + wanted).min(self.buffer.len())])
    }
}

/// Why a batch cannot be the next one in the segment at `base`, by what its header says of offsets.
pub(crate) fn order_fault(header: &BatchHeader, next: Offset, base: Offset) -> Option<String> {
    if header.base_offset() < next {
        return Some(format!("offset {} where {next} is next", header.base_offset));
    }
    let is_out = header.last_offset() - base > i64::from(i32::MAX);
    is_out.then(|| format!("offset {} is out of the segment's reach", header.base_offset))
}
