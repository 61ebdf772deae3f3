//! One partition as its shard holds it: the log, what is committed, and who waits.
//!
//! Not here: which shard owns it (`shard`), when it is synced (`sync`), requests (`broker/api`).

mod appended;
mod commit;
mod copied;
mod mending;
mod role;

use std::sync::Arc;

use ::metadata::image::Partition as Replica;
use config::Durability;
use log::{AppendError, AppendOrigin, Log, LogError, Received};
use replication::{EpochEnd, Purgatory, divergence};
use tokio::sync::{Notify, oneshot};
use types::{ErrorCode, LeaderEpoch, Millis, Offset, TopicPartition, Uuid};

use super::call::Reply;
use super::settings::TopicSettings;
use super::watchers::Watchers;
use crate::dirs::Dirs;
use commit::Flush;
use mending::Mending;

pub use appended::{AppendRefused, AppendReply, Appended};
pub use commit::{CommitStep, NextStep};
use copied::IsListed;
pub use copied::Listed;
pub use mending::Helped;
pub use role::{Role, RoleChange};

/// A partition by the id of its topic.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PartitionId {
    /// Id of the topic.
    pub topic: Uuid,
    /// Index of the partition.
    pub index: i32,
}

/// An append that waits for its commit.
struct Parked {
    appended: Appended,
    reply: Reply<AppendReply>,
}

/// A partition that this node has a replica of.
pub struct Partition {
    id: PartitionId,
    name: TopicPartition,
    log: Log,
    role: Role,
    /// Whether other nodes have replicas, too.
    is_replicated: bool,
    /// The newest that the metadata says of it.
    state: Arc<Replica>,
    listed: IsListed,
    /// Records that a follower lacked by the leader's last answer.
    lag: Option<u64>,
    durability: Durability,
    /// Where faults are told.
    dirs: Arc<Dirs>,
    /// `flush.messages`: records after which even `async` waits for a sync.
    flush_messages: Option<u64>,
    /// `flush.ms`: how old records may get that are not synced.
    flush_ms: Option<Millis>,
    flush: Flush,
    /// Appends that wait for the high watermark.
    parked: Purgatory<Parked>,
    /// Appends that wait for this node's own disk alone.
    parked_here: Purgatory<Parked>,
    watchers: Watchers,
    /// Followers that wait for records which nobody else may read yet.
    replica_watchers: Watchers,
    /// Who waits for the replicas to give up records.
    start_watchers: Watchers,
    /// Where the log is about to be cut.
    cut_at: Option<Offset>,
    /// The epoch whose leader is asked for its range.
    asks_in: Option<LeaderEpoch>,
    queued: bool,
    /// A thread makes the files of the next segment.
    is_rolling: bool,
    /// Appends wait for a sync to end, to be synced themselves.
    is_due_again: bool,
    /// Rounds of upkeep since a client has used it.
    idle_rounds: u8,
    /// A write or sync found no room or no descriptor, and is to be tried again in a while.
    waits_for_room: bool,
    offline: bool,
    /// What has been tried to get back what is damaged.
    mending: Mending,
}

impl Partition {
    /// A partition whose log was just opened.
    pub fn new(
        id: PartitionId,
        name: TopicPartition,
        log: Log,
        role: Role,
        state: &Arc<Replica>,
        dirs: Arc<Dirs>,
    ) -> Self {
        Self {
            id,
            name,
            log,
            role,
            is_replicated: false,
            state: Arc::clone(state),
            listed: IsListed::default(),
            lag: None,
            durability: Durability::Sync,
            dirs,
            flush_messages: None,
            flush_ms: None,
            flush: Flush::Idle,
            parked: Purgatory::default(),
            parked_here: Purgatory::default(),
            watchers: Watchers::default(),
            replica_watchers: Watchers::default(),
            start_watchers: Watchers::default(),
            cut_at: None,
            asks_in: None,
            queued: false,
            is_rolling: false,
            is_due_again: false,
            idle_rounds: 0,
            waits_for_room: false,
            offline: false,
            mending: Mending::default(),
        }
    }

    /// A client uses it.
    pub fn touch(&mut self) {
        self.idle_rounds = 0;
    }

    /// A round of upkeep has come by; how many have since a client has used it.
    pub fn age(&mut self) -> u8 {
        self.log.age_recent();
        self.idle_rounds = self.idle_rounds.saturating_add(1);
        self.idle_rounds
    }

    /// Whether nothing is under way and nobody waits, so that its log may be closed.
    pub fn is_idle(&self) -> bool {
        !self.offline
            && !self.is_replicated
            && !self.queued
            && !self.is_due_again
            && !self.waits_for_room
            && self.parked.is_empty()
            && !self.watchers.are_waiting()
            && self.role.high_watermark() == self.log.end_offset()
            && self.log.can_rest()
    }

    /// The partition's id.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// The partition's name.
    pub fn name(&self) -> &TopicPartition {
        &self.name
    }

    /// The log, for reading.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The log, for upkeep that appends nothing.
    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// The leader's epoch.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.role.epoch()
    }

    /// The end of what is committed.
    pub fn high_watermark(&self) -> Offset {
        self.role.high_watermark()
    }

    /// The end of what is committed and in no open transaction.
    pub fn last_stable_offset(&mut self) -> Offset {
        self.log.last_stable_offset(self.role.high_watermark())
    }

    /// Where the log of a reader, whose last record before `from` is of `last_epoch`, parts from
    /// this one; `None` where they agree or the reader does not say.
    pub fn divergence(&self, from: Offset, last_epoch: i32) -> Option<(LeaderEpoch, Offset)> {
        if last_epoch < 0 {
            return None;
        }
        let last_epoch = LeaderEpoch(last_epoch);
        let epochs = self.log.leader_epochs();
        let (epoch, end) = epochs.end_offset(last_epoch, self.log.end_offset())?;
        let parts = divergence(last_epoch, from, EpochEnd { epoch, end })?;
        Some((parts.epoch, parts.end))
    }

    /// The directories of the node, to which faults of the log's files are told.
    pub fn dirs(&self) -> &Arc<Dirs> {
        &self.dirs
    }

    /// Whether a write or sync failed, so that nothing is served any more.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// Sets what an acknowledgement means from now on, and which copies are throttled.
    pub fn set_settings(&mut self, settings: &TopicSettings) {
        let [leaders, followers] = &settings.listed;
        self.listed = IsListed::of(self.id.index, (leaders, followers));
        self.durability = settings.durability;
        self.flush_messages = settings.flush_messages;
        self.flush_ms = settings.flush_ms;
        if let Role::Leader(leader) = &mut self.role
            && leader.set_min_isr(settings.min_isr)
        {
            self.release();
        }
    }

    /// Appends batches; the records are in the log, not yet committed.
    ///
    /// # Errors
    /// [`AppendRefused`] with the log unchanged; after an IO error the partition is offline.
    pub fn append(
        &mut self,
        batches: impl Into<Received>,
        origin: AppendOrigin,
        now: Millis,
    ) -> Result<Appended, AppendRefused> {
        if self.offline {
            return Err(AppendRefused::offline());
        }
        if !self.leads() {
            return Err(AppendRefused::plain(ErrorCode::NotLeaderOrFollower));
        }
        match self.log.append_as_leader(batches, self.role.epoch(), origin, now) {
            Ok(info) => Ok(Appended {
                base_offset: info.base_offset,
                end: info.last_offset.next(),
                log_append_time: info.log_append_time,
                log_start: self.log.start_offset(),
            }),
            Err(error) => {
                if let AppendError::Log(fault) = &error {
                    self.take_fault(fault);
                }
                Err(AppendRefused::from(&error))
            }
        }
    }

    /// Answers `reply` once `appended` is committed; at once if it is, as a repeated batch may be.
    pub fn park(&mut self, appended: Appended, reply: Reply<AppendReply>) {
        if appended.end <= self.high_watermark() {
            reply.send(Ok(appended));
        } else {
            self.parked.park(appended.end, Parked { appended, reply });
        }
    }

    /// Resolves once the log is committed up to `end`.
    pub fn when_committed(&mut self, end: Offset) -> oneshot::Receiver<AppendReply> {
        let (reply, committed) = Reply::here();
        let log_start = self.log.start_offset();
        self.park(Appended { base_offset: end, end, log_append_time: None, log_start }, reply);
        committed
    }

    /// Answers `reply` once this node's own disk has `appended`, wherever else it is.
    pub fn park_here(&mut self, appended: Appended, reply: Reply<AppendReply>) {
        if !self.is_replicated {
            self.park(appended, reply);
        } else if appended.end <= self.counted_end() {
            reply.send(Ok(appended));
        } else {
            self.parked_here.park(appended.end, Parked { appended, reply });
        }
    }

    /// Wakes `notify` when there is more to read.
    pub fn watch(&mut self, notify: &Arc<Notify>) {
        self.watchers.add(notify);
    }

    /// Wakes `notify`, a follower's, when there is more to copy.
    pub fn watch_as_replica(&mut self, notify: &Arc<Notify>) {
        self.replica_watchers.add(notify);
    }

    /// Wakes those who wait for more to read or to be given up, whether there is more or not.
    pub fn wake_readers(&mut self) {
        self.watchers.wake();
        self.start_watchers.wake();
        self.wake_replicas();
    }

    /// The partition is going away: whoever waits is told so.
    pub fn abandon(&mut self, code: ErrorCode) {
        for Parked { reply, .. } in self.parked.abandon().chain(self.parked_here.abandon()) {
            reply.send(Err(AppendRefused::plain(code)));
        }
        self.wake_readers();
    }

    /// The log, for closing it.
    pub fn into_log(mut self) -> Log {
        self.abandon(ErrorCode::NotLeaderOrFollower);
        self.log
    }

    /// Whether what is appended could not be written or synced now and is to be tried again.
    pub fn waits_for_room(&self) -> bool {
        self.waits_for_room
    }

    /// Takes note of what went wrong with the log: tells its directory, and goes offline where the
    /// log has.
    pub fn take_fault(&mut self, fault: &LogError) {
        self.dirs.report(fault);
        if self.log.is_offline() {
            if !self.offline {
                tracing::error!(partition = %self.name, "partition is offline: {fault}");
            }
            self.go_offline();
        } else {
            self.waits_for_room |= fault.is_passing();
        }
    }

    /// Serves nothing any more, until the node starts anew.
    pub fn go_offline(&mut self) {
        self.offline = true;
        self.abandon(ErrorCode::KafkaStorageError);
    }
}
