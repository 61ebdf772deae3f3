//! Segments: the files of one stretch of a log, named by the offset at which it begins.
//!
//! A closed segment is a name and lazily opened files. The active one has its indexes in memory;
//! they become files when it is rolled or closed, and are rebuilt from the log after a crash.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use records::{BatchHeader, HEADER_BYTES};
use types::{Millis, Offset};

use crate::ahead::Ahead;
use crate::disk::{Disk, DiskFile, OpenMode, read_full_at, write_file};
use crate::error::{IoContext, LogError};
use crate::offset_index::{self, OffsetIndex};
use crate::time_index::{self, TimeEntry, TimeIndex};

/// Kinds of files that a segment has.
pub(crate) const LOG: &str = "log";
pub(crate) const OFFSET_INDEX: &str = "index";
pub(crate) const TIME_INDEX: &str = "timeindex";
pub(crate) const TXN_INDEX: &str = "txnindex";
pub(crate) const SNAPSHOT: &str = "snapshot";
/// What Kafka puts behind the name of a file that is to be deleted.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";

/// The file of a kind for the segment or snapshot at `offset`.
pub(crate) fn path(dir: &Path, offset: Offset, kind: &str) -> PathBuf {
    dir.join(format!("{:020}.{kind}", offset.get()))
}

/// Offset and kind in a file name; `None` for files that belong to no segment.
pub(crate) fn parse_name(name: &str) -> Option<(Offset, &str)> {
    let (offset, kind) = name.split_once('.')?;
    if offset.len() != 20 || !offset.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((Offset::from_wire(offset.parse().ok()?)?, kind))
}

/// The greatest timestamp of a segment and the last offset of the batch that brought it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Newest {
    pub timestamp: i64,
    pub offset: Offset,
}

/// A segment that is not appended to any more.
#[derive(Debug)]
pub(crate) struct Segment {
    pub base: Offset,
    pub bytes: u64,
    /// When the log file changed last.
    pub modified: Millis,
    file: Option<Arc<dyn DiskFile>>,
    offset_index: Option<Arc<dyn DiskFile>>,
    time_index: Option<(Arc<dyn DiskFile>, u64)>,
    newest: Option<Option<Newest>>,
    first_timestamp: Option<Option<i64>>,
}

impl Segment {
    pub fn new(base: Offset, bytes: u64, modified: Millis) -> Self {
        Self {
            base,
            bytes,
            modified,
            file: None,
            offset_index: None,
            time_index: None,
            newest: None,
            first_timestamp: None,
        }
    }

    /// The log file, opened for reading.
    pub fn file(&mut self, disk: &dyn Disk, dir: &Path) -> Result<&Arc<dyn DiskFile>, LogError> {
        if self.file.is_none() {
            let path = path(dir, self.base, LOG);
            self.file = Some(disk.open(&path, OpenMode::Read).context("open", &path)?);
        }
        Ok(self.file.as_ref().expect("it was opened above"))
    }

    /// The log file, if it is open.
    pub fn open_file(&self) -> Option<&Arc<dyn DiskFile>> {
        self.file.as_ref()
    }

    /// The offset index file, if it is open.
    pub fn open_offset_index(&self) -> Option<&Arc<dyn DiskFile>> {
        self.offset_index.as_ref()
    }

    /// Keeps what a read has opened. Where it wrote the indexes anew, they are looked at anew.
    pub fn adopt(
        &mut self,
        file: Option<Arc<dyn DiskFile>>,
        index: Option<Arc<dyn DiskFile>>,
        is_rebuilt: bool,
    ) {
        if is_rebuilt {
            self.newest = None;
            self.forget_indexes();
        }
        self.file = self.file.take().or(file);
        self.offset_index = self.offset_index.take().or(index);
    }

    /// The time index file and its length.
    pub fn time_index(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
    ) -> Result<&(Arc<dyn DiskFile>, u64), LogError> {
        let path = path(dir, self.base, TIME_INDEX);
        open_index(&mut self.time_index, disk, &path)
    }

    /// Keeps index files, each with its length, that have other names as yet.
    pub fn hold_indexes(
        &mut self,
        offset_index: (Arc<dyn DiskFile>, u64),
        time_index: (Arc<dyn DiskFile>, u64),
    ) {
        self.offset_index = Some(offset_index.0);
        self.time_index = Some(time_index);
    }

    /// The index files have their names: whoever needs one opens it.
    pub fn forget_indexes(&mut self) {
        (self.offset_index, self.time_index) = (None, None);
    }

    /// What [`Segment::newest`] gives, if that is known.
    pub fn known_newest(&self) -> Option<Option<Newest>> {
        self.newest
    }

    /// Keeps what a look-up has found out about the greatest timestamp.
    pub fn note_newest(&mut self, newest: Option<Newest>) {
        self.newest = Some(newest);
    }

    /// What [`Segment::first_timestamp`] gives, if that is known.
    pub fn known_first_timestamp(&self) -> Option<Option<i64>> {
        self.first_timestamp
    }

    /// Keeps what its files say, unless it is known from better sources.
    pub fn note_ages(&mut self, newest: Option<Newest>, first: Option<Option<i64>>) {
        self.newest.get_or_insert(newest);
        self.first_timestamp = self.first_timestamp.or(first);
    }

    /// Greatest timestamp of the first batch; `None` where there is no batch.
    pub fn first_timestamp(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
    ) -> Result<Option<i64>, LogError> {
        if let Some(known) = self.first_timestamp {
            return Ok(known);
        }
        let path = path(dir, self.base, LOG);
        let bytes = self.bytes;
        let mut front = [0; HEADER_BYTES];
        let read = match bytes {
            0 => 0,
            _ => read_full_at(self.file(disk, dir)?.as_ref(), &mut front, 0)
                .context("read", &path)?,
        };
        let first = BatchHeader::parse(&front[..read]).ok().map(|header| header.max_timestamp);
        self.first_timestamp = Some(first);
        Ok(first)
    }

    /// The greatest timestamp, from the last entry of the time index; `None` where no batch has one.
    pub fn newest(&mut self, disk: &dyn Disk, dir: &Path) -> Result<Option<Newest>, LogError> {
        if let Some(known) = self.newest {
            return Ok(known);
        }
        let base = self.base;
        let (file, bytes) = self.time_index(disk, dir)?;
        let mut entry = [0; time_index::ENTRY_BYTES];
        let found = if let Some(at) = bytes.checked_sub(entry.len() as u64) {
            let path = path(dir, base, TIME_INDEX);
            read_full_at(file.as_ref(), &mut entry, at).context("read", &path)?;
            let TimeEntry { timestamp, relative } = TimeEntry::from_bytes(entry);
            Some(Newest { timestamp, offset: base + i64::from(relative) })
        } else {
            None
        };
        self.newest = Some(found);
        Ok(found)
    }
}

fn open_index<'a>(
    slot: &'a mut Option<(Arc<dyn DiskFile>, u64)>,
    disk: &dyn Disk,
    path: &Path,
) -> Result<&'a (Arc<dyn DiskFile>, u64), LogError> {
    if slot.is_none() {
        let file = disk.open(path, OpenMode::Read).context("open", path)?;
        let bytes = file.len().context("read", path)?;
        *slot = Some((file, bytes));
    }
    Ok(slot.as_ref().expect("it was opened above"))
}

/// Makes the log file of a segment, empty.
pub(crate) fn create(
    disk: &dyn Disk,
    dir: &Path,
    base: Offset,
) -> Result<Arc<dyn DiskFile>, LogError> {
    let path = path(dir, base, LOG);
    let file = disk.open(&path, OpenMode::Create).context("create", &path)?;
    // A crash between two truncations may have left a file of this name.
    if let Err(cause) = file.set_len(0) {
        // An empty one must not stay while the log goes on past its name.
        _ = disk.remove_file(&path);
        return Err(LogError::Io { action: "truncate", path, cause });
    }
    Ok(file)
}

/// The segment that takes the appends.
#[derive(Debug)]
pub(crate) struct ActiveSegment {
    pub base: Offset,
    /// Length of the log, staged batches included.
    pub bytes: u64,
    pub file: Arc<dyn DiskFile>,
    pub ahead: Ahead,
    pub offset_index: OffsetIndex,
    pub time_index: TimeIndex,
    /// Log bytes since the last index entry.
    pub bytes_since_index: u64,
    /// Greatest timestamp of the first batch: segments are rolled by the age of their data.
    pub first_timestamp: Option<i64>,
    pub newest: Option<Newest>,
    /// When this process began it, for segments without timestamps.
    pub created: Millis,
}

impl ActiveSegment {
    /// Makes the files of a new segment; an index has a file only once it is closed.
    pub fn create(
        disk: &dyn Disk,
        dir: &Path,
        base: Offset,
        now: Millis,
    ) -> Result<Self, LogError> {
        Ok(Self::empty(base, create(disk, dir, base)?, now))
    }

    /// A segment of which nothing is known yet.
    pub fn empty(base: Offset, file: Arc<dyn DiskFile>, now: Millis) -> Self {
        Self {
            base,
            bytes: 0,
            file,
            ahead: Ahead::default(),
            offset_index: OffsetIndex::default(),
            time_index: TimeIndex::default(),
            bytes_since_index: 0,
            first_timestamp: None,
            newest: None,
            created: now,
        }
    }

    /// The offset counted from the base.
    ///
    /// # Panics
    /// If it is out of an index entry's reach; segments are rolled before that.
    pub fn relative(&self, offset: Offset) -> u32 {
        u32::try_from(offset - self.base).expect("a segment spans less than 2^31 offsets")
    }

    /// Takes note of a batch that goes to the end of the file, as `scan::order_fault` allows it.
    pub fn note(&mut self, header: &BatchHeader, index_interval_bytes: u32) {
        let last = header.last_offset();
        let is_newer = self.newest.is_none_or(|newest| header.max_timestamp > newest.timestamp);
        // Of a batch that compaction emptied, no record has the time.
        if is_newer && header.record_count > 0 {
            self.newest = Some(Newest { timestamp: header.max_timestamp, offset: last });
        }
        self.first_timestamp.get_or_insert(header.max_timestamp);
        if self.bytes_since_index > u64::from(index_interval_bytes) {
            let position =
                u32::try_from(self.bytes).expect("larger files are refused when a log is opened");
            self.offset_index.push(self.relative(last), position);
            self.push_newest();
            self.bytes_since_index = 0;
        }
        self.bytes += header.batch_bytes() as u64;
        self.bytes_since_index += header.batch_bytes() as u64;
    }

    /// Completes the time index: its last entry is the greatest timestamp.
    pub fn push_newest(&mut self) {
        if let Some(Newest { timestamp, offset }) = self.newest {
            let relative = self.relative(offset);
            self.time_index.push_if_newer(timestamp, relative);
        }
    }

    /// Whether an index of at most `bytes_max` has no room for another batch.
    pub fn index_is_full(&self, bytes_max: u32) -> bool {
        let bytes_max = bytes_max as usize;
        // One time entry is kept free for the one that closes the segment.
        (self.offset_index.len() + 1) * offset_index::ENTRY_BYTES > bytes_max
            || (self.time_index.len() + 2) * time_index::ENTRY_BYTES > bytes_max
    }

    /// Writes both indexes as files and gives them, not yet synced.
    pub fn write_indexes(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
    ) -> Result<[Arc<dyn DiskFile>; 2], LogError> {
        self.push_newest();
        let write = |kind, content: &[u8]| {
            let path = path(dir, self.base, kind);
            write_file(disk, &path, content).context("write", &path)
        };
        Ok([
            write(OFFSET_INDEX, &self.offset_index.to_bytes())?,
            write(TIME_INDEX, &self.time_index.to_bytes())?,
        ])
    }

    /// The segment as it is once another one is active. Its indexes must have been written, or
    /// be held by it.
    pub fn into_closed(self, now: Millis) -> Segment {
        let newest = self.newest.filter(|newest| newest.timestamp >= 0);
        Segment {
            file: Some(self.file),
            newest: Some(newest),
            first_timestamp: Some(self.first_timestamp),
            ..Segment::new(self.base, self.bytes, now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_twenty_digits_and_a_kind() {
        let path = path(Path::new("/d"), Offset::new(42), LOG);
        assert_eq!(path, Path::new("/d/00000000000000000042.log"));
        assert_eq!(parse_name("00000000000000000042.log"), Some((Offset::new(42), "log")));
        for other in ["42.log", "leader-epoch-checkpoint", "0000000000000000004x.log", ".lock"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
