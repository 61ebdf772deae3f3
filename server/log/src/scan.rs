//! Walking over the batches of a log file, for recovery and look-ups. Not for fetches: see `read`.

use std::io;

use records::{BatchError, BatchHeader, HEADER_BYTES};

use crate::disk::{DiskFile, read_full_at};

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Steps from batch to batch between two positions of a file.
pub(crate) struct Scanner<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    limit: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl<'a> Scanner<'a> {
    /// Begins with the batch at `at`; nothing at or behind `limit` is read.
    pub fn new(file: &'a dyn DiskFile, at: u64, limit: u64) -> Self {
        Self { file, at, limit, buffer: Vec::new(), buffer_at: at }
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
            self.buffer.resize(wanted.max(CHUNK_BYTES).min(left), 0);
            let read = read_full_at(self.file, &mut self.buffer, at)?;
            self.buffer.truncate(read);
            self.buffer_at = at;
        }
        let skip = usize::try_from(at - self.buffer_at).expect("the buffer begins at or before");
        Ok(&self.buffer[skip..(skip + wanted).min(self.buffer.len())])
    }
}
