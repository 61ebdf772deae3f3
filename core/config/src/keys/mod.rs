//! The tables of all keys: Kafka 4.3.0's and thalweg's own, by who they belong to.

mod broker;
mod client_metrics;
mod group;
mod topic;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use broker::{AREAS as BROKER_AREAS, DYNAMIC_ONLY as BROKER_RATES};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Default, Effect, Mode};
    use crate::layers::in_units;

    fn kafkas(table: &'static KeyTable) -> impl Iterator<Item = &'static ConfigKey> {
        table.values().copied().filter(|key| !key.name.starts_with("thalweg."))
    }

    #[test]
    fn tables_have_as_many_keys_as_kafka_4_3_0() {
        let counts = [&BROKER, &TOPIC, &GROUP, &CLIENT_METRICS].map(|table| kafkas(table).count());
        assert_eq!(counts, [360, 34, 17, 3]);
        assert_eq!(kafkas(&BROKER).filter(|key| key.internal).count(), 20);
    }

    #[test]
    fn as_many_keys_are_dynamic_as_in_kafka_4_3_0() {
        let of_mode = |mode| kafkas(&BROKER).filter(|key| key.mode == mode).count();
        assert_eq!(of_mode(Mode::PerBroker), 37);
        assert_eq!(of_mode(Mode::ClusterWide) + BROKER_DYNAMIC_ONLY.len(), 65);
    }

    #[test]
    fn no_key_stands_in_two_rows() {
        let rows = BROKER_AREAS.iter().map(|(_, keys)| keys.len()).sum::<usize>();
        assert_eq!(rows, BROKER.len());
    }

    #[test]
    fn every_default_passes_its_own_check_as_it_stands() {
        for key in [&BROKER, &TOPIC, &GROUP, &CLIENT_METRICS].into_iter().flat_map(|t| t.values()) {
            if let Default::Text(text) = key.default {
                assert_eq!(key.read(text).as_deref(), Ok(text), "{}", key.name);
            }
        }
    }

    #[test]
    fn every_key_has_a_sentence() {
        for key in [&BROKER, &TOPIC, &GROUP, &CLIENT_METRICS].into_iter().flat_map(|t| t.values()) {
            assert!(key.doc.ends_with('.') && key.doc.len() > 10, "{}", key.name);
        }
    }

    #[test]
    fn a_key_without_effect_says_why() {
        let all = [&BROKER, &TOPIC, &GROUP, &CLIENT_METRICS].into_iter().flat_map(|t| t.values());
        for key in all.filter(|key| key.effect == Effect::Never) {
            let mut words = key.doc.split(|one: char| !one.is_alphanumeric());
            let says = words.any(|word| ["here", "thalweg"].contains(&word));
            assert!(says, "{}: {}", key.name, key.doc);
        }
    }

    /// A topic that sets nothing on a broker that sets nothing is the same by either default.
    #[test]
    fn defaults_of_topics_and_groups_are_those_of_their_brokers() {
        for key in TOPIC.values().chain(GROUP.values()).filter(|key| !key.synonyms.is_empty()) {
            let of_synonym = |synonym: &crate::Synonym| {
                let default = BROKER[synonym.name].default_text()?;
                Some(in_units(default, synonym.factor))
            };
            let by_broker = key.synonyms.iter().find_map(of_synonym);
            assert_eq!(by_broker.as_deref(), key.default_text(), "{}", key.name);
        }
    }
}
