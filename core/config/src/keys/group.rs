//! Keys of a group. Classic groups have none.

use crate::key::{Check, ConfigKey, keys, same};

keys! {
    int("consumer.assignment.interval.ms", "1000").min(0)
        .from(&[same("group.consumer.assignment.interval.ms")]):
        "Least milliseconds between two assignments.";
    int("consumer.heartbeat.interval.ms", "5000").min(1)
        .from(&[same("group.consumer.heartbeat.interval.ms")]):
        "Milliseconds between the heartbeats of a member.";
    int("consumer.session.timeout.ms", "45000").min(1)
        .from(&[same("group.consumer.session.timeout.ms")]):
        "Milliseconds without a heartbeat after which a member is taken out.";
    int("share.assignment.interval.ms", "1000").min(0)
        .from(&[same("group.share.assignment.interval.ms")]):
        "Least milliseconds between two assignments of the share group.";
    string("share.auto.offset.reset", "latest").check(Check::OffsetReset):
        "Where the share group begins: earliest, latest, or by_duration:P7D for an age.";
    int("share.delivery.count.limit", "5").min(2).from(&[same("group.share.delivery.count.limit")]):
        "Deliveries of a record before it is given up.";
    int("share.heartbeat.interval.ms", "5000").min(1)
        .from(&[same("group.share.heartbeat.interval.ms")]):
        "Milliseconds between the heartbeats of a share member.";
    string("share.isolation.level", "read_uncommitted")
        .check(Check::OneOf(&["read_committed", "read_uncommitted"])):
        "Whether the share group sees records of open and aborted transactions.";
    int("share.partition.max.record.locks", "2000").min(100)
        .from(&[same("group.share.partition.max.record.locks")]):
        "Records of one partition that may be held at once.";
    int("share.record.lock.duration.ms", "30000").min(1_000)
        .from(&[same("group.share.record.lock.duration.ms")]):
        "Milliseconds that a consumer holds a record before another may get it.";
    boolean("share.renew.acknowledge.enable", "true"):
        "Whether a consumer may hold a record for longer.";
    int("share.session.timeout.ms", "45000").min(1).from(&[same("group.share.session.timeout.ms")]):
        "Milliseconds without a heartbeat after which a share member is taken out.";
    int("streams.assignment.interval.ms", "1000").min(0)
        .from(&[same("group.streams.assignment.interval.ms")]):
        "Least milliseconds between two assignments of the Streams group.";
    int("streams.heartbeat.interval.ms", "5000").min(1)
        .from(&[same("group.streams.heartbeat.interval.ms")]):
        "Milliseconds between the heartbeats of a Streams member.";
    int("streams.initial.rebalance.delay.ms", "3000").min(0)
        .from(&[same("group.streams.initial.rebalance.delay.ms")]):
        "Milliseconds that a new Streams group waits for more members.";
    int("streams.num.standby.replicas", "0").min(0)
        .from(&[same("group.streams.num.standby.replicas")]):
        "Standby copies of each stateful task.";
    int("streams.session.timeout.ms", "45000").min(1)
        .from(&[same("group.streams.session.timeout.ms")]):
        "Milliseconds without a heartbeat after which a Streams member is taken out.";
}
