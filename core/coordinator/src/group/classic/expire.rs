//! Timers of a group: members that were not heard of, did not join, or did not sync in time.

use types::{ErrorCode, Millis};

use super::{Group, State, Turn};
use crate::logged::MemberId;
use crate::timers::Timer;

impl Group {
    /// Every member gets a full session from now on: for a group that was just loaded. A group
    /// that has grown too large for the settings rebalances, and turns the last ones away.
    pub(crate) fn start_sessions(&mut self, turn: &mut Turn<'_>) {
        let member_ids: Vec<_> = self.members.keys().cloned().collect();
        for member_id in member_ids {
            self.extend_session(&member_id, turn);
        }
        if self.members.len() > turn.settings.group_size_max {
            self.rebalance(turn);
        }
    }

    /// The queue entry for the end of joining came up.
    pub(crate) fn join_timer(&mut self, entry: Millis, turn: &mut Turn<'_>) {
        let timer = || Timer::Join(self.id.clone());
        if self.join_deadline.passed(entry, turn.now.monotonic, turn.timers, timer) {
            self.join_time_is_up(turn);
        }
    }

    /// The queue entry for the end of syncing came up. Who has not fetched its assignment by then
    /// is a member no longer.
    pub(crate) fn sync_timer(&mut self, entry: Millis, turn: &mut Turn<'_>) {
        let timer = || Timer::Sync(self.id.clone());
        if !self.sync_deadline.passed(entry, turn.now.monotonic, turn.timers, timer) {
            return;
        }
        let unsynced = std::mem::take(&mut self.unsynced);
        if unsynced.is_empty() {
            return;
        }
        for member_id in unsynced {
            self.take_out(&member_id, ErrorCode::UnknownMemberId, turn);
        }
        self.rebalance(turn);
    }

    /// The queue entry for a member's session, or for an id that was handed out, came up.
    pub(crate) fn session_timer(
        &mut self,
        entry: Millis,
        member_id: &MemberId,
        turn: &mut Turn<'_>,
    ) {
        let now = turn.now.monotonic;
        let timer = || Timer::Session(self.id.clone(), member_id.clone());
        if let Some(deadline) = self.pending.get_mut(member_id) {
            if deadline.passed(entry, now, turn.timers, timer) {
                self.pending.remove(member_id);
                self.complete_if_all_joined(turn);
            }
            return;
        }
        let Some(member) = self.members.get_mut(member_id) else { return };
        // A member that waits for us is alive until it is answered, which starts its session anew.
        if member.session.passed(entry, now, turn.timers, timer) && !member.is_waiting() {
            self.expire_member(member_id, turn);
        }
    }

    fn expire_member(&mut self, member_id: &str, turn: &mut Turn<'_>) {
        self.take_out(member_id, ErrorCode::UnknownMemberId, turn);
        match self.state {
            State::CompletingRebalance | State::Stable => self.rebalance(turn),
            State::PreparingRebalance { .. } => self.complete_if_all_joined(turn),
            State::Empty => {}
        }
    }
}
