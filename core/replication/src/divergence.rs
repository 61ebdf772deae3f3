//! Where two logs part, by the epochs of their leaders (KIP-101, KIP-279, KIP-320).
//!
//! Two logs that hold a record of the same epoch at the same offset are the same up to there, since
//! an epoch has one leader, and a leader writes an offset once.

use types::{LeaderEpoch, Offset};

/// The largest epoch of a log that is not above one that was asked for, and where it ends there.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The offset behind its last record.
    pub end: Offset,
}

/// Where a log that ends at `from`, with a last record of `last_epoch`, parts from one that gives
/// `end` for that epoch; `None` where they agree up to `from`.
pub fn divergence(last_epoch: LeaderEpoch, from: Offset, end: EpochEnd) -> Option<EpochEnd> {
    (end.epoch < last_epoch || end.end < from).then_some(end)
}

/// Where to cut a log that ends at `log_end` when its leader says that they part at `leaders`;
/// `own` is what this log gives for the leader's epoch.
///
/// Where this log does not know that epoch it is cut to the end of the one below, and the next
/// fetch asks anew.
pub(crate) fn truncation(leaders: EpochEnd, own: Option<EpochEnd>, log_end: Offset) -> Offset {
    match own {
        Some(own) if own.epoch == leaders.epoch => own.end.min(leaders.end).min(log_end),
        Some(own) => own.end.min(log_end),
        None => leaders.end.min(log_end),
    }
}
