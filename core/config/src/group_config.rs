//! What holds for one group, as a typed struct.

use types::Millis;

use crate::check::iso_duration_ms;
use crate::keys;
use crate::layers::{BrokerLayers, ConfigMap, ResourceLayers};

/// Every group key, resolved: the group's own value drawn into the bounds that the broker sets.
/// Classic groups have no keys; their members say their timeouts in the protocol.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupConfig {
    pub consumer: GroupTiming,
    pub share: GroupTiming,
    /// Where a share group begins that has no position yet.
    pub share_offset_reset: OffsetReset,
    /// Whether a share group sees only records of committed transactions.
    pub share_read_committed: bool,
    /// How long a share consumer holds a record before others may get it.
    pub share_record_lock_duration_ms: Millis,
    /// How often a record is delivered at most.
    pub share_delivery_count_limit: i32,
    /// Records of one partition that may be held at once.
    pub share_partition_max_record_locks: i32,
    /// Whether a share consumer may hold a record for longer.
    pub share_renew_acknowledge: bool,
    pub streams: GroupTiming,
    /// Standby copies of each stateful task.
    pub streams_num_standby_replicas: i32,
    /// Wait for more members before the first assignment.
    pub streams_initial_rebalance_delay_ms: Millis,
}

/// Times that every kind of modern group has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GroupTiming {
    /// Silence after which a member is taken out.
    pub session_timeout_ms: Millis,
    /// How often members report.
    pub heartbeat_interval_ms: Millis,
    /// Shortest time between two assignments.
    pub assignment_interval_ms: Millis,
}

/// Where a group begins that has no position yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OffsetReset {
    Earliest,
    Latest,
    /// At the records of this age.
    Ago(Millis),
}

impl GroupConfig {
    /// What holds for a group with these own settings on a broker with these layers.
    pub fn resolve(overrides: &ConfigMap, broker: &BrokerLayers<'_>) -> Self {
        let layers = ResourceLayers { table: &keys::GROUP, overrides, broker: *broker };
        let bounded = |name: &str| drawn_into_bounds(name, layers.int(name), broker);
        let bounded_ms = |name: &str| Millis(bounded(name).into());
        let timing = |kind: &str| GroupTiming {
            session_timeout_ms: bounded_ms(&format!("{kind}.session.timeout.ms")),
            heartbeat_interval_ms: bounded_ms(&format!("{kind}.heartbeat.interval.ms")),
            assignment_interval_ms: bounded_ms(&format!("{kind}.assignment.interval.ms")),
        };
        let isolation = layers.text("share.isolation.level");
        Self {
            consumer: timing("consumer"),
            share: timing("share"),
            share_offset_reset: OffsetReset::read(&layers.text("share.auto.offset.reset")),
            share_read_committed: isolation == "read_committed",
            share_record_lock_duration_ms: bounded_ms("share.record.lock.duration.ms"),
            share_delivery_count_limit: bounded("share.delivery.count.limit"),
            share_partition_max_record_locks: bounded("share.partition.max.record.locks"),
            share_renew_acknowledge: layers.boolean("share.renew.acknowledge.enable"),
            streams: timing("streams"),
            streams_num_standby_replicas: bounded("streams.num.standby.replicas"),
            streams_initial_rebalance_delay_ms: layers.millis("streams.initial.rebalance.delay.ms"),
        }
    }
}

impl OffsetReset {
    fn read(text: &str) -> Self {
        match text.strip_prefix("by_duration:").and_then(iso_duration_ms) {
            Some(ms) => Self::Ago(Millis(ms)),
            None if text == "earliest" => Self::Earliest,
            None => Self::Latest,
        }
    }
}

/// The broker keys that bound a group key from below and above: `consumer.session.timeout.ms`
/// lies between `group.consumer.min.session.timeout.ms` and its `max` twin.
pub(crate) fn bounds(name: &str, broker: &BrokerLayers<'_>) -> (i32, i32) {
    let bound = |which: &str| {
        let (kind, rest) = name.split_once('.')?;
        let key = keys::BROKER.get(format!("group.{kind}.{which}.{rest}").as_str())?;
        Some(broker.int(key.name))
    };
    // The standby bound is named after the replicas, not after their number.
    let standby = (name == "streams.num.standby.replicas")
        .then(|| broker.int("group.streams.max.standby.replicas"));
    (bound("min").unwrap_or(i32::MIN), standby.or_else(|| bound("max")).unwrap_or(i32::MAX))
}

/// A value that was in bounds when it was set may be out of them after the broker's changed.
fn drawn_into_bounds(name: &str, value: i32, broker: &BrokerLayers<'_>) -> i32 {
    let (least, most) = bounds(name, broker);
    value.min(most).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::started_with;
    use crate::layers::map;

    #[test]
    fn a_groups_value_is_drawn_into_the_brokers_bounds() {
        let fixed = started_with(&[("group.consumer.session.timeout.ms", "50000")]);
        let cases =
            [(None, 50_000), (Some("1"), 45_000), (Some("55000"), 55_000), (Some("99999"), 60_000)];
        for (own, expected) in cases {
            let own = own.map(|value| ("consumer.session.timeout.ms", value));
            let group = GroupConfig::resolve(&map(own.as_slice()), &BrokerLayers::at_start(&fixed));
            assert_eq!(group.consumer.session_timeout_ms, Millis(expected), "{own:?}");
        }
    }

    #[test]
    fn share_and_streams_values_are_read() {
        let fixed = started_with(&[]);
        let own = map(&[
            ("share.auto.offset.reset", "by_duration:PT1M"),
            ("share.isolation.level", "read_committed"),
            ("streams.num.standby.replicas", "9"),
        ]);
        let group = GroupConfig::resolve(&own, &BrokerLayers::at_start(&fixed));
        assert_eq!(group.share_offset_reset, OffsetReset::Ago(Millis(60_000)));
        assert!(group.share_read_committed);
        assert_eq!(group.streams_num_standby_replicas, 2);
        assert_eq!(group.share_delivery_count_limit, 5);
    }
}
