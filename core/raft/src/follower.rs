//! A replica that follows: it fetches, appends, and trusts its leader for a while.

use types::{BrokerId, ErrorCode, Millis, Offset};

use crate::log_view::{LogPosition, LogView};
use crate::message::{FetchReply, Output, Request};
use crate::quorum::Raft;
use crate::role::{Role, Taking};

impl Raft {
    pub(crate) fn poll_follower(&mut self, log: &impl LogView, now: Millis) -> Millis {
        let Role::Follower(state) = &self.role else { return now };
        let (leader, deadline, taking) = (state.leader, state.deadline, state.taking);
        if deadline <= now {
            if self.is_electable() {
                self.become_prospective(now);
            } else {
                self.become_unattached(self.election.epoch, None, now);
            }
            return now;
        }
        let to = Some(leader);
        if self.requests.is_free(to, now) {
            let endpoints = state.endpoints.clone();
            let request = match taking {
                Some(taking) => Some(Request::FetchSnapshot(self.fetch_snapshot_request(taking))),
                None => self.own_change(now).or_else(|| self.next_fetch(log)),
            };
            // It is asked again once the disk has all ([`Raft::synced`]).
            let Some(request) = request else { return deadline };
            self.send(to, endpoints, request, now);
        }
        self.requests.free_at(to).min(deadline)
    }

    pub(crate) fn fetch_answered(
        &mut self,
        from: Option<BrokerId>,
        reply: FetchReply,
        log: &impl LogView,
        now: Millis,
    ) {
        let FetchReply { answer, endpoints, diverging, snapshot, high_watermark, records } = reply;
        let before = self.election.epoch;
        if !self.observe(&answer, endpoints, now) {
            return self.requests.rest(from, now + self.config.retry_backoff);
        }
        let deadline = now + self.config.fetch_timeout;
        let Role::Follower(state) = &mut self.role else {
            return self.requests.rest(from, now + self.config.retry_backoff);
        };
        // What was asked in another epoch, or of somebody else, was answered for another log.
        if self.election.epoch != before || from != Some(state.leader) {
            return;
        }
        if answer.error != ErrorCode::None {
            return self.requests.rest(from, now + self.config.retry_backoff);
        }
        let kept = self.high_watermark.unwrap_or(log.start());
        let cut = diverging.map(|at| parting(at, log));
        if let Some(lost) = cut.or(snapshot.map(|at| at.offset)).filter(|end| *end < kept) {
            // Its log is not the one that this replica has followed: nothing of it is taken, and a
            // voter stops trusting it.
            self.outputs.push(Output::Refused { leader: state.leader, end: lost, committed: kept });
            return self.requests.rest(from, now + self.config.fetch_timeout);
        }
        state.heard(deadline);
        state.committed = state.committed.max(high_watermark);
        if let Some(snapshot) = snapshot {
            state.taking = Some(Taking { snapshot, position: 0 });
        } else if let Some(end) = cut {
            self.voters.truncate(end);
            self.outputs.push(Output::Truncate(end));
        } else if records.is_empty() {
            state.asking.caught_up(now);
            self.commit_fetched(log);
        } else {
            self.outputs.push(Output::AppendFetched(records));
        }
    }

    /// What the leader has committed is committed here as far as this log reaches.
    pub(crate) fn commit_fetched(&mut self, log: &impl LogView) {
        let Role::Follower(state) = &self.role else { return };
        if let Some(committed) = state.committed {
            self.commit(committed.min(log.durable_end()));
        }
    }

    /// What the leader sent is damaged or does not follow the log: it is asked again in a while.
    pub fn rejected(&mut self, now: Millis) {
        if let Role::Follower(state) = &self.role {
            let rest = Millis(self.config.fetch_timeout.get() / 2);
            self.requests.rest(Some(state.leader), now + rest);
        }
    }
}

/// Where this log has to end so that it is a part of the leader's.
fn parting(theirs: LogPosition, log: &impl LogView) -> Offset {
    let ours = log.end_of_epoch(theirs.epoch);
    if ours.epoch == theirs.epoch { ours.offset.min(theirs.offset) } else { ours.offset }
}
