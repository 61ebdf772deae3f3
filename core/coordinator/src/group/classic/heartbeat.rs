//! Heartbeat: a member lives, and learns whether it has to join again.

use protocol::messages::heartbeat::HeartbeatRequest;
use types::ErrorCode;

use super::{Group, State, Turn};
use crate::timers::Timer;

impl Group {
    /// Decides a Heartbeat; the code is the whole answer.
    pub(crate) fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        turn: &mut Turn<'_>,
    ) -> ErrorCode {
        let instance_id = request.group_instance_id.as_deref();
        if let Err(error) = self.validate_member(&request.member_id, instance_id) {
            return error;
        }
        if request.generation_id != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        self.extend_session(&request.member_id, turn);
        match self.state {
            State::Empty => ErrorCode::UnknownMemberId,
            State::PreparingRebalance { .. } => ErrorCode::RebalanceInProgress,
            State::CompletingRebalance | State::Stable => ErrorCode::None,
        }
    }

    /// The member was heard of; its session begins anew.
    pub(crate) fn extend_session(&mut self, member_id: &str, turn: &mut Turn<'_>) {
        let Self { id, members, .. } = self;
        let Some(member) = members.get_mut(member_id) else { return };
        let ends = turn.now.monotonic + member.session_timeout;
        let member_id = &member.id;
        member.session.arm(ends, turn.timers, || Timer::Session(id.clone(), member_id.clone()));
    }
}
