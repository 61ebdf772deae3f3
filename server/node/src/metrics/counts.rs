//! Counters of one shard: plain cells, added up over the shards when somebody asks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::ApiKey;
use rustc_hash::FxHashMap;

use crate::shard::{Appended, Partition};

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

/// Counters of one shard.
#[derive(Default)]
pub struct ShardMetrics {
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
