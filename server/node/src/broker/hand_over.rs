//! What producers send while this node gives away what it leads.
//!
//! A record that is appended when the leadership moves, and not committed, is refused, though the
//! new leader may have it: who sends it again without a sequence number has it twice. And what only
//! the leader has acknowledged (`acks=1`) may be lost. So a node that leaves in order first appends
//! no more to what others can lead, and has all that is appended committed. Batches wait
//! meanwhile; they are refused once another node leads, and then nobody has them ([ADR 30]).
//!
//! Not here: when each step begins (`node`, `upkeep`), requests (`api/produce`).
//!
//! [ADR 30]: ../../../../docs/adr/0030-who-leaves-appends-nothing-more.md

use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::time::Duration;

use log::Received;
use rustc_hash::FxHashMap;
use tokio::time::{Instant, sleep};
use types::ErrorCode;

use super::api::append_here;
use crate::shard::{AppendRefused, AppendReply, Partition, PartitionId, Reply, Shard};

/// How long what is appended may take to be committed, before batches behind it are appended, too.
const COMMIT_MAX: Duration = Duration::from_secs(2);
/// How often that is looked for.
const COMMIT_LOOK: Duration = Duration::from_millis(1);
/// How long batches wait in all, before they are appended here. All shards count from the same moment,
/// so that the controller has its part of it, whichever of them waited for the commit.
const HOLD_MAX: Duration = Duration::from_secs(5);
/// How often batches are let go that nobody waits for. They are counted nowhere any more, so this
/// bounds what they take to what comes in meanwhile.
const SWEEP: Duration = Duration::from_millis(10);

/// What a shard gives away; nothing until its node leaves.
#[derive(Default)]
pub struct HandOver {
    /// What comes for partitions that are led here, and others can lead, in its order.
    held: RefCell<FxHashMap<PartitionId, Vec<Batch>>>,
    /// Those of them that may have appends which are not committed.
    behind: RefCell<Vec<PartitionId>>,
    /// How long these are waited for, once that has begun.
    commit_until: Cell<Option<Instant>>,
    is_under_way: Cell<bool>,
}

/// A batch that a producer wants to have appended.
pub struct Batch {
    pub received: Received,
    pub acks: i16,
    pub reply: Reply<AppendReply>,
}

impl HandOver {
    /// Has batches for a partition wait from now on, if others can lead it: also one that is opened,
    /// or whose replicas come in sync, while the node leaves.
    pub fn note(&self, partition: &Partition) {
        if !self.is_under_way.get() || !can_move(partition) {
            return;
        }
        if let Entry::Vacant(entry) = self.held.borrow_mut().entry(partition.id()) {
            entry.insert(Vec::new());
            self.behind.borrow_mut().push(partition.id());
        }
    }

    /// Keeps a batch from being appended, if it is for the next leader; else gives it back.
    pub fn hold(&self, id: PartitionId, batch: Batch) -> Option<Batch> {
        if !self.is_under_way.get() {
            return Some(batch);
        }
        match self.held.borrow_mut().get_mut(&id) {
            Some(held) => held.push(batch),
            None => return Some(batch),
        }
        None
    }

    /// Another node leads: who waits is told so.
    pub fn refuse(&self, id: PartitionId) {
        let held = self.held.borrow_mut().remove(&id);
        for batch in held.unwrap_or_default() {
            batch.reply.send(Err(AppendRefused::plain(ErrorCode::NotLeaderOrFollower)));
        }
    }

    /// Lets batches go whose producers have been told that it took too long, or are gone: whoever
    /// sends them again would have them twice.
    fn sweep(&self) {
        for held in self.held.borrow_mut().values_mut() {
            held.retain(|batch| !batch.reply.is_closed());
        }
    }
}

/// Has batches wait that are for what others can lead next, and resolves when all before them are
/// committed, or that takes too long: what is not committed by then waits for nobody. Says whether
/// it took any time: other shards may have more by then.
pub async fn begin(shard: Rc<Shard>) -> bool {
    let hand_over = &shard.hand_over;
    let until = hand_over.commit_until.get().unwrap_or_else(|| {
        let now = Instant::now();
        hand_over.is_under_way.set(true);
        shard.partitions().iter().for_each(|partition| hand_over.note(&partition.borrow()));
        tokio::task::spawn_local(keep(Rc::clone(&shard), now + HOLD_MAX));
        now + COMMIT_MAX
    });
    hand_over.commit_until.set(Some(until));
    let mut has_waited = false;
    loop {
        hand_over.behind.borrow_mut().retain(|id| !shard.is_committed(*id));
        if hand_over.behind.borrow().is_empty() {
            return has_waited;
        }
        if until <= Instant::now() {
            break;
        }
        has_waited = true;
        sleep(COMMIT_LOOK).await;
    }
    let behind = hand_over.behind.take();
    behind.into_iter().for_each(|id| shard.take_back(id));
    false
}

/// Lets go what nobody waits for, and at the end appends the rest.
async fn keep(shard: Rc<Shard>, until: Instant) {
    while Instant::now() < until {
        sleep(SWEEP).await;
        shard.hand_over.sweep();
    }
    shard.hand_over.is_under_way.set(false);
    let ids: Vec<_> = shard.hand_over.held.borrow().keys().copied().collect();
    ids.into_iter().for_each(|id| shard.take_back(id));
}

/// Whether clients write it here, and another broker could lead it.
fn can_move(partition: &Partition) -> bool {
    partition.leads()
        && !partition.is_offline()
        && partition.state().isr.len() > 1
        && !config::is_internal(&partition.name().topic)
}

impl Shard {
    /// Whether a partition has nothing that is appended and not committed.
    fn is_committed(&self, id: PartitionId) -> bool {
        self.partition(id).is_none_or(|partition| {
            let partition = partition.borrow();
            partition.high_watermark() >= partition.log().end_offset()
        })
    }

    /// Appends what waits and somebody waits for, and what comes.
    fn take_back(self: &Rc<Self>, id: PartitionId) {
        let held = self.hand_over.held.borrow_mut().remove(&id);
        for batch in held.unwrap_or_default() {
            if !batch.reply.is_closed() {
                append_here(self, id, batch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use types::Uuid;

    use super::*;

    #[test]
    fn batches_whose_producers_wait_no_more_are_let_go() {
        let (hand_over, id) = (HandOver::default(), PartitionId { topic: Uuid::ZERO, index: 0 });
        hand_over.is_under_way.set(true);
        hand_over.held.borrow_mut().insert(id, Vec::new());
        let [first, second, _third] = [1, 1, -1].map(|acks| {
            let (reply, answer) = Reply::here();
            let received = Received { batches: BytesMut::new(), memory_bytes: 0 };
            assert!(hand_over.hold(id, Batch { received, acks, reply }).is_none());
            answer
        });
        drop((first, second));
        hand_over.sweep();
        let left: Vec<_> = hand_over.held.borrow()[&id].iter().map(|batch| batch.acks).collect();
        assert_eq!(left, [-1]);
    }
}
