//! Topics that come to be because somebody asks for them: internal ones when a coordinator needs
//! them, ordinary ones by a Metadata request where `auto.create.topics.enable` allows it.

use config::{BrokerLayers, StaticConfig};
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};

use crate::Image;

/// The topic of group memberships and offsets.
pub const GROUP_METADATA_TOPIC: &str = "__consumer_offsets";

/// An internal topic: which node settings give its size, and what its log is like.
struct InternalTopic {
    name: &'static str,
    partitions: &'static str,
    replicas: &'static str,
    segment_bytes: &'static str,
    min_isr: Option<&'static str>,
    settings: &'static [(&'static str, &'static str)],
}

const INTERNAL_TOPICS: [InternalTopic; 3] = [
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

/// The request that creates these topics, with the sizes that the node's settings give. Whether
/// topics may come to be this way is the caller's to know.
pub fn auto_create_request<'a>(
    names: impl Iterator<Item = &'a str>,
    image: &Image,
    fixed: &StaticConfig,
) -> CreateTopicsRequest {
    let serving = image.brokers().filter(|broker| !broker.fenced).count();
    let topics = names.map(|name| creatable(name, serving, fixed)).collect();
    CreateTopicsRequest { topics, ..Default::default() }
}

fn creatable(name: &str, serving: usize, fixed: &StaticConfig) -> CreatableTopic {
    let Some(internal) = INTERNAL_TOPICS.iter().find(|topic| topic.name == name) else {
        return CreatableTopic {
            name: name.to_owned(),
            num_partitions: -1,
            replication_factor: -1,
            ..Default::default()
        };
    };
    let layers = BrokerLayers::at_start(fixed);
    let config = |name: &str, value: String| CreatableTopicConfig {
        name: name.to_owned(),
        value: Some(value),
        ..Default::default()
    };
    let settings = internal.settings.iter().map(|&(name, value)| config(name, value.to_owned()));
    let segment = config("segment.bytes", layers.text(internal.segment_bytes).into_owned());
    let replicas = within(serving, internal.replicas, fixed);
    let min_isr = internal.min_isr.map(|key| {
        // One replica less than there are, so that one may be away.
        let count = within(replicas.saturating_sub(1), key, fixed);
        config("min.insync.replicas", count.to_string())
    });
    CreatableTopic {
        name: name.to_owned(),
        num_partitions: layers.int(internal.partitions),
        // The key is of 16 bits.
        replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX),
        configs: settings.chain([segment]).chain(min_isr).collect(),
        ..Default::default()
    }
}

/// A count that a key gives. Where nobody has set it and the cluster grows node by node, it is no
/// more than there can be now, as the first group must not wait for the third broker.
fn within(most: usize, key: &str, fixed: &StaticConfig) -> usize {
    let count = usize::try_from(BrokerLayers::at_start(fixed).int(key)).unwrap_or(0);
    match fixed.grows() && fixed.get(key).is_none() {
        true => count.min(most.max(1)),
        false => count,
    }
}
