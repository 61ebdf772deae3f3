//! Where the batches of a group of segments go.
//!
//! Nowhere, as long as they are as they were: a pass reads all of a log, since any old record may
//! be superseded, but it writes only what changes. With the first batch that does, a new segment
//! is begun, and what is before it in the group is copied.

use records::BatchHeader;
use std::ops::ControlFlow;
use types::Offset;

use super::writer::Writer;
use super::{Compaction, CompactionError, Pace, Rewritten, Source};
use crate::error::LogError;
use crate::txn_index::AbortedTxn;

/// The outcome of a group so far.
pub(super) struct Output<'a> {
    compaction: &'a Compaction,
    /// What is left of the group: from its front, segments go that stay as they are.
    group: &'a [Source],
    /// Aborted transactions whose markers were met before there was a writer.
    aborted: Vec<AbortedTxn>,
    /// Until there is one, the first segment of the group is the one being looked through.
    writer: Option<Writer<'a>>,
}

impl<'a> Output<'a> {
    pub fn new(compaction: &'a Compaction, group: &'a [Source]) -> Self {
        Self { compaction, group, aborted: Vec::new(), writer: None }
    }

    /// Takes a batch that stays as it is.
    pub fn keep(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        pace: Pace<'_>,
    ) -> Result<(), CompactionError> {
        match &mut self.writer {
            Some(writer) => writer.push(header, batch, pace),
            None => Ok(()),
        }
    }

    /// Takes what becomes of the batch that had the header `former`; `None` if it goes.
    pub fn change(
        &mut self,
        former: &BatchHeader,
        batch: Option<(BatchHeader, &[u8])>,
        pace: Pace<'_>,
    ) -> Result<(), CompactionError> {
        let writer = self.begin(former.base_offset(), pace)?;
        match batch {
            Some((header, batch)) => writer.push(&header, batch, pace),
            None => Ok(()),
        }
    }

    /// Takes an aborted transaction whose marker stays.
    pub fn push_aborted(&mut self, txn: AbortedTxn) {
        match &mut self.writer {
            Some(writer) => writer.push_aborted(txn),
            None => self.aborted.push(txn),
        }
    }

    /// A segment has ended. One that is as it was is left alone, unless it is small beside what
    /// follows in the group: whatever is written again becomes part of something twice as large,
    /// so that small segments grow together without much being copied often.
    pub fn end_segment(&mut self, pace: Pace<'_>) -> Result<(), CompactionError> {
        let (None, Some((first, rest))) = (&self.writer, self.group.split_first()) else {
            return Ok(());
        };
        let rest_bytes: u64 = rest.iter().map(|source| source.bytes).sum();
        if rest.is_empty() || (first.bytes > 0 && first.bytes >= rest_bytes) {
            self.group = rest;
            self.aborted.clear();
            return Ok(());
        }
        self.begin(first.end, pace).map(|_| ())
    }

    /// Ends the group; `None` if nothing was to be written.
    pub fn finish(self, pace: Pace<'_>) -> Result<Option<Rewritten>, CompactionError> {
        self.writer.map(|writer| writer.finish(pace)).transpose()
    }

    /// Removes what was written.
    pub fn discard(self) -> Result<(), LogError> {
        self.writer.map_or(Ok(()), Writer::discard)
    }

    /// The writer, with all that is in the group before `until`.
    fn begin(&mut self, until: Offset, pace: Pace<'_>) -> Result<&mut Writer<'a>, CompactionError> {
        if self.writer.is_none() {
            let writer = self.writer.insert(Writer::create(self.compaction, self.group)?);
            for txn in self.aborted.drain(..) {
                writer.push_aborted(txn);
            }
            if let Some(first) = self.group.first() {
                let copied = self.compaction.each_batch(first, pace, |header, batch, pace| {
                    if header.base_offset() >= until {
                        return Ok(ControlFlow::Break(()));
                    }
                    writer.push(header, batch, pace)?;
                    Ok(ControlFlow::Continue(()))
                });
                _ = copied?;
            }
        }
        Ok(self.writer.as_mut().expect("it was made above"))
    }
}
