//! Transaction index of a segment: the aborted transactions whose marker lies in it.
//!
//! Kafka's format: 34 bytes an entry: version 0 (INT16), producer id, first and last offset of the
//! transaction, and the last stable offset once it had ended (INT64 each). Segments without aborted
//! transactions have no such file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::{Offset, ProducerId};

use crate::Log;
use crate::disk::{
    Disk, OpenMode, read_file_if_exists, read_full_at, remove_if_exists, write_all_at,
};
use crate::error::{IoContext, LogError};
use crate::producer_state::CompletedTxn;
use crate::segment::{self, TXN_INDEX};

const ENTRY_BYTES: usize = 34;
const VERSION: i16 = 0;

/// A transaction whose records consumers of committed records must skip.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AbortedTxn {
    /// Who wrote it.
    pub producer: ProducerId,
    /// Offset of its first record.
    pub first_offset: Offset,
    /// Offset of its marker.
    pub last_offset: Offset,
    /// First offset that was still undecided when it had ended.
    pub last_stable_offset: Offset,
}

impl AbortedTxn {
    pub(crate) fn new(txn: &CompletedTxn, last_stable_offset: Offset) -> Self {
        Self {
            producer: txn.producer,
            first_offset: txn.first_offset,
            last_offset: txn.last_offset,
            last_stable_offset,
        }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENTRY_BYTES);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(self.producer.0.to_be_bytes());
        for offset in [self.first_offset, self.last_offset, self.last_stable_offset] {
            bytes.extend(offset.get().to_be_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let (version, fields) = bytes.split_first_chunk::<2>()?;
        let (fields, _) = fields.as_chunks::<8>();
        let &[producer, first, last, stable] = fields else { return None };
        let offset = |bytes| Offset::from_wire(i64::from_be_bytes(bytes));
        Some(Self {
            producer: (*version == VERSION.to_be_bytes())
                .then(|| ProducerId(i64::from_be_bytes(producer)))?,
            first_offset: offset(first)?,
            last_offset: offset(last)?,
            last_stable_offset: offset(stable)?,
        })
    }
}

impl Log {
    /// What tells the aborted transactions that touch the offsets from `from` on; `None` where none
    /// was ever aborted.
    pub fn aborted_lookup(&self, from: Offset) -> Option<AbortedLookup> {
        let holder = self.base_of(from);
        let first = self.txn_indexes.partition_point(|base| *base < holder);
        let indexed = self.txn_indexes[first..].iter().map(|&base| {
            let end = self.end_of(self.segment_of(base));
            Indexed { base, end, known: self.unnamed_aborted(base) }
        });
        let segments: Vec<_> = indexed.collect();
        (!segments.is_empty()).then(|| AbortedLookup {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            segments,
            from,
            generation: self.generation,
            replaced: self.txn_indexes_replaced,
        })
    }

    /// Whether the indexes are those that a look-up has read. If not, it may have missed one that
    /// went meanwhile, or read the one of a segment in its place: what it found, or did not, goes
    /// neither with the records from before nor with those from now.
    pub fn is_current(&self, lookup: &AbortedLookup) -> bool {
        self.txn_indexes_replaced == lookup.replaced && self.generation == lookup.generation
    }

    /// As [`Log::aborted_lookup`], run at once: those that touch offsets before `until`. Blocks.
    ///
    /// # Errors
    /// Those of [`AbortedLookup::run`].
    pub fn aborted_transactions(
        &self,
        from: Offset,
        until: Offset,
    ) -> Result<Vec<AbortedTxn>, LogError> {
        self.aborted_lookup(from).map_or(Ok(Vec::new()), |lookup| lookup.run(until))
    }

    /// Writes the index entries of markers that were appended since; those that find no room stay.
    pub(crate) fn write_aborted(&mut self) -> Result<(), LogError> {
        while let Some(txn) = self.staged_aborted.front().copied() {
            self.note_aborted(txn)?;
            self.staged_aborted.pop_front();
        }
        Ok(())
    }

    /// Adds a transaction to the index of the segment that holds its marker, unless a replay finds
    /// it there.
    fn note_aborted(&mut self, txn: AbortedTxn) -> Result<(), LogError> {
        let base = self.base_of(txn.last_offset);
        let path = segment::path(&self.dir, base, TXN_INDEX);
        let file = self.disk.open(&path, OpenMode::Create).context("open", &path)?;
        let bytes = file.len().context("read", &path)?;
        let at = bytes - bytes % ENTRY_BYTES as u64;
        if let Some(last) = at.checked_sub(ENTRY_BYTES as u64) {
            let mut entry = [0; ENTRY_BYTES];
            read_full_at(file.as_ref(), &mut entry, last).context("read", &path)?;
            let known = AbortedTxn::from_bytes(&entry);
            if known.is_some_and(|known| known.last_offset >= txn.last_offset) {
                return Ok(());
            }
        }
        if let Err(cause) = write_all_at(file.as_ref(), &[txn.to_bytes()], at) {
            // Readers of what is committed must not find a part of it while it waits for room.
            file.set_len(at).context("truncate", &path)?;
            return Err(LogError::Io { action: "write", path, cause });
        }
        self.sync.files.push(file);
        if let Err(at) = self.txn_indexes.binary_search(&base) {
            self.sync.dir_is_dirty = true;
            self.txn_indexes.insert(at, base);
        }
        Ok(())
    }

    /// Drops the entries of markers at or behind `end`, and what a crash left of the last ones.
    pub(crate) fn truncate_txn_indexes(&mut self, end: Offset) -> Result<(), LogError> {
        for base in std::mem::take(&mut self.txn_indexes) {
            let path = segment::path(&self.dir, base, TXN_INDEX);
            let mut kept = read_entries(self.disk.as_ref(), &self.dir, base)?;
            kept.retain(|txn| txn.last_offset < end);
            if kept.is_empty() {
                remove_if_exists(self.disk.as_ref(), &path).context("remove", &path)?;
                // One that comes back would speak of what is no longer in the log.
                self.sync.dir_is_dirty = true;
                continue;
            }
            self.txn_indexes.push(base);
            let bytes = (kept.len() * ENTRY_BYTES) as u64;
            let file = self.disk.open(&path, OpenMode::Write).context("open", &path)?;
            if file.len().context("read", &path)? > bytes {
                file.set_len(bytes).context("truncate", &path)?;
            }
            self.sync.files.push(file);
        }
        Ok(())
    }

    /// Takes note that segments go, or that others take their place.
    pub(crate) fn forget_txn_indexes(&mut self, bases: &[Offset]) {
        self.txn_indexes.retain(|base| !bases.contains(base));
        self.txn_indexes_replaced += 1;
    }

    /// Base of the segment that holds the offset; of the first one for what is before it.
    fn base_of(&self, offset: Offset) -> Offset {
        if offset >= self.active.base {
            return self.active.base;
        }
        let at = self.closed.partition_point(|segment| segment.base <= offset).saturating_sub(1);
        self.closed.get(at).map_or(self.active.base, |segment| segment.base)
    }
}

/// A look-up of aborted transactions, for a thread that may block.
#[derive(Debug)]
pub struct AbortedLookup {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segments: Vec<Indexed>,
    from: Offset,
    /// Those of the log.
    generation: u64,
    replaced: u64,
}

/// A segment that has an index.
#[derive(Debug)]
struct Indexed {
    base: Offset,
    end: Offset,
    /// What the index says, where it has no name yet.
    known: Option<Arc<[AbortedTxn]>>,
}

impl AbortedLookup {
    /// The transactions that touch the offsets before `until`. Blocks.
    ///
    /// # Errors
    /// [`LogError::Io`], and [`LogError::Malformed`] for an index that is gone or cannot be right:
    /// without it, what was aborted would be served as if it counted.
    pub fn run(&self, until: Offset) -> Result<Vec<AbortedTxn>, LogError> {
        let mut found = Vec::new();
        for Indexed { base, end, known } in &self.segments {
            let txns = match known {
                Some(known) => known.to_vec(),
                None => self.read(*base, *end)?,
            };
            for txn in txns {
                if txn.last_offset >= self.from && txn.first_offset < until {
                    found.push(txn);
                }
                if txn.last_stable_offset >= until {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    fn read(&self, base: Offset, end: Offset) -> Result<Vec<AbortedTxn>, LogError> {
        let path = segment::path(&self.dir, base, TXN_INDEX);
        let malformed = |reason: &str| {
            let reason = format!("{reason}; bring it back from a backup or a replica");
            LogError::Malformed { file: path.clone(), reason }
        };
        let content = read_file_if_exists(self.disk.as_ref(), &path).context("read", &path)?;
        let content = content.ok_or_else(|| malformed("it is gone"))?;
        let (entries, rest) = content.as_chunks::<ENTRY_BYTES>();
        let found: Option<Vec<_>> = entries.iter().map(AbortedTxn::from_bytes).collect();
        // Compaction may have left none.
        let found = found.filter(|_| rest.is_empty());
        let found = found.ok_or_else(|| malformed("it is no index"))?;
        let is_inside = |txn: &AbortedTxn| {
            txn.first_offset <= txn.last_offset && (base..end).contains(&txn.last_offset)
        };
        let rising = found.windows(2).all(|pair| pair[0].last_offset < pair[1].last_offset);
        match rising && found.iter().all(is_inside) {
            true => Ok(found),
            false => Err(malformed("its entries are not of this segment")),
        }
    }
}

/// The entries of an index, up to the first that cannot be right: a crash leaves zeros for what
/// was not written.
pub(crate) fn read_entries(
    disk: &dyn Disk,
    dir: &Path,
    base: Offset,
) -> Result<Vec<AbortedTxn>, LogError> {
    let path = segment::path(dir, base, TXN_INDEX);
    let content = read_file_if_exists(disk, &path).context("read", &path)?;
    let content = content.unwrap_or_default();
    let (entries, _) = content.as_chunks::<ENTRY_BYTES>();
    let mut last = None;
    let sound = entries.iter().map_while(AbortedTxn::from_bytes).take_while(|txn| {
        let former = last.replace(txn.last_offset);
        txn.first_offset < txn.last_offset && former < Some(txn.last_offset)
    });
    Ok(sound.collect())
}

#[cfg(test)]
mod tests {
    use types::LeaderEpoch;

    use super::*;
    use crate::testing::{batch, clean, open, open_new};
    use crate::{AppendOrigin, LogConfig};

    #[test]
    fn an_index_that_cannot_be_right_is_not_taken_for_one_without_entries() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_new(dir.path(), LogConfig::default());
        let (epoch, now) = (LeaderEpoch(0), types::Millis(0));
        log.append_as_leader(batch(9, 0), epoch, AppendOrigin::Client, now).unwrap();
        let end = log.close().unwrap();
        let entry = |first: i64, last: i64| AbortedTxn {
            producer: ProducerId(1),
            first_offset: Offset::new(first),
            last_offset: Offset::new(last),
            last_stable_offset: Offset::new(last + 1),
        };
        let bytes = |entries: &[AbortedTxn]| -> Vec<u8> {
            entries.iter().flat_map(|entry| entry.to_bytes()).collect()
        };
        let good = bytes(&[entry(0, 2), entry(3, 5)]);
        let path = segment::path(&dir.path().join("t-0"), Offset::ZERO, TXN_INDEX);
        let cases = [
            ("sound", good.clone(), true),
            ("zeroed", vec![0; good.len()], false),
            ("cut in an entry", good[..40].to_vec(), false),
            ("without entries, as compaction leaves it", vec![], true),
            ("of another segment", bytes(&[entry(90, 95)]), false),
            ("backwards", bytes(&[entry(3, 5), entry(0, 2)]), false),
            ("another version", [&[1], &good[1..]].concat(), false),
        ];
        for (name, content, is_good) in cases {
            std::fs::write(&path, &good).unwrap();
            let log = open(dir.path(), LogConfig::default(), clean(end)).unwrap();
            std::fs::write(&path, content).unwrap();
            let found = log.aborted_transactions(Offset::ZERO, Offset::MAX);
            assert_eq!(found.is_ok(), is_good, "{name}: {found:?}");
        }
        let log = open(dir.path(), LogConfig::default(), clean(end)).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(log.aborted_transactions(Offset::ZERO, Offset::MAX).is_err(), "gone");
    }
}
