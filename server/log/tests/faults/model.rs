//! What a log holds, as a list of batches, and what follows from that, found the naive way.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

/// What a batch is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Plain,
    Sequenced { producer: i64, first: i32, is_transactional: bool },
    Marker { producer: i64, is_abort: bool },
}

/// A batch as the log has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Batch {
    pub base: i64,
    pub next: i64,
    pub epoch: i32,
    pub bytes: Bytes,
    pub kind: Kind,
    /// Of each record.
    pub timestamps: Vec<i64>,
}

/// What is known of a producer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Producer {
    pub last_sequence: i32,
    pub txn_first: Option<i64>,
    /// Base of its first batch since which the state is what it is.
    pub since: i64,
}

/// An aborted transaction.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Aborted {
    pub marker: i64,
    pub first: i64,
    pub producer: i64,
}

/// The content of a log at some time: all batches since it began, those that were deleted at its
/// front included.
#[derive(Clone, Debug, Default)]
pub struct Version {
    pub begin: i64,
    pub batches: Vec<Batch>,
    /// A log that comes back as this one has all of it before this offset.
    pub must: i64,
}

impl Version {
    pub fn end(&self) -> i64 {
        self.batches.last().map_or(self.begin, |last| last.next)
    }

    /// Everything before `end`.
    pub fn until(&self, end: i64) -> Self {
        let kept = self.batches.iter().filter(|batch| batch.next <= end).cloned().collect();
        Self { begin: self.begin.min(end), batches: kept, must: self.must.min(end) }
    }

    pub fn bytes_from(&self, start: i64) -> Vec<u8> {
        let readable = self.batches.iter().filter(|batch| batch.next > start);
        readable.flat_map(|batch| batch.bytes.to_vec()).collect()
    }

    pub fn epochs(&self) -> Vec<(i32, i64)> {
        let mut epochs: Vec<(i32, i64)> = Vec::new();
        for batch in &self.batches {
            if epochs.last().is_none_or(|last| last.0 != batch.epoch) {
                epochs.push((batch.epoch, batch.base));
            }
        }
        epochs
    }

    pub fn producers(&self) -> BTreeMap<i64, Producer> {
        let mut producers: BTreeMap<i64, Producer> = BTreeMap::new();
        for batch in &self.batches {
            match batch.kind {
                Kind::Plain => {}
                Kind::Sequenced { producer, first, is_transactional } => {
                    let count = i32::try_from(batch.next - batch.base).unwrap();
                    let known = producers.get(&producer);
                    let open = known.and_then(|known| known.txn_first);
                    let txn_first = open.or(is_transactional.then_some(batch.base));
                    let (last_sequence, since) = (first + count - 1, batch.base);
                    producers.insert(producer, Producer { last_sequence, txn_first, since });
                }
                Kind::Marker { producer, .. } => {
                    let none = Producer { last_sequence: -1, txn_first: None, since: batch.base };
                    producers.entry(producer).or_insert(none).txn_first = None;
                }
            }
        }
        producers
    }

    pub fn aborted(&self) -> Vec<Aborted> {
        let mut open: BTreeMap<i64, i64> = BTreeMap::new();
        let mut aborted = Vec::new();
        for batch in &self.batches {
            match batch.kind {
                Kind::Sequenced { producer, is_transactional: true, .. } => {
                    open.entry(producer).or_insert(batch.base);
                }
                Kind::Marker { producer, is_abort } => {
                    let first = open.remove(&producer).filter(|_| is_abort);
                    let marker = batch.base;
                    aborted.extend(first.map(|first| Aborted { marker, first, producer }));
                }
                _ => {}
            }
        }
        aborted
    }

    pub fn last_stable(&self) -> i64 {
        let producers = self.producers();
        let open = producers.values().filter_map(|producer| producer.txn_first).min();
        open.unwrap_or(self.end())
    }

    /// Producers with a transaction that is open.
    pub fn open_transactions(&self) -> BTreeSet<i64> {
        let all = self.producers().into_iter();
        all.filter(|(_, state)| state.txn_first.is_some()).map(|(producer, _)| producer).collect()
    }

    /// The first record from `start` on with a timestamp of `at` or later.
    pub fn first_at(&self, start: i64, at: i64) -> Option<(i64, i64)> {
        let records = self.batches.iter().flat_map(|batch| {
            let offsets = batch.base..batch.next;
            offsets.zip(batch.timestamps.iter().copied())
        });
        let mut records = records.filter(|(offset, _)| *offset >= start);
        records.find(|(_, timestamp)| *timestamp >= at)
    }
}
