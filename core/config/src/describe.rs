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
        match key.synonyms.first() {
            Some(first) => synonyms.extend(found_values(&self.broker, first.name, false)),
            // Only groups list the default of a key that no broker key stands in for.
            None if own == Source::Group => synonyms.push(FoundValue {
                name: key.name.to_owned(),
                value: key.default_text().map(str::to_owned),
                source: Source::Default,
            }),
            None => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::{StaticConfig, started_with};
    use crate::layers::map;

    /// `value source [synonyms]`, as `kafka-configs --describe --all` writes them.
    fn text(entry: &Entry) -> String {
        let show = |value: &Option<String>| value.clone().unwrap_or("null".to_owned());
        let found =
            |one: &FoundValue| format!("{:?}:{}={}", one.source, one.name, show(&one.value));
        let synonyms: Vec<String> = entry.synonyms.iter().map(found).collect();
        format!("{} {:?} [{}]", show(&entry.value), entry.source, synonyms.join(", "))
    }

    fn find(entries: &[Entry], name: &str) -> String {
        text(entries.iter().find(|entry| entry.name == name).unwrap())
    }

    fn layers<'a>(
        fixed: &'a StaticConfig,
        cluster: &'a ConfigMap,
        broker: &'a ConfigMap,
    ) -> BrokerLayers<'a> {
        BrokerLayers { fixed, cluster, broker }
    }

    #[test]
    fn a_brokers_values_come_with_all_that_they_hide() {
        let fixed = started_with(&[
            ("max.connections", "7"),
            ("log.retention.hours", "1"),
            ("ssl.key.password", "secret"),
            ("plug.in", "secret"),
            ("listener.name.x.ssl.keystore.type", "PEM"),
        ]);
        let cluster = map(&[("max.connections", "8"), ("log.retention.ms", "5")]);
        let broker = map(&[("max.connections", "9"), ("leader.replication.throttled.rate", "1")]);
        let entries = describe_broker(&layers(&fixed, &cluster, &broker));
        let cases = [
            (
                "max.connections",
                "9 DynamicBroker [DynamicBroker:max.connections=9, \
                 DynamicDefaultBroker:max.connections=8, StaticBroker:max.connections=7, \
                 Default:max.connections=2147483647]",
            ),
            ("num.partitions", "1 Default [Default:num.partitions=1]"),
            ("log.roll.ms", "null Default []"),
            (
                "log.retention.ms",
                "5 DynamicDefaultBroker [DynamicDefaultBroker:log.retention.ms=5, \
                 StaticBroker:log.retention.hours=1, Default:log.retention.hours=168]",
            ),
            ("ssl.key.password", "null StaticBroker [StaticBroker:ssl.key.password=null]"),
            ("plug.in", "null StaticBroker [StaticBroker:plug.in=null]"),
            (
                "listener.name.x.ssl.keystore.type",
                "PEM StaticBroker [StaticBroker:listener.name.x.ssl.keystore.type=PEM, \
                 Default:ssl.keystore.type=JKS]",
            ),
            (
                "leader.replication.throttled.rate",
                "1 DynamicBroker [DynamicBroker:leader.replication.throttled.rate=1]",
            ),
        ];
        for (name, expected) in cases {
            assert_eq!(find(&entries, name), expected, "{name}");
        }
    }

    #[test]
    fn hidden_keys_are_shown_when_they_are_set() {
        let name = "internal.metadata.log.segment.bytes";
        for (overrides, shown) in [(&[][..], false), (&[(name, "9")][..], true)] {
            let fixed = started_with(overrides);
            let entries = describe_broker(&BrokerLayers::at_start(&fixed));
            assert_eq!(entries.iter().any(|entry| entry.name == name), shown);
        }
    }

    #[test]
    fn only_dynamic_keys_can_be_written() {
        let fixed = started_with(&[]);
        let entries = describe_broker(&BrokerLayers::at_start(&fixed));
        for (name, read_only) in
            [("node.id", true), ("listeners", false), ("log.retention.ms", false)]
        {
            let entry = entries.iter().find(|entry| entry.name == name).unwrap();
            assert_eq!(entry.read_only, read_only, "{name}");
        }
    }

    #[test]
    fn the_clusters_defaults_are_its_own_values_alone() {
        let fixed = started_with(&[("max.connections", "7")]);
        let (cluster, broker) =
            (map(&[("max.connections", "8")]), map(&[("max.connections", "9")]));
        let entries = describe_cluster_default(&layers(&fixed, &cluster, &broker));
        assert_eq!(entries.len(), 1);
        let expected = "8 DynamicDefaultBroker [DynamicDefaultBroker:max.connections=8]";
        assert_eq!(text(&entries[0]), expected);
    }

    #[test]
    fn a_topics_values_show_the_brokers_behind_them() {
        let fixed = started_with(&[("log.segment.bytes", "1048576"), ("log.retention.hours", "1")]);
        let cluster = map(&[("log.segment.bytes", "1048577")]);
        let own = map(&[("segment.bytes", "1048578"), ("cleanup.policy", "compact")]);
        let entries = describe_topic(&own, &layers(&fixed, &cluster, &ConfigMap::new()));
        let cases = [
            (
                "segment.bytes",
                "1048578 Topic [Topic:segment.bytes=1048578, \
                 DynamicDefaultBroker:log.segment.bytes=1048577, \
                 StaticBroker:log.segment.bytes=1048576, Default:log.segment.bytes=1073741824]",
            ),
            (
                "cleanup.policy",
                "compact Topic [Topic:cleanup.policy=compact, Default:log.cleanup.policy=delete]",
            ),
            // As Kafka: what only the hours say is a default by its source.
            ("retention.ms", "3600000 Default []"),
            ("remote.storage.enable", "false Default []"),
        ];
        for (name, expected) in cases {
            assert_eq!(find(&entries, name), expected, "{name}");
        }
        assert_eq!(entries.len(), 34);
    }

    #[test]
    fn groups_and_client_metrics_have_sources_of_their_own() {
        let fixed = started_with(&[]);
        let start = BrokerLayers::at_start(&fixed);
        let own = map(&[("consumer.session.timeout.ms", "46000"), ("interval.ms", "1000")]);
        assert_eq!(
            find(&describe_group(&own, &start), "consumer.session.timeout.ms"),
            "46000 Group [Group:consumer.session.timeout.ms=46000, \
             Default:group.consumer.session.timeout.ms=45000]"
        );
        assert_eq!(
            find(&describe_group(&own, &start), "share.auto.offset.reset"),
            "latest Default [Default:share.auto.offset.reset=latest]"
        );
        let metrics = describe_client_metrics(&own, &start);
        assert_eq!(
            find(&metrics, "interval.ms"),
            "1000 ClientMetrics [ClientMetrics:interval.ms=1000]"
        );
    }
}
