//! What a voter must not forget: the file `quorum-state`.

use types::{BrokerId, LeaderEpoch};

use crate::voters::ReplicaKey;

/// The newest epoch this replica has seen, who leads it, and whom the replica gave its vote.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Election {
    /// The epoch; it only grows.
    pub epoch: LeaderEpoch,
    /// Its leader, once known; never another one in the same epoch.
    pub leader: Option<BrokerId>,
    /// Who got the vote in this epoch; never another one in the same epoch.
    pub voted: Option<ReplicaKey>,
}

impl Election {
    /// Whether the replica may follow with `next`: epochs only grow, and within one neither the
    /// leader nor the vote changes.
    pub fn allows(&self, next: &Self) -> bool {
        let keeps_leader = self.leader.is_none() || self.leader == next.leader;
        let keeps_vote = self.voted.is_none() || next.voted.is_none() || self.voted == next.voted;
        next.epoch > self.epoch || (next.epoch == self.epoch && keeps_leader && keeps_vote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_an_epoch_neither_leader_nor_vote_changes() {
        let key = |id| Some(ReplicaKey { id: BrokerId(id), directory: None });
        let state = |epoch, leader: Option<i32>, voted| Election {
            epoch: LeaderEpoch(epoch),
            leader: leader.map(BrokerId),
            voted,
        };
        let now = state(4, Some(1), key(1));
        assert!(now.allows(&state(4, Some(1), key(1))));
        assert!(now.allows(&state(5, None, None)));
        for wrong in [state(3, None, None), state(4, Some(2), key(1)), state(4, None, None)] {
            assert!(!now.allows(&wrong), "{wrong:?}");
        }
        assert!(!state(4, None, key(1)).allows(&state(4, None, key(2))));
    }
}
