//! Share groups and their state.

use crate::key::{ConfigKey, keys};

keys! {
    int("group.share.assignment.interval.ms", "1000").min(0).cluster_wide():
        "Least milliseconds between two assignments of a share group.";
    list("group.share.assignors", "simple").some_of(&[]):
        "Assignors on offer for share groups.";
    int("group.share.delivery.count.limit", "5").range(2, 10):
        "Deliveries of a record before it is given up.";
    int("group.share.heartbeat.interval.ms", "5000").min(1):
        "Milliseconds between the heartbeats of a share member.";
    int("group.share.initialize.retry.interval.ms", "30000").min(1).low().internal():
        "Milliseconds before a share partition is initialised again after a failure.";
    int("group.share.max.assignment.interval.ms", "15000").min(0):
        "Longest assignment interval that a share group may set, in milliseconds.";
    int("group.share.max.delivery.count.limit", "10").range(5, 25):
        "Largest delivery limit that a share group may set.";
    int("group.share.max.heartbeat.interval.ms", "15000").min(1):
        "Longest heartbeat interval that a share group may set, in milliseconds.";
    int("group.share.max.partition.max.record.locks", "4000").range(2_000, 10_000):
        "Largest number of held records that a share group may set.";
    int("group.share.max.record.lock.duration.ms", "60000").range(30_000, 3_600_000):
        "Longest hold that a share group may set, in milliseconds.";
    int("group.share.max.session.timeout.ms", "60000").min(1):
        "Longest session timeout that a share group may set, in milliseconds.";
    int("group.share.max.share.sessions", "2000").min(1):
        "Share sessions that the node remembers.";
    int("group.share.max.size", "200").range(1, 1_000):
        "Members of a share group at most.";
    int("group.share.min.assignment.interval.ms", "0").min(0):
        "Shortest assignment interval that a share group may set, in milliseconds.";
    int("group.share.min.delivery.count.limit", "2").range(2, 5):
        "Smallest delivery limit that a share group may set.";
    int("group.share.min.heartbeat.interval.ms", "5000").min(1):
        "Shortest heartbeat interval that a share group may set, in milliseconds.";
    int("group.share.min.partition.max.record.locks", "100").range(100, 2_000):
        "Smallest number of held records that a share group may set.";
    int("group.share.min.record.lock.duration.ms", "15000").range(1_000, 30_000):
        "Shortest hold that a share group may set, in milliseconds.";
    int("group.share.min.session.timeout.ms", "45000").min(1):
        "Shortest session timeout that a share group may set, in milliseconds.";
    int("group.share.partition.max.record.locks", "2000").range(100, 10_000):
        "Records of one partition that may be held at once.";
    string(
        "group.share.persister.class.name",
        "org.apache.kafka.server.share.persister.DefaultStatePersister"
    ).internal():
        "Java class that keeps the state of share groups.";
    int("group.share.record.lock.duration.ms", "30000").range(1_000, 3_600_000):
        "Milliseconds that a consumer holds a record before another may get it.";
    int("group.share.session.timeout.ms", "45000").min(1):
        "Milliseconds without a heartbeat after which a share member is taken out.";
    int("share.coordinator.append.linger.ms", "-1").min(-1):
        "Milliseconds that share state is gathered before a write; -1 adapts.";
    int("share.coordinator.cached.buffer.max.bytes", "1048588").min(524_288).cluster_wide():
        "Largest write buffer that is kept for reuse, in bytes.";
    int("share.coordinator.cold.partition.snapshot.interval.ms", "300000").min(1).low().internal():
        "Milliseconds between full copies of share state that does not change.";
    int("share.coordinator.load.buffer.size", "5242880").min(1).high():
        "Bytes read at once when share state is loaded.";
    int("share.coordinator.snapshot.update.records.per.snapshot", "500").range(0, 500):
        "Updates of share state between two full copies of it.";
    int("share.coordinator.state.topic.compression.codec", "0").high():
        "Number of the codec for __share_group_state; 0 is none.";
    short("share.coordinator.state.topic.min.isr", "2").min(1).high():
        "min.insync.replicas of __share_group_state.";
    int("share.coordinator.state.topic.num.partitions", "50").min(1).high():
        "Partitions of __share_group_state; fixed once the topic exists.";
    int("share.coordinator.state.topic.prune.interval.ms", "300000").min(1).low().internal():
        "Milliseconds between deletions of outdated share state.";
    short("share.coordinator.state.topic.replication.factor", "3").min(1).high():
        "Replicas of __share_group_state.";
    int("share.coordinator.state.topic.segment.bytes", "104857600").min(1).high():
        "Segment size of __share_group_state, in bytes.";
    int("share.coordinator.threads", "1").min(1).never():
        "Threads for share state in Apache Kafka; thalweg keeps it on its shards.";
    int("share.coordinator.write.timeout.ms", "5000").min(1).high():
        "Milliseconds that a write of share state waits to be safe.";
}
