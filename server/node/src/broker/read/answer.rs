//! What a fetch asks of a partition, and what that answers.

use std::sync::Arc;
use std::time::Duration;

use log::{AbortedLookup, AbortedTxn};
use net::{InFlight, Place};
use replication::Readable;
use tokio::sync::Notify;
use tokio::time::Instant;
use types::{BrokerId, ErrorCode, LeaderEpoch, Offset};

use super::records::Records;
use crate::shard::PartitionId;
use crate::throttles::Copied;

/// How long a high watermark that a follower does not know yet waits for records to go with it.
/// While records keep coming a follower thus hears of it without a fetch of its own.
const HIGH_WATERMARK_DELAY_MAX: Duration = Duration::from_millis(5);

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
    /// What a follower knows of the partition.
    pub known: Readable,
    /// Whether the follower's progress was taken note of.
    pub is_noted: bool,
}

/// A broker that copies a partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Replica {
    /// Which one.
    pub id: BrokerId,
    /// Its incarnation, where it says.
    pub epoch: Option<i64>,
}

/// Whether a follower serves a reader, up to what it knows to be committed (KIP-392).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Followers {
    /// No: it is a broker, or a consumer that does not know of such.
    Never,
    /// If it names the leader's epoch: else it could not tell that this node led and follows now.
    ByEpoch,
    /// Yes: it has a rack, and is sent to followers.
    Always,
}

impl Followers {
    /// Whether they serve a reader that knows this leader epoch, -1 for none.
    pub fn serve(self, leader_epoch: i32) -> bool {
        match self {
            Self::Never => false,
            Self::ByEpoch => leader_epoch >= 0,
            Self::Always => true,
        }
    }
}

/// What holds for all partitions of a fetch.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Only committed transactions.
    pub read_committed: bool,
    /// The follower that asks; `None` for consumers.
    pub replica: Option<Replica>,
    /// Whether followers serve the reader, too.
    pub followers: Followers,
    /// The brokers in a consumer's rack, where its leaders are to send it there.
    pub near: Arc<[BrokerId]>,
    /// Most bytes in all.
    pub bytes_max: usize,
    /// Whether the client is known to take what it asks for.
    pub client_reads: bool,
    /// Its place among those who wait for room, if it has one.
    pub place: Option<Place>,
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

impl Wait {
    /// There is news for a follower: it goes soon, whether records come or not.
    pub fn hasten(&mut self) {
        self.until = self.until.min(Instant::now() + HIGH_WATERMARK_DELAY_MAX);
    }
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
    /// The end of what the reader may have.
    pub(super) until: Option<Offset>,
    /// Whether a follower learns from it that the high watermark has moved.
    pub tells_more: bool,
    /// Whether that has waited for records long enough.
    pub(super) is_due: bool,
    /// Whole batches.
    pub records: Records,
    /// Whether the log has more behind the records: a limit or the end of a segment cut them, and
    /// waiting would not make them longer.
    pub is_cut: bool,
    /// Whether there is something for the reader that waits for room in memory.
    pub is_starved: bool,
    /// Epoch and end offset where the reader's log and this one part.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// The replica that a consumer is to read from instead.
    pub preferred: Option<BrokerId>,
    /// Aborted transactions within the records, for a reader of committed ones.
    pub aborted: Vec<AbortedTxn>,
    /// What tells them, and the offset behind the records that are there already.
    pub(super) unsettled: Option<(AbortedLookup, Offset)>,
    /// Counts the records until the connection has them; none without any in memory.
    pub held: Option<InFlight>,
    /// What rates have to know of a follower's copy; `None` for consumers.
    pub copied: Option<Copied>,
}

impl Answer {
    /// Whether the reader must hear of it at once, however little it brings.
    pub fn is_urgent(&self) -> bool {
        !self.error.is_none() || self.leads_elsewhere() || self.is_cut || self.is_due
    }

    /// Whether it brings records, or word of where to look for them.
    pub fn has_data(&self) -> bool {
        !self.records.is_empty() || self.leads_elsewhere()
    }

    fn leads_elsewhere(&self) -> bool {
        self.diverging.is_some() || self.preferred.is_some()
    }

    /// Gives up the records, which are too few yet, so that others have the room; whether there
    /// were any.
    pub fn put_back(&mut self) -> bool {
        self.held = None;
        !std::mem::take(&mut self.records).is_empty()
    }

    /// Takes the records that the device gave, which were counted by their limit so far.
    pub(super) fn hold(&mut self, records: Records, next: Offset) {
        if let Some(held) = &mut self.held {
            held.set(records.len());
        }
        self.take(records, next);
    }

    /// Takes the records; `next` is the offset behind them.
    pub(super) fn take(&mut self, records: Records, next: Offset) {
        self.is_cut = !records.is_empty() && self.until.is_some_and(|until| next < until);
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
            until: None,
            tells_more: false,
            is_due: false,
            records: Records::default(),
            is_cut: false,
            is_starved: false,
            diverging: None,
            preferred: None,
            aborted: vec![],
            unsettled: None,
            held: None,
            copied: None,
        }
    }
}
