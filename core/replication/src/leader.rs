//! The leader's view of one partition: its own durable end and the high watermark.

use types::{LeaderEpoch, Offset};

/// Replication state of a partition on its leader.
///
/// The high watermark is the smallest durable end among the in-sync replicas, and never moves back.
/// The leader is always in sync with itself, so with one replica it is the leader's durable end.
#[derive(Clone, Debug)]
pub struct Leader {
    epoch: LeaderEpoch,
    durable_end: Offset,
    high_watermark: Offset,
}

impl Leader {
    /// A leader that begins `epoch` with everything below `durable_end` already on its disk.
    pub fn new(epoch: LeaderEpoch, durable_end: Offset) -> Self {
        Self { epoch, durable_end, high_watermark: durable_end }
    }

    /// The epoch in which this node leads.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// This node goes on leading, in a later epoch.
    ///
    /// # Panics
    /// If the epoch moves back.
    pub fn set_epoch(&mut self, epoch: LeaderEpoch) {
        assert!(epoch >= self.epoch, "leader epoch {epoch} is below {}", self.epoch);
        self.epoch = epoch;
    }

    /// The end of what is committed: consumers read below it, `acks=all` waits for it.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Tells that the leader's own log is acknowledgeable up to `end`; whether the high watermark
    /// moved.
    ///
    /// What makes it acknowledgeable is the partition's durability: a sync, or the write alone.
    ///
    /// # Panics
    /// If `end` moves back: what was durable stays durable.
    pub fn advance(&mut self, end: Offset) -> bool {
        assert!(end >= self.durable_end, "durable end {end} is below {}", self.durable_end);
        self.durable_end = end;
        let moved = end > self.high_watermark;
        self.high_watermark = self.high_watermark.max(end);
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_replica_commits_what_it_made_durable() {
        let mut leader = Leader::new(LeaderEpoch(3), Offset::new(10));
        assert_eq!(leader.high_watermark(), Offset::new(10));
        assert!(leader.advance(Offset::new(12)));
        assert!(!leader.advance(Offset::new(12)));
        assert_eq!(leader.high_watermark(), Offset::new(12));
    }
}
