//! Producer state when a log is opened or cut: from a snapshot and the batches around it.
//!
//! A client has up to five batches in flight. After a crash it sends anew whatever has no answer,
//! and the node must know those batches that it has, else it takes them for out of order. Our
//! snapshots hold them all; one that Kafka wrote holds the last batch of each producer, and the
//! others are looked up in the log before it.
//!
//! Not here: the state itself (`producer_state`), the snapshots' files (`snapshots`).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use records::{BatchError, BatchHeader};
use types::{Millis, Offset};

use crate::Log;
use crate::disk::{DiskFile, read_file_if_exists};
use crate::error::{IoContext, LogError};
use crate::offset_index::OffsetIndex;
use crate::producer_state::{AppendOrigin, BatchMetadata, Marker, Updates};
use crate::scan::Scanner;
use crate::segment::{self, LOG, OFFSET_INDEX};

/// How much of the log is looked through: what clients have in flight is the newest part of it.
const RECALL_BYTES: u64 = 4 << 20;

/// Batches of each producer id and epoch, in the order of the log.
type Recent = BTreeMap<(i64, i16), Vec<BatchMetadata>>;

impl Log {
    /// Producer state from the newest snapshot and the batches behind it. After a clean stop the
    /// snapshot alone has to do, so that no log is read.
    pub(crate) fn rebuild_producers(
        &mut self,
        is_clean: bool,
        now: Millis,
    ) -> Result<(), LogError> {
        let from = self.load_snapshot(now)?;
        if !is_clean {
            self.recall_batches(from)?;
        }
        if from >= self.end {
            // As after a clean stop: nothing is read.
            return Ok(());
        }
        let first = (0..self.closed.len()).take_while(|at| self.end_of(*at) <= from).count();
        let disk = Arc::clone(&self.disk);
        for at in first..self.closed.len() {
            let segment = &mut self.closed[at];
            let (base, bytes) = (segment.base, segment.bytes);
            let file = Arc::clone(segment.file(disk.as_ref(), &self.dir)?);
            self.replay_segment(file.as_ref(), base, bytes, from)?;
        }
        let file = Arc::clone(&self.active.file);
        self.replay_segment(file.as_ref(), self.active.base, self.active.bytes, from)
    }

    fn replay_segment(
        &mut self,
        file: &dyn DiskFile,
        base: Offset,
        bytes: u64,
        from: Offset,
    ) -> Result<(), LogError> {
        let path = segment::path(&self.dir, base, LOG);
        let damaged = |position, error: BatchError| LogError::Damaged {
            file: path.clone(),
            position,
            reason: error.to_string(),
        };
        let mut scanner = Scanner::new(file, 0, bytes);
        while let Some(step) = scanner.step().context("read", &path)? {
            let (position, header) = step.map_err(|error| damaged(scanner.at(), error))?;
            if !header.has_producer_id() || header.last_offset() < from {
                continue;
            }
            let marker = if header.attributes.is_control() {
                let batch = scanner.batch(position, &header).context("read", &path)?;
                crate::append::marker_of(batch, &header).map_err(|e| damaged(position, e))?
            } else {
                None
            };
            self.replay(&header, marker)?;
        }
        Ok(())
    }

    fn replay(&mut self, header: &BatchHeader, marker: Option<Marker>) -> Result<(), LogError> {
        let mut updates = Updates::default();
        let base = header.base_offset();
        let origin = AppendOrigin::Replication;
        if let Err(error) = self.producers.prepare(&mut updates, header, marker, base, origin) {
            // Kafka's leaders refuse such batches; where one is there all the same, it is served.
            tracing::warn!(log = %self.dir.display(), %base, %error, "producer state is odd");
            return Ok(());
        }
        self.commit_producers(updates);
        self.write_aborted()
    }

    /// Lets producers remember more batches than the last one, from the log before `from`, where a
    /// snapshot was taken.
    fn recall_batches(&mut self, from: Offset) -> Result<(), LogError> {
        if self.producers.is_empty() {
            return Ok(());
        }
        let mut recent = Recent::default();
        for (at, start) in self.recall_from(from)? {
            let segment = &mut self.closed[at];
            let (base, bytes) = (segment.base, segment.bytes);
            let file = Arc::clone(segment.file(self.disk.as_ref(), &self.dir)?);
            self.find_batches(file.as_ref(), base, start..bytes, from, &mut recent)?;
        }
        if self.active.base < from {
            let (file, active) = (Arc::clone(&self.active.file), &self.active);
            self.find_batches(file.as_ref(), active.base, 0..active.bytes, from, &mut recent)?;
        }
        for ((producer, epoch), batches) in recent {
            self.producers.recall(producer, epoch, &batches);
        }
        Ok(())
    }

    /// The closed segments before `from` that are looked through, and where in each to begin.
    fn recall_from(&mut self, from: Offset) -> Result<Vec<(usize, u64)>, LogError> {
        let disk = Arc::clone(&self.disk);
        let mut left = RECALL_BYTES;
        let mut starts = Vec::new();
        for (at, segment) in self.closed.iter_mut().enumerate().rev() {
            if segment.base >= from {
                continue;
            }
            let reach = segment.bytes.saturating_sub(left);
            left -= segment.bytes - reach;
            let mut start = 0;
            if reach > 0 {
                // Without a sound index the whole segment is looked through.
                let path = segment::path(&self.dir, segment.base, OFFSET_INDEX);
                let content = read_file_if_exists(disk.as_ref(), &path).context("read", &path)?;
                let index =
                    content.and_then(|bytes| OffsetIndex::from_bytes(&bytes, segment.bytes));
                start = index.map_or(0, |index| index.border(reach));
            }
            starts.push((at, start));
            if left == 0 {
                break;
            }
        }
        starts.reverse();
        Ok(starts)
    }

    fn find_batches(
        &self,
        file: &dyn DiskFile,
        base: Offset,
        within: Range<u64>,
        from: Offset,
        recent: &mut Recent,
    ) -> Result<(), LogError> {
        let path = segment::path(&self.dir, base, LOG);
        let mut scanner = Scanner::new(file, within.start, within.end);
        // A batch that is broken ends the search; whoever reads it will say so.
        while let Some(Ok((_, header))) = scanner.step().context("read", &path)? {
            if header.base_offset() >= from {
                break;
            }
            if header.has_producer_id() && !header.attributes.is_control() {
                let producer = (header.producer_id, header.producer_epoch);
                recent.entry(producer).or_default().push(BatchMetadata::of(&header));
            }
        }
        Ok(())
    }
}
