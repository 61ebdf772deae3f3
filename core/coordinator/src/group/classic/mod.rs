//! One classic group as its coordinator serves it: who is joining, who was heard of, what phase.
//!
//! ```text
//!             join                    all joined, or time is up          leader's assignment
//!   Empty ───────────▶ PreparingRebalance ──────────▶ CompletingRebalance ──────────▶ Stable
//!     ▲                  │      ▲                             │                          │
//!     └── nobody joined ─┘      └── join, leave, expiry ──────┴──────────────────────────┘
//! ```
//! The phase and all that is in [`Group`] is in no log. What the log knows is the
//! [`Generation`], written when the leader's assignment arrives and when the last member has gone;
//! assignments are read from there. A group that is `Empty` and has nobody on the way needs no
//! [`Group`]; one that does not exist is called `Dead`.
//!
//! Requests: `join`, `sync`, `heartbeat`, `leave`. What they share: `rebalance` (from join to
//! generation), `replace` (static members that come back), `expire` (timers).

mod expire;
mod heartbeat;
mod join;
mod leave;
mod member;
mod rebalance;
mod replace;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use types::{ErrorCode, Millis};

use crate::logged::{Generation, GroupId, MemberId, StoredMember};
use crate::message::{Now, Outcome, ReplyToken, Response};
use crate::settings::Settings;
use crate::timers::{Deadline, Timers};
pub(crate) use join::{Join, fits_a_member, join_refusal};
pub(crate) use leave::leave_unknown_group;
use member::Member;
pub(crate) use member::Parked;
pub(crate) use sync::sync_refusal;

/// The protocol type of groups of consumers, whose metadata the coordinator can read.
const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// What an id takes that was handed out, beside its text.
const PENDING_BYTES: usize = 256;

/// A classic group that has members or is about to.
#[derive(Debug)]
pub(crate) struct Group {
    id: GroupId,
    state: State,
    /// When the group came into its state, by the wall clock.
    since: Millis,
    /// Ahead of the log's generation while members join and wait for their assignment.
    generation: i32,
    protocol_type: Option<Arc<str>>,
    protocol_name: Option<Arc<str>>,
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    /// Members with an instance id, which keep their place while they are away.
    instances: BTreeMap<Arc<str>, MemberId>,
    /// Ids that were handed out and with which nobody has joined yet.
    pending: BTreeMap<MemberId, Deadline>,
    /// Members that have not asked for this generation's assignment yet.
    unsynced: BTreeSet<MemberId>,
    /// Topics of all members; `None` where the coordinator cannot tell.
    subscribed: Option<BTreeSet<String>>,
    join_deadline: Deadline,
    sync_deadline: Deadline,
    /// What the group was found to take in memory last.
    pub(crate) bytes_counted: usize,
}

/// The phase of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Empty,
    /// Members are expected to join; `initial` where the group was empty before.
    PreparingRebalance {
        initial: Option<InitialDelay>,
    },
    /// The generation has its members; the leader is expected to assign.
    CompletingRebalance,
    Stable,
}

/// Waiting for more members of a new group, so that it does not rebalance for each of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct InitialDelay {
    /// How long the current wait is.
    delay: Millis,
    /// How long it may be extended.
    remaining: Millis,
    /// Whether a member has joined during the current wait, which extends it.
    member_added: bool,
}

impl State {
    /// The name that Kafka's tools print.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance { .. } => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// What a decision works with, and what comes of it.
pub(crate) struct Turn<'a> {
    pub(crate) now: Now,
    pub(crate) settings: &'a Settings,
    /// The group's generation in the log, if it has one.
    pub(crate) stored: Option<&'a Generation>,
    pub(crate) timers: &'a mut Timers,
    pub(crate) outcome: Outcome,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(
        now: Now,
        settings: &'a Settings,
        stored: Option<&'a Generation>,
        timers: &'a mut Timers,
    ) -> Self {
        Self { now, settings, stored, timers, outcome: Outcome::default() }
    }

    pub(crate) fn reply(&mut self, token: ReplyToken, response: Response) {
        self.outcome.replies.push((token, response));
    }

    /// The log's record of a member, if the log has the member's generation.
    fn stored_member(&self, member_id: &str) -> Option<&StoredMember> {
        self.stored?.members.get(member_id)
    }
}

impl Group {
    /// The group as the log describes it: stable where it has members, and nobody heard of yet.
    pub(crate) fn from_log(id: GroupId, stored: Option<&Generation>, now: Now) -> Self {
        let stored = stored.cloned().unwrap_or_default();
        let protocol_name = stored.protocol_name.clone();
        let members: BTreeMap<_, _> = stored
            .members
            .into_iter()
            .map(|(id, member)| {
                let member = Member::from_log(id.clone(), member, protocol_name.as_deref());
                (id, member)
            })
            .collect();
        let instance = |member: &Member| Some((member.instance_id.clone()?, member.id.clone()));
        let instances = members.values().filter_map(instance).collect();
        let mut group = Self {
            id,
            state: if members.is_empty() { State::Empty } else { State::Stable },
            since: stored.since.unwrap_or(now.wall),
            generation: stored.number,
            protocol_type: stored.protocol_type,
            protocol_name: stored.protocol_name,
            leader: stored.leader,
            members,
            instances,
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            subscribed: None,
            join_deadline: Deadline::default(),
            sync_deadline: Deadline::default(),
            bytes_counted: 0,
        };
        group.subscribed = group.read_subscriptions();
        group
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn id(&self) -> &GroupId {
        &self.id
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// Whether the log says all that is to be said of this group.
    pub(crate) fn is_idle(&self, stored: Option<&Generation>) -> bool {
        let logged = match stored {
            Some(stored) => stored.members.is_empty() && stored.number == self.generation,
            None => true,
        };
        self.state == State::Empty && self.pending.is_empty() && logged
    }

    /// Whether someone is a member or was given an id to join with.
    pub(crate) fn is_inhabited(&self) -> bool {
        !self.members.is_empty() || !self.pending.is_empty()
    }

    pub(crate) fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    pub(crate) fn protocol_name(&self) -> Option<&str> {
        self.protocol_name.as_deref()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// How many are members, and how many were given an id to become one.
    pub(crate) fn crowd(&self) -> (usize, usize) {
        (self.members.len(), self.pending.len())
    }

    /// About what members take in memory, those that are expected included.
    pub(crate) fn bytes(&self) -> usize {
        let pending: usize = self.pending.keys().map(|id| PENDING_BYTES + id.len()).sum();
        self.id.len() + pending + self.members.values().map(Member::bytes).sum::<usize>()
    }

    pub(crate) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// Whether the topics of a group of consumers are known.
    pub(crate) fn knows_subscriptions(&self) -> bool {
        self.subscribed.is_some()
    }

    /// Whether a member subscribes to the topic. Consumers whose subscription cannot be read are
    /// taken to subscribe to everything.
    pub(crate) fn subscribes_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// Checks that the request comes from a member: first its instance id, then its member id.
    pub(crate) fn validate_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.instances.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(owner) if **owner != *member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        match self.members.contains_key(member_id) {
            true => Ok(()),
            false => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// Checks an OffsetCommit. -1 as generation comes from tools and from consumers that assign
    /// themselves; they may commit while the group has no members.
    pub(crate) fn validate_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation < 0 && member_id.is_empty() && instance_id.is_none() {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.validate_member(member_id, instance_id)?;
        if generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        match self.state {
            // The member knows the generation but not yet what it owns.
            State::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
            State::Empty | State::PreparingRebalance { .. } | State::Stable => Ok(()),
        }
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    fn enter(&mut self, state: State, now: Now) {
        self.state = state;
        self.since = now.wall;
    }

    /// The longest time that a member asked for to rejoin.
    fn rebalance_timeout(&self) -> Millis {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or(Millis::ZERO)
    }

    /// Ends all waiting: for a group that is taken away with its partition or could not be made.
    pub(crate) fn dismantle(mut self, error: ErrorCode, mut turn: Turn<'_>) -> Outcome {
        let members: Vec<_> = self.members.keys().cloned().collect();
        for member_id in members {
            self.take_out(&member_id, error, &mut turn);
        }
        let pending: Vec<_> = self.pending.keys().cloned().collect();
        for member_id in pending {
            self.forget_pending(&member_id, &mut turn);
        }
        turn.outcome
    }

    /// A record of the group is not in the log. Its members come to a new generation; a group
    /// that has none is left as it is, and the log with an older generation, whose members would
    /// expire after a failover.
    pub(crate) fn not_written(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            State::CompletingRebalance | State::Stable => self.rebalance(turn),
            State::Empty | State::PreparingRebalance { .. } => {}
        }
    }
}

/// Answers the request that waits at `parked`, if one does.
fn answer(
    parked: &mut Option<Parked>,
    turn: &mut Turn<'_>,
    response: impl FnOnce(&Parked) -> Response,
) {
    if let Some(parked) = parked.take() {
        let response = response(&parked);
        turn.reply(parked.token, response);
    }
}
