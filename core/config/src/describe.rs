//! What `DescribeConfigs` says: each key's value, where it comes from, and all that it hides.

use crate::key::{ConfigKey, Kind, Mode};
use crate::keys;
use crate::layers::{BrokerLayers, ConfigMap, ResourceLayers};

/// One key of a resource, described.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    /// `None` where there is no value, or where it must not be shown.
    pub value: Option<String>,
    pub source: Source,
    pub read_only: bool,
    pub sensitive: bool,
    /// `None` for keys that are in no table.
    pub key: Option<&'static ConfigKey>,
    /// All values that were found, the one that holds first.
    pub synonyms: Vec<FoundValue>,
}

/// A value that was found for a key or for one that stands in for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FoundValue {
    pub name: String,
    /// `None` where it must not be shown.
    pub value: Option<String>,
    pub source: Source,
}

/// Where a value comes from; INT8 on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(i8)]
pub enum Source {
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    BrokerLogger = 6,
    ClientMetrics = 7,
    Group = 8,
}

impl Source {
    /// The INT8 of `DescribeConfigs`.
    pub fn to_wire(self) -> i8 {
        self as i8
    }
}

/// Broker keys that say the same in other units; the first of a row decides.
const SAME_SETTING: &[&[&str]] = &[
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
];

/// Keys that are set per listener and SASL mechanism.
const PER_MECHANISM: &[&str] = &[
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
    "connections.max.reauth.ms",
];

/// All keys of a broker; those in no table are shown too, without their values.
pub fn describe_broker(layers: &BrokerLayers<'_>) -> Vec<Entry> {
    let mut names: Vec<&str> = layers.fixed.iter().map(|(name, _)| name).collect();
    names.extend(layers.cluster.keys().chain(layers.broker.keys()).map(String::as_str));
    names.extend(keys::BROKER.values().filter(|key| !key.internal).map(|key| key.name));
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| broker_entry(layers, name)).collect()
}

/// The dynamic defaults of the cluster: the broker resource with the empty name.
pub fn describe_cluster_default(layers: &BrokerLayers<'_>) -> Vec<Entry> {
    let entry = |name: &String| {
        let mut entry = broker_entry(layers, name);
        entry.synonyms.retain(|found| found.source == Source::DynamicDefaultBroker);
        let stored = layers.cluster.get(name).cloned();
        entry.value = stored.filter(|_| !entry.sensitive);
        entry.source = Source::DynamicDefaultBroker;
        entry
    };
    layers.cluster.keys().map(entry).collect()
}

/// All keys of a topic.
pub fn describe_topic(overrides: &ConfigMap, broker: &BrokerLayers<'_>) -> Vec<Entry> {
    let layers = ResourceLayers { table: &keys::TOPIC, overrides, broker: *broker };
    layers.describe(Source::Topic)
}

/// All keys of a group.
pub fn describe_group(overrides: &ConfigMap, broker: &BrokerLayers<'_>) -> Vec<Entry> {
    let layers = ResourceLayers { table: &keys::GROUP, overrides, broker: *broker };
    layers.describe(Source::Group)
}

/// All keys of a client-metrics subscription.
pub fn describe_client_metrics(overrides: &ConfigMap, broker: &BrokerLayers<'_>) -> Vec<Entry> {
    let layers = ResourceLayers { table: &keys::CLIENT_METRICS, overrides, broker: *broker };
    layers.describe(Source::ClientMetrics)
}

impl ResourceLayers<'_> {
    fn describe(&self, own: Source) -> Vec<Entry> {
        let shown = |key: &&&ConfigKey| !key.internal || self.overrides.contains_key(key.name);
        self.table.values().filter(shown).map(|key| self.entry(key, own)).collect()
    }

    fn entry(&self, key: &'static ConfigKey, own: Source) -> Entry {
        let value = self.optional_text(key.name);
        let mut synonyms = Vec::new();
        if self.overrides.contains_key(key.name) {
            let name = key.name.to_owned();
            synonyms.push(FoundValue { name, value: value.clone(), source: own });
        }
        if let Some(first) = key.synonyms.first() {
            synonyms.extend(found_values(&self.broker, first.name, false));
        }
        let source = synonyms.first().map_or(Source::Default, |found| found.source);
        let name = key.name.to_owned();
        Entry { name, value, source, read_only: false, sensitive: false, key: Some(key), synonyms }
    }
}

fn broker_entry(layers: &BrokerLayers<'_>, name: &str) -> Entry {
    let key = broker_key_of(name);
    // What a key in no table means is unknown, so it may be a secret of a plug-in.
    let sensitive = key.is_none_or(ConfigKey::is_sensitive);
    let synonyms = found_values(layers, name, sensitive);
    let value = match keys::BROKER.get(name) {
        Some(key) => layers.value(key).map(|value| value.into_owned()),
        None => layers.raw(name).map(str::to_owned),
    };
    let is_dynamic = |key: &ConfigKey| key.mode != Mode::ReadOnly;
    Entry {
        name: name.to_owned(),
        value: value.filter(|_| !sensitive),
        source: synonyms.first().map_or(Source::Default, |found| found.source),
        read_only: !key.filter(|key| key.name == name).is_some_and(is_dynamic),
        sensitive,
        key,
        synonyms,
    }
}

/// The row of a broker key, or of the key that a `listener.name.` one overrides.
pub(crate) fn broker_key_of(name: &str) -> Option<&'static ConfigKey> {
    let row = |name: &str| {
        keys::BROKER.get(name).or_else(|| keys::BROKER_DYNAMIC_ONLY.get(name)).copied()
    };
    row(name).or_else(|| row(listener_base(name)?))
}

/// `ssl.keystore.type` of `listener.name.internal.ssl.keystore.type`, and
/// `sasl.jaas.config` of `listener.name.internal.plain.sasl.jaas.config`.
pub(crate) fn listener_base(name: &str) -> Option<&str> {
    let (_, base) = name.strip_prefix("listener.name.")?.split_once('.')?;
    let mechanism = PER_MECHANISM.iter().find(|key| base.ends_with(**key));
    Some(mechanism.copied().unwrap_or(base))
}

/// All values of a broker key and its likes: dynamic of the broker, dynamic of the cluster, of the
/// start, by default; within each in the order of the likes. Values of likes that come before the
/// first one of the key itself are left out, as Kafka does.
fn found_values(layers: &BrokerLayers<'_>, name: &str, sensitive: bool) -> Vec<FoundValue> {
    let mut names = vec![name];
    if let Some(row) = SAME_SETTING.iter().find(|row| row.contains(&name)) {
        names = row.to_vec();
    } else if name == "log.flush.interval.ms" {
        names.push("log.flush.scheduler.interval.ms");
    } else {
        names.extend(listener_base(name));
    }
    let mut found = Vec::new();
    for source in LEVELS {
        for like in &names {
            if let Some(value) = value_at(layers, source, like) {
                let value = Some(value.to_owned()).filter(|_| !sensitive);
                found.push(FoundValue { name: (*like).to_owned(), value, source });
            }
        }
    }
    found.into_iter().skip_while(|value| value.name != name).collect()
}

/// Where a broker key's value may come from, the strongest first.
const LEVELS: [Source; 4] =
    [Source::DynamicBroker, Source::DynamicDefaultBroker, Source::StaticBroker, Source::Default];

fn value_at<'a>(layers: &BrokerLayers<'a>, source: Source, name: &str) -> Option<&'a str> {
    match source {
        Source::DynamicBroker => layers.broker.get(name).map(String::as_str),
        Source::DynamicDefaultBroker => layers.cluster.get(name).map(String::as_str),
        Source::StaticBroker => layers.fixed.get(name),
        Source::Default => keys::BROKER.get(name).and_then(|key| key.default_text()),
        Source::Topic | Source::BrokerLogger | Source::ClientMetrics | Source::Group => None,
    }
}

impl Entry {
    /// The INT8 of the key's type; 0 for keys in no table.
    pub fn kind_to_wire(&self) -> i8 {
        self.key.map_or(0, |key| Kind::to_wire(key.kind))
    }
}
