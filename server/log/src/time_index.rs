//! Time index of a segment: where to begin looking for a timestamp.
//!
//! Kafka's format: 12 bytes an entry, a timestamp (INT64) and an offset relative to the segment's
//! base (INT32): no batch before that offset has a greater timestamp. The last entry of a closed
//! segment holds its greatest timestamp, so that retention needs no other file.

use std::io;

use crate::disk::DiskFile;
use crate::index_file::{ReadAt, last_entry_where};

/// Bytes of an entry.
pub(crate) const ENTRY_BYTES: usize = 12;

/// The greatest timestamp so far, and the last offset of the batch that brought it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TimeEntry {
    pub timestamp: i64,
    pub relative: u32,
}

impl TimeEntry {
    pub fn from_bytes(bytes: [u8; ENTRY_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        Self {
            timestamp: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            relative: u32::from_be_bytes([i, j, k, l]),
        }
    }
}

/// The entries of the active segment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct TimeIndex {
    entries: Vec<TimeEntry>,
}

impl TimeIndex {
    /// The index in a file's content; `None` where it cannot be one.
    pub fn from_bytes(content: &[u8]) -> Option<Self> {
        let (entries, rest) = content.as_chunks::<ENTRY_BYTES>();
        let entries: Vec<_> = entries.iter().map(|entry| TimeEntry::from_bytes(*entry)).collect();
        let rising = entries
            .windows(2)
            .all(|w| w[0].timestamp < w[1].timestamp && w[0].relative < w[1].relative);
        (rest.is_empty() && rising).then_some(Self { entries })
    }

    /// The file's content.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * ENTRY_BYTES);
        for entry in &self.entries {
            bytes.extend(entry.timestamp.to_be_bytes());
            bytes.extend(entry.relative.to_be_bytes());
        }
        bytes
    }

    /// Notes the greatest timestamp so far, unless it is known: timestamps must rise.
    pub fn push_if_newer(&mut self, timestamp: i64, relative: u32) {
        if self.entries.last().is_none_or(|last| timestamp > last.timestamp) && timestamp >= 0 {
            self.entries.push(TimeEntry { timestamp, relative });
        }
    }

    /// The relative offset before which no batch can have a timestamp of `timestamp` or later.
    pub fn lookup(&self, timestamp: i64) -> u32 {
        let behind = self.entries.partition_point(|entry| entry.timestamp <= timestamp);
        behind.checked_sub(1).map_or(0, |at| self.entries[at].relative)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry with the greatest timestamp.
    pub fn last(&self) -> Option<TimeEntry> {
        self.entries.last().copied()
    }
}

/// The entry that [`TimeIndex::lookup`] finds, in a file of `bytes` bytes.
pub(crate) fn lookup_in_file(
    file: &dyn DiskFile,
    bytes: u64,
    timestamp: i64,
    read_at: ReadAt,
) -> io::Result<Option<TimeEntry>> {
    let count = bytes / ENTRY_BYTES as u64;
    let found = last_entry_where(file, count, read_at, |entry| {
        TimeEntry::from_bytes(*entry).timestamp <= timestamp
    })?;
    Ok(found.map(TimeEntry::from_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{RealDisk, read_full_at, write_file};

    #[test]
    fn lookup_gives_the_newest_batch_that_is_not_newer() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = TimeIndex::default();
        for (timestamp, relative) in [(1000, 3), (1000, 5), (900, 8), (2000, 9)] {
            index.push_if_newer(timestamp, relative);
        }
        assert_eq!(index.len(), 2, "only rising timestamps are kept");
        let content = index.to_bytes();
        let file = write_file(&RealDisk, &dir.path().join("t"), &content).unwrap();
        for (timestamp, relative) in [(999, 0), (1000, 3), (1999, 3), (2000, 9), (9999, 9)] {
            assert_eq!(index.lookup(timestamp), relative, "{timestamp} in memory");
            let bytes = content.len() as u64;
            let found = lookup_in_file(file.as_ref(), bytes, timestamp, read_full_at).unwrap();
            let found = found.map_or(0, |entry| entry.relative);
            assert_eq!(found, relative, "{timestamp} in the file");
        }
        assert_eq!(TimeIndex::from_bytes(&content), Some(index));
    }

    #[test]
    fn batches_without_timestamp_are_not_indexed() {
        let mut index = TimeIndex::default();
        index.push_if_newer(-1, 3);
        assert_eq!(index.len(), 0);
    }
}
