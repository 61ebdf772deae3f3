//! Giving votes, and hearing of leaders that begin and end.

use types::{BrokerId, ErrorCode, LeaderEpoch, Millis};

use crate::election::Election;
use crate::log_view::LogView;
use crate::message::{BeginQuorumEpoch, EndQuorumEpoch, EpochAnswer, Output, Vote, VoteAnswer};
use crate::quorum::Raft;
use crate::role::Role;
use crate::voters::{Endpoint, ReplicaKey};

impl Raft {
    /// Decides a Vote request. What is promised has to be on disk before the answer leaves.
    pub fn vote(&mut self, request: &Vote, log: &impl LogView, now: Millis) -> VoteAnswer {
        if request.epoch < self.election.epoch {
            return self.vote_answer(ErrorCode::FencedLeaderEpoch, false);
        }
        let is_impossible = request.end.epoch > request.epoch
            || (!request.is_pre_vote && request.end.epoch == request.epoch)
            || request.candidate.id.0 < 0;
        if is_impossible || self.is_too_far_ahead(request.epoch, now) {
            return self.vote_answer(ErrorCode::InvalidRequest, false);
        }
        if request.epoch > self.election.epoch {
            self.become_unattached(request.epoch, None, now);
        }
        if request.voter.is_some_and(|voter| !self.is_meant(voter)) {
            return self.vote_answer(ErrorCode::InvalidVoterKey, false);
        }
        let is_granted = self.would_grant(request, request.end.is_up_to_date(log.end()));
        if is_granted && request.is_pre_vote {
            self.yield_to(request.candidate.id, now);
        } else if is_granted {
            self.give_vote(request.candidate, now);
        }
        self.vote_answer(ErrorCode::None, is_granted)
    }

    fn is_too_far_ahead(&mut self, epoch: LeaderEpoch, now: Millis) -> bool {
        let own = self.election.epoch;
        let is_too_far = !self.headroom.take(own, epoch, now);
        if is_too_far {
            self.outputs.push(Output::EpochRefused { epoch, own });
        }
        is_too_far
    }

    fn vote_answer(&self, error: ErrorCode, is_granted: bool) -> VoteAnswer {
        let EpochAnswer { error, leader, epoch } = self.answer(error);
        VoteAnswer { error, leader, epoch, is_granted }
    }

    /// Whether a request names this replica: one with another directory is another one.
    fn is_meant(&self, voter: ReplicaKey) -> bool {
        voter.id == self.local.id
            && (voter.directory.is_none() || voter.directory == self.local.directory)
    }

    fn would_grant(&self, request: &Vote, is_up_to_date: bool) -> bool {
        if !self.config.is_controller {
            return false;
        }
        if request.is_pre_vote {
            return is_up_to_date
                && match &self.role {
                    // Whoever hears from its leader has no need of another one.
                    Role::Follower(state) => !state.has_fetched(),
                    Role::Leader(_) => false,
                    Role::Unattached(_) | Role::Prospective(_) => true,
                    Role::Candidate(_) | Role::Resigned(_) => true,
                };
        }
        match &self.role {
            Role::Unattached(_) | Role::Prospective(_) => match self.election.voted {
                Some(voted) => voted == request.candidate,
                None => self.election.leader.is_none() && is_up_to_date,
            },
            // They have voted for themselves, or know who was elected.
            Role::Candidate(_) | Role::Leader(_) | Role::Resigned(_) | Role::Follower(_) => false,
        }
    }

    fn give_vote(&mut self, candidate: ReplicaKey, now: Millis) {
        self.persist(Election { voted: Some(candidate), ..self.election });
        let deadline = self.election_deadline(now);
        match &mut self.role {
            Role::Unattached(state) => state.deadline = deadline,
            Role::Prospective(state) => state.deadline = deadline,
            Role::Candidate(_) | Role::Leader(_) | Role::Follower(_) | Role::Resigned(_) => {}
        }
    }

    /// Hears of a new leader.
    pub fn begin_quorum_epoch(&mut self, request: &BeginQuorumEpoch, now: Millis) -> EpochAnswer {
        if let Err(refused) = self.hear_of(request.leader, request.epoch, &request.endpoints, now) {
            return refused;
        }
        if request.voter.is_some_and(|voter| !self.is_meant(voter)) {
            return self.answer(ErrorCode::InvalidVoterKey);
        }
        self.answer(ErrorCode::None)
    }

    /// Hears that a leader resigns: the voter that it prefers tries at once, the next ones later.
    pub fn end_quorum_epoch(&mut self, request: &EndQuorumEpoch, now: Millis) -> EpochAnswer {
        if let Err(refused) = self.hear_of(request.leader, request.epoch, &request.endpoints, now) {
            return refused;
        }
        let place = request.preferred.iter().position(|key| self.is_meant(*key));
        let rest = match place {
            Some(0) => Millis::ZERO,
            Some(place) => {
                let doubled = 1_i64 << place.min(16);
                let rest = Millis(self.config.retry_backoff.get().saturating_mul(doubled));
                rest.min(self.config.election_backoff_max) + self.chance(self.config.retry_backoff)
            }
            None => self.config.election_backoff_max,
        };
        if self.is_electable() {
            self.hurry(request.leader, now + rest);
        }
        self.answer(ErrorCode::None)
    }

    /// Takes note of who leads, or led, an epoch.
    ///
    /// # Errors
    /// The answer to one that cannot be right.
    fn hear_of(
        &mut self,
        leader: BrokerId,
        epoch: LeaderEpoch,
        endpoints: &[Endpoint],
        now: Millis,
    ) -> Result<(), EpochAnswer> {
        if epoch < self.election.epoch {
            return Err(self.answer(ErrorCode::FencedLeaderEpoch));
        }
        let contradicts = epoch == self.election.epoch
            && self.election.leader.is_some_and(|known| known != leader);
        let is_impossible = leader.0 < 0 || leader == self.local.id || contradicts;
        if is_impossible || self.is_too_far_ahead(epoch, now) {
            return Err(self.answer(ErrorCode::InvalidRequest));
        }
        let known = EpochAnswer { error: ErrorCode::None, leader: Some(leader), epoch };
        self.observe(&known, endpoints.to_vec(), now);
        Ok(())
    }
}
