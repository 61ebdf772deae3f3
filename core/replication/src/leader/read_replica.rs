//! Which replica a consumer had better read from (KIP-392).

use types::{BrokerId, Offset};

use super::Leader;

impl Leader {
    /// The replica in the consumer's rack that a fetch at `fetch_offset` should go to; `None` for
    /// the leader itself. `is_near` tells of a broker whether it is in that rack.
    ///
    /// Only replicas in sync are named: one that lags would hold the consumer back, and the leader
    /// would send it there again and again.
    pub fn preferred_read_replica(
        &self,
        fetch_offset: Offset,
        is_near: impl Fn(BrokerId) -> bool,
    ) -> Option<BrokerId> {
        if is_near(self.id) {
            return None;
        }
        let fit = self.followers.iter().filter(|follower| {
            follower.member.is_committed()
                && follower.end.is_some_and(|end| end >= fetch_offset)
                && follower.log_start.is_none_or(|start| start <= fetch_offset)
                && is_near(follower.id)
        });
        fit.max_by_key(|f| (f.end, f.last_caught_up)).map(|follower| follower.id)
    }
}
