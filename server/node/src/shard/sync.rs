//! Group commit: one write and one sync for everything that was appended in the meantime.
//!
//! Appends are staged and mark their partition dirty. At the end of the turn the loop here writes
//! each dirty partition with one call, hands what must be synced to the threads for that, and lets
//! the acknowledgements go that wait for no sync. The next group forms while the disk works; there
//! is no timer. A sync that failed is never tried again: the partition goes offline, since what the
//! kernel dropped cannot be told from what it kept.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use log::Rolling;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::Shard;
use super::partition::{CommitStep, NextStep, Partition};
use crate::sync_threads::{Outcomes, SyncJob};
use crate::threads;

/// How long a partition whose disk is full rests before it tries again.
const ROOM_RETRY: Duration = Duration::from_millis(500);

/// A partition as its shard holds it.
pub type SharedPartition = Rc<RefCell<Partition>>;

/// Partitions with appends that are not committed yet.
#[derive(Default)]
pub struct CommitQueue {
    dirty: RefCell<Vec<SharedPartition>>,
    /// Those that are being synced, by the key of their job.
    syncing: RefCell<FxHashMap<u64, SharedPartition>>,
    last_key: Cell<u64>,
    wake: Notify,
}

impl CommitQueue {
    /// Notes that `partition` has appends to commit.
    pub fn push(&self, partition: &SharedPartition) {
        if partition.borrow_mut().mark_dirty() == NextStep::Queue {
            self.dirty.borrow_mut().push(Rc::clone(partition));
            self.wake.notify_one();
        }
    }

    fn take(&self) -> Vec<SharedPartition> {
        std::mem::take(&mut *self.dirty.borrow_mut())
    }

    /// Keeps `partition` until the outcome of its sync comes, under the key that this gives.
    fn keep(&self, partition: &SharedPartition) -> u64 {
        let key = self.last_key.get() + 1;
        self.last_key.set(key);
        self.syncing.borrow_mut().insert(key, Rc::clone(partition));
        key
    }
}

/// Commits group after group until the shard ends.
pub async fn run(shard: Rc<Shard>) {
    loop {
        // Tasks run in the order in which they were woken: whatever arrived in this turn was
        // served before and joins the group.
        shard.commits.wake.notified().await;
        shard.shared.mailboxes.look(shard.index);
        shard.begin_commits();
    }
}

impl Shard {
    /// Writes one group and lets those go who wait for no sync.
    fn begin_commits(self: &Rc<Self>) {
        let group = self.commits.take();
        let mut jobs = Vec::new();
        for partition in &group {
            let call = self.shared.dirs.begin_call(partition.borrow().log().dir());
            let step = partition.borrow_mut().begin_commit();
            drop(call);
            // Followers copy what is written while it is synced here.
            partition.borrow_mut().wake_replicas();
            match step {
                CommitStep::Sync(ticket) => {
                    let key = self.commits.keep(partition);
                    let is_awaited = partition.borrow().waits_for_syncs();
                    jobs.push(SyncJob { ticket, shard: self.index, key, is_awaited });
                }
                CommitStep::Roll(rolling) => self.roll(partition, rolling),
                CommitStep::Settle => {
                    partition.borrow_mut().settle();
                    self.ask_for_more(partition, None);
                }
                CommitStep::Wait => {}
            }
            let mut partition = partition.borrow_mut();
            if let Some(delay) = partition.arm_flush() {
                self.flushes.arm(partition.id(), delay);
            }
        }
        self.shared.syncs.push(jobs);
        self.retry_later(&group);
    }

    /// Has the files of the next segment made; then its group goes on.
    fn roll(self: &Rc<Self>, partition: &SharedPartition, rolling: Arc<Rolling>) {
        let (shard, partition) = (Rc::clone(self), Rc::clone(partition));
        tokio::task::spawn_local(async move {
            let (made, dirs) = (Arc::clone(&rolling), Arc::clone(&shard.shared.dirs));
            let dir = partition.borrow().log().dir().to_owned();
            let outcome = threads::blocking(move || {
                let _call = dirs.begin_call(&dir);
                made.run()
            })
            .await;
            partition.borrow_mut().end_roll(&rolling, outcome);
            if partition.borrow().waits_for_room() {
                shard.retry_later(&[partition]);
            } else {
                shard.commits.push(&partition);
            }
        });
    }

    /// Takes the outcomes of syncs and lets those go who waited for them.
    pub fn end_syncs(self: &Rc<Self>, outcomes: Outcomes) {
        let mut group = Vec::with_capacity(outcomes.len());
        for (key, outcome) in outcomes {
            let kept = self.commits.syncing.borrow_mut().remove(&key);
            let partition = kept.expect("each job ends once");
            let is_due = partition.borrow_mut().end_commit(outcome);
            if is_due {
                self.commits.push(&partition);
            }
            self.ask_for_more(&partition, None);
            group.push(partition);
        }
        self.retry_later(&group);
    }

    /// Those that found no room try again in a while, whether records come or not.
    fn retry_later(self: &Rc<Self>, group: &[SharedPartition]) {
        let waiting = group.iter().filter(|partition| partition.borrow().waits_for_room());
        // By id, so that a stop does not have to wait for them.
        let ids: Vec<_> = waiting.map(|partition| partition.borrow().id()).collect();
        if !ids.is_empty() {
            let shard = Rc::clone(self);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(ROOM_RETRY).await;
                let partitions = ids.into_iter().filter_map(|id| shard.partition(id));
                partitions.for_each(|partition| shard.commits.push(&partition));
            });
        }
    }
}
