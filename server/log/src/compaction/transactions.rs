//! What compaction must know of transactions: which data was aborted, and which markers are spent.
//!
//! Aborted data goes at once. A marker goes only in a later pass, when none of its transaction's
//! batches was met any more: until then, a reader needs it to tell the data's fate, and a restart
//! to close the transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use records::BatchHeader;
use types::Offset;

use crate::disk::Disk;
use crate::error::LogError;
use crate::producer_state::Marker;
use crate::txn_index::{AbortedTxn, read_entries};

#[derive(Debug)]
struct Aborted {
    txn: AbortedTxn,
    /// Whether this pass has met a batch of it.
    was_met: bool,
}

/// What a marker means for the segment that is being written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum MarkerFate {
    /// It speaks of batches that are there; an aborted transaction belongs into the index.
    Needed(Option<AbortedTxn>),
    /// No batch of its transaction is left.
    Spent,
}

/// The transactions of one pass over a log.
#[derive(Debug)]
pub(super) struct Transactions {
    /// By producer and offset of the marker.
    aborted: BTreeMap<(i64, Offset), Aborted>,
    /// Producers with committed batches since their last marker.
    committed: BTreeSet<i64>,
}

impl Transactions {
    /// Reads the aborted transactions of the segments at `bases`.
    pub fn read(disk: &dyn Disk, dir: &Path, bases: &[Offset]) -> Result<Self, LogError> {
        let mut aborted = BTreeMap::new();
        for &base in bases {
            for txn in read_entries(disk, dir, base)? {
                let key = (txn.producer.0, txn.last_offset);
                aborted.insert(key, Aborted { txn, was_met: false });
            }
        }
        Ok(Self { aborted, committed: BTreeSet::new() })
    }

    /// Whether a data batch belongs to an aborted transaction.
    pub fn is_aborted(&self, header: &BatchHeader) -> bool {
        self.key_of(header).is_some()
    }

    /// Takes note of a data batch and says whether it was aborted.
    pub fn meet_batch(&mut self, header: &BatchHeader) -> bool {
        if !header.attributes.is_transactional() {
            return false;
        }
        match self.key_of(header) {
            Some(key) => {
                if let Some(aborted) = self.aborted.get_mut(&key) {
                    aborted.was_met = true;
                }
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// What becomes of a marker.
    pub fn meet_marker(&mut self, header: &BatchHeader, marker: Marker) -> MarkerFate {
        let has_data = self.committed.remove(&header.producer_id);
        let key = (header.producer_id, header.base_offset());
        let aborted = self.aborted.get(&key).filter(|aborted| aborted.was_met);
        match aborted {
            Some(aborted) if marker.is_abort => MarkerFate::Needed(Some(aborted.txn)),
            // Data of a transaction that the index does not know counts as committed.
            _ if has_data => MarkerFate::Needed(None),
            _ => MarkerFate::Spent,
        }
    }

    fn key_of(&self, header: &BatchHeader) -> Option<(i64, Offset)> {
        if !header.attributes.is_transactional() {
            return None;
        }
        let (producer, offset) = (header.producer_id, header.base_offset());
        let mut later = self.aborted.range((producer, offset)..);
        let (key, aborted) = later.next().filter(|(key, _)| key.0 == producer)?;
        (aborted.txn.first_offset <= offset).then_some(*key)
    }
}
