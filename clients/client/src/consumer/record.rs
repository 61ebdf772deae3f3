//! A record as a consumer hands it out: owned, and cheap, since its bytes are shared with the
//! answer they came in.

use std::sync::Arc;

use bytes::Bytes;

/// A record that was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Index of the partition.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// Milliseconds since 1970, or -1 for none.
    pub timestamp: i64,
    /// What partitions and compaction go by.
    pub key: Option<Bytes>,
    /// `None` is a tombstone in a compacted topic.
    pub value: Option<Bytes>,
    /// Named attachments, in order. Names are UTF-8 by convention only.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}
