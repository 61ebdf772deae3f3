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
/// How long batches then wait for a new leader, before they are appended here after all.
const HOLD_MAX: Duration = Duration::from_secs(3);

/// What a shard gives away; nothing until its node leaves.
#[derive(Default)]
pub struct HandOver {
    /// What comes for partitions that are led here, and others can lead, in its order.
    held: RefCell<FxHashMap<PartitionId, Vec<Batch>>>,
    is_under_way: Cell<bool>,
}

/// A batch that a producer wants to have appended.
pub struct Batch {
    pub received: Received,
    pub acks: i16,
    pub reply: Reply<AppendReply>,
}

impl HandOver {
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
}

/// Has batches wait that are for what others can lead next, and resolves when all before them are
/// committed, or that takes too long: what is not committed by then waits for nobody.
pub async fn begin(shard: Rc<Shard>) {
    let mut moving = shard.partitions();
    moving.retain(|partition| can_move(&partition.borrow()));
    for partition in &moving {
        let id = partition.borrow().id();
        shard.hand_over.held.borrow_mut().insert(id, Vec::new());
    }
    shard.hand_over.is_under_way.set(true);
    let until = Instant::now() + COMMIT_MAX;
    loop {
        moving.retain(|partition| !is_committed(&partition.borrow()));
        if moving.is_empty() || until <= Instant::now() {
            break;
        }
        sleep(COMMIT_LOOK).await;
    }
    for partition in moving {
        let id = partition.borrow().id();
        shard.take_back(id);
    }
    tokio::task::spawn_local(async move {
        sleep(HOLD_MAX).await;
        let ids: Vec<_> = shard.hand_over.held.borrow().keys().copied().collect();
        ids.into_iter().for_each(|id| shard.take_back(id));
    });
}

/// Whether clients write it here, and another broker could lead it.
fn can_move(partition: &Partition) -> bool {
    partition.leads()
        && !partition.is_offline()
        && partition.state().isr.len() > 1
        && !config::is_internal(&partition.name().topic)
}

fn is_committed(partition: &Partition) -> bool {
    partition.high_watermark() >= partition.log().end_offset()
}

impl Shard {
    /// Appends what waits, and what comes.
    fn take_back(self: &Rc<Self>, id: PartitionId) {
        let held = self.hand_over.held.borrow_mut().remove(&id);
        for batch in held.unwrap_or_default() {
            append_here(self, id, batch);
        }
    }
}
