//! Where the reading of one partition stands, and which broker is asked for more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::assignment::{Cursor, StartAt};

/// A partition that is read.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) cursor: Arc<Cursor>,
    /// Where the next fetch begins; `None` until that was found out.
    pub(super) next: Option<i64>,
    pub(super) start: StartAt,
    pub(super) is_busy: bool,
    pub(super) not_before: Option<Instant>,
    /// A replica in the consumer's rack, and until when the leader is not asked whether there is a
    /// better one.
    near: Option<(i32, Instant)>,
}

impl Place {
    /// The place at which `cursor` begins.
    pub(super) fn new(cursor: Arc<Cursor>) -> Self {
        let next = match cursor.start {
            StartAt::Offset(offset) => Some(offset),
            StartAt::Beginning | StartAt::End | StartAt::Timestamp(_) => None,
        };
        let start = cursor.start;
        Self { cursor, next, start, is_busy: false, not_before: None, near: None }
    }

    /// The broker to fetch from.
    pub(super) fn source(&self, leader: i32, now: Instant) -> i32 {
        self.near.filter(|(_, until)| now < *until).map_or(leader, |(broker, _)| broker)
    }

    /// The leader has named a replica to read from.
    pub(super) fn go_near(&mut self, broker: i32, lease: Duration) {
        self.near = Some((broker, Instant::now() + lease));
    }

    /// Goes back to the leader, if `broker` was read from in its place; whether it was.
    pub(super) fn leave(&mut self, broker: i32) -> bool {
        self.near.take_if(|(near, _)| *near == broker).is_some()
    }
}
