//! A replica without a leader: it looks for one, and a voter tries to become one in the end.

use types::{BrokerId, Millis};

use crate::log_view::LogView;
use crate::message::{Fetch, Request};
use crate::quorum::Raft;
use crate::role::{Role, Unattached};

impl Raft {
    pub(crate) fn poll_unattached(&mut self, log: &impl LogView, now: Millis) -> Millis {
        let Role::Unattached(Unattached { deadline }) = self.role else { return now };
        if !self.is_electable() {
            return self.look_for_leader(log, now);
        }
        if deadline <= now {
            self.become_prospective(now);
            return now;
        }
        self.look_for_leader(log, now).min(deadline)
    }

    /// Fetches from anybody: whoever knows the leader says so.
    fn look_for_leader(&mut self, log: &impl LogView, now: Millis) -> Millis {
        let voters = self.other_voters();
        let chosen = self.rng.below(u32::try_from(voters.len() + 1).unwrap_or(u32::MAX)) as usize;
        let (to, endpoints) = match voters.into_iter().nth(chosen) {
            Some((key, endpoints)) => (Some(key.id), endpoints),
            // The bootstrap servers.
            None => (None, vec![]),
        };
        if !self.requests.is_free(to, now) {
            return self.requests.free_at(to);
        }
        if let Some(request) = self.next_fetch(log) {
            self.send(to, endpoints, request, now);
        }
        // Whoever answers without a leader is not asked at once again.
        now + self.config.retry_backoff
    }

    /// A fetch that begins where this log ends; `None` while the disk has not caught up with it: to
    /// ask for what comes next says that all before is there, and the leader counts it.
    pub(crate) fn next_fetch(&self, log: &impl LogView) -> Option<Request> {
        let end = log.end();
        let fetch = Fetch {
            replica: self.local,
            epoch: self.election.epoch,
            end,
            high_watermark: self.high_watermark,
        };
        (log.durable_end() >= end.offset).then_some(Request::Fetch(fetch))
    }

    /// A leader has said that it ends its epoch: who is to follow it tries soon.
    pub(crate) fn hurry(&mut self, leader: BrokerId, by: Millis) {
        self.leader_has_ended = self.election.leader == Some(leader);
        match &mut self.role {
            Role::Unattached(state) => state.deadline = state.deadline.min(by),
            Role::Follower(state) if state.leader() == leader => state.hurry(by),
            Role::Follower(_) | Role::Prospective(_) | Role::Candidate(_) => {}
            Role::Leader(_) | Role::Resigned(_) => {}
        }
    }
}
