//! Taking over a snapshot where the leader's log does not reach back far enough (KIP-630).

use types::{BrokerId, ErrorCode, Millis};

use crate::log_view::{LogPosition, LogView};
use crate::message::{EpochAnswer, FetchSnapshot, FetchSnapshotAnswer, Output};
use crate::quorum::Raft;
use crate::role::{Role, Taking};
use crate::voters::VoterSet;

impl Raft {
    /// Whether a FetchSnapshot may be served from here; the driver reads the bytes, and answers
    /// SNAPSHOT_NOT_FOUND or POSITION_OUT_OF_RANGE where there are none.
    ///
    /// # Errors
    /// What the reader has to hear instead.
    pub fn fetch_snapshot(
        &mut self,
        request: &FetchSnapshot,
        now: Millis,
    ) -> Result<(), EpochAnswer> {
        self.check_leading(request.epoch)?;
        let is_voter = self.voters.latest().contains(request.replica);
        if let Role::Leader(state) = &mut self.role {
            state.heard_of(request.replica, is_voter, now);
        }
        self.check_quorum_alive(request.replica, now);
        Ok(())
    }

    pub(crate) fn fetch_snapshot_request(&self, taking: Taking) -> FetchSnapshot {
        FetchSnapshot {
            replica: self.local,
            epoch: self.election.epoch,
            snapshot: taking.snapshot,
            position: taking.position,
        }
    }

    pub(crate) fn snapshot_answered(
        &mut self,
        from: Option<BrokerId>,
        answer: FetchSnapshotAnswer,
        now: Millis,
    ) {
        let FetchSnapshotAnswer { answer, size, position, bytes } = answer;
        let before = self.election.epoch;
        if !self.observe(&answer, vec![], now) || self.election.epoch != before {
            return;
        }
        let deadline = now + self.config.fetch_timeout;
        let Role::Follower(state) = &mut self.role else { return };
        let Some(taking) = state.taking.as_mut().filter(|_| from == Some(state_leader(&answer)))
        else {
            return;
        };
        if answer.error != ErrorCode::None || position != taking.position || bytes.is_empty() {
            // The leader may have a newer snapshot: the next fetch says which.
            state.taking = None;
            return self.requests.rest(from, now + self.config.retry_backoff);
        }
        taking.position += bytes.len() as u64;
        let (snapshot, is_last) = (taking.snapshot, taking.position >= size);
        if is_last {
            state.taking = None;
        }
        state.heard(deadline);
        self.outputs.push(Output::WriteSnapshot { snapshot, position, bytes, is_last });
    }

    /// The log was replaced by a snapshot, which names these voters.
    pub fn installed(&mut self, snapshot: LogPosition, voters: Option<VoterSet>) {
        self.voters.reset(snapshot.offset, voters);
        self.commit(snapshot.offset);
    }

    /// The log begins later now, since a snapshot covers what was before.
    pub fn trimmed(&mut self, log: &impl LogView) {
        self.voters.trim(log.start());
    }
}

fn state_leader(answer: &EpochAnswer) -> BrokerId {
    answer.leader.unwrap_or(BrokerId(-1))
}
