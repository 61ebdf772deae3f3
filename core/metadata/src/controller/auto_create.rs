//! Topics that come to be because somebody asks for them: internal ones when a coordinator needs
//! them, ordinary ones by a Metadata request where `auto.create.topics.enable` allows it.

use config::{BrokerLayers, INTERNAL_TOPICS, StaticConfig};
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};

use crate::Image;

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
