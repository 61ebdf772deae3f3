//! Followers, leaders, and moving replicas.

use crate::key::{ConfigKey, keys};

keys! {
    boolean("auto.leader.rebalance.enable", "true").high().acting():
        "Whether leadership goes back to preferred replicas by itself.";
    int("controller.socket.timeout.ms", "30000").never():
        "Milliseconds that Kafka's broker waits for a controller's answer; here each kind of request \
         has a bound of its own.";
    long("leader.imbalance.check.interval.seconds", "300").min(1).high().acting():
        "Seconds between looks for leaders to move back.";
    int("num.replica.alter.log.dirs.threads", "").unset().high().never():
        "Threads that move replicas from one directory to another in Kafka; here each shard moves its own.";
    int("num.replica.fetchers", "1").min(1).high().cluster_wide().never():
        "Connections to one leader's broker in Kafka; here each shard has one (thalweg.shards).";
    int("replica.fetch.backoff.ms", "1000").min(0).acting():
        "Milliseconds before a follower asks again after an error.";
    int("replica.fetch.max.bytes", "1048576").min(0).acting():
        "Bytes that a follower asks for per partition.";
    int("replica.fetch.min.bytes", "1").high().acting():
        "Bytes that a follower waits for, up to replica.fetch.wait.max.ms.";
    int("replica.fetch.response.max.bytes", "10485760").min(0).acting():
        "Bytes that a follower asks for in one response.";
    int("replica.fetch.wait.max.ms", "500").high().acting():
        "Most milliseconds that a follower's fetch waits for data.";
    long("replica.high.watermark.checkpoint.interval.ms", "5000").high().acting():
        "Milliseconds between writings of the high watermarks.";
    long("replica.lag.time.max.ms", "30000").high().acting():
        "Milliseconds behind the leader's end after which a follower leaves the ISR.";
    string("replica.selector.class", "").unset().acting():
        "org.apache.kafka.common.replica.RackAwareReplicaSelector lets consumers read from a replica in their rack; \
         without it from the leader. No other class.";
    int("replica.socket.receive.buffer.bytes", "65536").high().never():
        "Bytes of the kernel's receive buffer for copying in Kafka; here it is as large as the system lets it grow.";
    int("replica.socket.timeout.ms", "30000").high().acting():
        "Milliseconds a follower waits for a leader's answer.";
}
