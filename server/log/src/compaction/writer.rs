//! Writing the segment that takes the place of others, under `.cleaned` names.

use std::path::PathBuf;
use std::sync::Arc;

use records::BatchHeader;
use types::{Millis, Offset};

use super::{Compaction, Source, marked};
use crate::disk::{Disk, DiskFile, OpenMode, remove_if_exists, write_all_at, write_file};
use crate::error::{IoContext, LogError};
use crate::segment::{ActiveSegment, LOG, OFFSET_INDEX, Segment, TIME_INDEX, TXN_INDEX};
use crate::txn_index::AbortedTxn;

/// Kafka's mark of a segment that is being written.
pub(super) const CLEANED: &str = ".cleaned";
/// The order of renaming: the log file is last, so that it stands for all.
pub(super) const KINDS: [&str; 4] = [TXN_INDEX, OFFSET_INDEX, TIME_INDEX, LOG];
/// Bytes collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// Positions in an index are INT32.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

/// A finished segment that is not in place yet. Its files are on stable storage.
#[derive(Debug)]
#[must_use = "its files stay until it is swapped in"]
pub struct Rewritten {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) generation: u64,
    /// Base and length of those whose place it takes.
    pub(super) former: Vec<(Offset, u64)>,
    pub(super) segment: Segment,
    /// Whether it has a transaction index file, and whether that holds anything.
    pub(super) has_txn_index: bool,
    pub(super) has_aborted: bool,
}

impl Rewritten {
    /// Bytes of the segments before, and of the new one.
    pub fn bytes(&self) -> (u64, u64) {
        (self.former.iter().map(|(_, bytes)| bytes).sum(), self.segment.bytes)
    }

    pub(super) fn base(&self) -> Offset {
        self.segment.base
    }

    /// The kinds of files that it has, in the order of renaming.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &'static str> {
        let has_txn_index = self.has_txn_index;
        KINDS.into_iter().filter(move |kind| *kind != TXN_INDEX || has_txn_index)
    }

    /// Removes the files of a segment that does not get its place. Blocks.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn discard(self) -> Result<(), LogError> {
        for kind in self.kinds() {
            let path = marked(&self.dir, self.base(), kind, CLEANED);
            remove_if_exists(self.disk.as_ref(), &path).context("remove", &path)?;
        }
        Ok(())
    }
}

/// A segment that is being written.
pub(super) struct Writer<'a> {
    compaction: &'a Compaction,
    group: &'a [Source],
    /// Positions and indexes are an active segment's; appends are this writer's own.
    segment: ActiveSegment,
    buffer: Vec<u8>,
    aborted: Vec<AbortedTxn>,
}

impl<'a> Writer<'a> {
    pub fn create(compaction: &'a Compaction, group: &'a [Source]) -> Result<Self, LogError> {
        let base = group[0].base;
        let path = marked(&compaction.dir, base, LOG, CLEANED);
        let file = compaction.disk.open(&path, OpenMode::Create).context("create", &path)?;
        file.set_len(0).context("truncate", &path)?;
        let segment = ActiveSegment::empty(base, file, compaction.now);
        Ok(Self { compaction, group, segment, buffer: Vec::new(), aborted: Vec::new() })
    }

    /// Adds a batch.
    pub fn push(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), LogError> {
        if self.segment.bytes + batch.len() as u64 > SEGMENT_BYTES_MAX {
            let file = self.path(LOG);
            let reason = "batches grow past 2 GiB when they are compressed anew".to_owned();
            return Err(LogError::Malformed { file, reason });
        }
        self.segment.note(header, self.compaction.config.index_interval_bytes);
        self.buffer.extend_from_slice(batch);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Bytes of the batches so far.
    pub fn bytes(&self) -> u64 {
        self.segment.bytes
    }

    /// Adds an aborted transaction whose marker was added.
    pub fn push_aborted(&mut self, txn: AbortedTxn) {
        self.aborted.push(txn);
    }

    /// Writes the rest and the indexes, and syncs all.
    pub fn finish(mut self) -> Result<Rewritten, LogError> {
        self.flush()?;
        self.segment.push_newest();
        let compaction = self.compaction;
        let mut files = vec![
            self.write(OFFSET_INDEX, &self.segment.offset_index.to_bytes())?,
            self.write(TIME_INDEX, &self.segment.time_index.to_bytes())?,
        ];
        let bases = &compaction.txn_indexes;
        // An empty one, too, has to take the place of the former one.
        let has_txn_index = self.group.iter().any(|source| bases.contains(&source.base));
        let has_aborted = !self.aborted.is_empty();
        if has_txn_index || has_aborted {
            let content: Vec<u8> = self.aborted.iter().flat_map(|txn| txn.to_bytes()).collect();
            files.push(self.write(TXN_INDEX, &content)?);
        }
        files.push(Arc::clone(&self.segment.file));
        let path = self.path(LOG);
        files.iter().try_for_each(|file| file.sync_data()).context("sync", &path)?;
        let modified = self.group.iter().map(|source| source.modified).max();
        Ok(Rewritten {
            disk: Arc::clone(&compaction.disk),
            dir: compaction.dir.clone(),
            generation: compaction.generation,
            former: self.group.iter().map(|source| (source.base, source.bytes)).collect(),
            segment: self.segment.into_closed(modified.unwrap_or(Millis::ZERO)),
            has_txn_index: has_txn_index || has_aborted,
            has_aborted,
        })
    }

    /// Removes what was written.
    pub fn discard(self) -> Result<(), LogError> {
        for kind in KINDS {
            let path = self.path(kind);
            remove_if_exists(self.compaction.disk.as_ref(), &path).context("remove", &path)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LogError> {
        let at = self.segment.bytes - self.buffer.len() as u64;
        let path = self.path(LOG);
        let buffer = [&self.buffer];
        write_all_at(self.segment.file.as_ref(), &buffer, at).context("write", &path)?;
        self.buffer.clear();
        Ok(())
    }

    fn write(&self, kind: &str, content: &[u8]) -> Result<Arc<dyn DiskFile>, LogError> {
        let path = self.path(kind);
        write_file(self.compaction.disk.as_ref(), &path, content).context("write", &path)
    }

    fn path(&self, kind: &str) -> PathBuf {
        marked(&self.compaction.dir, self.group[0].base, kind, CLEANED)
    }
}
