//! JoinGroup: someone wants to be in the next generation.

use std::sync::Arc;

use bytes::Bytes;
use protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use types::{ErrorCode, Millis, Uuid};

use super::member::{Member, MemberProtocol, Parked, member_bytes};
use super::{Group, State, Turn, answer};
use crate::logged::MemberId;
use crate::message::{Caller, Response};
use crate::timers::{Deadline, Timer};

/// From this version a member without an id is given one and joins again with it, so that a
/// client that repeats its first request does not leave dead members behind (KIP-394).
const VERSION_MEMBER_ID_REQUIRED: i16 = 4;
/// From this version a response may have no protocol name.
const VERSION_PROTOCOL_NAME_NULLABLE: i16 = 7;
/// How long a new member's first JoinGroup may wait.
const NEW_MEMBER_JOIN_TIMEOUT: Millis = Millis(5 * 60_000);
/// How many ids a group keeps for members that have not joined yet.
const PENDING_MEMBERS_MAX: usize = 10_000;
/// How many protocols of a member are looked at; clients name one to three.
const PROTOCOLS_MAX: usize = 100;
/// What the protocols of one member may take, names and metadata together: no generation with
/// more fits into a record of the log at Kafka's own limit.
const MEMBER_BYTES_MAX: usize = 1 << 20;
/// The same for all members of a group. They are kept for as long as a session, without a
/// connection.
const GROUP_BYTES_MAX: usize = 64 << 20;
/// How much of a client id or instance id goes into a member id, in bytes.
const MEMBER_ID_PREFIX_BYTES_MAX: usize = 512;

/// A JoinGroup, checked as far as that goes without the group.
pub(crate) struct Join {
    pub(super) parked: Parked,
    pub(super) member_id: String,
    pub(super) instance_id: Option<Arc<str>>,
    client_id: String,
    client_host: String,
    pub(super) rebalance_timeout: Millis,
    pub(super) session_timeout: Millis,
    protocol_type: String,
    pub(super) protocols: Vec<MemberProtocol>,
    /// Id for a member that has none.
    pub(super) new_member_id: MemberId,
}

impl Join {
    pub(crate) fn new(request: JoinGroupRequest, fresh_id: Uuid, caller: &Caller<'_>) -> Self {
        let prefix = request.group_instance_id.as_deref().unwrap_or(caller.client_id);
        // Version 0 has no rebalance timeout; the session's stands for both.
        let rebalance_timeout = match caller.api_version {
            0 => request.session_timeout_ms,
            _ => request.rebalance_timeout_ms,
        };
        Self {
            parked: Parked { token: caller.token, api_version: caller.api_version },
            new_member_id: member_id(prefix, fresh_id),
            member_id: request.member_id,
            instance_id: request.group_instance_id.map(Arc::from),
            client_id: caller.client_id.to_owned(),
            client_host: caller.client_host.to_owned(),
            rebalance_timeout: Millis(rebalance_timeout.max(0).into()),
            session_timeout: Millis(request.session_timeout_ms.into()),
            protocol_type: request.protocol_type,
            protocols: distinct(request.protocols),
        }
    }

    /// The id that it says it has; empty where it has none.
    pub(crate) fn member_id(&self) -> &str {
        &self.member_id
    }

    /// About what the member will take in memory.
    pub(crate) fn bytes(&self) -> usize {
        let client = (&*self.client_id, &*self.client_host);
        member_bytes(&self.new_member_id, self.instance_id.as_deref(), client, &self.protocols)
    }

    fn refuse(&self, error: ErrorCode, member_id: &str, turn: &mut Turn<'_>) {
        let response = join_refusal(error, member_id, self.parked.api_version);
        turn.reply(self.parked.token, response);
    }
}

impl Group {
    /// Decides a JoinGroup. The reply waits, as a rule, until all members have joined.
    pub(crate) fn join(&mut self, join: Join, turn: &mut Turn<'_>) {
        let members_max = turn.settings.group_size_max;
        if !self.has_room_for(&join.member_id, members_max) || !self.has_bytes_for(&join) {
            join.refuse(ErrorCode::GroupMaxSizeReached, "", turn);
            self.turn_away(&join.member_id, turn);
        } else if !self.can_speak(&join) {
            // A new member has no id to be told.
            join.refuse(ErrorCode::InconsistentGroupProtocol, &join.member_id, turn);
        } else if join.member_id.is_empty() {
            self.join_without_id(join, turn);
        } else if join.instance_id.is_none() && self.pending.contains_key(&*join.member_id) {
            self.forget_pending(&join.member_id, turn);
            let member_id = MemberId::from(join.member_id.as_str());
            self.add_member(join, member_id, turn);
        } else {
            self.join_again(join, turn);
        }
    }

    fn join_without_id(&mut self, join: Join, turn: &mut Turn<'_>) {
        let member_id = join.new_member_id.clone();
        match &join.instance_id {
            Some(instance_id) => match self.instances.get(instance_id).cloned() {
                Some(away) => self.replace_member(join, &away, turn),
                None => self.add_member(join, member_id, turn),
            },
            None if join.parked.api_version >= VERSION_MEMBER_ID_REQUIRED => {
                self.hand_out_id(&join, turn);
            }
            None => self.add_member(join, member_id, turn),
        }
    }

    fn hand_out_id(&mut self, join: &Join, turn: &mut Turn<'_>) {
        if self.pending.len() >= PENDING_MEMBERS_MAX {
            return join.refuse(ErrorCode::GroupMaxSizeReached, "", turn);
        }
        let member_id = &join.new_member_id;
        let mut deadline = Deadline::default();
        deadline.arm(turn.now.monotonic + join.session_timeout, turn.timers, || {
            Timer::Session(self.id.clone(), member_id.clone())
        });
        self.pending.insert(member_id.clone(), deadline);
        join.refuse(ErrorCode::MemberIdRequired, member_id, turn);
    }

    /// A member of the group joins: because it was asked to, its metadata changed, it leads and
    /// wants a rebalance, or it missed our reply.
    fn join_again(&mut self, join: Join, turn: &mut Turn<'_>) {
        if let Err(error) = self.validate_member(&join.member_id, join.instance_id.as_deref()) {
            return join.refuse(error, &join.member_id, turn);
        }
        let Some(member) = self.members.get(&*join.member_id) else {
            return join.refuse(ErrorCode::UnknownMemberId, &join.member_id, turn);
        };
        let is_same = member.protocols == join.protocols;
        let rejoins = match self.state {
            State::PreparingRebalance { .. } => true,
            State::CompletingRebalance => !is_same,
            // The leader knows of changes that the group does not see, such as new partitions.
            State::Stable => !is_same || self.is_leader(&join.member_id),
            State::Empty => return join.refuse(ErrorCode::UnknownMemberId, &join.member_id, turn),
        };
        if rejoins {
            let member_id = MemberId::from(join.member_id.as_str());
            self.update_member(&member_id, join, turn);
            self.rebalance_or_complete(turn);
        } else {
            let leads = self.is_leader(&join.member_id) && self.state != State::Stable;
            let roster = if leads { self.roster() } else { vec![] };
            let reply = self.joined(&join.member_id, roster);
            turn.reply(join.parked.token, Response::Join(reply));
        }
    }

    /// Takes someone in who was no member before.
    fn add_member(&mut self, join: Join, member_id: MemberId, turn: &mut Turn<'_>) {
        if let State::PreparingRebalance { initial: Some(initial) } = &mut self.state {
            initial.member_added = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.into());
        }
        if let Some(instance_id) = &join.instance_id {
            self.instances.insert(instance_id.clone(), member_id.clone());
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        let mut member = Member {
            id: member_id.clone(),
            instance_id: join.instance_id,
            client_id: join.client_id,
            client_host: join.client_host,
            rebalance_timeout: join.rebalance_timeout,
            session_timeout: join.session_timeout,
            protocols: join.protocols,
            is_new: true,
            joining: Some(join.parked),
            syncing: None,
            session: Deadline::default(),
        };
        let ends = turn.now.monotonic + NEW_MEMBER_JOIN_TIMEOUT;
        let timer = || Timer::Session(self.id.clone(), member_id.clone());
        member.session.arm(ends, turn.timers, timer);
        self.members.insert(member_id, member);
        self.rebalance_or_complete(turn);
    }

    /// Puts what a JoinGroup says into a member and parks its reply.
    pub(super) fn update_member(&mut self, member_id: &str, join: Join, turn: &mut Turn<'_>) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.protocols = join.protocols;
        member.rebalance_timeout = join.rebalance_timeout;
        member.session_timeout = join.session_timeout;
        // The client has given up on its former request.
        answer(&mut member.joining, turn, |parked| {
            join_refusal(ErrorCode::RebalanceInProgress, member_id, parked.api_version)
        });
        member.joining = Some(join.parked);
    }

    /// Whether the group's size allows this member. While members rejoin, those that have come
    /// back count, so that a limit that was lowered turns the last ones away.
    fn has_room_for(&self, member_id: &str, group_size_max: usize) -> bool {
        let member = self.members.get(member_id);
        match self.state {
            State::Empty => true,
            State::PreparingRebalance { .. } => {
                let joining = self.members.values().filter(|m| m.joining.is_some()).count();
                member.is_some_and(|m| m.joining.is_some()) || joining < group_size_max
            }
            State::CompletingRebalance | State::Stable => {
                member.is_some() || self.members.len() < group_size_max
            }
        }
    }

    /// What whoever joins takes now, as the member that it is or takes the place of.
    pub(crate) fn bytes_before(&self, join: &Join) -> usize {
        let away = join.instance_id.as_ref().and_then(|id| self.instances.get(id));
        let member = self.members.get(&*join.member_id).or_else(|| self.members.get(away?));
        member.map_or(0, Member::bytes)
    }

    /// Whether the group may keep what this member says, in the place of what it said before.
    fn has_bytes_for(&self, join: &Join) -> bool {
        let before = join.instance_id.as_ref().and_then(|id| self.instances.get(id));
        let is_other =
            |member: &&Member| *member.id != *join.member_id && Some(&member.id) != before;
        let others = self.members.values().filter(is_other).flat_map(|it| &it.protocols);
        let bytes: usize = others.chain(&join.protocols).map(MemberProtocol::bytes).sum();
        bytes <= GROUP_BYTES_MAX
    }

    /// The group is full: who was given an id or was a member is one no longer.
    fn turn_away(&mut self, member_id: &str, turn: &mut Turn<'_>) {
        self.forget_pending(member_id, turn);
        self.take_out(member_id, ErrorCode::GroupMaxSizeReached, turn);
        if self.state == (State::PreparingRebalance { initial: None }) {
            self.complete_if_all_joined(turn);
        }
    }

    /// Whether the member is of the group's kind and speaks a protocol that all members speak.
    fn can_speak(&self, join: &Join) -> bool {
        if self.state == State::Empty {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        let is_shared = |name: &str| self.members.values().all(|member| member.speaks(name));
        self.protocol_type() == Some(&*join.protocol_type)
            && join.protocols.iter().any(|protocol| is_shared(&protocol.name))
    }

    /// Members with their metadata, for the leader to assign.
    pub(super) fn roster(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let entry = |member: &Member| JoinGroupResponseMember {
            member_id: member.id.to_string(),
            group_instance_id: member.instance_id.as_deref().map(str::to_owned),
            metadata: member.metadata(protocol),
            ..Default::default()
        };
        self.members.values().map(entry).collect()
    }

    /// The member is in the current generation.
    pub(super) fn joined(
        &self,
        member_id: &str,
        roster: Vec<JoinGroupResponseMember>,
    ) -> JoinGroupResponse {
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.as_deref().map(str::to_owned),
            protocol_name: Some(self.protocol_name.as_deref().unwrap_or_default().to_owned()),
            leader: self.leader.as_deref().unwrap_or_default().to_owned(),
            member_id: member_id.to_owned(),
            members: roster,
            ..Default::default()
        }
    }
}

/// Whether one member may bring so much.
pub(crate) fn fits_a_member(protocols: &[JoinGroupRequestProtocol]) -> bool {
    let bytes = |protocol: &JoinGroupRequestProtocol| protocol.name.len() + protocol.metadata.len();
    protocols.iter().map(bytes).sum::<usize>() <= MEMBER_BYTES_MAX
}

/// A JoinGroup response that says no.
pub(crate) fn join_refusal(error: ErrorCode, member_id: &str, api_version: i16) -> Response {
    let protocol_name = (api_version < VERSION_PROTOCOL_NAME_NULLABLE).then(String::new);
    Response::Join(JoinGroupResponse {
        error_code: error.to_wire(),
        member_id: member_id.to_owned(),
        protocol_name,
        ..Default::default()
    })
}

/// An id such as Kafka's: client id or instance id, a dash, a random UUID in hexadecimal.
fn member_id(prefix: &str, fresh_id: Uuid) -> MemberId {
    let prefix = &prefix[..prefix.floor_char_boundary(MEMBER_ID_PREFIX_BYTES_MAX)];
    let hex: String = fresh_id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let groups = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    format!("{prefix}-{}", groups.join("-")).into()
}

/// The protocols of a request, each name once, the least preferred beyond the limit left out. The
/// metadata is copied, since it outlives the buffer that the request came in.
fn distinct(protocols: Vec<JoinGroupRequestProtocol>) -> Vec<MemberProtocol> {
    let mut distinct: Vec<MemberProtocol> = vec![];
    for JoinGroupRequestProtocol { name, metadata, .. } in protocols.into_iter().take(PROTOCOLS_MAX)
    {
        if !distinct.iter().any(|known| known.name == name) {
            distinct.push(MemberProtocol { name, metadata: Bytes::copy_from_slice(&metadata) });
        }
    }
    distinct
}
