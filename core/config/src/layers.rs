//! Which value of a key holds: the broker's dynamic one, the cluster's dynamic default, the one
//! of the start, the key's default, in this order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use types::Millis;

use crate::fixed::StaticConfig;
use crate::key::{ConfigKey, Default};
use crate::keys;

/// Dynamic values of one resource, as the metadata log holds them.
pub type ConfigMap = BTreeMap<String, String>;

static NO_VALUES: ConfigMap = BTreeMap::new();

/// All that decides about a broker's keys.
#[derive(Clone, Copy, Debug)]
pub struct BrokerLayers<'a> {
    /// What the node was started with.
    pub fixed: &'a StaticConfig,
    /// Dynamic defaults of the cluster (broker resource with the empty name).
    pub cluster: &'a ConfigMap,
    /// Dynamic values of this broker.
    pub broker: &'a ConfigMap,
}

impl<'a> BrokerLayers<'a> {
    /// The layers of a node that has not read its metadata yet.
    pub fn at_start(fixed: &'a StaticConfig) -> Self {
        Self { fixed, cluster: &NO_VALUES, broker: &NO_VALUES }
    }

    /// The value that holds for a broker key, `None` if it has none.
    ///
    /// A dynamic value that does not pass the key's check was written by another version: it is
    /// passed over, as the broker must start to let somebody correct it.
    pub fn value(&self, key: &ConfigKey) -> Option<Cow<'a, str>> {
        self.set_value(key).or_else(|| key.default_text().map(Cow::Borrowed))
    }

    /// The value that somebody has set for a broker key.
    pub(crate) fn set_value(&self, key: &ConfigKey) -> Option<Cow<'a, str>> {
        let valid = |map: &'a ConfigMap| map.get(key.name).and_then(|text| key.read(text).ok());
        let dynamic = valid(self.broker).or_else(|| valid(self.cluster));
        dynamic.map(Cow::Owned).or_else(|| self.fixed.get(key.name).map(Cow::Borrowed))
    }

    /// The text of a name that may be in no table.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        let dynamic = self.broker.get(name).or_else(|| self.cluster.get(name));
        dynamic.map(String::as_str).or_else(|| self.fixed.get(name))
    }

    /// The text of a key that has a default.
    ///
    /// # Panics
    /// As the other typed readers do: if there is no such broker key, or it has no value and no
    /// default. Both are mistakes in this program, never of its input.
    pub fn text(&self, name: &str) -> Cow<'a, str> {
        or_default(self.optional_text(name))
    }

    /// The text of a key that may have no value.
    pub fn optional_text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.value(known_key(&keys::BROKER, name))
    }

    /// The text that somebody has set for a key.
    pub(crate) fn set_text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.set_value(known_key(&keys::BROKER, name))
    }

    pub fn boolean(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    pub fn int(&self, name: &str) -> i32 {
        number(&self.text(name))
    }

    pub fn long(&self, name: &str) -> i64 {
        number(&self.text(name))
    }

    pub fn double(&self, name: &str) -> f64 {
        number(&self.text(name))
    }

    /// A number of milliseconds.
    pub fn millis(&self, name: &str) -> Millis {
        Millis(self.long(name))
    }

    /// The entries of a list; none if it has no value.
    pub fn list(&self, name: &str) -> Vec<String> {
        let text = self.optional_text(name).unwrap_or_default();
        crate::entries(&text).map(str::to_owned).collect()
    }

    /// The value of a topic or group key that falls back to broker keys: the first of its
    /// synonyms that somebody has set, counted in the key's own unit.
    pub(crate) fn synonym_value(&self, key: &ConfigKey) -> Option<String> {
        key.synonyms.iter().find_map(|synonym| {
            let value = self.set_value(known_key(&keys::BROKER, synonym.name))?;
            Some(in_units(&value, synonym.factor))
        })
    }
}

/// The key of this name, which this program chose and no input.
fn known_key(table: &keys::KeyTable, name: &str) -> &'static ConfigKey {
    table.get(name).copied().expect("the name is one of the table")
}

/// The value of a key whose default is not "none", so that it always has one.
fn or_default<T>(value: Option<T>) -> T {
    value.expect("the key has a default")
}

/// A number of the type that the key is read as.
fn number<T: FromStr>(text: &str) -> T {
    text.parse().ok().expect("the key's check lets only numbers of this type pass")
}

/// A synonym's value in the unit of the key that it stands in for.
pub(crate) fn in_units(value: &str, factor: i64) -> String {
    match value.parse::<i64>() {
        // Any negative number of hours means what -1 ms means: no limit.
        Ok(number) if factor != 1 && number < 0 => "-1".to_owned(),
        Ok(number) if factor != 1 => number.saturating_mul(factor).to_string(),
        _ => value.to_owned(),
    }
}

/// Reads the keys of a topic or group: its own value, else the broker's synonyms, else the
/// default. Overrides that do not pass their check are passed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourceLayers<'a> {
    pub table: &'static keys::KeyTable,
    pub overrides: &'a ConfigMap,
    pub broker: BrokerLayers<'a>,
}

impl ResourceLayers<'_> {
    pub fn optional_text(&self, name: &str) -> Option<String> {
        let key = known_key(self.table, name);
        let own = self.overrides.get(name).and_then(|text| key.read(text).ok());
        own.or_else(|| self.broker.synonym_value(key))
            // A broker key may allow what the topic key does not, such as retention below -1.
            .and_then(|text| key.read(&text).ok())
            .or_else(|| match key.default {
                Default::Text(text) => Some(text.to_owned()),
                Default::Unset | Default::Required => None,
            })
    }

    pub fn text(&self, name: &str) -> String {
        or_default(self.optional_text(name))
    }

    pub fn boolean(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    pub fn int(&self, name: &str) -> i32 {
        number(&self.text(name))
    }

    /// A number whose key allows no negative one.
    pub fn unsigned(&self, name: &str) -> u32 {
        number(&self.text(name))
    }

    pub fn long(&self, name: &str) -> i64 {
        number(&self.text(name))
    }

    pub fn double(&self, name: &str) -> f64 {
        number(&self.text(name))
    }

    pub fn millis(&self, name: &str) -> Millis {
        Millis(self.long(name))
    }

    pub fn list(&self, name: &str) -> Vec<String> {
        let text = self.optional_text(name).unwrap_or_default();
        crate::entries(&text).map(str::to_owned).collect()
    }
}

/// Dynamic values for tests.
#[cfg(test)]
pub(crate) fn map(pairs: &[(&str, &str)]) -> ConfigMap {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::started_with;

    #[test]
    fn the_broker_wins_over_the_cluster_over_the_start_over_the_default() {
        let name = "max.connections";
        let cases = [
            ([None, None, None], i32::MAX),
            ([None, None, Some("3")], 3),
            ([None, Some("2"), Some("3")], 2),
            ([Some("1"), Some("2"), Some("3")], 1),
            ([Some("1"), None, None], 1),
            ([Some("broken"), Some("2"), None], 2),
            ([Some("broken"), Some("-1"), Some("3")], 3),
        ];
        for (values, expected) in cases {
            let [broker, cluster, fixed] = values.map(|value| value.map(|value| (name, value)));
            let fixed = started_with(fixed.as_slice());
            let (cluster, broker) = (map(cluster.as_slice()), map(broker.as_slice()));
            let layers = BrokerLayers { fixed: &fixed, cluster: &cluster, broker: &broker };
            assert_eq!(layers.int(name), expected, "{values:?}");
        }
    }
}
