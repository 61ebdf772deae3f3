//! What a consumer reads at the moment, shared by its three parts: the consumer itself, the
//! fetcher, and the member of the group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use types::TopicPartition;

/// Where reading begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StartAt {
    /// At this offset.
    Offset(i64),
    /// At the first record that is there.
    Beginning,
    /// Behind the last record.
    End,
    /// At the first record at or after this many milliseconds since 1970; else behind the last.
    Timestamp(i64),
}

/// One reading of a partition. A seek or a rebalance makes a new one, and what was fetched for
/// the old one is dropped.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) start: StartAt,
    is_revoked: AtomicBool,
    /// Offset behind the last record that the application is done with; -1 before the first.
    done: AtomicI64,
}

/// A member's standing in its group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Generation {
    pub(crate) member: String,
    pub(crate) id: i32,
}

/// What is read now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assignment {
    /// `None` without a group, and while it rebalances.
    pub(crate) generation: Option<Generation>,
    pub(crate) cursors: BTreeMap<TopicPartition, Arc<Cursor>>,
}

impl Cursor {
    pub(crate) fn new(start: StartAt) -> Arc<Self> {
        let done = match start {
            StartAt::Offset(offset) => offset,
            _ => -1,
        };
        Arc::new(Self { start, is_revoked: AtomicBool::new(false), done: AtomicI64::new(done) })
    }

    pub(crate) fn revoke(&self) {
        self.is_revoked.store(true, Ordering::Release);
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::Acquire)
    }

    /// Notes that the application needs nothing before `next` any more.
    pub(crate) fn advance(&self, next: i64) {
        self.done.store(next, Ordering::Release);
    }

    /// Where the application is; `None` before its place is known.
    pub(crate) fn position(&self) -> Option<i64> {
        let done = self.done.load(Ordering::Acquire);
        (done >= 0).then_some(done)
    }
}

impl Assignment {
    /// Where the application is in each partition.
    pub(crate) fn positions(&self) -> Vec<(TopicPartition, i64)> {
        let position = |(key, cursor): (&TopicPartition, &Arc<Cursor>)| {
            Some((key.clone(), cursor.position()?))
        };
        self.cursors.iter().filter_map(position).collect()
    }

    /// Drops what was read until now.
    pub(crate) fn revoke_all(&mut self) {
        for cursor in self.cursors.values() {
            cursor.revoke();
        }
        self.cursors.clear();
    }

    /// Begins to read a partition, anew if it was read before.
    pub(crate) fn start(&mut self, partition: TopicPartition, start: StartAt) {
        if let Some(old) = self.cursors.insert(partition, Cursor::new(start)) {
            old.revoke();
        }
    }
}
