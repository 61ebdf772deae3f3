//! What a fetch asks of a partition, and what that answers.

use std::sync::Arc;

use log::{AbortedLookup, AbortedTxn};
use net::InFlight;
use tokio::sync::Notify;
use tokio::time::Instant;
use types::{ErrorCode, LeaderEpoch, Offset};

use super::records::Records;
use crate::shard::PartitionId;

/// One partition to read.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Place within the request.
    pub at: usize,
    /// The partition.
    pub partition: PartitionId,
    /// First offset wanted, as sent.
    pub offset: i64,
    /// Most bytes of this partition.
    pub bytes_max: usize,
    /// The leader epoch that the reader knows, -1 for none.
    pub current_leader_epoch: i32,
    /// The epoch of the last record that the reader has, -1 for none.
    pub last_fetched_epoch: i32,
}

/// What holds for all partitions of a fetch.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Only committed transactions.
    pub read_committed: bool,
    /// Most bytes in all.
    pub bytes_max: usize,
    /// With fewer bytes than this the reader waits.
    pub bytes_min: usize,
    /// The wait for more; `None` if the reader will not wait.
    pub wait: Option<Wait>,
}

/// How a reader waits for more.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Whom to wake.
    pub notify: Arc<Notify>,
    /// When the reader takes what there is.
    pub until: Instant,
}

/// What one partition answers.
#[derive(Debug)]
pub struct Answer {
    /// Why there is nothing, if so.
    pub error: ErrorCode,
    /// `None` where the error leaves it unknown.
    pub high_watermark: Option<Offset>,
    /// End of what is in no open transaction.
    pub last_stable: Option<Offset>,
    /// First offset of the log.
    pub log_start: Option<Offset>,
    /// Whole batches.
    pub records: Records,
    /// Whether the log has more behind the records: a limit or the end of a segment cut them, and
    /// waiting would not make them longer.
    pub is_cut: bool,
    /// Epoch and end offset where the reader's log and this one part.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Aborted transactions within the records, for a reader of committed ones.
    pub aborted: Vec<AbortedTxn>,
    /// What tells them, and the offset behind the records that are there already.
    pub(super) unsettled: Option<(AbortedLookup, Offset)>,
    /// Counts the records until the connection has them; none without any in memory.
    pub held: Option<InFlight>,
}

impl Answer {
    /// Whether the reader must hear of it at once, however little it brings.
    pub fn is_urgent(&self) -> bool {
        !self.error.is_none() || self.diverging.is_some() || self.is_cut
    }

    /// Takes the records that the device gave, which were counted by their limit so far.
    pub(super) fn hold(&mut self, records: Records, next: Offset, bounds: &Bounds) {
        if let Some(held) = &mut self.held {
            held.set(records.len());
        }
        self.take(records, next, bounds);
    }

    /// Takes the records; `next` is the offset behind them.
    pub(super) fn take(&mut self, records: Records, next: Offset, bounds: &Bounds) {
        let until = if bounds.read_committed { self.last_stable } else { self.high_watermark };
        self.is_cut = !records.is_empty() && until.is_some_and(|until| next < until);
        self.records = records;
        if let Some((_, behind)) = &mut self.unsettled {
            *behind = next;
        }
    }

    /// An answer that is only an error.
    pub fn refused(error: ErrorCode) -> Self {
        Self {
            error,
            high_watermark: None,
            last_stable: None,
            log_start: None,
            records: Records::default(),
            is_cut: false,
            diverging: None,
            aborted: vec![],
            unsettled: None,
            held: None,
        }
    }
}
