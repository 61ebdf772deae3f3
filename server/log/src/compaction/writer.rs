//! Writing the segment that takes the place of others, under `.cleaned` names.

use std::path::PathBuf;
use std::sync::Arc;

use records::BatchHeader;
use types::{Millis, Offset};

use super::{Compaction, CompactionError, CompactionTally, Pace, Source, marked};
use crate::disk::{Disk, DiskFile, OpenMode, remove_if_exists, write_all_at, write_file};
use crate::error::{IoContext, LogError};
use crate::segment::{ActiveSegment, LOG, OFFSET_INDEX, Segment, TIME_INDEX, TXN_INDEX};
use crate::txn_index::AbortedTxn;

/// Kafka's mark of a segment that is being written.
pub(super) const CLEANED: &str = ".cleaned";
/// The order of renaming: the log file is last, so that it stands for all.
pub(super) const KINDS: [&str; 4] = [TXN_INDEX, OFFSET_INDEX, TIME_INDEX, LOG];
/// Bytes after which what was written is synced, so that no one else's sync has to wait for much.
const SYNC_BYTES: u64 = 8 << 20;
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
    pub(super) aborted: Arc<[AbortedTxn]>,
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

/// What a writer has when all is on stable storage.
struct Finished {
    offset_index: (Arc<dyn DiskFile>, u64),
    time_index: (Arc<dyn DiskFile>, u64),
    has_txn_index: bool,
}

/// A segment that is being written.
pub(super) struct Writer<'a> {
    compaction: &'a Compaction,
    group: &'a [Source],
    /// Positions and indexes are an active segment's; appends are this writer's own.
    segment: ActiveSegment,
    buffer: Vec<u8>,
    unsynced_bytes: u64,
    aborted: Vec<AbortedTxn>,
    tally_before: CompactionTally,
}

impl<'a> Writer<'a> {
    pub fn create(compaction: &'a Compaction, group: &'a [Source]) -> Result<Self, LogError> {
        let base = group[0].base;
        let path = marked(&compaction.dir, base, LOG, CLEANED);
        let file = compaction.disk.open(&path, OpenMode::Create).context("create", &path)?;
        file.set_len(0).context("truncate", &path)?;
        let segment = ActiveSegment::empty(base, file, compaction.now);
        Ok(Self {
            compaction,
            group,
            segment,
            buffer: Vec::new(),
            unsynced_bytes: 0,
            aborted: Vec::new(),
            tally_before: compaction.tally(),
        })
    }

    /// Adds a batch.
    pub fn push(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        pace: Pace<'_>,
    ) -> Result<(), CompactionError> {
        if self.segment.bytes + batch.len() as u64 > SEGMENT_BYTES_MAX {
            let file = self.path(LOG);
            let reason = "batches grow past 2 GiB when they are compressed anew".to_owned();
            return Err(LogError::Malformed { file, reason }.into());
        }
        self.segment.note(header, self.compaction.config.index_interval_bytes);
        self.buffer.extend_from_slice(batch);
        if self.buffer.len() >= self.compaction.chunk_bytes { self.flush(pace) } else { Ok(()) }
    }

    /// Adds an aborted transaction whose marker was added.
    pub fn push_aborted(&mut self, txn: AbortedTxn) {
        self.aborted.push(txn);
    }

    /// Writes the rest and the indexes, and syncs all.
    pub fn finish(mut self, pace: Pace<'_>) -> Result<Rewritten, CompactionError> {
        match self.write_rest(pace) {
            Ok(finished) => Ok(self.into_rewritten(finished)),
            Err(error) => {
                self.discard()?;
                Err(error)
            }
        }
    }

    fn write_rest(&mut self, pace: Pace<'_>) -> Result<Finished, CompactionError> {
        self.flush(pace)?;
        self.segment.push_newest();
        let offset_index = self.write_index(OFFSET_INDEX, &self.segment.offset_index.to_bytes())?;
        let time_index = self.write_index(TIME_INDEX, &self.segment.time_index.to_bytes())?;
        let mut files = vec![Arc::clone(&offset_index.0), Arc::clone(&time_index.0)];
        let bases = &self.compaction.txn_indexes;
        // An empty one, too, has to take the place of the former one.
        let had_txn_index = self.group.iter().any(|source| bases.contains(&source.base));
        let has_txn_index = had_txn_index || !self.aborted.is_empty();
        if has_txn_index {
            let content: Vec<u8> = self.aborted.iter().flat_map(|txn| txn.to_bytes()).collect();
            files.push(self.write(TXN_INDEX, &content)?);
        }
        let path = self.path(LOG);
        let log = &self.segment.file;
        log.set_modified(self.modified()).context("set the time of", &path)?;
        files.push(Arc::clone(log));
        files.iter().try_for_each(|file| file.sync_data()).of_sync(&path)?;
        // As long as one of them has this name, a crash drops all.
        self.compaction.disk.sync_dir(&self.compaction.dir).of_sync(&path)?;
        // What replaces segments that nobody reads is not read either.
        let (before, now) = (self.tally_before, self.compaction.tally());
        if 2 * (now.bytes_cold - before.bytes_cold) > now.bytes_read - before.bytes_read {
            self.segment.file.drop_cached(0..u64::MAX);
        }
        self.compaction.count(|tally| tally.bytes_written += self.segment.bytes);
        Ok(Finished { offset_index, time_index, has_txn_index })
    }

    fn into_rewritten(self, finished: Finished) -> Rewritten {
        let Finished { offset_index, time_index, has_txn_index } = finished;
        let former = self.group.iter().map(|source| (source.base, source.bytes)).collect();
        let modified = self.modified();
        let mut segment = self.segment.into_closed(modified);
        segment.hold_indexes(offset_index, time_index);
        Rewritten {
            disk: Arc::clone(&self.compaction.disk),
            dir: self.compaction.dir.clone(),
            generation: self.compaction.generation,
            former,
            segment,
            has_txn_index,
            aborted: self.aborted.into(),
        }
    }

    /// The new file is as old as the newest of the former ones: their age still counts.
    fn modified(&self) -> Millis {
        self.group.iter().map(|source| source.modified).max().unwrap_or(Millis::ZERO)
    }

    /// Removes what was written.
    pub fn discard(self) -> Result<(), LogError> {
        for kind in KINDS {
            let path = self.path(kind);
            remove_if_exists(self.compaction.disk.as_ref(), &path).context("remove", &path)?;
        }
        Ok(())
    }

    fn flush(&mut self, pace: Pace<'_>) -> Result<(), CompactionError> {
        let bytes = self.buffer.len() as u64;
        let at = self.segment.bytes - bytes;
        let path = self.path(LOG);
        let buffer = [&self.buffer];
        write_all_at(self.segment.file.as_ref(), &buffer, at).context("write", &path)?;
        self.buffer.clear();
        self.unsynced_bytes += bytes;
        if self.unsynced_bytes >= SYNC_BYTES {
            self.segment.file.sync_data().of_sync(&path)?;
            self.unsynced_bytes = 0;
        }
        if pace(bytes).is_break() { Err(CompactionError::Stopped) } else { Ok(()) }
    }

    /// The file and its length.
    fn write_index(
        &self,
        kind: &str,
        content: &[u8],
    ) -> Result<(Arc<dyn DiskFile>, u64), LogError> {
        Ok((self.write(kind, content)?, content.len() as u64))
    }

    fn write(&self, kind: &str, content: &[u8]) -> Result<Arc<dyn DiskFile>, LogError> {
        let path = self.path(kind);
        write_file(self.compaction.disk.as_ref(), &path, content).context("write", &path)
    }

    fn path(&self, kind: &str) -> PathBuf {
        marked(&self.compaction.dir, self.group[0].base, kind, CLEANED)
    }
}
