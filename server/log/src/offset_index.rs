//! Offset index of a segment: where in the log file to begin looking for an offset.
//!
//! Kafka's format: 8 bytes an entry, the offset relative to the segment's base and the position of
//! its batch, both INT32. The offset is the last one of the batch. The active segment's entries
//! are in memory and become a file when it is rolled or closed; files are searched in place.

use std::io;

use crate::disk::DiskFile;
use crate::index_file::{ReadAt, last_entry_where};

/// Bytes of an entry.
pub(crate) const ENTRY_BYTES: usize = 8;

/// A batch's last offset, relative to the segment's base, and the batch's position.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct OffsetEntry {
    pub relative: u32,
    pub position: u32,
}

impl OffsetEntry {
    fn from_bytes(bytes: [u8; ENTRY_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self {
            relative: u32::from_be_bytes([a, b, c, d]),
            position: u32::from_be_bytes([e, f, g, h]),
        }
    }
}

/// The entries of the active segment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct OffsetIndex {
    entries: Vec<OffsetEntry>,
}

impl OffsetIndex {
    /// The index in a file's content; `None` where it cannot be one of a log with `log_bytes`.
    pub fn from_bytes(content: &[u8], log_bytes: u64) -> Option<Self> {
        let (entries, rest) = content.as_chunks::<ENTRY_BYTES>();
        let entries: Vec<_> = entries.iter().map(|entry| OffsetEntry::from_bytes(*entry)).collect();
        let rising = entries
            .windows(2)
            .all(|w| w[0].relative < w[1].relative && w[0].position < w[1].position);
        let inside = entries.last().is_none_or(|last| u64::from(last.position) < log_bytes);
        (rest.is_empty() && rising && inside).then_some(Self { entries })
    }

    /// The file's content.
    pub fn to_bytes(&self) -> Vec<u8> {
        let entry = |entry: &OffsetEntry| {
            [entry.relative.to_be_bytes(), entry.position.to_be_bytes()].into_iter().flatten()
        };
        self.entries.iter().flat_map(entry).collect()
    }

    /// Notes the batch at `position`, whose last offset lies `relative` behind the segment's base.
    pub fn push(&mut self, relative: u32, position: u32) {
        self.entries.push(OffsetEntry { relative, position });
    }

    /// The last entry at or before the offset; without one, the search begins at the front.
    pub fn lookup_entry(&self, relative: u32) -> Option<OffsetEntry> {
        let behind = self.entries.partition_point(|entry| entry.relative <= relative);
        behind.checked_sub(1).map(|at| self.entries[at])
    }

    /// Takes the entries of `rebuilt` for the first `limit` bytes of the log.
    pub fn replace_before(&mut self, limit: u64, rebuilt: Self) {
        let kept = self.entries.iter().filter(|entry| u64::from(entry.position) >= limit);
        let entries = rebuilt.entries.iter().chain(kept).copied().collect();
        self.entries = entries;
    }

    /// The position of the last batch that is known to begin at or before `reach`.
    pub fn border(&self, reach: u64) -> u64 {
        let behind = self.entries.partition_point(|entry| u64::from(entry.position) <= reach);
        behind.checked_sub(1).map_or(0, |at| self.entries[at].position.into())
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry that was added last.
    pub fn last(&self) -> Option<OffsetEntry> {
        self.entries.last().copied()
    }
}

/// [`OffsetIndex::lookup_entry`] in a file of `bytes` bytes.
pub(crate) fn lookup_in_file(
    file: &dyn DiskFile,
    bytes: u64,
    relative: u32,
    read_at: ReadAt,
) -> io::Result<Option<OffsetEntry>> {
    let count = bytes / ENTRY_BYTES as u64;
    let found = last_entry_where(file, count, read_at, |entry| {
        OffsetEntry::from_bytes(*entry).relative <= relative
    })?;
    Ok(found.map(OffsetEntry::from_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{RealDisk, read_full_at, write_file};

    fn index() -> OffsetIndex {
        let mut index = OffsetIndex::default();
        for (relative, position) in [(4, 100), (9, 200), (30, 5000)] {
            index.push(relative, position);
        }
        index
    }

    #[test]
    fn lookup_gives_the_batch_at_or_before_the_offset() {
        let dir = tempfile::tempdir().unwrap();
        let index = index();
        let file = write_file(&RealDisk, &dir.path().join("i"), &index.to_bytes()).unwrap();
        let cases =
            [(0, 0), (3, 0), (4, 100), (8, 100), (9, 200), (29, 200), (30, 5000), (99, 5000)];
        for (relative, position) in cases {
            let place = |entry: Option<OffsetEntry>| entry.map_or(0, |entry| entry.position);
            assert_eq!(place(index.lookup_entry(relative)), position, "{relative} in memory");
            let bytes = index.to_bytes().len() as u64;
            let found = lookup_in_file(file.as_ref(), bytes, relative, read_full_at).unwrap();
            assert_eq!(place(found), position, "{relative} in the file");
        }
    }

    #[test]
    fn border_is_the_last_known_batch_within_reach() {
        let mut index = OffsetIndex::default();
        index.push(10, 100);
        index.push(20, 250);
        for (reach, expected) in [(0, 0), (99, 0), (100, 100), (249, 100), (250, 250), (900, 250)] {
            assert_eq!(index.border(reach), expected, "{reach}");
        }
    }

    #[test]
    fn entries_are_big_endian_pairs() {
        let mut index = OffsetIndex::default();
        index.push(1, 0x0203);
        assert_eq!(index.to_bytes(), [0, 0, 0, 1, 0, 0, 2, 3]);
        assert_eq!(OffsetIndex::from_bytes(&index.to_bytes(), 1000), Some(index));
    }

    #[test]
    fn content_that_is_no_index_is_refused() {
        let good = index().to_bytes();
        assert!(OffsetIndex::from_bytes(&good, 5001).is_some());
        assert!(OffsetIndex::from_bytes(&good, 5000).is_none(), "entry behind the log's end");
        assert!(OffsetIndex::from_bytes(&good[..20], 9999).is_none(), "half an entry");
        let mut zeros = good.clone();
        zeros.extend([0; 8]);
        assert!(OffsetIndex::from_bytes(&zeros, 9999).is_none(), "preallocated tail");
    }
}
