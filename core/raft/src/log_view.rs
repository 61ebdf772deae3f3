//! What the state machine asks of the log.

use types::{LeaderEpoch, Offset};

/// An end of the log, or of one epoch in it: the offset behind its last record, and the epoch of
/// that record. Snapshots are named so, too.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LogPosition {
    /// One behind the last record.
    pub offset: Offset,
    /// The epoch of the last record.
    pub epoch: LeaderEpoch,
}

impl LogPosition {
    /// Whether a log that ends here has everything that one which ends at `other` can have
    /// committed: later epochs win, then longer logs.
    pub fn is_up_to_date(self, other: Self) -> bool {
        (self.epoch, self.offset) >= (other.epoch, other.offset)
    }
}

/// The metadata log as its owner has it now.
pub trait LogView {
    /// The first offset that is still there.
    fn start(&self) -> Offset;

    /// The end, with what is not on disk yet.
    fn end(&self) -> LogPosition;

    /// The end of what is on disk, which alone counts for a majority.
    fn durable_end(&self) -> Offset;

    /// The last epoch up to `epoch` that has records, and its end. Where the log begins with a
    /// snapshot, that one's epoch counts as its first.
    fn end_of_epoch(&self, epoch: LeaderEpoch) -> LogPosition;

    /// The newest snapshot.
    fn latest_snapshot(&self) -> Option<LogPosition>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_epoch_beats_a_longer_log() {
        let at =
            |epoch, offset| LogPosition { offset: Offset::new(offset), epoch: LeaderEpoch(epoch) };
        assert!(at(2, 5).is_up_to_date(at(1, 9)));
        assert!(!at(1, 9).is_up_to_date(at(2, 5)));
        assert!(at(2, 5).is_up_to_date(at(2, 5)));
        assert!(!at(2, 4).is_up_to_date(at(2, 5)));
    }
}
