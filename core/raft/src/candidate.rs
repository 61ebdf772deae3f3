//! A voter that wants to lead a new epoch.

use types::{BrokerId, LeaderEpoch, Millis};

use crate::election::Election;
use crate::log_view::LogView;
use crate::message::{EpochAnswer, VoteAnswer};
use crate::quorum::Raft;
use crate::role::{Candidate, Role};
use crate::tally::Tally;

impl Raft {
    pub(crate) fn become_candidate(&mut self, now: Millis) {
        assert!(self.is_electable(), "only who may be elected stands for election");
        let Some(epoch) = self.next_epoch() else {
            return self.become_unattached(self.election.epoch, None, now);
        };
        self.persist(Election { epoch, leader: None, voted: Some(self.local) });
        let mut tally = Tally::default();
        tally.record(self.local.id, true);
        let deadline = self.election_deadline(now);
        self.enter(Role::Candidate(Candidate { tally, deadline, is_resting: false }));
    }

    pub(crate) fn poll_candidate(&mut self, log: &impl LogView, now: Millis) -> Millis {
        let Role::Candidate(state) = &self.role else { return now };
        let voters = self.voters.latest();
        if !self.is_electable() {
            self.become_unattached(self.election.epoch, None, now);
            return now;
        }
        if state.tally.is_won(voters) {
            self.become_leader(log, now);
            return now;
        }
        if state.deadline <= now {
            self.become_prospective(now);
            return now;
        }
        let (tally, deadline, is_resting) = (state.tally.clone(), state.deadline, state.is_resting);
        if tally.is_lost(voters) {
            return if is_resting { deadline } else { self.rest_before_next(deadline, now) };
        }
        self.ask_for_votes(&tally, false, log, now).min(deadline)
    }

    /// The epoch of the next election; `None` once all are used up.
    pub(crate) fn next_epoch(&self) -> Option<LeaderEpoch> {
        self.election.epoch.0.checked_add(1).map(LeaderEpoch)
    }

    /// Rivals rest for different times, so that one of them is first the next time.
    fn rest_before_next(&mut self, deadline: Millis, now: Millis) -> Millis {
        let rest = self.chance(self.config.election_backoff_max);
        let until = deadline.min(now + rest);
        if let Role::Candidate(state) = &mut self.role {
            (state.deadline, state.is_resting) = (until, true);
        }
        until
    }

    /// An answer to a vote or to the question whether there would be one.
    pub(crate) fn vote_answered(
        &mut self,
        from: Option<BrokerId>,
        answer: VoteAnswer,
        now: Millis,
    ) {
        let VoteAnswer { error, leader, epoch, is_granted } = answer;
        let asked = self.election.epoch;
        if !self.observe(&EpochAnswer { error, leader, epoch }, vec![], now) {
            return self.requests.rest(from, now + self.config.retry_backoff);
        }
        let Some(from) = from else { return };
        // A vote counts in the epoch in which it was asked for.
        let is_vote = error.is_none() && epoch == asked;
        match &mut self.role {
            Role::Candidate(state) if is_vote => state.tally.record(from, is_granted),
            Role::Prospective(state) if is_vote => state.tally.record(from, is_granted),
            Role::Candidate(_) | Role::Prospective(_) => {
                self.requests.rest(Some(from), now + self.config.retry_backoff);
            }
            Role::Unattached(_) | Role::Follower(_) | Role::Leader(_) | Role::Resigned(_) => {}
        }
    }
}
