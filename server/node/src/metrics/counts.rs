//! Counters of one shard: plain cells, added up over the shards when somebody asks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use ::metadata::{Changes, Image};
use protocol::ApiKey;
use rustc_hash::FxHashMap;

use crate::shard::{Appended, Partition};
use crate::throttles::{Copied, Way};

/// What happened to one topic on one shard.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TopicCounts {
    /// Records appended by clients.
    pub records_in: u64,
    /// Bytes appended by clients.
    pub bytes_in: u64,
    /// Bytes fetched.
    pub bytes_out: u64,
    /// Partitions of Produce requests, refused ones included.
    pub produces: u64,
    /// Partitions of Fetch requests that got records.
    pub fetches: u64,
    /// Partitions of Produce requests that were refused.
    pub produces_refused: u64,
}

impl TopicCounts {
    /// Adds what another shard has counted.
    pub fn add(&mut self, other: Self) {
        self.records_in += other.records_in;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.produces += other.produces;
        self.fetches += other.fetches;
        self.produces_refused += other.produces_refused;
    }
}

/// What was copied between this node and others, and who is in sync.
#[derive(Default)]
pub struct ReplicationCells {
    bytes: [Cell<u64>; 2],
    added_bytes: [Cell<u64>; 2],
    isr: [Cell<u64>; 3],
    elections: [Cell<u64>; 2],
}

/// A copy of [`ReplicationCells`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReplicationCounts {
    /// Bytes given to followers, and taken from leaders.
    pub bytes: [u64; 2],
    /// Those of replicas that a reassignment adds.
    pub added_bytes: [u64; 2],
    /// Changes of who is in sync: shrinks, expansions, and those that were refused.
    pub isr: [u64; 3],
    /// Leaders that were not in sync: elected uncleanly, and from those that lack nothing.
    pub elections: [u64; 2],
}

/// What became of a change of who is in sync.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IsrChange {
    Shrink,
    Expand,
    Refused,
}

impl ReplicationCells {
    /// Records were copied.
    pub fn count(&self, way: Way, copied: Copied, bytes: usize) {
        add(&self.bytes[way as usize], bytes as u64);
        if copied.is_added {
            add(&self.added_bytes[way as usize], bytes as u64);
        }
    }

    /// The controller has answered.
    pub fn count_isr(&self, change: IsrChange) {
        add(&self.isr[change as usize], 1);
    }

    /// Counts leaders that were elected out of sync. One shard does it for the node.
    pub fn count_elections(&self, before: &Image, after: &Image, changes: &Changes) {
        for change in &changes.partitions {
            let of = |image: &Image| {
                let topic = image.topic_by_id(change.topic_id)?;
                topic.partition(change.partition).cloned()
            };
            let (Some(before), Some(after)) = (of(before), of(after)) else { continue };
            let Some(leader) = after.leader else { continue };
            let is_new = before.leader_epoch < after.leader_epoch;
            if is_new && before.leader != Some(leader) && !before.isr.contains(&leader) {
                add(&self.elections[usize::from(before.elr.contains(&leader))], 1);
            }
        }
    }

    /// What was counted so far.
    pub fn counts(&self) -> ReplicationCounts {
        ReplicationCounts {
            bytes: self.bytes.each_ref().map(Cell::get),
            added_bytes: self.added_bytes.each_ref().map(Cell::get),
            isr: self.isr.each_ref().map(Cell::get),
            elections: self.elections.each_ref().map(Cell::get),
        }
    }
}

impl ReplicationCounts {
    /// Adds what another shard has counted.
    pub fn add(&mut self, other: Self) {
        let sum = |into: &mut [u64], from: &[u64]| {
            into.iter_mut().zip(from).for_each(|(into, from)| *into += from);
        };
        sum(&mut self.bytes, &other.bytes);
        sum(&mut self.added_bytes, &other.added_bytes);
        sum(&mut self.isr, &other.isr);
        sum(&mut self.elections, &other.elections);
    }
}

fn add(cell: &Cell<u64>, number: u64) {
    cell.set(cell.get() + number);
}

/// Counters of one shard.
#[derive(Default)]
pub struct ShardMetrics {
    /// Of copies between nodes.
    pub replication: ReplicationCells,
    requests: RefCell<BTreeMap<(ApiKey, i16), u64>>,
    topics: RefCell<FxHashMap<Arc<str>, TopicCounts>>,
}

impl ShardMetrics {
    /// A request came in.
    pub fn count_request(&self, api: ApiKey, version: i16) {
        *self.requests.borrow_mut().entry((api, version)).or_default() += 1;
    }

    /// A client's batches were appended.
    pub fn count_produced(&self, partition: &Partition, appended: Appended, bytes: u64) {
        self.with_topic(&partition.name().topic, |counts| {
            let records = appended.end - appended.base_offset;
            counts.records_in += u64::try_from(records).unwrap_or(0);
            counts.bytes_in += bytes;
            counts.produces += 1;
        });
    }

    /// A client's batches were refused.
    pub fn count_refused_produce(&self, partition: &Partition) {
        self.with_topic(&partition.name().topic, |counts| {
            counts.produces += 1;
            counts.produces_refused += 1;
        });
    }

    /// A topic is gone.
    pub fn forget_topic(&self, topic: &str) {
        self.topics.borrow_mut().remove(topic);
    }

    /// Requests by API and version.
    pub fn requests(&self) -> BTreeMap<(ApiKey, i16), u64> {
        self.requests.borrow().clone()
    }

    /// Traffic by topic.
    pub fn topics(&self) -> BTreeMap<Arc<str>, TopicCounts> {
        let topics = self.topics.borrow();
        topics.iter().map(|(topic, counts)| (Arc::clone(topic), *counts)).collect()
    }

    /// Records were read for a client.
    pub fn count_fetched(&self, partition: &Partition, bytes: u64) {
        self.with_topic(&partition.name().topic, |counts| {
            counts.bytes_out += bytes;
            counts.fetches += 1;
        });
    }

    fn with_topic(&self, topic: &Arc<str>, change: impl FnOnce(&mut TopicCounts)) {
        let mut topics = self.topics.borrow_mut();
        match topics.get_mut(topic) {
            Some(counts) => change(counts),
            None => change(topics.entry(Arc::clone(topic)).or_default()),
        }
    }
}
