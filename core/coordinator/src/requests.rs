//! Requests as they meet the coordinator: what can be said without the group, then the group.

use protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use protocol::messages::join_group::JoinGroupRequest;
use protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use protocol::messages::list_groups::ListGroupsRequest;
use protocol::messages::offset_commit::OffsetCommitRequest;
use protocol::messages::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use protocol::messages::sync_group::SyncGroupRequest;
use types::{ErrorCode, Millis, Uuid};

use crate::coordinator::Coordinator;
use crate::group::classic::{
    Join, Parked, fits_a_member, join_refusal, leave_unknown_group, sync_refusal,
};
use crate::group::{admin, offsets};
use crate::logged::{Generation, GroupId};
use crate::message::{Caller, Now, Outcome, ReplyToken, Response};
use crate::records;

/// From this version LeaveGroup names several members, each with its own error.
const VERSION_LEAVE_MANY: i16 = 3;
/// From this version a commit to a group that does not exist is told so.
const VERSION_COMMIT_GROUP_ID_NOT_FOUND: i16 = 9;

impl Coordinator {
    pub(crate) fn join(
        &mut self,
        request: JoinGroupRequest,
        fresh_id: Uuid,
        caller: &Caller<'_>,
        now: Now,
    ) -> Outcome {
        let exists = self.logged().generation(&request.group_id).is_some();
        let session_timeout = Millis(request.session_timeout_ms.into());
        let settings = self.settings();
        let allowed = settings.session_timeout_min..=settings.session_timeout_max;
        let error = if request.group_id.is_empty() {
            ErrorCode::InvalidGroupId
        } else if !allowed.contains(&session_timeout) {
            ErrorCode::InvalidSessionTimeout
        } else if !exists && !request.member_id.is_empty() {
            ErrorCode::UnknownMemberId
        } else if !fits_a_member(&request.protocols) {
            ErrorCode::InvalidRequest
        } else {
            let group_id = self.group_id(&request.group_id);
            let join = Join::new(request, fresh_id, caller);
            let before = self.group(&group_id).map_or(0, |group| group.bytes_before(&join));
            if join.bytes() > before.saturating_add(caller.member_bytes_left) {
                // Passing: it tries again, and those who are members stay.
                self.turn_away();
                let error = ErrorCode::CoordinatorNotAvailable;
                let response = join_refusal(error, join.member_id(), caller.api_version);
                return Outcome::reply(caller.token, response);
            }
            let outcome = self.turn(&group_id, now, |group, turn| {
                group.join(join, turn);
                // The log is told of every group that exists.
                if !exists && group.is_inhabited() {
                    let created = Generation { since: Some(now.wall), ..Default::default() };
                    turn.outcome.records.push(records::group(&group_id, &created));
                }
            });
            // It may be the same member with other texts.
            self.recount(&group_id);
            return outcome;
        };
        let response = join_refusal(error, &request.member_id, caller.api_version);
        Outcome::reply(caller.token, response)
    }

    pub(crate) fn sync(
        &mut self,
        request: SyncGroupRequest,
        caller: &Caller<'_>,
        now: Now,
    ) -> Outcome {
        if request.group_id.is_empty() {
            return Outcome::reply(caller.token, sync_refusal(ErrorCode::InvalidGroupId));
        }
        let Some(group_id) = self.live_group(&request.group_id) else {
            return Outcome::reply(caller.token, sync_refusal(ErrorCode::UnknownMemberId));
        };
        let before = self.logged().generation(&group_id).map_or(0, Generation::bytes);
        let brought = request.assignments.iter().map(|one| one.assignment.len()).sum::<usize>();
        if brought > before.saturating_add(caller.member_bytes_left) {
            self.turn_away();
            return Outcome::reply(caller.token, sync_refusal(ErrorCode::CoordinatorNotAvailable));
        }
        let parked = Parked { token: caller.token, api_version: caller.api_version };
        self.turn(&group_id, now, |group, turn| group.sync(request, parked, turn))
    }

    pub(crate) fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        token: ReplyToken,
        now: Now,
    ) -> Outcome {
        let answer = |error: ErrorCode| {
            Response::Heartbeat(HeartbeatResponse {
                error_code: error.to_wire(),
                ..Default::default()
            })
        };
        if request.group_id.is_empty() {
            return Outcome::reply(token, answer(ErrorCode::InvalidGroupId));
        }
        let Some(group_id) = self.live_group(&request.group_id) else {
            return Outcome::reply(token, answer(ErrorCode::UnknownMemberId));
        };
        self.turn(&group_id, now, |group, turn| {
            let error = group.heartbeat(request, turn);
            turn.reply(token, answer(error));
        })
    }

    pub(crate) fn leave(
        &mut self,
        request: LeaveGroupRequest,
        caller: &Caller<'_>,
        now: Now,
    ) -> Outcome {
        let answer = |response| Response::Leave(for_version(response, caller.api_version));
        if request.group_id.is_empty() {
            let error_code = ErrorCode::InvalidGroupId.to_wire();
            let response = LeaveGroupResponse { error_code, ..Default::default() };
            return Outcome::reply(caller.token, Response::Leave(response));
        }
        let leaving = match caller.api_version >= VERSION_LEAVE_MANY {
            true => request.members,
            false => {
                vec![MemberIdentity { member_id: request.member_id, ..Default::default() }]
            }
        };
        let Some(group_id) = self.live_group(&request.group_id) else {
            return Outcome::reply(caller.token, answer(leave_unknown_group(leaving)));
        };
        self.turn(&group_id, now, |group, turn| {
            let response = group.leave(leaving, turn);
            turn.reply(caller.token, answer(response));
        })
    }

    /// Commits count as a sign of life, as Kafka has them, except while a generation waits for
    /// its assignment.
    pub(crate) fn offset_commit(
        &mut self,
        request: OffsetCommitRequest,
        caller: &Caller<'_>,
        now: Now,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let response = match self.validate_commit(&request, caller.api_version) {
            Ok(()) => {
                if let Some(group_id) = self.live_group(&request.group_id) {
                    outcome = self.turn(&group_id, now, |group, turn| {
                        group.extend_session(&request.member_id, turn);
                    });
                }
                offsets::commit_offsets(request, now, self.settings(), &mut outcome)
            }
            Err(error) => offsets::refuse_commit(request, error),
        };
        outcome.replies.push((caller.token, Response::OffsetCommit(response)));
        outcome
    }

    fn validate_commit(
        &self,
        request: &OffsetCommitRequest,
        api_version: i16,
    ) -> Result<(), ErrorCode> {
        let generation = request.generation_id_or_member_epoch;
        let instance_id = request.group_instance_id.as_deref();
        if let Some(group) = self.group(&request.group_id) {
            return group.validate_commit(&request.member_id, instance_id, generation);
        }
        let exists = self.logged().generation(&request.group_id).is_some();
        match generation {
            // No membership is claimed: a simple group, which this commit may make.
            ..0 => Ok(()),
            0.. if exists => Err(ErrorCode::UnknownMemberId),
            0.. if api_version >= VERSION_COMMIT_GROUP_ID_NOT_FOUND => {
                Err(ErrorCode::GroupIdNotFound)
            }
            0.. => Err(ErrorCode::IllegalGeneration),
        }
    }

    pub(crate) fn offset_delete(&self, request: OffsetDeleteRequest, token: ReplyToken) -> Outcome {
        let group = self.group(&request.group_id);
        let has_other_members =
            group.is_some_and(|group| !group.is_empty() && !group.uses_consumer_protocol());
        let error = if request.group_id.is_empty() {
            ErrorCode::InvalidGroupId
        } else if self.logged().generation(&request.group_id).is_none() {
            ErrorCode::GroupIdNotFound
        } else if has_other_members {
            ErrorCode::NonEmptyGroup
        } else {
            ErrorCode::None
        };
        let mut outcome = Outcome::default();
        let mut response =
            OffsetDeleteResponse { error_code: error.to_wire(), ..Default::default() };
        if error.is_none() {
            let is_subscribed = |topic: &str| group.is_some_and(|g| g.subscribes_to(topic));
            response.topics = offsets::delete_offsets(
                self.logged().offsets(),
                &request.group_id,
                request.topics,
                is_subscribed,
                &mut outcome,
            );
        }
        outcome.replies.push((token, Response::OffsetDelete(response)));
        outcome
    }

    pub(crate) fn delete_groups(&self, group_ids: Vec<String>, token: ReplyToken) -> Outcome {
        let mut outcome = Outcome::default();
        let delete = |group_id: String| {
            let group = self.group(&group_id);
            admin::delete_group(self.logged(), group, group_id, &mut outcome)
        };
        let results = group_ids.into_iter().map(delete).collect();
        outcome.replies.push((token, Response::DeleteGroups(results)));
        outcome
    }

    pub(crate) fn describe_groups(&self, group_ids: Vec<String>, caller: &Caller<'_>) -> Outcome {
        let describe = |group_id: String| {
            let group = self.group(&group_id);
            admin::describe_group(self.logged(), group, group_id, caller.api_version)
        };
        let described = group_ids.into_iter().map(describe).collect();
        Outcome::reply(caller.token, Response::DescribeGroups(described))
    }

    pub(crate) fn list_groups(&self, request: &ListGroupsRequest, token: ReplyToken) -> Outcome {
        let groups = admin::list_groups(self.logged(), |id| self.group(id), request);
        Outcome::reply(token, Response::ListGroups { error: ErrorCode::None, groups })
    }

    /// The id of a group that has a live side.
    fn live_group(&self, group_id: &str) -> Option<GroupId> {
        self.group(group_id).map(|group| group.id().clone())
    }

    /// The id as it is already held, or a new one.
    fn group_id(&self, group_id: &str) -> GroupId {
        let known = self.logged().generations.get_key_value(group_id);
        known.map_or_else(|| GroupId::from(group_id), |(known, _)| known.clone())
    }
}

/// Before version 3 the one member's error is the response's.
fn for_version(response: LeaveGroupResponse, api_version: i16) -> LeaveGroupResponse {
    match response.members.first() {
        Some(member) if api_version < VERSION_LEAVE_MANY => {
            LeaveGroupResponse { error_code: member.error_code, members: vec![], ..response }
        }
        Some(_) | None => response,
    }
}
