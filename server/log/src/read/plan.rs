//! A read of one segment: where it begins, what it takes, and the checks of what it takes.
//!
//! Every batch that is given out has passed its CRC here, in this process and from these very
//! bytes. Its offset, which no CRC covers, must follow the batch before; where offsets are
//! missing, as compaction leaves them, the batch behind must agree. An index only says where to
//! begin looking: the batch there must not begin behind what the entry says.

use std::fmt::Display;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use records::{BatchHeader, HEADER_BYTES, check_crc};
use types::Offset;

use super::Batches;
use super::buffer::ReadBuffer;
use crate::disk::{DiskFile, read_full_at};
use crate::index_file::ReadAt;
use crate::offset_index::{self, OffsetEntry};

/// Read beside what was asked for: the index leads to a place somewhat before the offset.
const LEAD_BYTES: usize = 4 << 10;
/// How far beyond its interval an index may lead before the offset; large batches take room.
const SKIP_BYTES_MAX: u64 = 4 << 20;

/// Where a read begins in the file.
#[derive(Debug)]
pub(super) enum Start {
    /// At the front.
    Front,
    /// At this position, where a reader stopped before the offset.
    Stopped(u64),
    /// At an entry of the index; `None` is the front.
    Entry(Option<OffsetEntry>),
    /// At an entry that is yet to be found. Without the file, it must be opened.
    Search(Option<Arc<dyn DiskFile>>),
}

/// A read of one segment.
#[derive(Debug)]
pub(super) struct Plan {
    /// `None`: it must be opened.
    pub file: Option<Arc<dyn DiskFile>>,
    pub segment: Offset,
    /// Bytes of the file that hold batches.
    pub limit: u64,
    /// Every offset of the segment is before this one.
    pub behind: Offset,
    pub start: Start,
    /// How far before the offset a walk may begin.
    pub skip_max: u64,
    /// The leader epochs that the batches can have. No CRC covers them.
    pub epochs: RangeInclusive<i32>,
    pub from: Offset,
    pub until: Offset,
    pub bytes_max: usize,
    pub min_one: bool,
}

/// What a segment has for a read.
pub(super) enum Found {
    /// Batches, possibly none, and the position behind them.
    Batches { batches: Batches, position: u64 },
    /// All its batches are before the offset.
    Exhausted,
}

/// Why a read gives nothing.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    /// What is at the position cannot be right. Batches before offset `floor` are in order.
    Batch {
        position: u64,
        floor: Offset,
        reason: String,
    },
    /// The index leads astray.
    Index(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A place between two batches.
#[derive(Clone, Copy, Debug)]
struct Border {
    position: u64,
    /// No batch behind has a smaller offset.
    floor: Offset,
}

impl Border {
    fn fault(self, reason: impl Display) -> Fault {
        Fault::Batch { position: self.position, floor: self.floor, reason: reason.to_string() }
    }

    fn after(self, header: &BatchHeader) -> Self {
        let position = self.position + header.batch_bytes() as u64;
        Self { position, floor: header.next_offset() }
    }
}

/// How far a reader may begin before the offset in an index of this interval.
pub(super) fn skip_max(index_interval_bytes: u32) -> u64 {
    u64::from(index_interval_bytes) + SKIP_BYTES_MAX
}

impl Plan {
    /// Finds the batches; see [`crate::Log::read`].
    pub fn find(&self, read_at: ReadAt) -> Result<Found, Fault> {
        let entry = match &self.start {
            Start::Front => None,
            Start::Stopped(position) => {
                return self.walk(Border { position: *position, floor: self.from }, read_at);
            }
            Start::Entry(entry) => *entry,
            Start::Search(index) => self.look_up(index.as_deref(), read_at)?,
        };
        let Some(entry) = entry else {
            return self.walk(Border { position: 0, floor: self.segment }, read_at);
        };
        let floor = self.check_entry(entry, read_at)?;
        self.walk(Border { position: entry.position.into(), floor }, read_at)
    }

    /// Whether a read can be tried without opening anything.
    pub fn is_open(&self) -> bool {
        self.file.is_some() && !matches!(self.start, Start::Search(None))
    }

    /// Where the read begins, and whether memory holds that page; `None` where that cannot be told, of
    /// which the read says why. Nothing is read ahead for one page.
    pub fn look(&self) -> Option<(u64, bool)> {
        let position_of =
            |entry: Option<OffsetEntry>| entry.map_or(0, |entry| entry.position.into());
        let position = match &self.start {
            Start::Front => 0,
            Start::Stopped(position) => *position,
            Start::Entry(entry) => position_of(*entry),
            Start::Search(index) => position_of(self.look_up(index.as_deref(), read_full_at).ok()?),
        };
        let is_cached = self.file.as_ref()?.read_cached_at(&mut [0], position).is_ok();
        Some((position, is_cached))
    }

    fn look_up(
        &self,
        index: Option<&dyn DiskFile>,
        read_at: ReadAt,
    ) -> Result<Option<OffsetEntry>, Fault> {
        let index = index.ok_or(Fault::Io(io::ErrorKind::WouldBlock.into()))?;
        let bytes = index.len()?;
        if bytes % offset_index::ENTRY_BYTES as u64 != 0 {
            return Err(Fault::Index(format!(
                "its length of {bytes} bytes is no number of entries"
            )));
        }
        // Past the end of the segment before, the search begins at the front.
        let relative = u32::try_from(self.from - self.segment).unwrap_or(0);
        match offset_index::lookup_in_file(index, bytes, relative, read_at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Fault::Index("it was cut".to_owned()))
            }
            found => Ok(found?),
        }
    }

    /// Where the batch begins that the entry names; all others before it are before the offset.
    fn check_entry(&self, entry: OffsetEntry, read_at: ReadAt) -> Result<Offset, Fault> {
        let OffsetEntry { relative, position } = entry;
        let at = self.segment + i64::from(relative);
        if u64::from(position) >= self.limit {
            let limit = self.limit;
            return Err(Fault::Index(format!("it leads to byte {position} of {limit}")));
        }
        let header = match self.header_at(position.into(), read_at)? {
            Ok(header) => header,
            Err(reason) => {
                return Err(Fault::Index(format!("it leads to byte {position}: {reason}")));
            }
        };
        let found = header.base_offset();
        // Whatever is wrong, index or log, a look at the whole segment tells.
        if found < self.segment || header.last_offset() != at {
            let reason = format!("it leads to byte {position} for offset {at}, where {found} is");
            return Err(Fault::Index(reason));
        }
        Ok(found)
    }

    /// Whether the index leads to a sound batch, so that what is wrong behind it is the log.
    pub fn is_entry_sound(&self, read_at: ReadAt) -> Result<bool, Fault> {
        let entry = match &self.start {
            Start::Front | Start::Stopped(_) | Start::Entry(None) => return Ok(true),
            Start::Entry(Some(entry)) => *entry,
            Start::Search(index) => match self.look_up(index.as_deref(), read_at)? {
                Some(entry) => entry,
                None => return Ok(true),
            },
        };
        let border = Border { position: entry.position.into(), floor: self.segment };
        match self.prove(Some(border), read_at) {
            Ok(()) => Ok(true),
            Err(Fault::Batch { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    fn walk(&self, begin: Border, read_at: ReadAt) -> Result<Found, Fault> {
        let mut border = begin;
        let mut skipped_last = None;
        let mut wanted = self.bytes_max.saturating_add(LEAD_BYTES);
        loop {
            let (buffer, is_cut) = self.fill(border, wanted, read_at)?;
            let (skipped, first) = self.skip(&mut border, &mut skipped_last, buffer.as_ref())?;
            let Some(first) = first else {
                if border.position >= self.limit {
                    self.prove(skipped_last, read_at)?;
                    return Ok(Found::Exhausted);
                }
                if border.position - begin.position > self.skip_max {
                    return Err(Fault::Index("it has no entry near the offset".to_owned()));
                }
                continue;
            };
            if first.base_offset() > self.from {
                // Was the offset in the batch before after all?
                self.prove(skipped_last, read_at)?;
            }
            if first.batch_bytes() > self.bytes_max && !self.min_one {
                let batches = Batches { bytes: Bytes::new(), next_offset: self.from };
                return Ok(Found::Batches { batches, position: border.position });
            }
            if skipped + first.batch_bytes() > buffer.as_ref().len() {
                if is_cut {
                    return Err(border.fault("the file ends before the batch does"));
                }
                // What was skipped took the room, or the batch is a large one: once more, from
                // the batch itself. A wrong length must not cost the memory that it claims.
                if first.batch_bytes() > wanted {
                    self.check_successor(border, &first, read_at)?;
                }
                wanted = self.bytes_max.max(first.batch_bytes());
                continue;
            }
            return self.cut(buffer, skipped, border, read_at);
        }
    }

    /// At most `wanted` bytes behind the border, and whether the file ends before them.
    fn fill(
        &self,
        border: Border,
        wanted: usize,
        read_at: ReadAt,
    ) -> Result<(ReadBuffer, bool), Fault> {
        let wanted = wanted.min(usize::try_from(self.left(border)).unwrap_or(usize::MAX));
        let mut buffer = ReadBuffer::new(wanted);
        let read = self.read(buffer.as_mut(), border, read_at)?;
        buffer.truncate(read);
        Ok((buffer, read < wanted))
    }

    fn read(&self, into: &mut [u8], border: Border, read_at: ReadAt) -> io::Result<usize> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::WouldBlock)?;
        read_at(file.as_ref(), into, border.position)
    }

    /// As many bytes of the header there as there are.
    fn header_bytes<'a>(
        &self,
        into: &'a mut [u8; HEADER_BYTES],
        border: Border,
        read_at: ReadAt,
    ) -> io::Result<&'a [u8]> {
        let left = usize::try_from(self.left(border)).unwrap_or(usize::MAX);
        let room = left.min(into.len());
        let read = self.read(&mut into[..room], border, read_at)?;
        Ok(&into[..read])
    }

    /// Steps over batches that end before the offset; says how many bytes that was, and which batch
    /// is the first behind them, if its header is in the buffer.
    fn skip(
        &self,
        border: &mut Border,
        skipped_last: &mut Option<Border>,
        buffer: &[u8],
    ) -> Result<(usize, Option<BatchHeader>), Fault> {
        let mut at = 0;
        while border.position < self.limit {
            let rest = buffer.get(at..).unwrap_or_default();
            if rest.len() < HEADER_BYTES && at > 0 && self.left(*border) > rest.len() as u64 {
                break;
            }
            let header = self.header(rest, *border)?;
            if header.last_offset() >= self.from {
                return Ok((at, Some(header)));
            }
            *skipped_last = Some(*border);
            at += header.batch_bytes();
            *border = border.after(&header);
        }
        Ok((at, None))
    }

    /// Takes the batches that are whole, sound, below the bound and within the size.
    fn cut(
        &self,
        buffer: ReadBuffer,
        skipped: usize,
        first: Border,
        read_at: ReadAt,
    ) -> Result<Found, Fault> {
        let bytes = &buffer.as_ref()[skipped..];
        let mut end = 0;
        let mut border = first;
        while bytes.len() - end >= HEADER_BYTES {
            let rest = &bytes[end..];
            let taken = self.take(rest, border, end, read_at);
            match taken {
                Ok(Some(header)) => {
                    end += header.batch_bytes();
                    border = border.after(&header);
                }
                // The next read begins here and finds out.
                Err(_) if end > 0 => break,
                Ok(None) => break,
                Err(fault) => return Err(fault),
            }
        }
        let next_offset = if end > 0 { border.floor } else { self.from };
        // Little out of much would keep all of it from being used again.
        let few = end < buffer.as_ref().len() / 4;
        let bytes = match few {
            true => Bytes::copy_from_slice(&bytes[..end]),
            false => Bytes::from_owner(buffer).slice(skipped..skipped + end),
        };
        let batches = Batches { bytes, next_offset };
        Ok(Found::Batches { batches, position: border.position })
    }

    /// The batch at the front of `rest` if it is to be given; `end` bytes are before it.
    fn take(
        &self,
        rest: &[u8],
        border: Border,
        end: usize,
        read_at: ReadAt,
    ) -> Result<Option<BatchHeader>, Fault> {
        let header = self.header(rest, border)?;
        let bytes = header.batch_bytes();
        let fits = end + bytes <= self.bytes_max || end == 0;
        if bytes > rest.len() || !fits || header.last_offset() >= self.until {
            return Ok(None);
        }
        check_crc(&rest[..bytes], &header).map_err(|error| border.fault(error))?;
        if header.base_offset() > border.floor {
            self.check_successor(border, &header, read_at)?;
        }
        Ok(Some(header))
    }

    /// The header at the border, if it can be the one of the batch there.
    fn header(&self, bytes: &[u8], border: Border) -> Result<BatchHeader, Fault> {
        let header = BatchHeader::parse(bytes).map_err(|error| border.fault(error))?;
        let (found, last) = (header.base_offset(), header.last_offset());
        let Border { floor, .. } = border;
        if found < floor {
            let reason = format!("a batch begins with offset {found} where {floor} is due");
            return Err(border.fault(reason));
        }
        if last >= self.behind {
            let behind = self.behind;
            let reason = format!("a batch ends with offset {last}, the segment before {behind}");
            return Err(border.fault(reason));
        }
        let epoch = header.partition_leader_epoch;
        if !self.epochs.contains(&epoch) {
            return Err(border.fault(format!("no leader had epoch {epoch} there")));
        }
        let (bytes, left) = (header.batch_bytes() as u64, self.left(border));
        if bytes > left {
            return Err(border.fault(format!("a batch of {bytes} bytes in the last {left}")));
        }
        Ok(header)
    }

    /// Checks what is behind a batch whose header cannot be trusted by itself.
    fn check_successor(
        &self,
        border: Border,
        header: &BatchHeader,
        read_at: ReadAt,
    ) -> Result<(), Fault> {
        let next = border.after(header);
        if next.position == self.limit {
            return Ok(());
        }
        let mut bytes = [0; HEADER_BYTES];
        match self.header(self.header_bytes(&mut bytes, next, read_at)?, next) {
            Ok(_) => Ok(()),
            Err(Fault::Batch { reason, .. }) => {
                Err(border.fault(format!("what follows the batch does not fit to it: {reason}")))
            }
            Err(other) => Err(other),
        }
    }

    /// Checks the CRC of a batch that was stepped over for what its header says.
    fn prove(&self, skipped: Option<Border>, read_at: ReadAt) -> Result<(), Fault> {
        let Some(border) = skipped else { return Ok(()) };
        let header = match self.header_at(border.position, read_at)? {
            Ok(header) => header,
            Err(reason) => return Err(border.fault(reason)),
        };
        let (batch, _) = self.fill(border, header.batch_bytes(), read_at)?;
        check_crc(batch.as_ref(), &header).map_err(|error| border.fault(error))
    }

    fn header_at(
        &self,
        position: u64,
        read_at: ReadAt,
    ) -> Result<Result<BatchHeader, String>, Fault> {
        let border = Border { position, floor: self.segment };
        let mut bytes = [0; HEADER_BYTES];
        let bytes = self.header_bytes(&mut bytes, border, read_at)?;
        Ok(BatchHeader::parse(bytes).map_err(|error| error.to_string()))
    }

    fn left(&self, border: Border) -> u64 {
        self.limit.saturating_sub(border.position)
    }
}
