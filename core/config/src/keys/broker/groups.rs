//! Classic, consumer and Streams groups, and committed offsets.

use crate::key::{Check, ConfigKey, keys};

keys! {
    int("group.consumer.assignment.interval.ms", "1000").min(0).cluster_wide():
        "Least milliseconds between two assignments of a consumer group.";
    list("group.consumer.assignors", "uniform,range").some_of(&[]):
        "Assignors on offer, the first one used by default.";
    int("group.consumer.heartbeat.interval.ms", "5000").min(1):
        "Milliseconds between the heartbeats of a member.";
    int("group.consumer.max.assignment.interval.ms", "15000").min(0):
        "Longest assignment interval that a consumer group may set, in milliseconds.";
    int("group.consumer.max.heartbeat.interval.ms", "15000").min(1):
        "Longest heartbeat interval that a consumer group may set, in milliseconds.";
    int("group.consumer.max.session.timeout.ms", "60000").min(1):
        "Longest session timeout that a consumer group may set, in milliseconds.";
    int("group.consumer.max.size", "2147483647").min(1):
        "Members of a consumer group at most.";
    string("group.consumer.migration.policy", "bidirectional")
        .check(Check::OneOfAnyCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"])):
        "Whether groups may turn from classic to consumer and back.";
    int("group.consumer.min.assignment.interval.ms", "0").min(0):
        "Shortest assignment interval that a consumer group may set, in milliseconds.";
    int("group.consumer.min.heartbeat.interval.ms", "5000").min(1):
        "Shortest heartbeat interval that a consumer group may set, in milliseconds.";
    int("group.consumer.min.session.timeout.ms", "45000").min(1):
        "Shortest session timeout that a consumer group may set, in milliseconds.";
    int("group.consumer.regex.refresh.interval.ms", "600000").min(10_000).internal():
        "Milliseconds between matchings of subscription patterns with the topics.";
    int("group.consumer.session.timeout.ms", "45000").min(1):
        "Milliseconds without a heartbeat after which a member is taken out.";
    int("group.coordinator.append.linger.ms", "-1").min(-1).never():
        "Milliseconds that Kafka gathers group records before a write; here all that wait are written at once.";
    int("group.coordinator.background.threads", "2").min(1).high().never():
        "Threads for assignors in Apache Kafka; thalweg needs none.";
    int("group.coordinator.cached.buffer.max.bytes", "1048588").min(524_288).cluster_wide().never():
        "Largest write buffer that Kafka keeps for reuse, in bytes; thalweg keeps none.";
    list("group.coordinator.rebalance.protocols", "classic,consumer,streams")
        .some_of(&["consumer", "classic", "share", "streams"]):
        "Kinds of groups that are served.";
    int("group.coordinator.threads", "4").min(1).high().never():
        "Threads for groups in Apache Kafka; thalweg serves them on its shards.";
    int("group.initial.rebalance.delay.ms", "3000").acting():
        "Milliseconds that the first rebalance of a group waits for more members.";
    int("group.max.session.timeout.ms", "1800000").acting():
        "Longest session timeout, in milliseconds, that a classic member may ask for.";
    int("group.max.size", "2147483647").min(1).acting():
        "Members of a classic group at most. Whatever their number, they bring no more metadata \
         than 1 MiB each and 64 MiB together.";
    int("group.min.session.timeout.ms", "6000").acting():
        "Shortest session timeout, in milliseconds, that a classic member may ask for.";
    int("group.streams.assignment.interval.ms", "1000").min(0).cluster_wide():
        "Least milliseconds between two assignments of a Streams group.";
    int("group.streams.heartbeat.interval.ms", "5000").min(1):
        "Milliseconds between the heartbeats of a Streams member.";
    int("group.streams.initial.rebalance.delay.ms", "3000").min(0):
        "Milliseconds that a new Streams group waits for more members.";
    int("group.streams.max.assignment.interval.ms", "15000").min(0):
        "Longest assignment interval that a Streams group may set, in milliseconds.";
    int("group.streams.max.heartbeat.interval.ms", "15000").min(1):
        "Longest heartbeat interval that a Streams group may set, in milliseconds.";
    int("group.streams.max.session.timeout.ms", "60000").min(1):
        "Longest session timeout that a Streams group may set, in milliseconds.";
    int("group.streams.max.size", "2147483647").min(1):
        "Members of a Streams group at most.";
    int("group.streams.max.standby.replicas", "2").min(0):
        "Most standby copies that a Streams group may set.";
    int("group.streams.min.assignment.interval.ms", "0").min(0):
        "Shortest assignment interval that a Streams group may set, in milliseconds.";
    int("group.streams.min.heartbeat.interval.ms", "5000").min(1):
        "Shortest heartbeat interval that a Streams group may set, in milliseconds.";
    int("group.streams.min.session.timeout.ms", "45000").min(1):
        "Shortest session timeout that a Streams group may set, in milliseconds.";
    int("group.streams.num.standby.replicas", "0").min(0):
        "Standby copies of each stateful task.";
    int("group.streams.session.timeout.ms", "45000").min(1):
        "Milliseconds without a heartbeat after which a Streams member is taken out.";
    int("offset.metadata.max.bytes", "4096").high().acting():
        "Bytes of text that may come with a committed offset.";
    int("offsets.commit.timeout.ms", "5000").min(1).high().acting():
        "Milliseconds that an offset commit waits to be safe.";
    int("offsets.load.buffer.size", "5242880").min(1).high():
        "Bytes read at once when a coordinator loads its groups.";
    long("offsets.retention.check.interval.ms", "600000").min(1).high().acting():
        "Milliseconds between looks for expired offsets.";
    int("offsets.retention.minutes", "10080").min(1).high().acting():
        "Minutes that offsets outlive the last use of their group.";
    int("offsets.topic.compression.codec", "0").high():
        "Number of the codec for __consumer_offsets; 0 is none.";
    int("offsets.topic.num.partitions", "50").min(1).high().acting():
        "Partitions of __consumer_offsets; fixed once the topic exists.";
    short("offsets.topic.replication.factor", "3").min(1).high().acting():
        "Replicas of __consumer_offsets.";
    int("offsets.topic.segment.bytes", "104857600").min(1).high().acting():
        "Segment size of __consumer_offsets, in bytes.";
}
