//! How appends of one partition get to the disk: what is to be done next, and what became of it.
//!
//! Not here: groups of partitions and their syncs (`sync`), when `flush.ms` is over (`flush`).

use std::sync::Arc;

use config::Durability;
use log::{LogError, Rolling, SyncError, SyncTicket, Synced};
use types::Millis;

use super::{Parked, Partition, Role};

/// What must happen before an acknowledgement may leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NextStep {
    /// The partition's staged writes and syncs have to be run; it is already in the queue.
    Queued,
    /// The partition has to be put into the queue.
    Queue,
}

/// What is to be done with a partition of a group.
#[derive(Debug)]
pub enum CommitStep {
    /// This has to be synced first.
    Sync(SyncTicket),
    /// The files of the next segment have to be made first.
    Roll(Arc<Rolling>),
    /// Whoever waits for it may go.
    Settle,
    /// A sync is under way that does not cover the newest appends, or the next segment is being
    /// made.
    Wait,
}

/// Where a partition stands with `flush.ms`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flush {
    Idle,
    /// The shard's timer has it.
    Armed,
    /// The next group syncs it.
    Due,
}

impl Partition {
    /// The time is up that `flush.ms` gives.
    pub fn set_flush_due(&mut self) {
        self.flush = Flush::Due;
    }

    /// After which time a sync is to come, if the shard's timer does not know it yet.
    pub fn arm_flush(&mut self) -> Option<Millis> {
        let delay = self.flush_ms.filter(|_| self.durability == Durability::Async)?;
        let is_new = self.flush == Flush::Idle && self.log.durable_end() < self.log.end_offset();
        is_new.then(|| {
            self.flush = Flush::Armed;
            delay
        })
    }

    /// Notes that something has to be written or synced.
    pub fn mark_dirty(&mut self) -> NextStep {
        if std::mem::replace(&mut self.queued, true) { NextStep::Queued } else { NextStep::Queue }
    }

    /// Writes what is staged and says what comes next.
    pub fn begin_commit(&mut self) -> CommitStep {
        self.queued = false;
        self.waits_for_room = false;
        if self.offline {
            return CommitStep::Settle;
        }
        if let Some(rolling) = self.log.rolling() {
            let is_under_way = std::mem::replace(&mut self.is_rolling, true);
            return if is_under_way { CommitStep::Wait } else { CommitStep::Roll(rolling) };
        }
        let unsynced = u64::try_from(self.log.end_offset() - self.log.durable_end()).unwrap_or(0);
        let is_due = self.flush_messages.is_some_and(|limit| unsynced >= limit);
        let is_awaited = self.durability == Durability::Sync || is_due;
        if is_awaited || self.flush == Flush::Due {
            if !is_awaited {
                // What is written is acknowledged as ever.
                self.write();
                self.settle();
            }
            if self.log.is_syncing() {
                self.is_due_again = true;
                return CommitStep::Wait;
            }
            self.flush = Flush::Idle;
            return self.begin_sync().map_or(CommitStep::Settle, CommitStep::Sync);
        }
        self.write();
        CommitStep::Settle
    }

    fn write(&mut self) {
        if let Err(fault) = self.log.flush_writes() {
            self.take_fault(&fault);
        }
    }

    /// The files of the next segment are made, or cannot be.
    pub fn end_roll(&mut self, rolling: &Arc<Rolling>, outcome: Result<(), LogError>) {
        self.is_rolling = false;
        if let Err(fault) = self.log.end_roll(rolling, outcome) {
            self.take_fault(&fault);
        }
    }

    /// Takes the outcome of a group's sync and lets those go who waited for it. Whether more was
    /// appended meanwhile.
    pub fn end_commit(&mut self, outcome: Result<Synced, SyncError>) -> bool {
        self.end_sync(outcome);
        self.settle();
        std::mem::take(&mut self.is_due_again)
    }

    /// Whether acknowledgements wait for syncs.
    pub fn waits_for_syncs(&self) -> bool {
        self.durability == Durability::Sync || self.flush_messages.is_some()
    }

    /// Gives what has to be synced, if anything has and nothing is being synced already.
    pub fn begin_sync(&mut self) -> Option<SyncTicket> {
        // What a roll leaves behind is synced once its files are there.
        if self.offline || self.log.rolling().is_some() {
            return None;
        }
        match self.log.sync_ticket() {
            Ok(ticket) => ticket,
            Err(fault) => {
                self.take_fault(&fault);
                None
            }
        }
    }

    /// Takes the outcome of a sync.
    pub fn end_sync(&mut self, outcome: Result<Synced, SyncError>) {
        if let Err(fault) = self.log.synced(outcome) {
            self.take_fault(&fault);
        }
    }

    /// Moves the high watermark to what counts now, answers those who waited for it and wakes
    /// readers.
    pub fn settle(&mut self) {
        if self.offline {
            return;
        }
        let end = self.counted_end();
        for Parked { appended, reply } in self.parked_here.pass(end) {
            reply.send(Ok(appended));
        }
        let Role::Leader(leader) = &mut self.role else { return };
        // A topic that turns from async to sync has acknowledged more than it has synced.
        if leader.advance(end.max(leader.high_watermark())) {
            self.release();
        }
    }
}
