//! What a partition is on this node: its leader, or a follower of another node.
//!
//! Here the log and the rules (`core/replication`) meet; who asks whom and when is `replicas`.

use std::sync::Arc;

use log::{AppendError, Log};
use replication::{
    AlterAnswer, AlterPartition, EpochEnd, FetchVerdict, Follower, Leader, LeaderAnswer, OwnLog,
    Readable, Realign, ReplicaFetch, Step, Term, Want, check_epoch,
};
use tokio::sync::Notify;
use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset};

use super::{Parked, Partition};
use crate::clock;

/// The part that this node plays.
pub enum Role {
    Leader(Leader),
    Follower(Follower),
}

/// What newer metadata made of the role.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RoleChange {
    /// Nothing: it is as old as what is known, or a leader leads on.
    None,
    /// This node leads from now on.
    Leads,
    /// This node follows somebody else from now on, or waits for somebody to lead.
    Follows,
}

impl Role {
    /// A follower of nobody, which takes its role from the first metadata that it may heed.
    pub fn unknown(high_watermark: Offset) -> Self {
        Self::Follower(Follower::new(LeaderEpoch(-1), None, high_watermark))
    }

    pub(super) fn epoch(&self) -> LeaderEpoch {
        match self {
            Self::Leader(leader) => leader.epoch(),
            Self::Follower(follower) => follower.epoch(),
        }
    }

    pub(super) fn high_watermark(&self) -> Offset {
        match self {
            Self::Leader(leader) => leader.high_watermark(),
            Self::Follower(follower) => follower.high_watermark(),
        }
    }
}

impl Partition {
    /// Whether this node leads it.
    pub fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Whether other nodes have replicas, too.
    pub fn is_replicated(&self) -> bool {
        self.is_replicated
    }

    /// Takes what the metadata says, which may be nothing new.
    pub fn take_role(
        &mut self,
        here: BrokerId,
        term: &Term<'_>,
        leads: Option<BrokerId>,
    ) -> RoleChange {
        let now = clock::monotonic();
        let (known, high_watermark) = (self.role.epoch(), self.role.high_watermark());
        self.is_replicated = term.replicas.len() > 1;
        let end = self.log.end_offset();
        let change = if leads == Some(here) {
            if let Role::Leader(leader) = &mut self.role {
                if leader.learn(term, end, now) {
                    self.release();
                }
                RoleChange::None
            } else if term.epoch <= known {
                // A leader's epoch belongs to one process, and this one has followed in it.
                return RoleChange::None;
            } else {
                let ends = (end, self.counted_end());
                self.role = Role::Leader(Leader::new(here, term, ends, high_watermark, now));
                RoleChange::Leads
            }
        } else if known < term.epoch {
            self.role = Role::Follower(Follower::new(term.epoch, leads, high_watermark));
            self.lag = None;
            self.abandon(ErrorCode::NotLeaderOrFollower);
            RoleChange::Follows
        } else {
            return RoleChange::None;
        };
        if self.is_replicated && self.leads() && known < term.epoch {
            self.log.begin_leader_epoch(term.epoch);
            // Readers know the former epoch.
            self.wake_readers();
        }
        change
    }

    /// It is taken away: it plays no part any more, and whoever waits is told so.
    pub fn retire(&mut self, code: ErrorCode) {
        self.role = Role::unknown(self.role.high_watermark());
        self.abandon(code);
    }

    /// Compares the leader epoch that a client knows, -1 for none, with the one that holds.
    ///
    /// # Errors
    /// The code that sends the client to fresh metadata, or has it wait.
    pub fn check_epoch(&self, known: i32) -> Result<(), ErrorCode> {
        self.check_readable(known, false)
    }

    /// As [`Partition::check_epoch`], for a reader that followers serve, too, if `by_followers`.
    ///
    /// # Errors
    /// As [`Partition::check_epoch`].
    pub fn check_readable(&self, known: i32, by_followers: bool) -> Result<(), ErrorCode> {
        if self.offline {
            return Err(ErrorCode::KafkaStorageError);
        }
        let epoch = self.role.epoch();
        // Who has not heard of any leader since its start knows nothing of what is committed now.
        if !self.leads() && (!by_followers || epoch < LeaderEpoch(0)) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        check_epoch((known >= 0).then_some(LeaderEpoch(known)), epoch)
    }

    /// The replica among those `near` a consumer that its fetch should go to (KIP-392).
    pub fn preferred_read_replica(&self, from: Offset, near: &[BrokerId]) -> Option<BrokerId> {
        match &self.role {
            Role::Leader(leader) => leader.preferred_read_replica(from, |id| near.contains(&id)),
            Role::Follower(_) => None,
        }
    }

    /// How far the log may be counted on, by the partition's durability.
    pub(super) fn counted_end(&self) -> Offset {
        match self.durability {
            config::Durability::Sync => self.log.durable_end(),
            config::Durability::Async => self.log.written_end(),
        }
    }

    /// Up to where the log is durable, and not about to be cut.
    pub fn recovery_point(&self) -> Offset {
        let durable = self.log.durable_end();
        self.cut_at.map_or(durable, |cut| cut.min(durable))
    }

    /// From now on the checkpoints say that nothing behind `end` is sure to be there, and nothing
    /// is fetched; until [`Partition::cut`].
    pub fn plan_cut(&mut self, end: Offset) {
        self.cut_at = Some(end);
    }

    /// Its leader is asked for its range: nothing is fetched in this epoch until
    /// [`Partition::end_asking`].
    pub fn begin_to_ask(&mut self) {
        self.asks_in = Some(self.role.epoch());
    }

    /// The leader of `epoch` has told its range, or could not.
    pub fn end_asking(&mut self, epoch: LeaderEpoch) {
        if self.asks_in == Some(epoch) {
            self.asks_in = None;
        }
    }

    /// Whether a follower's log may grow now.
    fn may_fetch(&self) -> bool {
        !self.offline && self.cut_at.is_none() && self.asks_in != Some(self.role.epoch())
    }

    /// Puts the log right as its leader has it, if this is still a follower in the epoch.
    pub fn cut(&mut self, epoch: LeaderEpoch, realign: Realign) {
        self.cut_at = None;
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.epoch() != epoch || self.offline {
            return;
        }
        let name = &self.name;
        let now = clock::latest();
        let (end, cut) = match realign {
            Realign::Truncate(end) => (end, self.log.truncate_to(end, now).map(|_| ())),
            Realign::StartAt(start) => (start, self.log.truncate_fully_and_start_at(start, now)),
            Realign::FetchOn => return,
        };
        tracing::info!(partition = %name, "the log is cut to offset {end}, as its leader has it");
        match cut {
            Ok(()) if follower.truncated(self.log.end_offset()) => {
                tracing::warn!(partition = %name, "what was committed is cut: its leader lacks it");
            }
            Ok(()) => {}
            Err(fault) => self.take_fault(&fault),
        }
    }

    fn own_log(&self) -> OwnLog {
        let (start, end) = (self.log.start_offset(), self.log.end_offset());
        // An epoch that began and wrote nothing is not that of a record.
        let last = (end > start).then(|| Offset::new(end.get() - 1));
        let last_epoch = last.and_then(|last| self.log.leader_epochs().epoch_of(last));
        OwnLog { start, end, counted_end: self.counted_end(), last_epoch }
    }

    /// Whom this follows, if anybody.
    pub fn followed(&self) -> Option<BrokerId> {
        match &self.role {
            Role::Leader(_) => None,
            Role::Follower(follower) => follower.leader(),
        }
    }

    /// What a follower asks for next; `None` while it must not ask.
    pub fn want(&self) -> Option<Want> {
        match &self.role {
            Role::Follower(follower) if self.may_fetch() => follower.want(&self.own_log()),
            Role::Follower(_) | Role::Leader(_) => None,
        }
    }

    /// Whether it asks for more as soon as the disk has all that came.
    pub fn awaits_disk(&self) -> bool {
        let is_behind = self.counted_end() < self.log.end_offset();
        is_behind && !self.waits_for_room && self.may_fetch()
    }

    /// What to do with a leader's answer; where that is to append, it is done. `None` if nothing is
    /// followed.
    ///
    /// # Errors
    /// If the records cannot be appended.
    pub fn take_fetched(
        &mut self,
        asked: &Want,
        answer: &LeaderAnswer,
        records: &bytes::Bytes,
    ) -> Result<Option<Step>, AppendError> {
        if !self.may_fetch() {
            return Ok(None);
        }
        let own = self.own_log();
        let Role::Follower(follower) = &mut self.role else { return Ok(None) };
        let step = follower.take(asked, answer, &own, |epoch| end_of(&self.log, epoch));
        if step == Step::Append {
            if !records.is_empty()
                && let Err(fault) = self.log.append_as_follower(records, clock::latest())
            {
                if let AppendError::Log(fault) = &fault {
                    self.take_fault(fault);
                }
                return Err(fault);
            }
            let (start, end) = (self.log.start_offset(), self.log.end_offset());
            let learned = follower.learned(answer, &OwnLog { start, end, ..own });
            if let Some(start) = learned.log_start {
                self.log.move_start(start.min(end));
            }
            let committed = answer.high_watermark.unwrap_or(end);
            self.lag = Some(u64::try_from(committed - end).unwrap_or(0));
            if learned.moved {
                self.watchers.wake();
            }
        }
        Ok(Some(step))
    }

    /// What to do where the leader's range is `leaders`, and this follower is out of it.
    pub fn out_of_range(&self, leaders: (Offset, Offset)) -> Option<Realign> {
        match &self.role {
            Role::Follower(follower) => Some(follower.out_of_range(leaders, &self.own_log())),
            Role::Leader(_) => None,
        }
    }

    /// Takes note of a follower's fetch.
    pub fn follower_fetch(
        &mut self,
        fetch: &ReplicaFetch,
        lag_max: Millis,
        eligible: impl Fn(BrokerId) -> Option<i64>,
    ) -> FetchVerdict {
        let Role::Leader(leader) = &mut self.role else {
            return FetchVerdict::Refused(ErrorCode::NotLeaderOrFollower);
        };
        let log = &self.log;
        let ends = (log.start_offset(), log.end_offset());
        let epoch = leader.epoch();
        let end_of = |asked| match () {
            // It knows its own epoch though it may have written nothing in it.
            () if asked == epoch => Some(EpochEnd { epoch, end: ends.1 }),
            () => end_of(log, asked),
        };
        let times = (clock::monotonic(), lag_max);
        let verdict = leader.follower_fetch(fetch, ends, end_of, times, eligible);
        if matches!(verdict, FetchVerdict::Read { moved: true, .. }) {
            self.release();
        }
        // Where the follower's log begins is known now; rarely is anybody curious.
        self.start_watchers.wake();
        verdict
    }

    /// What consumers may read, as followers are told of it.
    pub fn readable(&self) -> Readable {
        Readable {
            log_start: Some(self.log.start_offset()),
            high_watermark: Some(self.role.high_watermark()),
        }
    }

    /// The first offset that all replicas of brokers that are `alive` still have, this node's
    /// among them; `None` while one has not said.
    ///
    /// # Errors
    /// As [`Partition::check_epoch`].
    pub fn low_watermark(
        &self,
        is_alive: impl Fn(BrokerId) -> bool,
    ) -> Result<Option<Offset>, ErrorCode> {
        self.check_epoch(-1)?;
        let start = self.log.start_offset();
        match &self.role {
            Role::Leader(leader) => Ok(leader.low_watermark(start, is_alive)),
            Role::Follower(_) => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    /// Wakes `notify` when a replica has given up records.
    pub fn watch_start(&mut self, notify: &Arc<Notify>) {
        self.start_watchers.add(notify);
    }

    /// Whether a follower's fetch may have made it fit for the ISR.
    pub fn may_expand(&self, replica: BrokerId) -> bool {
        match &self.role {
            Role::Leader(leader) => leader.may_expand(replica),
            Role::Follower(_) => false,
        }
    }

    /// Looks who is in sync; gives the change to ask the controller for.
    pub fn poll_isr(
        &mut self,
        lag_max: Millis,
        eligible: impl Fn(BrokerId) -> Option<i64>,
    ) -> Option<AlterPartition> {
        let Role::Leader(leader) = &mut self.role else { return None };
        if self.offline {
            return None;
        }
        let poll = leader.poll(self.log.end_offset(), (clock::monotonic(), lag_max), eligible);
        if poll.moved {
            self.release();
        }
        poll.alter
    }

    /// Takes what became of a change of the ISR.
    pub fn altered(&mut self, sent: &AlterPartition, answer: &AlterAnswer) {
        if let Role::Leader(leader) = &mut self.role
            && leader.altered(sent, answer, clock::monotonic())
        {
            self.release();
        }
    }

    /// Whether an append that all in sync are to acknowledge may begin.
    ///
    /// # Errors
    /// NOT_ENOUGH_REPLICAS, or that this node does not lead.
    pub fn check_min_isr(&self) -> Result<(), ErrorCode> {
        match &self.role {
            Role::Leader(leader) => leader.check_min_isr(),
            Role::Follower(_) => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    /// The end as it is told to clients: `None` while an earlier leader may have told a later one.
    pub fn latest_offset(&self) -> Option<Offset> {
        match &self.role {
            Role::Leader(leader) if self.is_replicated => leader.latest_offset(),
            role => Some(role.high_watermark()),
        }
    }

    /// Lets those go for whom the high watermark has moved.
    pub(super) fn release(&mut self) {
        for Parked { appended, reply } in self.parked.pass(self.role.high_watermark()) {
            reply.send(Ok(appended));
        }
        self.watchers.wake();
        // Followers are told of it, too.
        self.wake_replicas();
    }

    /// Wakes followers that wait for more.
    pub fn wake_replicas(&mut self) {
        self.replica_watchers.wake();
    }
}

/// Where an epoch ends in a log: `None` for one that is newer than all that it knows.
fn end_of(log: &Log, epoch: LeaderEpoch) -> Option<EpochEnd> {
    let (epoch, end) = log.leader_epochs().end_offset(epoch, log.end_offset())?;
    Some(EpochEnd { epoch, end })
}

#[cfg(test)]
mod tests;
