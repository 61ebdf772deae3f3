//! Keys of thalweg's own; none of them is Kafka's.

use crate::key::{Check, ConfigKey, keys};

keys! {
    boolean("thalweg.balance.enable", "false").cluster_wide().acting():
        "Whether the active controller evens out replicas, bytes, rates and leaders all the time.";
    long("thalweg.disk.hung.ms", "5000").min(1).acting():
        "Milliseconds that a write or sync may take until others are to lead what this broker leads.";
    string("thalweg.durability", "sync").check(Check::OneOf(&["sync", "async"])).high()
        .cluster_wide().acting():
        "What an acknowledgement promises: sync, on stable storage; async, in memory as in Kafka.";
    string("thalweg.metrics.listener", "").check(Check::OptionalAddress).acting():
        "Address, as host:port, of metrics and health over HTTP; empty serves none.";
    long("thalweg.reassignment.throttled.rate", "9223372036854775807").min(1).cluster_wide()
        .acting():
        "Bytes per second that a broker gives, and takes, at most for replicas that a reassignment adds.";
    int("thalweg.shards", "0").min(0).acting():
        "Shards to run, each a thread with its share of the partitions; 0 is one per core.";
}
