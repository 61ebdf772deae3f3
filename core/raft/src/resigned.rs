//! A leader that leads no more: it tells the voters, and waits for another one.

use types::{BrokerId, Millis};

use crate::message::{EndQuorumEpoch, EpochAnswer, Request};
use crate::quorum::Raft;
use crate::role::{Resigned, Role};
use crate::voters::ReplicaKey;

impl Raft {
    /// Stops leading. The epoch stays, since nobody else can lead it.
    pub(crate) fn resign(&mut self, now: Millis) {
        let others: Vec<ReplicaKey> = self.other_voters().into_iter().map(|(key, _)| key).collect();
        let preferred = match &self.role {
            Role::Leader(state) => state.by_progress(&others),
            _ => others.clone(),
        };
        let untold = others.iter().map(|key| key.id).collect();
        let deadline = self.election_deadline(now);
        self.enter(Role::Resigned(Resigned { untold, preferred, deadline }));
    }

    pub(crate) fn poll_resigned(&mut self, now: Millis) -> Millis {
        let Role::Resigned(state) = &self.role else { return now };
        if state.deadline <= now {
            let next = self.next_epoch().unwrap_or(self.election.epoch);
            self.become_unattached(next, None, now);
            return now;
        }
        let (untold, preferred) = (state.untold.clone(), state.preferred.clone());
        let mut next = state.deadline;
        for (key, endpoints) in self.other_voters() {
            if !untold.contains(&key.id) {
                continue;
            }
            if self.requests.is_free(Some(key.id), now) {
                let request = EndQuorumEpoch {
                    leader: self.local.id,
                    epoch: self.election.epoch,
                    preferred: preferred.clone(),
                    endpoints: self.endpoints.clone(),
                };
                self.send(Some(key.id), endpoints, Request::EndQuorumEpoch(request), now);
            }
            next = next.min(self.requests.free_at(Some(key.id)));
        }
        next
    }

    pub(crate) fn end_answered(
        &mut self,
        from: Option<BrokerId>,
        answer: EpochAnswer,
        now: Millis,
    ) {
        if self.observe(&answer, vec![], now)
            && let Role::Resigned(state) = &mut self.role
            && let Some(from) = from
        {
            // Whatever it says: it has heard.
            state.untold.remove(&from);
        }
    }
}
