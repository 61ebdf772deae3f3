//! LeaveGroup: members go, each with its own answer.

use protocol::messages::leave_group::{LeaveGroupResponse, MemberIdentity, MemberResponse};
use types::ErrorCode;

use super::{Group, State, Turn};

/// What a member's leaving means to the others.
enum Left {
    /// It was in the generation, which is now one member short.
    Member,
    /// It only had an id.
    Pending,
}

impl Group {
    /// Decides a LeaveGroup. An administrator removes a static member by its instance id alone.
    pub(crate) fn leave(
        &mut self,
        leaving: Vec<MemberIdentity>,
        turn: &mut Turn<'_>,
    ) -> LeaveGroupResponse {
        let mut members = Vec::with_capacity(leaving.len());
        let mut is_short = false;
        for member in leaving {
            let left = self.leave_one(&member, turn);
            is_short |= matches!(left, Ok(Left::Member));
            let error = left.err().unwrap_or(ErrorCode::None);
            members.push(answer_to(member, error));
        }
        match self.state {
            State::Stable | State::CompletingRebalance if is_short => self.rebalance(turn),
            State::PreparingRebalance { initial: None } => self.complete_if_all_joined(turn),
            State::Empty
            | State::PreparingRebalance { initial: Some(_) }
            | State::CompletingRebalance
            | State::Stable => {}
        }
        LeaveGroupResponse { members, ..Default::default() }
    }

    fn leave_one(
        &mut self,
        member: &MemberIdentity,
        turn: &mut Turn<'_>,
    ) -> Result<Left, ErrorCode> {
        let instance_id = member.group_instance_id.as_deref();
        let member_id = if member.member_id.is_empty() {
            let owner = instance_id.and_then(|instance_id| self.instances.get(instance_id));
            owner.cloned().ok_or(ErrorCode::UnknownMemberId)?
        } else if self.forget_pending(&member.member_id, turn) {
            return Ok(Left::Pending);
        } else {
            self.validate_member(&member.member_id, instance_id)?;
            member.member_id.as_str().into()
        };
        self.take_out(&member_id, ErrorCode::UnknownMemberId, turn);
        Ok(Left::Member)
    }
}

/// A group that does not exist has none of the members.
pub(crate) fn leave_unknown_group(leaving: Vec<MemberIdentity>) -> LeaveGroupResponse {
    let unknown = |member| answer_to(member, ErrorCode::UnknownMemberId);
    LeaveGroupResponse { members: leaving.into_iter().map(unknown).collect(), ..Default::default() }
}

fn answer_to(member: MemberIdentity, error: ErrorCode) -> MemberResponse {
    MemberResponse {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        error_code: error.to_wire(),
        ..Default::default()
    }
}
