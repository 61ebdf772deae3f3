//! The settings of the group coordinator, named after their keys in `server.properties`.

use types::Millis;

/// What a [`Coordinator`](crate::Coordinator) allows and how long it waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min: Millis,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max: Millis,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay: Millis,
    /// `group.max.size`, in members.
    pub group_size_max: usize,
    /// `offset.metadata.max.bytes`; counted, as Kafka does, in UTF-16 units.
    pub offset_metadata_size_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention: Millis,
    /// `offsets.retention.check.interval.ms`, at least one millisecond.
    pub offsets_retention_check_interval: Millis,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            session_timeout_min: Millis(6_000),
            session_timeout_max: Millis(30 * 60_000),
            initial_rebalance_delay: Millis(3_000),
            group_size_max: i32::MAX as usize,
            offset_metadata_size_max: 4_096,
            offsets_retention: Millis(7 * 24 * 60 * 60_000),
            offsets_retention_check_interval: Millis(10 * 60_000),
        }
    }
}
