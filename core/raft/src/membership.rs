//! A replica's own place among the voters (KIP-853): it tells the leader where it listens now and
//! what it supports, and, where it may, makes itself a voter.
//!
//! Not here: what the leader makes of that (`leader`).

use types::{BrokerId, ErrorCode, Millis};

use crate::message::{Request, VoterChange};
use crate::quorum::Raft;
use crate::role::Role;
use crate::voters::{Endpoint, Voter};

impl Raft {
    /// This replica, as it should stand among the voters.
    pub(crate) fn own(&self) -> Voter {
        let endpoints = self.endpoints.clone();
        Voter { key: self.local, endpoints, kraft_versions: self.kraft_versions }
    }

    /// Whether the log says of this voter what is no longer so.
    pub(crate) fn is_outdated(&self) -> bool {
        let has_log = self.voters.latest_offset().is_some();
        let known = self.voters.latest().get(self.local.id).filter(|_| has_log && self.is_voter());
        known.is_some_and(|known| {
            let differs = sorted(&known.endpoints) != sorted(&self.endpoints);
            differs || known.kraft_versions != self.kraft_versions
        })
    }

    /// From now on this replica makes itself a voter, whatever it was told at its start.
    pub fn start_joining(&mut self) {
        self.config.auto_join = true;
    }

    /// What the leader should change now, if anything; it is not asked again for a while.
    pub(crate) fn own_change(&mut self, now: Millis) -> Option<Request> {
        let Role::Follower(state) = &self.role else { return None };
        if state.asking.at > now {
            return None;
        }
        let change = self.wanted_change(state.asking.has_told)?;
        let again = now + self.config.fetch_timeout;
        if let Role::Follower(state) = &mut self.role {
            state.asking.at = again;
            state.asking.has_asked = true;
        }
        Some(Request::ChangeVoters(change))
    }

    fn wanted_change(&self, has_told: bool) -> Option<VoterChange> {
        if !self.config.is_controller {
            return None;
        }
        let is_static = self.voters.latest_offset().is_none();
        if self.is_voter() {
            let update = || VoterChange::Update { voter: self.own(), epoch: self.election.epoch };
            let is_due = if is_static { !has_told } else { self.is_outdated() };
            return is_due.then(update);
        }
        if is_static || !self.config.auto_join {
            return None;
        }
        Some(match self.voters.latest().get(self.local.id) {
            // This node had another disk, and what that one promised nobody knows any more.
            Some(former) => VoterChange::Remove(former.key),
            None => VoterChange::Add(self.own()),
        })
    }

    pub(crate) fn change_answered(
        &mut self,
        from: Option<BrokerId>,
        error: ErrorCode,
        now: Millis,
    ) {
        let deadline = now + self.config.fetch_timeout;
        if let Role::Follower(state) = &mut self.role
            && from == Some(state.leader())
            && error == ErrorCode::None
        {
            state.asking.has_told = true;
            // It could not be read from meanwhile.
            state.heard(deadline);
        }
    }
}

fn sorted(endpoints: &[Endpoint]) -> Vec<(&str, &str, u16)> {
    let told = endpoints.iter().map(|one| (&*one.listener, &*one.host, one.port));
    let mut told: Vec<_> = told.collect();
    told.sort_unstable();
    told
}
