//! Group commit: one write and one sync for everything that was appended in the meantime.
//!
//! Appends are staged and mark their partition dirty. At the end of the turn the loop here writes
//! each dirty partition with one call, syncs those whose durability asks for it on the blocking
//! pool, a few files side by side, and then lets the acknowledgements go. The next group forms
//! while the disk works; there is no timer. A sync that failed is never tried again: the partition
//! goes offline, since what the kernel dropped cannot be told from what it kept.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use log::{SyncError, SyncTicket, Synced};
use tokio::sync::Notify;

use super::Shard;
use super::partition::{NextStep, Partition};
use crate::threads;

/// Threads that sync for one shard at once.
const SYNC_THREADS: usize = 8;

/// How long a partition whose disk is full rests before it tries again.
const ROOM_RETRY: Duration = Duration::from_millis(500);

/// A partition as its shard holds it.
pub type SharedPartition = Rc<RefCell<Partition>>;

/// Partitions with appends that are not committed yet.
#[derive(Default)]
pub struct CommitQueue {
    dirty: RefCell<Vec<SharedPartition>>,
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
}

/// Commits group after group until the shard ends.
pub async fn run(shard: Rc<Shard>) {
    loop {
        // Tasks run in the order in which they were woken: whatever arrived in this turn was
        // served before and joins the group.
        shard.commits.wake.notified().await;
        shard.shared.mailboxes.look(shard.index);
        let group = shard.commits.take();
        commit(&group).await;
        retry_later(&shard, group);
    }
}

/// Those that found no room try again in a while, whether records come or not.
fn retry_later(shard: &Rc<Shard>, mut group: Vec<SharedPartition>) {
    group.retain(|partition| partition.borrow().waits_for_room());
    if !group.is_empty() {
        let shard = Rc::clone(shard);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(ROOM_RETRY).await;
            group.iter().for_each(|partition| shard.commits.push(partition));
        });
    }
}

/// Writes, syncs and settles one group.
async fn commit(group: &[SharedPartition]) {
    let mut syncing = Vec::new();
    for partition in group {
        let ticket = partition.borrow_mut().begin_commit();
        match ticket {
            Some(ticket) => syncing.push((Rc::clone(partition), ticket)),
            None => partition.borrow_mut().settle(),
        }
    }
    let per_thread = syncing.len().div_ceil(SYNC_THREADS).max(1);
    let mut running = Vec::with_capacity(SYNC_THREADS);
    while !syncing.is_empty() {
        let rest = syncing.split_off(per_thread.min(syncing.len()));
        let group = std::mem::replace(&mut syncing, rest);
        let (partitions, tickets): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        running.push((partitions, sync(tickets)));
    }
    for (partitions, outcomes) in running {
        for (partition, outcome) in partitions.iter().zip(outcomes.await) {
            let mut partition = partition.borrow_mut();
            partition.end_sync(outcome);
            partition.settle();
        }
    }
}

fn sync(tickets: Vec<SyncTicket>) -> impl Future<Output = Vec<Result<Synced, SyncError>>> {
    threads::blocking(move || tickets.into_iter().map(SyncTicket::sync).collect())
}
