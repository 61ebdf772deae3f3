//! What goes into a producer and what comes back.

use std::sync::Arc;

use bytes::Bytes;

/// A record to be sent.
#[derive(Clone, Debug, Default)]
pub struct ProducerRecord {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Partition, or `None` to have it chosen by key, or evenly where there is no key.
    pub partition: Option<i32>,
    /// Milliseconds since 1970, or `None` for now.
    pub timestamp: Option<i64>,
    /// What partitions and compaction go by.
    pub key: Option<Bytes>,
    /// `None` deletes the key in a compacted topic.
    pub value: Option<Bytes>,
    /// Named attachments, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl ProducerRecord {
    /// A record with a value alone.
    pub fn new(topic: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        Self { topic: topic.into(), value: Some(value.into()), ..Self::default() }
    }

    /// The record with this key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// An upper bound of the bytes in a batch, overhead included.
    pub(crate) fn bytes(&self) -> usize {
        let field = |field: &Option<Bytes>| field.as_ref().map_or(0, Bytes::len) + 5;
        let headers = self.headers.iter().map(|(name, value)| name.len() + 5 + field(value));
        26 + field(&self.key) + field(&self.value) + headers.sum::<usize>()
    }
}

/// Where a record was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordMetadata {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Index of the partition.
    pub partition: i32,
    /// Offset; -1 where the broker did not tell (acks 0, or a repeated batch it had forgotten).
    pub offset: i64,
    /// The record's timestamp; the broker's where the topic has LogAppendTime.
    pub timestamp: i64,
}
