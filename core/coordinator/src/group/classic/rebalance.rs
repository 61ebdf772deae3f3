//! From the first JoinGroup to a generation: who is waited for, how long, what they speak.

use std::collections::BTreeSet;

use types::{ErrorCode, Millis};

use super::member::Member;
use super::sync::sync_refusal;
use super::{CONSUMER_PROTOCOL_TYPE, Group, InitialDelay, State, Turn, answer, join_refusal};
use crate::logged::{Generation, MemberId, StoredMember};
use crate::message::Response;
use crate::records;
use crate::timers::Timer;

/// The least time that static members get to come back when none of them has; what they asked for
/// themselves may be nothing at all.
const ANOTHER_TURN_MIN: Millis = Millis(1_000);

impl Group {
    /// Members are asked to join, or, where that has happened, joining ends if all are there.
    pub(super) fn rebalance_or_complete(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            State::Empty | State::CompletingRebalance | State::Stable => self.rebalance(turn),
            State::PreparingRebalance { initial: None } => self.complete_if_all_joined(turn),
            // More members of a new group are on their way; the delay decides.
            State::PreparingRebalance { initial: Some(_) } => {}
        }
    }

    /// Begins a rebalance: members learn of it from the answers to their heartbeats and join.
    pub(crate) fn rebalance(&mut self, turn: &mut Turn<'_>) {
        self.refuse_syncs(turn);
        self.unsynced.clear();
        if self.state == State::Empty {
            let delay = turn.settings.initial_rebalance_delay;
            let remaining = (self.rebalance_timeout() - delay).max(Millis::ZERO);
            let initial = InitialDelay { delay, remaining, member_added: false };
            self.enter(State::PreparingRebalance { initial: Some(initial) }, turn.now);
            self.arm_join(delay, turn);
        } else {
            self.enter(State::PreparingRebalance { initial: None }, turn.now);
            if self.all_joined() {
                self.complete_join(turn);
            } else {
                self.arm_join(self.rebalance_timeout(), turn);
            }
        }
    }

    /// The time to join is over. A new group waits longer while members keep coming.
    pub(super) fn join_time_is_up(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            State::PreparingRebalance { initial: Some(initial) }
                if initial.member_added && initial.remaining > Millis::ZERO =>
            {
                let delay = turn.settings.initial_rebalance_delay.min(initial.remaining);
                let remaining = (initial.remaining - initial.delay).max(Millis::ZERO);
                let initial = InitialDelay { delay, remaining, member_added: false };
                self.state = State::PreparingRebalance { initial: Some(initial) };
                self.arm_join(delay, turn);
            }
            State::PreparingRebalance { .. } => self.complete_join(turn),
            State::Empty | State::CompletingRebalance | State::Stable => {}
        }
    }

    /// Ends joining if nobody is missing, without regard to an initial delay.
    pub(super) fn complete_if_all_joined(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.state, State::PreparingRebalance { .. }) && self.all_joined() {
            self.complete_join(turn);
        }
    }

    fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    /// Ends joining: who is missing is a member no longer, except static members, which are
    /// expected back. If none but those are left, they get another turn.
    fn complete_join(&mut self, turn: &mut Turn<'_>) {
        let is_gone = |m: &&Member| m.joining.is_none() && m.instance_id.is_none();
        let gone: Vec<_> = self.members.values().filter(is_gone).map(|m| m.id.clone()).collect();
        for member_id in gone {
            self.take_out(&member_id, ErrorCode::UnknownMemberId, turn);
        }
        if self.members.is_empty() {
            self.become_empty(turn);
        } else if self.elect_joined_leader() {
            self.begin_generation(turn);
        } else {
            self.state = State::PreparingRebalance { initial: None };
            self.arm_join(self.rebalance_timeout().max(ANOTHER_TURN_MIN), turn);
        }
    }

    /// Makes sure that the leader is one who has joined; `false` if nobody has.
    fn elect_joined_leader(&mut self) -> bool {
        let has_joined = |member: &Member| member.joining.is_some();
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader));
        if leader.is_some_and(has_joined) {
            return true;
        }
        match self.members.values().find(|member| has_joined(member)) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// All members have gone. The log is told, so that a failover does not bring them back.
    fn become_empty(&mut self, turn: &mut Turn<'_>) {
        self.generation = next_generation(self.generation);
        self.protocol_name = None;
        self.leader = None;
        self.unsynced.clear();
        self.subscribed = self.read_subscriptions();
        self.enter(State::Empty, turn.now);
        turn.outcome.records.push(records::group(&self.id, &self.to_generation(|_| None)));
    }

    /// The members that have joined form a generation; its leader learns whom it may assign to.
    fn begin_generation(&mut self, turn: &mut Turn<'_>) {
        self.generation = next_generation(self.generation);
        self.protocol_name = Some(self.select_protocol().into());
        self.subscribed = self.read_subscriptions();
        self.unsynced = self.members.keys().cloned().collect();
        self.enter(State::CompletingRebalance, turn.now);
        let mut roster = Some(self.roster());
        let member_ids: Vec<_> = self.members.keys().cloned().collect();
        for member_id in member_ids {
            let leads = self.is_leader(&member_id);
            let roster = if leads { roster.take().unwrap_or_default() } else { vec![] };
            let reply = self.joined(&member_id, roster);
            if let Some(member) = self.members.get_mut(&member_id) {
                answer(&mut member.joining, turn, |_| Response::Join(reply));
                member.is_new = false;
            }
            self.extend_session(&member_id, turn);
        }
        let ends = turn.now.monotonic + self.rebalance_timeout();
        self.sync_deadline.arm(ends, turn.timers, || Timer::Sync(self.id.clone()));
    }

    /// The protocol that most members prefer among those that all speak; of several the first in
    /// the order of names.
    ///
    /// # Panics
    /// If no protocol is spoken by all, which joining has made sure of.
    pub(super) fn select_protocol(&self) -> String {
        let speaks_all = |name: &str| self.members.values().all(|member| member.speaks(name));
        let first = self.members.values().next();
        let candidates: BTreeSet<&str> = first
            .into_iter()
            .flat_map(|member| &member.protocols)
            .map(|protocol| protocol.name.as_str())
            .filter(|name| speaks_all(name))
            .collect();
        let vote = |member: &'_ Member| {
            let preferred = member.protocols.iter().find(|p| candidates.contains(&*p.name));
            preferred.map(|protocol| protocol.name.clone())
        };
        let votes: Vec<String> = self.members.values().filter_map(vote).collect();
        let count = |name: &str| votes.iter().filter(|vote| *vote == name).count();
        let selected = candidates.iter().rev().max_by_key(|name| count(name));
        selected.expect("a member is let in only with a protocol that all speak").to_string()
    }

    /// Topics of all members, where the group is one of consumers whose metadata can be read.
    pub(super) fn read_subscriptions(&self) -> Option<BTreeSet<String>> {
        if self.protocol_type.as_deref() != Some(CONSUMER_PROTOCOL_TYPE) {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol_name.as_deref()?;
        let topics: Option<Vec<_>> =
            self.members.values().map(|member| member.subscribed_topics(protocol)).collect();
        Some(topics?.into_iter().flatten().collect())
    }

    /// The group as it goes into the log, with the assignments that `assignment` knows.
    pub(super) fn to_generation(
        &self,
        assignment: impl Fn(&str) -> Option<bytes::Bytes>,
    ) -> Generation {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let stored = |member: &Member| StoredMember {
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout,
            session_timeout: member.session_timeout,
            subscription: member.metadata(protocol),
            assignment: assignment(&member.id).unwrap_or_default(),
        };
        Generation {
            number: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone(),
            since: Some(self.since),
            members: self.members.values().map(|m| (m.id.clone(), stored(m))).collect(),
        }
    }

    /// Removes a member and ends its waiting.
    pub(super) fn take_out(&mut self, member_id: &str, error: ErrorCode, turn: &mut Turn<'_>) {
        let Some(mut member) = self.members.remove(member_id) else { return };
        // Without an id in the reply, a client that still waits starts over.
        answer(&mut member.joining, turn, |p| join_refusal(error, "", p.api_version));
        answer(&mut member.syncing, turn, |_| sync_refusal(error));
        member.session.cancel(turn.timers, Timer::Session(self.id.clone(), member.id.clone()));
        if let Some(instance_id) = &member.instance_id {
            self.instances.remove(instance_id);
        }
        self.unsynced.remove(member_id);
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// Drops an id that was handed out; whether there was one.
    pub(super) fn forget_pending(&mut self, member_id: &str, turn: &mut Turn<'_>) -> bool {
        let Some((member_id, mut deadline)) = self.pending.remove_entry(member_id) else {
            return false;
        };
        deadline.cancel(turn.timers, Timer::Session(self.id.clone(), member_id));
        true
    }

    /// Members that wait for an assignment will not get it; they are to join again.
    fn refuse_syncs(&mut self, turn: &mut Turn<'_>) {
        let is_waiting = |member: &&Member| member.syncing.is_some();
        let waiting: Vec<MemberId> =
            self.members.values().filter(is_waiting).map(|member| member.id.clone()).collect();
        for member_id in waiting {
            if let Some(member) = self.members.get_mut(&member_id) {
                answer(&mut member.syncing, turn, |_| sync_refusal(ErrorCode::RebalanceInProgress));
            }
            self.extend_session(&member_id, turn);
        }
    }

    fn arm_join(&mut self, delay: Millis, turn: &mut Turn<'_>) {
        let ends = turn.now.monotonic + delay;
        self.join_deadline.arm(ends, turn.timers, || Timer::Join(self.id.clone()));
    }
}

/// The number after `generation`; it starts over rather than turn negative.
fn next_generation(generation: i32) -> i32 {
    generation.checked_add(1).unwrap_or(1).max(1)
}
