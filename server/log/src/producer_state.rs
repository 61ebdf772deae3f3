//! What a partition remembers of its idempotent and transactional producers.
//!
//! For each producer: its epoch, its last five batches (to recognise what is sent twice) and the
//! start of its open transaction. Decides whether a batch may be appended and learns what was.
//! No IO: the snapshot's bytes are `producer_snapshot`'s, reading and writing them `snapshots`'.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;

use records::BatchHeader;
use rustc_hash::FxHashMap;
use types::{Millis, Offset, ProducerId};

use crate::error::ProducerError;

/// Batches remembered of each producer; clients have at most as many requests in flight.
const BATCHES_KEPT: usize = 5;
/// Epoch of a producer that has none.
const NONE: i16 = -1;
/// Sequence numbers count modulo this.
const SEQUENCES: i64 = 1 << 31;

/// Who asks for an append, which decides what is checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AppendOrigin {
    /// A producer: everything is checked.
    Client,
    /// A coordinator of this broker: epochs are checked, its records have no sequences.
    Coordinator,
    /// The metadata quorum.
    Metadata,
    /// The leader, which has checked: nothing is.
    Replication,
}

/// One remembered batch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BatchMetadata {
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Its offsets, less one.
    pub offset_delta: i32,
    /// Its greatest timestamp.
    pub timestamp: i64,
}

impl BatchMetadata {
    /// What is remembered of a batch that lies in a log.
    pub(crate) fn of(header: &BatchHeader) -> Self {
        Self {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset().get(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        }
    }

    /// Sequence of its first record.
    pub fn first_sequence(&self) -> i32 {
        let first = i64::from(self.last_sequence) - i64::from(self.offset_delta);
        i32::try_from(first.rem_euclid(SEQUENCES)).expect("the remainder is below 2^31")
    }

    /// Offset of its first record.
    pub fn base_offset(&self) -> Offset {
        Offset::new(self.last_offset - i64::from(self.offset_delta))
    }
}

/// What is known of one producer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProducerEntry {
    /// Epoch of its newest batch or marker, -1 for none.
    pub epoch: i16,
    /// Epoch of the transaction coordinator that wrote the last marker, -1 for none.
    pub coordinator_epoch: i32,
    /// Timestamp of its newest batch or marker.
    pub last_timestamp: i64,
    /// Where its open transaction begins.
    pub txn_first_offset: Option<Offset>,
    batches: [BatchMetadata; BATCHES_KEPT],
    batch_count: usize,
}

impl Default for ProducerEntry {
    fn default() -> Self {
        Self {
            epoch: NONE,
            coordinator_epoch: -1,
            last_timestamp: -1,
            txn_first_offset: None,
            batches: [BatchMetadata::default(); BATCHES_KEPT],
            batch_count: 0,
        }
    }
}

impl ProducerEntry {
    /// A producer of which no batch is remembered.
    pub(crate) fn new(epoch: i16, coordinator_epoch: i32, last_timestamp: i64) -> Self {
        Self { epoch, coordinator_epoch, last_timestamp, ..Self::default() }
    }

    /// The remembered batches, oldest first.
    pub fn batches(&self) -> &[BatchMetadata] {
        &self.batches[..self.batch_count]
    }

    /// Sequence of the last record, -1 where no batch is remembered.
    pub fn last_sequence(&self) -> i32 {
        self.batches().last().map_or(-1, |batch| batch.last_sequence)
    }

    pub(crate) fn remember(&mut self, batch: BatchMetadata) {
        if self.batch_count == BATCHES_KEPT {
            self.batches.rotate_left(1);
            self.batch_count -= 1;
        }
        self.batches[self.batch_count] = batch;
        self.batch_count += 1;
        self.last_timestamp = batch.timestamp;
    }

    /// Takes what a later entry of the same producer says, and keeps the batches before it.
    pub(crate) fn follow_with(&mut self, later: &Self) {
        self.enter_epoch(later.epoch);
        later.batches().iter().for_each(|batch| self.remember(*batch));
        self.coordinator_epoch = later.coordinator_epoch;
        self.last_timestamp = later.last_timestamp;
        self.txn_first_offset = later.txn_first_offset;
    }

    /// A new epoch begins its sequences anew.
    fn enter_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batch_count = 0;
        }
    }

    fn duplicate(&self, header: &BatchHeader) -> Option<BatchMetadata> {
        let same = |batch: &&BatchMetadata| {
            batch.last_sequence == header.last_sequence()
                && batch.first_sequence() == header.base_sequence
        };
        (self.epoch == header.producer_epoch).then(|| self.batches().iter().find(same))?.copied()
    }

    fn check_epoch(&self, header: &BatchHeader) -> Result<(), ProducerError> {
        if header.producer_epoch < self.epoch {
            return Err(ProducerError::InvalidEpoch {
                producer: ProducerId(header.producer_id),
                current: self.epoch,
                found: header.producer_epoch,
            });
        }
        Ok(())
    }

    /// A producer that nothing is known of may begin anywhere: what it wrote before may have been
    /// deleted by retention.
    fn check_sequence(&self, header: &BatchHeader) -> Result<(), ProducerError> {
        let first = header.base_sequence;
        let last = self.last_sequence();
        let in_order = if self.epoch == NONE {
            true
        } else if self.epoch != header.producer_epoch {
            first == 0
        } else {
            i64::from(first) == i64::from(last) + 1 || (first == 0 && last == i32::MAX)
        };
        if in_order {
            return Ok(());
        }
        let producer = ProducerId(header.producer_id);
        Err(ProducerError::OutOfOrderSequence { producer, last, found: first })
    }
}

/// The end of a transaction, as its marker says it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Marker {
    pub is_abort: bool,
    pub coordinator_epoch: i32,
    pub timestamp: i64,
}

/// A transaction that a marker ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct CompletedTxn {
    pub producer: ProducerId,
    pub first_offset: Offset,
    /// Offset of the marker.
    pub last_offset: Offset,
    pub is_aborted: bool,
}

/// What the batches of one append change; nothing takes effect before [`ProducerStates::commit`].
#[derive(Debug, Default)]
pub(crate) struct Updates {
    entries: Vec<(i64, ProducerEntry)>,
    started: Vec<(Offset, i64)>,
    completed: Vec<CompletedTxn>,
}

/// All producers of a partition.
#[derive(Clone, Debug, Default)]
pub struct ProducerStates {
    producers: FxHashMap<i64, Box<ProducerEntry>>,
    /// Open transactions by their first offset.
    ongoing: BTreeMap<Offset, i64>,
    /// Ended transactions whose marker is not yet below the high watermark: first to last offset.
    unreplicated: BTreeMap<Offset, Offset>,
}

impl ProducerStates {
    /// What is known of each producer.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.producers.iter().map(|(id, entry)| (ProducerId(*id), entry.as_ref()))
    }

    /// What is known of one producer.
    pub fn entry(&self, producer: ProducerId) -> Option<&ProducerEntry> {
        self.producers.get(&producer.0).map(Box::as_ref)
    }

    /// Number of producers.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether no producer is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// The first offset that transactions keep consumers of committed records from: open ones, and
    /// those ended at or above `high_watermark`.
    pub fn first_unstable_offset(&mut self, high_watermark: Offset) -> Option<Offset> {
        self.unreplicated.retain(|_, last| *last >= high_watermark);
        let undecided = self.ongoing.first_key_value().map(|(first, _)| *first);
        let unreplicated = self.unreplicated.first_key_value().map(|(first, _)| *first);
        undecided.into_iter().chain(unreplicated).min()
    }

    /// Checks a batch that is to be appended at `base_offset` and notes it in `updates`. Gives the
    /// remembered batch where a client sends one again.
    pub(crate) fn prepare(
        &self,
        updates: &mut Updates,
        header: &BatchHeader,
        marker: Option<Marker>,
        base_offset: Offset,
        origin: AppendOrigin,
    ) -> Result<Option<BatchMetadata>, ProducerError> {
        let at = updates.position_of(header.producer_id, || self.known(header.producer_id));
        let entry = &mut updates.entries[at].1;
        if origin == AppendOrigin::Client
            && let Some(batch) = entry.duplicate(header)
        {
            return Ok(Some(batch));
        }
        if origin != AppendOrigin::Replication {
            entry.check_epoch(header)?;
        }
        match marker {
            Some(marker) => {
                let ended = end_transaction(entry, header, marker, base_offset, origin)?;
                updates.completed.extend(ended);
            }
            // A control batch that compaction emptied says nothing any more.
            None if header.attributes.is_control() => {}
            None => {
                let started = add_batch(entry, header, base_offset, origin)?;
                updates.started.extend(started.map(|first| (first, header.producer_id)));
            }
        }
        Ok(None)
    }

    fn known(&self, producer: i64) -> ProducerEntry {
        self.producers.get(&producer).map_or_else(ProducerEntry::default, |e| e.as_ref().clone())
    }

    /// Lets prepared updates take effect and gives the transactions that they end, which the
    /// caller completes one after the other.
    #[must_use]
    pub(crate) fn commit(&mut self, updates: Updates) -> Vec<CompletedTxn> {
        for (producer, entry) in updates.entries {
            // Boxed entries stay where they are, so an update is one copy.
            match self.producers.entry(producer) {
                Entry::Occupied(mut known) => **known.get_mut() = entry,
                Entry::Vacant(free) => _ = free.insert(Box::new(entry)),
            }
        }
        self.ongoing.extend(updates.started);
        updates.completed
    }

    /// Lets a transaction end; it stays unstable until its marker is below the high watermark.
    pub(crate) fn complete(&mut self, txn: &CompletedTxn) {
        self.ongoing.remove(&txn.first_offset);
        self.unreplicated.insert(txn.first_offset, txn.last_offset);
    }

    /// The last stable offset once `txn` has ended, as the transaction index keeps it.
    pub(crate) fn last_stable_offset(&self, txn: &CompletedTxn) -> Offset {
        let other = self.ongoing.iter().find(|(_, producer)| **producer != txn.producer.0);
        other.map_or(txn.last_offset.next(), |(first, _)| *first)
    }

    /// Puts an entry of a snapshot in.
    pub(crate) fn restore(&mut self, producer: i64, entry: ProducerEntry) {
        if let Some(first) = entry.txn_first_offset {
            self.ongoing.insert(first, producer);
        }
        self.producers.insert(producer, Box::new(entry));
    }

    /// Adds to the one batch that a snapshot holds of a producer those before it; `batches` are in
    /// the order of the log, and of no use where that one is not the last of them.
    pub(crate) fn recall(&mut self, producer: i64, epoch: i16, batches: &[BatchMetadata]) {
        let Some(entry) = self.producers.get_mut(&producer) else { return };
        let offset = |batch: Option<&BatchMetadata>| batch.map(|batch| batch.last_offset);
        if entry.epoch != epoch || offset(entry.batches().last()) != offset(batches.last()) {
            return;
        }
        let last_timestamp = entry.last_timestamp;
        entry.batch_count = 0;
        batches.iter().for_each(|batch| entry.remember(*batch));
        // A marker may be newer than the last batch.
        entry.last_timestamp = last_timestamp;
    }

    /// Forgets producers that were silent since `expiration` before `now`. One with an open
    /// transaction stays: its marker is still to come.
    pub fn remove_expired(&mut self, now: Millis, expiration: Millis) {
        self.producers.retain(|_, entry| !is_expired(entry, now, expiration));
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

pub(crate) fn is_expired(entry: &ProducerEntry, now: Millis, expiration: Millis) -> bool {
    entry.txn_first_offset.is_none() && now - Millis(entry.last_timestamp) >= expiration
}

impl Updates {
    fn position_of(&mut self, producer: i64, known: impl FnOnce() -> ProducerEntry) -> usize {
        match self.entries.iter().position(|(id, _)| *id == producer) {
            Some(at) => at,
            None => {
                self.entries.push((producer, known()));
                self.entries.len() - 1
            }
        }
    }
}

/// Takes a data batch into the entry; gives the first offset of a transaction that it begins.
fn add_batch(
    entry: &mut ProducerEntry,
    header: &BatchHeader,
    base_offset: Offset,
    origin: AppendOrigin,
) -> Result<Option<Offset>, ProducerError> {
    if origin == AppendOrigin::Client {
        entry.check_sequence(header)?;
    }
    entry.enter_epoch(header.producer_epoch);
    let last_offset = base_offset.get() + i64::from(header.last_offset_delta);
    entry.remember(BatchMetadata { last_offset, ..BatchMetadata::of(header) });
    match (entry.txn_first_offset, header.attributes.is_transactional()) {
        (Some(_), false) => {
            Err(ProducerError::InvalidTxnState { producer: ProducerId(header.producer_id) })
        }
        (None, true) => {
            entry.txn_first_offset = Some(base_offset);
            Ok(Some(base_offset))
        }
        (Some(_), true) | (None, false) => Ok(None),
    }
}

/// Takes a marker into the entry; gives the transaction it ends, if one was open.
fn end_transaction(
    entry: &mut ProducerEntry,
    header: &BatchHeader,
    marker: Marker,
    offset: Offset,
    origin: AppendOrigin,
) -> Result<Option<CompletedTxn>, ProducerError> {
    let producer = ProducerId(header.producer_id);
    if origin != AppendOrigin::Replication && marker.coordinator_epoch < entry.coordinator_epoch {
        return Err(ProducerError::CoordinatorFenced {
            producer,
            current: entry.coordinator_epoch,
            found: marker.coordinator_epoch,
        });
    }
    entry.enter_epoch(header.producer_epoch);
    entry.coordinator_epoch = marker.coordinator_epoch;
    entry.last_timestamp = marker.timestamp;
    Ok(entry.txn_first_offset.take().map(|first_offset| CompletedTxn {
        producer,
        first_offset,
        last_offset: offset,
        is_aborted: marker.is_abort,
    }))
}

#[cfg(test)]
mod tests;
