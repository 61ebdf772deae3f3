//! Reading whole batches by offset.
//!
//! A read is planned on the owner's thread and tried there with what the page cache holds. Where
//! the device is needed, the plan is handed out as a [`ColdRead`] for a thread that may block.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use records::{BatchError, BatchHeader, HEADER_BYTES};
use types::Offset;

use crate::Log;
use crate::disk::{DiskFile, read_full_at, read_full_cached_at};
use crate::error::{LogError, ReadError};
use crate::index_file::ReadAt;
use crate::offset_index;
use crate::segment::{self, LOG};

/// Read beside what was asked for: the index leads to a place somewhat before the offset.
const LEAD_BYTES: usize = 4 << 10;
/// Places remembered of each log: where its consumers read last.
const HINTS: usize = 4;

/// Whole batches as they are in the log.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Batches {
    /// The batches one behind the other. The first may begin before the offset asked for.
    pub bytes: Bytes,
    /// Offset behind the last batch: where a reader goes on.
    pub next_offset: Offset,
}

/// The outcome of a read.
#[derive(Debug)]
pub enum Read {
    /// The batches; none where there are none below the bound.
    Ready(Batches),
    /// The device must be read; see [`ColdRead::run`].
    Cold(ColdRead),
}

/// Where consumers of a log stopped reading, so that going on needs no search.
#[derive(Debug, Default)]
pub(crate) struct ReadHints {
    places: [Option<Place>; HINTS],
    oldest: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    offset: Offset,
    segment: Offset,
    position: u64,
}

impl ReadHints {
    fn find(&self, offset: Offset, segment: Offset) -> Option<u64> {
        let mut places = self.places.iter().flatten();
        places.find(|p| p.offset == offset && p.segment == segment).map(|p| p.position)
    }

    /// Replaces the place from which the same reader came, else the oldest one.
    fn note(&mut self, from: Offset, place: Place) {
        let same = |known: &Option<Place>| {
            known.is_some_and(|p| p.offset == from || p.offset == place.offset)
        };
        let slot = self.places.iter().position(same).unwrap_or_else(|| {
            self.oldest = (self.oldest + 1) % HINTS;
            self.oldest
        });
        self.places[slot] = Some(place);
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Where a read begins in the file.
#[derive(Debug)]
enum Start {
    Position(u64),
    Search { index: Arc<dyn DiskFile>, bytes: u64, relative: u32 },
}

/// A read of one segment that any thread can run.
#[derive(Debug)]
pub struct ColdRead {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    segment: Offset,
    /// Bytes of the file that hold batches.
    limit: u64,
    start: Start,
    from: Offset,
    until: Offset,
    bytes_max: usize,
    min_one: bool,
    /// Where the next segment begins.
    next_segment: Option<Offset>,
}

/// Batches, and the place behind them.
struct Found {
    batches: Batches,
    position: u64,
}

impl ColdRead {
    /// Reads, waiting for the device where needed. Where the segment has nothing at or behind the
    /// offset, the batches are empty and `next_offset` is where the next segment begins: ask the
    /// log again from there.
    ///
    /// # Errors
    /// [`LogError::Io`], and [`LogError::Damaged`] where the file holds no batch.
    pub fn run(self) -> Result<Batches, LogError> {
        self.find(read_full_at).map(|found| found.batches).map_err(|error| self.explain(error))
    }

    fn explain(&self, error: Fault) -> LogError {
        let file = self.path.clone();
        match error {
            Fault::Io(source) => LogError::Io { action: "read", path: file, source },
            Fault::Batch { position, error } => {
                LogError::Damaged { file, position, reason: error.to_string() }
            }
        }
    }

    fn find(&self, read_at: ReadAt) -> Result<Found, Fault> {
        let mut position = match &self.start {
            Start::Position(position) => *position,
            Start::Search { index, bytes, relative } => {
                offset_index::lookup_in_file(index.as_ref(), *bytes, *relative, read_at)?.into()
            }
        };
        // An index that is older than its log may lead astray; the beginning never does.
        if position > self.limit {
            position = 0;
        }
        let mut wanted = self.bytes_max.saturating_add(LEAD_BYTES);
        loop {
            let buffer = self.fill(position, wanted, read_at)?;
            let (skipped, first) = self.skip(&buffer, position)?;
            position += skipped as u64;
            let Some(first) = first else {
                if position >= self.limit {
                    return Ok(self.nothing(position));
                }
                continue;
            };
            let too_large = first.batch_bytes() > self.bytes_max && !self.min_one;
            if first.last_offset() >= self.until || too_large {
                return Ok(Found { position, batches: self.empty(self.from) });
            }
            if skipped + first.batch_bytes() > buffer.len() {
                // What was skipped took the room: once more, from the batch itself.
                if skipped == 0 && buffer.len() as u64 >= self.limit - position {
                    let (expected, found) = (first.batch_bytes(), buffer.len());
                    return Err(Fault::batch(position, BatchError::Truncated { expected, found }));
                }
                wanted = self.bytes_max.max(first.batch_bytes());
                continue;
            }
            return self.cut(Bytes::from(buffer).slice(skipped..), position);
        }
    }

    /// At most `wanted` bytes at `position`.
    fn fill(&self, position: u64, wanted: usize, read_at: ReadAt) -> Result<Vec<u8>, Fault> {
        let left = usize::try_from(self.limit.saturating_sub(position)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; wanted.min(left)];
        let read = read_at(self.file.as_ref(), &mut buffer, position)?;
        if read < buffer.len() {
            return Err(Fault::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(buffer)
    }

    /// Bytes before the first batch that reaches the offset, and its header if that is in `buffer`.
    fn skip(&self, buffer: &[u8], position: u64) -> Result<(usize, Option<BatchHeader>), Fault> {
        let mut at = 0;
        let left = usize::try_from(self.limit - position).unwrap_or(usize::MAX);
        while at < left {
            let rest = buffer.get(at..).unwrap_or_default();
            if rest.len() < HEADER_BYTES && at > 0 && at + rest.len() < left {
                return Ok((at, None));
            }
            let header = BatchHeader::parse(rest)
                .map_err(|error| Fault::batch(position + at as u64, error))?;
            if header.last_offset() >= self.from {
                return Ok((at, Some(header)));
            }
            at += header.batch_bytes();
        }
        Ok((at, None))
    }

    /// Takes the batches off `bytes` that are whole, below the bound and within the size.
    fn cut(&self, bytes: Bytes, position: u64) -> Result<Found, Fault> {
        let mut end = 0;
        let mut next_offset = self.from;
        while bytes.len() - end >= HEADER_BYTES {
            let header = BatchHeader::parse(&bytes[end..])
                .map_err(|error| Fault::batch(position + end as u64, error))?;
            let behind = end + header.batch_bytes();
            let fits = behind <= self.bytes_max || end == 0;
            if behind > bytes.len() || !fits || header.last_offset() >= self.until {
                break;
            }
            end = behind;
            next_offset = header.next_offset();
        }
        let batches = Batches { bytes: bytes.slice(..end), next_offset };
        Ok(Found { batches, position: position + end as u64 })
    }

    fn empty(&self, next_offset: Offset) -> Batches {
        Batches { bytes: Bytes::new(), next_offset }
    }

    fn nothing(&self, position: u64) -> Found {
        let next = self.next_segment.unwrap_or(self.from);
        Found { batches: self.empty(next.max(self.from)), position }
    }
}

enum Fault {
    Io(io::Error),
    Batch { position: u64, error: BatchError },
}

impl Fault {
    fn batch(position: u64, error: BatchError) -> Self {
        Self::Batch { position, error }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Log {
    /// The batches from the one that holds `from` on, as many as fit into `bytes_max`, all before
    /// `until`. With `min_one` the first one comes whatever its size. Staged batches are written
    /// first. Waits for no device: what is not in memory comes back as [`Read::Cold`].
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] where `from` is not between the log's start and end.
    pub fn read(
        &mut self,
        from: Offset,
        bytes_max: usize,
        until: Offset,
        min_one: bool,
    ) -> Result<Read, ReadError> {
        let mut from = from;
        loop {
            let Some(plan) = self.plan(from, bytes_max, until, min_one)? else {
                return Ok(Read::Ready(Batches { bytes: Bytes::new(), next_offset: from }));
            };
            match plan.find(read_full_cached_at) {
                Ok(found) => {
                    let batches = found.batches;
                    if batches.bytes.is_empty() && batches.next_offset > from {
                        from = batches.next_offset;
                        continue;
                    }
                    let offset = batches.next_offset;
                    let place = Place { offset, segment: plan.segment, position: found.position };
                    if !batches.bytes.is_empty() {
                        self.hints.note(from, place);
                    }
                    return Ok(Read::Ready(batches));
                }
                Err(Fault::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Read::Cold(plan));
                }
                Err(fault) => return Err(plan.explain(fault).into()),
            }
        }
    }

    /// As [`Log::read`], waiting for the device where needed.
    ///
    /// # Errors
    /// Those of [`Log::read`].
    pub fn read_blocking(
        &mut self,
        from: Offset,
        bytes_max: usize,
        until: Offset,
        min_one: bool,
    ) -> Result<Batches, ReadError> {
        let mut from = from;
        loop {
            let batches = match self.read(from, bytes_max, until, min_one)? {
                Read::Ready(batches) => return Ok(batches),
                Read::Cold(read) => read.run()?,
            };
            if !batches.bytes.is_empty() || batches.next_offset == from {
                return Ok(batches);
            }
            from = batches.next_offset;
        }
    }

    /// Which part of which file to read; `None` where nothing can be there.
    fn plan(
        &mut self,
        from: Offset,
        bytes_max: usize,
        until: Offset,
        min_one: bool,
    ) -> Result<Option<ColdRead>, ReadError> {
        self.flush_writes()?;
        let (start, end) = (self.start, self.end);
        if from < start || from > end {
            return Err(ReadError::OutOfRange { offset: from, start, end });
        }
        if from >= until.min(end) {
            return Ok(None);
        }
        let place = self.place_of(from)?;
        let path = segment::path(&self.dir, place.segment, LOG);
        Ok(Some(ColdRead { path, from, until, bytes_max, min_one, ..place }))
    }

    /// The segment that holds the offset, and where to begin looking in it.
    fn place_of(&mut self, from: Offset) -> Result<ColdRead, LogError> {
        let mut read = ColdRead {
            file: Arc::clone(&self.active.file),
            path: PathBuf::new(),
            segment: self.active.base,
            limit: self.active.bytes,
            start: Start::Position(0),
            from,
            until: from,
            bytes_max: 0,
            min_one: false,
            next_segment: None,
        };
        if from >= self.active.base || self.closed.is_empty() {
            let known = self.hints.find(from, read.segment);
            // An offset before the first segment is looked for from its beginning.
            let search = || u32::try_from(from - self.active.base).unwrap_or(0);
            let position =
                known.unwrap_or_else(|| self.active.offset_index.lookup(search()).into());
            read.start = Start::Position(position);
            return Ok(read);
        }
        let at = self.closed.partition_point(|segment| segment.base <= from).saturating_sub(1);
        read.next_segment = Some(self.closed.get(at + 1).map_or(self.active.base, |s| s.base));
        let (disk, segment) = (self.disk.as_ref(), &mut self.closed[at]);
        read.segment = segment.base;
        read.limit = segment.bytes;
        read.file = Arc::clone(segment.file(disk, &self.dir)?);
        if let Some(position) = self.hints.find(from, segment.base) {
            read.start = Start::Position(position);
        } else {
            let relative = u32::try_from(from - segment.base).unwrap_or(0);
            let (index, bytes) = segment.offset_index(disk, &self.dir)?.clone();
            read.start = Start::Search { index, bytes, relative };
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
