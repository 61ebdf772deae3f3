//! The replicas of a shard: what is copied from other nodes, and who is in sync with this one.
//!
//! For each broker that leads partitions which this shard follows there is one task with one
//! connection and one fetch session ([`fetching`]): it asks for what all of them want, hands each
//! answer to its partition ([`answers`]), and asks for more once the disk has what came. [`isr`]
//! asks the controller for changes of who is in sync with partitions that are led here, [`throttled`]
//! has those wait whose rate is used up, [`mending`] gets from others what the disk has lost.
//!
//! Not here: the rules (`core/replication`), which role a partition has (`shard`), serving other
//! brokers' fetches (`broker/read`).

mod answers;
mod fetching;
mod isr;
mod mending;
mod realign;
mod throttled;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ::metadata::{Changes, Image};
use replication::{Fetcher, TopicIdPartition};
use tokio::sync::Notify;
use types::{BrokerId, Millis};

use crate::shard::{PartitionId, Shard, SharedPartition};

pub use fetching::endpoint_of;
pub use isr::run as run_isr;
pub use mending::run as run_mending;
pub use throttled::run as run_throttled;

/// What a shard copies, and asks to be changed.
#[derive(Default)]
pub struct Replicas {
    pairs: RefCell<BTreeMap<BrokerId, Rc<Pair>>>,
    alterations: isr::Alterations,
    waiting: throttled::Waiting,
}

/// What is followed from one broker.
#[derive(Default)]
struct Pair {
    fetcher: RefCell<Fetcher>,
    /// Partitions that wait for the disk.
    held: RefCell<BTreeSet<TopicIdPartition>>,
    /// Something may be asked for.
    wake: Notify,
    /// A partition is followed from now on.
    joined: Notify,
    /// The broker as it was when it was asked last: its epoch, and whether it was fenced.
    asked: Cell<Option<(i64, bool)>>,
    /// The broker is another one, or gone: its answer is not waited for.
    restart: Notify,
}

impl Replicas {
    /// Follows a partition no more, from whomever.
    pub fn forget(&self, id: PartitionId) {
        for pair in self.pairs.borrow().values() {
            pair.fetcher.borrow_mut().remove(key(id));
            pair.held.borrow_mut().remove(&key(id));
        }
    }
}

impl Shard {
    /// Has a follower ask for what comes next, once the disk has what came before, and not before
    /// `until`. Nothing where nobody is followed.
    pub fn ask_for_more(self: &Rc<Self>, partition: &SharedPartition, until: Option<Millis>) {
        let partition = partition.borrow();
        let Some(leader) = partition.followed() else { return };
        let pair = self.pair(leader);
        let key = key(partition.id());
        if pair.fetcher.borrow().is_new(key) {
            pair.joined.notify_one();
        }
        let mut held = pair.held.borrow_mut();
        match (partition.want(), until) {
            (Some(_), _) if self.waits_for_rate(&partition) => pair.fetcher.borrow_mut().hold(key),
            (Some(want), Some(until)) => pair.fetcher.borrow_mut().delay(key, want, until),
            (Some(want), None) => pair.fetcher.borrow_mut().set(key, want),
            (None, _) => {
                pair.fetcher.borrow_mut().hold(key);
                if partition.awaits_disk() {
                    held.insert(key);
                    return;
                }
            }
        }
        held.remove(&key);
        pair.wake.notify_one();
    }

    /// Gives up fetches from brokers that have gone or are others now.
    pub fn restart_fetches(&self, image: &Image, changes: &Changes) {
        let pairs = self.replicas.pairs.borrow();
        for id in &changes.brokers {
            if let Some(pair) = pairs.get(id)
                && let Some(asked) = pair.asked.get()
                && state_of(image, *id) != Some(asked)
            {
                pair.restart.notify_one();
            }
        }
    }

    fn pair(self: &Rc<Self>, leader: BrokerId) -> Rc<Pair> {
        let mut pairs = self.replicas.pairs.borrow_mut();
        let pair = pairs.entry(leader).or_insert_with(|| {
            let pair = Rc::new(Pair::default());
            tokio::task::spawn_local(fetching::run(Rc::clone(self), leader, Rc::clone(&pair)));
            pair
        });
        Rc::clone(pair)
    }
}

/// Epoch of a broker, and whether it is fenced.
fn state_of(image: &Image, id: BrokerId) -> Option<(i64, bool)> {
    image.broker(id).map(|broker| (broker.epoch, broker.fenced))
}

fn key(id: PartitionId) -> TopicIdPartition {
    TopicIdPartition { topic: id.topic, partition: id.index }
}
