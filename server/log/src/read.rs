//! Reading whole batches by offset.
//!
//! A read is planned on the owner's thread and tried there with what the page cache holds. Where
//! the device is needed, the plan is handed out as a [`ColdRead`] for a thread that may block.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use records::{BatchError, BatchHeader, HEADER_BYTES};
use types::Offset;

use crate::Log;
use crate::disk::{Disk, DiskFile, OpenMode, read_full_at, read_full_cached_at};
use crate::error::{IoContext, LogError, ReadError};
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
    /// The batches; none where none is below the bound or within the size.
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
pub(crate) struct Place {
    pub offset: Offset,
    pub segment: Offset,
    pub position: u64,
}

impl ReadHints {
    pub fn find(&self, offset: Offset, segment: Offset) -> Option<u64> {
        let mut places = self.places.iter().flatten();
        places.find(|p| p.offset == offset && p.segment == segment).map(|p| p.position)
    }

    /// Replaces the place from which the same reader came, else the oldest one.
    pub fn note(&mut self, from: Offset, place: Place) {
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

/// A read of one segment.
#[derive(Debug)]
struct Plan {
    file: Arc<dyn DiskFile>,
    segment: Offset,
    /// Bytes of the file that hold batches.
    limit: u64,
    start: Start,
    from: Offset,
    until: Offset,
    bytes_max: usize,
    min_one: bool,
}

/// A read that needs the device, for a thread that may wait for it.
#[derive(Debug)]
pub struct ColdRead {
    plan: Plan,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Base and length of the segments behind the one to read, the next one last. A closed one is
    /// read to its end, whatever that is by then: compaction may put another in its place.
    behind: Vec<(Offset, Option<u64>)>,
}

impl ColdRead {
    /// Reads. Blocks.
    ///
    /// # Errors
    /// [`LogError::Io`], and [`LogError::Damaged`] where the file holds no batch.
    pub fn run(mut self) -> Result<Batches, LogError> {
        loop {
            let found = self.plan.find(read_full_at);
            match found.map_err(|fault| fault.explain(&self.dir, self.plan.segment))? {
                Found::Batches { batches, .. } => return Ok(batches),
                Found::Exhausted => {}
            }
            // Compaction may have emptied the end of a segment.
            let Some((base, bytes)) = self.behind.pop() else {
                return Ok(Batches { bytes: Bytes::new(), next_offset: self.plan.from });
            };
            let path = segment::path(&self.dir, base, LOG);
            self.plan.file = match self.disk.open(&path, OpenMode::Read) {
                // Compacted into another one or deleted since: the reader asks again.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Batches { bytes: Bytes::new(), next_offset: self.plan.from });
                }
                opened => opened.context("open", &path)?,
            };
            self.plan.segment = base;
            let written = self.plan.file.len().context("read", &path)?;
            self.plan.limit = bytes.map_or(written, |bytes| bytes.min(written));
            self.plan.start = Start::Position(0);
        }
    }
}

/// What a segment has for a read.
enum Found {
    /// Batches, possibly none, and the position behind them.
    Batches { batches: Batches, position: u64 },
    /// All its batches are before the offset.
    Exhausted,
}

impl Plan {
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
                    return Ok(Found::Exhausted);
                }
                continue;
            };
            let too_large = first.batch_bytes() > self.bytes_max && !self.min_one;
            if too_large {
                let batches = Batches { bytes: Bytes::new(), next_offset: self.from };
                return Ok(Found::Batches { batches, position });
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
        Ok(Found::Batches { batches, position: position + end as u64 })
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

    fn explain(self, dir: &Path, segment: Offset) -> LogError {
        let file = segment::path(dir, segment, LOG);
        match self {
            Self::Io(source) => LogError::Io { action: "read", path: file, source },
            Self::Batch { position, error } => {
                LogError::Damaged { file, position, reason: error.to_string() }
            }
        }
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
        self.flush_for_read()?;
        let (start, end) = (self.start, self.end);
        if from < start || from > end {
            return Err(ReadError::OutOfRange { offset: from, start, end });
        }
        let nothing = Batches { bytes: Bytes::new(), next_offset: from };
        if from >= until.min(self.written_end()) {
            return Ok(Read::Ready(nothing));
        }
        for at in self.segment_of(from)..=self.closed.len() {
            let place = self.place_in(at, from)?;
            let plan = Plan { until, bytes_max, min_one, ..place };
            match plan.find(read_full_cached_at) {
                Ok(Found::Batches { batches, position }) => {
                    if !batches.bytes.is_empty() {
                        let offset = batches.next_offset;
                        let place = Place { offset, segment: plan.segment, position };
                        self.hints.note(from, place);
                    }
                    return Ok(Read::Ready(batches));
                }
                // Compaction may have emptied the end of a segment.
                Ok(Found::Exhausted) => {}
                Err(Fault::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Read::Cold(self.hand_out(plan, at)));
                }
                Err(fault) => return Err(fault.explain(&self.dir, plan.segment).into()),
            }
        }
        Ok(Read::Ready(nothing))
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
        match self.read(from, bytes_max, until, min_one)? {
            Read::Ready(batches) => Ok(batches),
            Read::Cold(read) => Ok(read.run()?),
        }
    }

    /// A plan as another thread can run it.
    fn hand_out(&self, plan: Plan, at: usize) -> ColdRead {
        let closed = self.closed.iter().skip(at + 1).map(|segment| (segment.base, None));
        let mut behind: Vec<_> = closed.collect();
        if at < self.closed.len() {
            behind.push((self.active.base, Some(self.written_bytes())));
        }
        behind.reverse();
        ColdRead { plan, disk: Arc::clone(&self.disk), dir: self.dir.clone(), behind }
    }

    /// Which segment holds the offset, the active one counted last.
    pub(crate) fn segment_of(&self, offset: Offset) -> usize {
        if offset >= self.active.base {
            return self.closed.len();
        }
        self.closed.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }

    /// Where to begin looking for the offset in a segment.
    fn place_in(&mut self, at: usize, from: Offset) -> Result<Plan, LogError> {
        let disk = self.disk.as_ref();
        let base = self.closed.get(at).map_or(self.active.base, |segment| segment.base);
        // Past the end of the segment before, the search begins at the front.
        let relative = u32::try_from(from - base).unwrap_or(0);
        let known = self.hints.find(from, base).map(Start::Position);
        let (file, limit, start) = match self.closed.get_mut(at) {
            Some(segment) => {
                let start = match known {
                    Some(start) => start,
                    None => {
                        let (index, bytes) = segment.offset_index(disk, &self.dir)?.clone();
                        Start::Search { index, bytes, relative }
                    }
                };
                (Arc::clone(segment.file(disk, &self.dir)?), segment.bytes, start)
            }
            None => {
                let search = || Start::Position(self.active.offset_index.lookup(relative).into());
                let start = known.unwrap_or_else(search);
                (Arc::clone(&self.active.file), self.written_bytes(), start)
            }
        };
        let (until, bytes_max, min_one) = (from, 0, false);
        Ok(Plan { file, segment: base, limit, start, from, until, bytes_max, min_one })
    }
}

#[cfg(test)]
mod tests;
