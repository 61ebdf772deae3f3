//! Keys.

use crate::key::{Check, ConfigKey, boolean, int, same, string};

pub(super) const KEYS: &[ConfigKey] = &[
    int("consumer.assignment.interval.ms", "1000", "")
        .min(0)
        .from(&[same("group.consumer.assignment.interval.ms")]),
    int("consumer.heartbeat.interval.ms", "5000", "")
        .min(1)
        .from(&[same("group.consumer.heartbeat.interval.ms")]),
    int("consumer.session.timeout.ms", "45000", "")
        .min(1)
        .from(&[same("group.consumer.session.timeout.ms")]),
    int("share.assignment.interval.ms", "1000", "")
        .min(0)
        .from(&[same("group.share.assignment.interval.ms")]),
    string("share.auto.offset.reset", "latest", "").check_as(Check::OffsetReset),
    int("share.delivery.count.limit", "5", "")
        .min(2)
        .from(&[same("group.share.delivery.count.limit")]),
    int("share.heartbeat.interval.ms", "5000", "")
        .min(1)
        .from(&[same("group.share.heartbeat.interval.ms")]),
    string("share.isolation.level", "read_uncommitted", "")
        .check_as(Check::OneOf(&["read_committed", "read_uncommitted"])),
    int("share.partition.max.record.locks", "2000", "")
        .min(100)
        .from(&[same("group.share.partition.max.record.locks")]),
    int("share.record.lock.duration.ms", "30000", "")
        .min(1_000)
        .from(&[same("group.share.record.lock.duration.ms")]),
    boolean("share.renew.acknowledge.enable", "true", ""),
    int("share.session.timeout.ms", "45000", "")
        .min(1)
        .from(&[same("group.share.session.timeout.ms")]),
    int("streams.assignment.interval.ms", "1000", "")
        .min(0)
        .from(&[same("group.streams.assignment.interval.ms")]),
    int("streams.heartbeat.interval.ms", "5000", "")
        .min(1)
        .from(&[same("group.streams.heartbeat.interval.ms")]),
    int("streams.initial.rebalance.delay.ms", "3000", "")
        .min(0)
        .from(&[same("group.streams.initial.rebalance.delay.ms")]),
    int("streams.num.standby.replicas", "0", "")
        .min(0)
        .from(&[same("group.streams.num.standby.replicas")]),
    int("streams.session.timeout.ms", "45000", "")
        .min(1)
        .from(&[same("group.streams.session.timeout.ms")]),
];
