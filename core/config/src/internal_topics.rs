//! The topics of the cluster's own work, and the broker's keys that say what they are like.
//!
//! Not here: when they are made (`metadata`).

/// The topic of group memberships and offsets.
pub const GROUP_METADATA_TOPIC: &str = "__consumer_offsets";

/// An internal topic.
#[derive(Debug)]
pub struct InternalTopic {
    /// Its name.
    pub name: &'static str,
    /// The key of its number of partitions.
    pub partitions: &'static str,
    /// The key of its number of replicas.
    pub replicas: &'static str,
    /// The key of the size of its segments.
    pub segment_bytes: &'static str,
    /// The key of its `min.insync.replicas`, where it has one of its own.
    pub min_isr: Option<&'static str>,
    /// What its log is like, whatever the broker's keys say.
    pub settings: &'static [(&'static str, &'static str)],
}

/// All of them.
pub static INTERNAL_TOPICS: [InternalTopic; 3] = [
    InternalTopic {
        name: GROUP_METADATA_TOPIC,
        partitions: "offsets.topic.num.partitions",
        replicas: "offsets.topic.replication.factor",
        segment_bytes: "offsets.topic.segment.bytes",
        min_isr: None,
        settings: &[("cleanup.policy", "compact"), ("compression.type", "producer")],
    },
    InternalTopic {
        name: "__transaction_state",
        partitions: "transaction.state.log.num.partitions",
        replicas: "transaction.state.log.replication.factor",
        segment_bytes: "transaction.state.log.segment.bytes",
        min_isr: Some("transaction.state.log.min.isr"),
        settings: &[
            ("cleanup.policy", "compact"),
            ("compression.type", "uncompressed"),
            ("unclean.leader.election.enable", "false"),
        ],
    },
    InternalTopic {
        name: "__share_group_state",
        partitions: "share.coordinator.state.topic.num.partitions",
        replicas: "share.coordinator.state.topic.replication.factor",
        segment_bytes: "share.coordinator.state.topic.segment.bytes",
        min_isr: Some("share.coordinator.state.topic.min.isr"),
        settings: &[
            ("cleanup.policy", "delete"),
            ("compression.type", "producer"),
            ("retention.ms", "-1"),
        ],
    },
];

/// Whether a topic belongs to the cluster's own work.
pub fn is_internal(topic: &str) -> bool {
    INTERNAL_TOPICS.iter().any(|internal| internal.name == topic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys;

    #[test]
    fn each_key_is_one_of_the_brokers() {
        for one in &INTERNAL_TOPICS {
            let named = [one.partitions, one.replicas, one.segment_bytes].into_iter();
            for name in named.chain(one.min_isr) {
                assert!(keys::BROKER.contains_key(name), "{name}");
            }
        }
    }
}
