//! The coordinator of one partition of `__consumer_offsets`: which request goes to whom.
//!
//! It owns the logged state, the groups that have more to them than the log says, and the timers.
//! What a request does is decided in `group`; here it is only handed over.

use std::collections::BTreeMap;

use types::{ErrorCode, Millis, Uuid};

use crate::group::classic::{Group, Turn};
use crate::group::offsets;
use crate::logged::{Generation, GroupId, Logged, Replayed};
use crate::message::{Caller, Now, Outcome, ReplyToken, Request, Response};
use crate::records::{self, Record, ReplayError};
use crate::settings::Settings;
use crate::timers::{Timer, Timers};

/// Serves the groups of one partition.
///
/// Decisions and their records take turns: whoever has called [`handle`](Self::handle) or
/// [`tick`](Self::tick) settles the [`Outcome`], with [`replay`](Self::replay) for each of its
/// records or with [`append_failed`](Self::append_failed), before anything else is decided.
#[derive(Debug)]
pub struct Coordinator {
    settings: Settings,
    logged: Logged,
    /// Groups with members, or with someone on the way.
    groups: BTreeMap<GroupId, Group>,
    timers: Timers,
    /// Groups whose offsets are still to be looked through in this round of expiration.
    expiring: Vec<GroupId>,
    /// Records of the last outcome that were neither replayed nor refused.
    unsettled: usize,
    members: MemberMemory,
}

/// What the members of all groups of a coordinator take in memory.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MemberMemory {
    /// About so many bytes.
    pub bytes: usize,
    /// How often somebody was turned away for want of them.
    pub turned_away: u64,
}

impl Coordinator {
    /// Serves what was loaded from the log. All members have a full session from `now` on.
    pub fn new(settings: Settings, logged: Logged, now: Now) -> Self {
        let mut timers = Timers::default();
        let next_check = now.monotonic + settings.offsets_retention_check_interval;
        timers.insert(next_check, Timer::Expiration);
        let mut groups = BTreeMap::new();
        for (group_id, stored) in logged.groups().filter(|(_, g)| !g.members.is_empty()) {
            let mut group = Group::from_log(group_id.clone(), Some(stored), now);
            group.start_sessions(&mut Turn::new(now, &settings, Some(stored), &mut timers));
            groups.insert(group_id.clone(), group);
        }
        let (members, expiring) = (MemberMemory::default(), vec![]);
        let mut this = Self { settings, logged, groups, timers, expiring, unsettled: 0, members };
        let ids: Vec<_> = this.groups.keys().cloned().collect();
        ids.iter().for_each(|id| this.recount(id));
        this
    }

    /// What members take in memory.
    pub fn members(&self) -> MemberMemory {
        self.members
    }

    pub(crate) fn turn_away(&mut self) {
        self.members.turned_away += 1;
    }

    /// Takes note of what a group takes in memory, as far as that was not done yet.
    pub(crate) fn recount(&mut self, group_id: &str) {
        let Some(group) = self.groups.get_mut(group_id) else { return };
        let stored = self.logged.generation(group_id).map_or(0, Generation::bytes);
        let bytes = group.bytes() + stored;
        self.members.bytes = self.members.bytes - group.bytes_counted + bytes;
        group.bytes_counted = bytes;
    }

    fn take_group(&mut self, group_id: &str) -> Option<Group> {
        let group = self.groups.remove(group_id)?;
        self.members.bytes -= group.bytes_counted;
        Some(group)
    }

    /// What the log says.
    pub fn logged(&self) -> &Logged {
        &self.logged
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The live side of a group, if it has one.
    pub(crate) fn group(&self, group_id: &str) -> Option<&Group> {
        self.groups.get(group_id)
    }

    /// Decides a request.
    ///
    /// # Panics
    /// If the outcome before was not settled.
    pub fn handle(&mut self, request: Request, caller: &Caller<'_>, now: Now) -> Outcome {
        self.assert_settled();
        let token = caller.token;
        let outcome = match request {
            Request::Join { request, fresh_id } => self.join(request, fresh_id, caller, now),
            Request::Sync(request) => self.sync(request, caller, now),
            Request::Heartbeat(request) => self.heartbeat(&request, token, now),
            Request::Leave(request) => self.leave(request, caller, now),
            Request::OffsetCommit(request) => self.offset_commit(request, caller, now),
            Request::OffsetFetch(request) => {
                let response = offsets::fetch_offsets(&self.logged, request);
                Outcome::reply(token, Response::OffsetFetch(response))
            }
            Request::OffsetDelete(request) => self.offset_delete(request, token),
            Request::DeleteGroups(group_ids) => self.delete_groups(group_ids, token),
            Request::DescribeGroups(group_ids) => self.describe_groups(group_ids, caller),
            Request::ListGroups(request) => self.list_groups(&request, token),
        };
        self.unsettled = outcome.records.len();
        outcome
    }

    /// Decides what the log has to forget about topics that were deleted, by name and id.
    ///
    /// # Panics
    /// If the outcome before was not settled.
    pub fn topics_deleted(&mut self, deleted: &[(&str, Uuid)]) -> Outcome {
        self.assert_settled();
        let mut outcome = Outcome::default();
        offsets::delete_offsets_of_topics(self.logged.offsets(), deleted, &mut outcome);
        self.unsettled = outcome.records.len();
        outcome
    }

    /// When [`tick`](Self::tick) is to be called next; sometimes earlier than needed.
    pub fn next_deadline(&self) -> Option<Millis> {
        match self.expiring.is_empty() {
            true => self.timers.next(),
            false => Some(Millis::ZERO),
        }
    }

    /// Decides what follows from time having passed, one thing after the other: to be called
    /// until it returns `None`.
    ///
    /// # Panics
    /// If the outcome before was not settled.
    pub fn tick(&mut self, now: Now) -> Option<Outcome> {
        self.assert_settled();
        loop {
            let outcome = match self.expiring.pop() {
                Some(group_id) => self.expire_offsets(&group_id, now),
                None => {
                    let (entry, timer) = self.timers.pop_due(now.monotonic)?;
                    self.fire(entry, timer, now)
                }
            };
            if !outcome.is_empty() {
                self.unsettled = outcome.records.len();
                return Some(outcome);
            }
        }
    }

    /// Applies a record of the last outcome, which is in the log by now.
    ///
    /// # Errors
    /// [`ReplayError`], which the coordinator's own records do not cause.
    pub fn replay(&mut self, record: &Record) -> Result<(), ReplayError> {
        self.unsettled = self.unsettled.saturating_sub(1);
        match self.logged.replay(record)? {
            Replayed::GroupRemoved(group_id) => {
                // Only empty groups are removed, so there is nobody to answer.
                if let Some(group) = self.take_group(&group_id) {
                    let turn = Turn::new(Now::default(), &self.settings, None, &mut self.timers);
                    _ = group.dismantle(ErrorCode::GroupIdNotFound, turn);
                }
            }
            // Once the log knows that the last member has gone, there is nothing to add to it.
            Replayed::Group(group_id) => {
                self.recount(&group_id);
                self.drop_if_idle(&group_id);
            }
            Replayed::Offset | Replayed::Skipped => {}
        }
        Ok(())
    }

    /// Takes an outcome back whose records could not be appended: its replies say so, and a group
    /// that would now differ from the log rebalances. What follows is an outcome like any other.
    pub fn append_failed(&mut self, outcome: Outcome, error: ErrorCode, now: Now) -> Outcome {
        self.unsettled = 0;
        let error = error_for_clients(error);
        let refused = |(token, response): (ReplyToken, Response)| (token, response.refused(error));
        let mut follows = Outcome::default();
        follows.replies.extend(outcome.replies.into_iter().map(refused));
        for record in outcome.records {
            let Some(group_id) = records::group_of_group_key(&record.key) else { continue };
            let next = self.group_not_written(&group_id, error, now);
            follows.records.extend(next.records);
            follows.replies.extend(next.replies);
        }
        self.unsettled = follows.records.len();
        follows
    }

    /// Answers all that waits: another coordinator takes over, or this node stops.
    pub fn unload(mut self) -> Vec<(ReplyToken, Response)> {
        let mut replies = vec![];
        for (_, group) in std::mem::take(&mut self.groups) {
            let turn = Turn::new(Now::default(), &self.settings, None, &mut self.timers);
            replies.extend(group.dismantle(ErrorCode::NotCoordinator, turn).replies);
        }
        replies
    }

    fn fire(&mut self, entry: Millis, timer: Timer, now: Now) -> Outcome {
        match timer {
            Timer::Join(id) => self.existing(&id, now, |group, turn| group.join_timer(entry, turn)),
            Timer::Sync(id) => self.existing(&id, now, |group, turn| group.sync_timer(entry, turn)),
            Timer::Session(id, member_id) => self.existing(&id, now, |group, turn| {
                group.session_timer(entry, &member_id, turn);
            }),
            Timer::Expiration => {
                let next_check = now.monotonic + self.settings.offsets_retention_check_interval;
                self.timers.insert(next_check, Timer::Expiration);
                self.expiring = self.logged.groups().map(|(id, _)| id.clone()).collect();
                Outcome::default()
            }
        }
    }

    fn expire_offsets(&self, group_id: &str, now: Now) -> Outcome {
        let mut outcome = Outcome::default();
        let retention = self.settings.offsets_retention;
        let group = self.groups.get(group_id);
        offsets::expire_offsets(&self.logged, group_id, group, now, retention, &mut outcome);
        outcome
    }

    /// The live side of a group could not be written. Without a record it does not exist; with an
    /// older one it has to come to a new generation.
    fn group_not_written(&mut self, group_id: &str, error: ErrorCode, now: Now) -> Outcome {
        if self.logged.generation(group_id).is_some() {
            return self.existing(group_id, now, |group, turn| group.not_written(turn));
        }
        match self.take_group(group_id) {
            Some(group) => {
                group.dismantle(error, Turn::new(now, &self.settings, None, &mut self.timers))
            }
            None => Outcome::default(),
        }
    }

    /// Lets a group decide that has a live side; without one there is nothing to decide.
    fn existing(
        &mut self,
        group_id: &str,
        now: Now,
        decide: impl FnOnce(&mut Group, &mut Turn<'_>),
    ) -> Outcome {
        match self.groups.get_key_value(group_id) {
            Some((group_id, _)) => self.turn(&group_id.clone(), now, decide),
            None => Outcome::default(),
        }
    }

    /// Lets a group decide; it gets a live side if it has none, and loses one that adds nothing.
    pub(crate) fn turn(
        &mut self,
        group_id: &GroupId,
        now: Now,
        decide: impl FnOnce(&mut Group, &mut Turn<'_>),
    ) -> Outcome {
        let stored = self.logged.generation(group_id);
        let from_log = || Group::from_log(group_id.clone(), stored, now);
        let group = self.groups.entry(group_id.clone()).or_insert_with(from_log);
        let crowd = group.crowd();
        let mut turn = Turn::new(now, &self.settings, stored, &mut self.timers);
        decide(group, &mut turn);
        let outcome = turn.outcome;
        if group.crowd() != crowd {
            self.recount(group_id);
        }
        self.drop_if_idle(group_id);
        outcome
    }

    fn drop_if_idle(&mut self, group_id: &str) {
        let stored = self.logged.generation(group_id);
        if self.groups.get(group_id).is_some_and(|group| group.is_idle(stored)) {
            self.take_group(group_id);
        }
    }

    fn assert_settled(&self) {
        assert_eq!(self.unsettled, 0, "records of the outcome before are to be settled first");
    }
}

/// What a client is told when the log refuses a record, so that it does the right thing next.
fn error_for_clients(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge
        | ErrorCode::RecordListTooLarge
        | ErrorCode::InvalidFetchSize => ErrorCode::UnknownServerError,
        // Every other code says by itself what is wrong.
        other => other,
    }
}
