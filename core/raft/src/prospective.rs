//! A voter that asks whether it would be elected, so that one which was cut off does not disturb a
//! quorum that is well (KIP-996).

use types::{BrokerId, Millis};

use crate::log_view::LogView;
use crate::message::{Request, Vote};
use crate::quorum::Raft;
use crate::role::{Prospective, Role, Unattached};
use crate::tally::Tally;

impl Raft {
    pub(crate) fn become_prospective(&mut self, now: Millis) {
        assert!(self.is_electable(), "only who may be elected stands for election");
        let mut tally = Tally::default();
        tally.record(self.local.id, true);
        let deadline = self.election_deadline(now);
        self.enter(Role::Prospective(Prospective { tally, deadline, yields_until: now }));
    }

    /// A rival that stands at the same time would be elected, too. Followers hear from their leader
    /// at the same moments, so they lose it at the same moment: each would vote for itself, and both
    /// would wait for the next election. The one with the higher id lets the other go first.
    pub(crate) fn yield_to(&mut self, rival: BrokerId, now: Millis) {
        let rest = self.yield_time();
        if let Role::Prospective(state) = &mut self.role
            && rival < self.local.id
        {
            state.yields_until = now + rest;
        }
    }

    /// Longer than a vote travels.
    fn yield_time(&self) -> Millis {
        Millis(self.config.election_backoff_max.get() / 4)
    }

    pub(crate) fn poll_prospective(&mut self, log: &impl LogView, now: Millis) -> Millis {
        let Role::Prospective(state) = &self.role else { return now };
        let voters = self.voters.latest();
        if !self.is_electable() {
            self.give_up(now);
        } else if state.tally.is_won(voters) && state.yields_until > now {
            return state.yields_until;
        } else if state.tally.is_won(voters) {
            self.become_candidate(now);
        } else if state.tally.is_lost(voters) || state.deadline <= now {
            self.give_up(now);
        } else {
            let (tally, deadline) = (state.tally.clone(), state.deadline);
            return self.ask_for_votes(&tally, true, log, now).min(deadline);
        }
        now
    }

    /// Goes back to the leader, where there is one; else it soon tries again.
    fn give_up(&mut self, now: Millis) {
        let epoch = self.election.epoch;
        if self.leader_has_ended {
            let deadline = now + self.config.retry_backoff;
            let rest = self.chance(Millis(self.config.election_backoff_max.get() / 4));
            self.enter(Role::Unattached(Unattached { deadline: deadline + rest }));
            return;
        }
        let leader = self.election.leader.filter(|leader| *leader != self.local.id);
        let voter = leader.and_then(|leader| self.voters.latest().get(leader));
        match voter.map(|voter| (voter.key.id, voter.endpoints.clone())) {
            Some((leader, endpoints)) => self.become_follower(epoch, leader, endpoints, now),
            None => self.become_unattached(epoch, None, now),
        }
    }

    /// Asks every voter that has not answered; says when to look again.
    pub(crate) fn ask_for_votes(
        &mut self,
        tally: &Tally,
        is_pre_vote: bool,
        log: &impl LogView,
        now: Millis,
    ) -> Millis {
        let mut next = Millis::MAX;
        for (key, endpoints) in self.other_voters() {
            if tally.has_answered(key.id) {
                continue;
            }
            if self.requests.is_free(Some(key.id), now) {
                let vote = Vote {
                    voter: Some(key),
                    epoch: self.election.epoch,
                    candidate: self.local,
                    end: log.end(),
                    is_pre_vote,
                };
                self.send(Some(key.id), endpoints, Request::Vote(vote), now);
            }
            next = next.min(self.requests.free_at(Some(key.id)));
        }
        next
    }
}
