//! `flush.ms`: what nobody waited for is synced once it is so old.
//!
//! One timer per shard holds a due time for each partition with such records, and only for these.
//! The sync itself is one of the group commit (`sync`); no acknowledgement waits for it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use types::Millis;

use super::Shard;
use super::partition::PartitionId;
use crate::clock;

/// Partitions whose records are to be synced, by the monotonic time at which they are.
#[derive(Default)]
pub struct FlushTimer {
    due: RefCell<BTreeMap<(Millis, u64), PartitionId>>,
    last_key: Cell<u64>,
    /// The first due time may have come closer.
    rearm: Notify,
}

impl FlushTimer {
    /// Has a partition synced after `delay`.
    pub fn arm(&self, id: PartitionId, delay: Millis) {
        self.last_key.update(|key| key + 1);
        let at = (clock::monotonic() + delay, self.last_key.get());
        let mut due = self.due.borrow_mut();
        due.insert(at, id);
        if due.first_key_value().is_some_and(|(first, _)| *first == at) {
            self.rearm.notify_one();
        }
    }

    fn next(&self) -> Option<Millis> {
        self.due.borrow().first_key_value().map(|((at, _), _)| *at)
    }

    fn take_due(&self, now: Millis) -> Vec<PartitionId> {
        let mut due = self.due.borrow_mut();
        let later = due.split_off(&(now + Millis(1), 0));
        std::mem::replace(&mut *due, later).into_values().collect()
    }
}

/// Queues what is due for the next group, until the shard ends.
pub async fn run(shard: Rc<Shard>) {
    let timer = &shard.flushes;
    loop {
        let rearmed = timer.rearm.notified();
        let Some(next) = timer.next() else {
            rearmed.await;
            continue;
        };
        let wait = u64::try_from((next - clock::monotonic()).get()).unwrap_or(0);
        if wait > 0 {
            _ = tokio::time::timeout(Duration::from_millis(wait), rearmed).await;
            continue;
        }
        for id in timer.take_due(clock::monotonic()) {
            if let Some(partition) = shard.partition(id) {
                partition.borrow_mut().set_flush_due();
                shard.commits.push(&partition);
            }
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use types::Uuid;

    use super::*;

    #[test]
    fn what_is_due_comes_once_and_in_order() {
        let timer = FlushTimer::default();
        let id = |index| PartitionId { topic: Uuid::ZERO, index };
        for (index, delay) in [(1, 0), (2, 3_600_000), (3, 0)] {
            timer.arm(id(index), Millis(delay));
        }
        let now = timer.next().unwrap() + Millis(60_000);
        assert_eq!(timer.take_due(now), [id(1), id(3)]);
        assert!(timer.take_due(now).is_empty());
        assert!(timer.next().unwrap() > now);
    }
}
