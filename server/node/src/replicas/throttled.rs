//! Followers that wait for a rate: they ask for nothing until it allows more.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use types::{Millis, Uuid};

use crate::shard::{Partition, PartitionId, Shard};
use crate::throttles::Way;

/// The longest nap; another rate waits at most for one.
const NAP: Millis = Millis(100);

/// Partitions that wait.
#[derive(Default)]
pub(super) struct Waiting {
    partitions: RefCell<BTreeSet<(Uuid, i32)>>,
    wake: Notify,
}

impl Shard {
    /// Whether a follower has to wait for its rate; it is asked to go on by itself then.
    pub(super) fn waits_for_rate(&self, partition: &Partition) -> bool {
        let copied = partition.copied_here(self.shared.config.node_id);
        let waits = self.shared.throttles.wait(Way::In, copied) > Millis::ZERO;
        if waits {
            let id = partition.id();
            let waiting = &self.replicas.waiting;
            waiting.partitions.borrow_mut().insert((id.topic, id.index));
            waiting.wake.notify_one();
        }
        waits
    }

    fn rate_allows(&self, id: PartitionId) -> bool {
        // One that is gone waits for nothing.
        self.partition(id).is_none_or(|partition| {
            let copied = partition.borrow().copied_here(self.shared.config.node_id);
            self.shared.throttles.wait(Way::In, copied) == Millis::ZERO
        })
    }
}

/// Has followers go on that a rate allows to, until the shard ends.
pub async fn run(shard: Rc<Shard>) {
    let waiting = &shard.replicas.waiting;
    loop {
        let partitions: Vec<_> = waiting.partitions.borrow().iter().copied().collect();
        if partitions.is_empty() {
            waiting.wake.notified().await;
            continue;
        }
        for (topic, index) in partitions {
            let id = PartitionId { topic, index };
            // Looked at one by one: the first may use up what the next would have had.
            if shard.rate_allows(id) {
                waiting.partitions.borrow_mut().remove(&(topic, index));
                if let Some(partition) = shard.partition(id) {
                    shard.ask_for_more(&partition, None);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(NAP.get().unsigned_abs())).await;
    }
}
