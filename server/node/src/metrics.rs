//! Counters of one shard: plain cells, added up over the shards when somebody asks.

use std::cell::{Cell, RefCell};
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

/// Counters of one shard.
#[derive(Default)]
pub struct ShardMetrics {
    requests: RefCell<FxHashMap<(ApiKey, i16), u64>>,
    topics: RefCell<FxHashMap<Arc<str>, TopicCounts>>,
    refused_produces: Cell<u64>,
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
    pub fn count_refused_produce(&self) {
        self.refused_produces.set(self.refused_produces.get() + 1);
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
