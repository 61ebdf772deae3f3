//! SyncGroup: members fetch their assignment, which the leader brings.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use types::ErrorCode;

use super::member::Parked;
use super::{Group, State, Turn, answer};
use crate::message::Response;
use crate::records;

impl Group {
    /// Decides a SyncGroup. Until the leader has assigned, replies wait.
    pub(crate) fn sync(&mut self, request: SyncGroupRequest, parked: Parked, turn: &mut Turn<'_>) {
        if let Err(error) = self.validate_sync(&request) {
            return turn.reply(parked.token, sync_refusal(error));
        }
        let member_id = request.member_id.as_str();
        match self.state {
            State::Empty => turn.reply(parked.token, sync_refusal(ErrorCode::UnknownMemberId)),
            State::PreparingRebalance { .. } => {
                turn.reply(parked.token, sync_refusal(ErrorCode::RebalanceInProgress));
            }
            State::CompletingRebalance => {
                self.unsynced.remove(member_id);
                self.park_sync(member_id, parked, turn);
                if self.is_leader(member_id) {
                    self.assign(request, turn);
                }
            }
            State::Stable => {
                self.unsynced.remove(member_id);
                let stored = turn.stored_member(member_id);
                let assignment = stored.map(|member| member.assignment.clone());
                turn.reply(parked.token, self.assigned(assignment.unwrap_or_default()));
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        // Older versions do not say; what both sides know has to agree.
        let differs = |asked: Option<&str>, own: Option<&str>| {
            asked.zip(own).is_some_and(|(asked, own)| asked != own)
        };
        if differs(request.protocol_type.as_deref(), self.protocol_type())
            || differs(request.protocol_name.as_deref(), self.protocol_name())
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn park_sync(&mut self, member_id: &str, parked: Parked, turn: &mut Turn<'_>) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        // The client has given up on its former request.
        answer(&mut member.syncing, turn, |_| sync_refusal(ErrorCode::RebalanceInProgress));
        member.syncing = Some(parked);
    }

    /// The leader's assignment makes the generation complete: it goes into the log, and to all
    /// who wait for it. Members that it leaves out get an empty one.
    fn assign(&mut self, request: SyncGroupRequest, turn: &mut Turn<'_>) {
        let assignments: BTreeMap<&str, &Bytes> = request
            .assignments
            .iter()
            .map(|entry| (entry.member_id.as_str(), &entry.assignment))
            .collect();
        let generation = self.to_generation(|id| assignments.get(id).copied().cloned());
        turn.outcome.records.push(records::group(&self.id, &generation));
        self.enter(State::Stable, turn.now);
        for (member_id, stored) in generation.members {
            let response = self.assigned(stored.assignment);
            let Some(member) = self.members.get_mut(&member_id) else { continue };
            if member.syncing.is_some() {
                answer(&mut member.syncing, turn, |_| response);
                self.extend_session(&member_id, turn);
            }
        }
    }

    fn assigned(&self, assignment: Bytes) -> Response {
        Response::Sync(SyncGroupResponse {
            protocol_type: self.protocol_type().map(str::to_owned),
            protocol_name: self.protocol_name().map(str::to_owned),
            assignment,
            ..Default::default()
        })
    }
}

/// A SyncGroup response that says no.
pub(crate) fn sync_refusal(error: ErrorCode) -> Response {
    Response::Sync(SyncGroupResponse { error_code: error.to_wire(), ..Default::default() })
}
