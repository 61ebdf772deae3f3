//! Rates of throttled replication. They are never set in a file.

use crate::key::{ConfigKey, keys};

keys! {
    long("leader.replication.throttled.rate", "9223372036854775807").min(0).cluster_wide().acting():
        "Bytes per second that others copy at most from throttled replicas here.";
    long("follower.replication.throttled.rate", "9223372036854775807").min(0).cluster_wide().acting():
        "Bytes per second that throttled replicas copy at most.";
    long("replica.alter.log.dirs.io.max.bytes.per.second", "9223372036854775807").min(0)
        .cluster_wide().acting():
        "Bytes per second that replicas move between directories at most.";
}
