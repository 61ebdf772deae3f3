//! A leader that is read from: every fetch also says what the reader has on its disk.

use types::{ErrorCode, LeaderEpoch, Millis};

use crate::log_view::LogView;
use crate::message::{EpochAnswer, Fetch, FetchAnswer};
use crate::quorum::Raft;
use crate::role::Role;
use crate::voters::ReplicaKey;

impl Raft {
    /// Decides a Fetch of the metadata log.
    ///
    /// With [`FetchAnswer::Records`] the driver sends what there is from the fetch's offset, with
    /// [`Raft::high_watermark`]; where there is nothing it may wait, and asks again when it wakes.
    pub fn fetched(&mut self, request: &Fetch, log: &impl LogView, now: Millis) -> FetchAnswer {
        if let Err(refused) = self.check_leading(request.epoch) {
            return FetchAnswer::Refused(refused);
        }
        self.check_quorum_alive(request.replica, now);
        let (start, end) = (log.start(), request.end);
        let is_voter = self.voters.latest().contains(request.replica);
        let parts = Self::diverging(end, log);
        // Where they part may be a place that only the snapshot knows.
        let is_gone = parts.is_some_and(|at| at.epoch > end.epoch || at.offset < start);
        if let Some(snapshot) = log.latest_snapshot()
            && (end.offset < start || is_gone)
        {
            if let Role::Leader(state) = &mut self.role {
                state.heard_of(request.replica, is_voter, now);
            }
            return FetchAnswer::Snapshot(snapshot);
        }
        if let Some(at) = parts {
            return FetchAnswer::Diverging(at);
        }
        if end.offset > log.end().offset {
            // An epoch that agrees cannot be longer elsewhere than with its leader.
            return FetchAnswer::Diverging(log.end());
        }
        if let Role::Leader(state) = &mut self.role {
            let replica = (request.replica, self.voters.latest());
            state.fetched(replica, end.offset, log.end().offset, now);
        }
        self.advance_leader(log, now);
        FetchAnswer::Records
    }

    /// That this replica leads the epoch which the other one believes in.
    pub(crate) fn check_leading(&self, epoch: LeaderEpoch) -> Result<(), EpochAnswer> {
        if epoch < self.election.epoch {
            return Err(self.answer(ErrorCode::FencedLeaderEpoch));
        }
        if epoch > self.election.epoch {
            return Err(self.answer(ErrorCode::UnknownLeaderEpoch));
        }
        match self.role {
            Role::Leader(_) => Ok(()),
            _ => Err(self.answer(ErrorCode::NotLeaderOrFollower)),
        }
    }

    /// A voter was heard of: with a majority of them the leader may go on.
    pub(crate) fn check_quorum_alive(&mut self, replica: ReplicaKey, now: Millis) {
        let voters = self.voters.latest();
        if !voters.contains(replica) {
            return;
        }
        let needed = voters.majority() - usize::from(self.is_voter());
        let deadline =
            now + self.config.fetch_timeout + Millis(self.config.fetch_timeout.get() / 2);
        if let Role::Leader(state) = &mut self.role {
            state.heard_from_voter(replica.id, needed, deadline);
        }
    }
}
