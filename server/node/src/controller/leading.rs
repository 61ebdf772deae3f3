//! What the driver does while this node leads: it decides, begins an epoch, and keeps an idle log
//! moving. Not here: who leads (`core/raft`), what is decided (`core/metadata`).

use ::metadata::controller::{Context, bootstrap_records, corrected_levels, formatted_records};
use ::metadata::{Loader, MetadataRecord, batches};
use anyhow::Context as _;
use protocol::internal::metadata::{AbortTransactionRecord, NoOpRecord};
use raft::{LogView, Role};
use types::{LeaderEpoch, Millis, Offset};

use super::driver::{Desk, Driver};
use super::{Deciding, Task};
use crate::clock;

/// When a leader without news writes a record that says nothing.
pub struct Idle {
    /// After so long; 0 for never.
    pub after: Millis,
    /// Where the log ended when something was appended last.
    pub end: Offset,
    /// When it is due.
    pub until: Millis,
}

impl Driver {
    /// Decides, if this node leads; the answer waits until that is committed.
    pub(super) fn decide(&mut self, task: Task) -> anyhow::Result<()> {
        // Whose task is dropped hears that this node is no controller.
        let Some(epoch) = self.raft.leading() else { return Ok(()) };
        let facts = self.facts();
        let Desk { rng, fixed, node } = &mut self.desk;
        let context = Context { rng, fixed, node: *node };
        let image = self.images.deciding();
        let level = image.metadata_version();
        let (records, answer) = task(Deciding { image, facts: &facts, context });
        let batches = match batches(records, level) {
            Ok(batches) => batches,
            // Nothing is written yet, and whoever asked hears that nothing was decided.
            Err(fault) => {
                tracing::error!("a change to the cluster cannot be written down: {fault}");
                return Ok(());
            }
        };
        for batch in batches {
            self.append(&batch, level, epoch)?;
        }
        self.waiting.push_back((self.images.end(), answer));
        Ok(())
    }

    fn append(
        &mut self,
        records: &[MetadataRecord],
        level: i16,
        epoch: LeaderEpoch,
    ) -> anyhow::Result<()> {
        self.patience.with(|| self.log.append(records, level, epoch, clock::wall()))?;
        let appended = self.images.append(records, self.log.end().offset);
        appended.context("the controller decided what does not fit its state")
    }

    /// Writes a record that says nothing where none has come for a while, so that replicas which
    /// read show whether they keep up; says when the next one is due.
    pub(super) fn keep_moving(&mut self) -> anyhow::Result<Option<Millis>> {
        let Role::Leader(state) = self.raft.role() else { return Ok(None) };
        let voters = self.raft.voters().latest();
        let is_read = state.progress(voters, clock::monotonic()).next().is_some();
        let is_open = self.images.newest().in_transaction();
        if self.idle.after == Millis::ZERO || self.activated.is_none() || !is_read || is_open {
            return Ok(None);
        }
        let (now, end) = (clock::monotonic(), self.log.end().offset);
        if self.idle.end == end && self.idle.until <= now {
            let level = self.images.deciding().metadata_version();
            self.append(&[NoOpRecord::default().into()], level, self.raft.election().epoch)?;
        }
        let end = self.log.end().offset;
        if self.idle.end != end {
            (self.idle.end, self.idle.until) = (end, now + self.idle.after);
        }
        Ok(Some(self.idle.until))
    }

    /// Begins to decide in an epoch: what a former controller left half done goes, and a new
    /// cluster gets its first records.
    pub(super) fn activate(&mut self) -> anyhow::Result<bool> {
        let Some(epoch) = self.raft.leading().filter(|epoch| self.activated != Some(*epoch)) else {
            return Ok(false);
        };
        self.activated = Some(epoch);
        if self.images.newest().in_transaction() {
            let reason = Some("the controller has changed".to_owned());
            let record = AbortTransactionRecord { reason, ..Default::default() };
            let level = self.images.deciding().metadata_version();
            self.append(&[record.into()], level, epoch)?;
        }
        if self.images.deciding().metadata_version() == 0 {
            let Desk { rng, fixed, node } = &mut self.desk;
            let context = Context { rng, fixed, node: *node };
            let made = || bootstrap_records(&context);
            let records = self.formatted.clone().map_or_else(made, formatted_records);
            let mut loader = Loader::new(self.images.deciding().clone());
            for record in &records {
                loader.apply(record).context("the first records of the cluster do not fit")?;
            }
            self.append(&records, loader.image().metadata_version(), epoch)?;
        }
        let corrected = corrected_levels(self.images.deciding());
        if !corrected.is_empty() {
            let level = self.images.deciding().metadata_version();
            self.append(&corrected, level, epoch)?;
        }
        Ok(true)
    }
}
