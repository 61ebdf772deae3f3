//! The tables of all keys: Kafka 4.3.0's and thalweg's own, by who they belong to.

mod broker;
mod client_metrics;
mod group;
mod topic;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use broker::AREAS as BROKER_AREAS;

use crate::key::ConfigKey;

/// Keys of one kind of resource, by name.
pub type KeyTable = BTreeMap<&'static str, &'static ConfigKey>;

fn by_name(keys: impl Iterator<Item = &'static ConfigKey>) -> KeyTable {
    keys.map(|key| (key.name, key)).collect()
}

/// Keys of a node.
pub static BROKER: LazyLock<KeyTable> =
    LazyLock::new(|| by_name(broker::AREAS.iter().flat_map(|(_, keys)| keys.iter())));
/// Keys of a node that exist only as dynamic values.
pub static BROKER_DYNAMIC_ONLY: LazyLock<KeyTable> =
    LazyLock::new(|| by_name(broker::DYNAMIC_ONLY.iter()));
/// Keys of a topic.
pub static TOPIC: LazyLock<KeyTable> = LazyLock::new(|| by_name(topic::KEYS.iter()));
/// Keys of a group.
pub static GROUP: LazyLock<KeyTable> = LazyLock::new(|| by_name(group::KEYS.iter()));
/// Keys of a client-metrics subscription.
pub static CLIENT_METRICS: LazyLock<KeyTable> =
    LazyLock::new(|| by_name(client_metrics::KEYS.iter()));
