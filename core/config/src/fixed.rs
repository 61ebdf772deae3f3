//! What the node is started with: overrides over environment over file over built-in settings.

use std::collections::BTreeMap;

use crate::error::{ConfigError, ConfigErrors};
use crate::key::ConfigKey;
use crate::keys;
use crate::properties::Properties;
use crate::suggest::nearest;

/// Where the settings of a start come from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sources {
    /// The properties file, if one was named.
    pub file: Option<Properties>,
    /// What [`crate::environment::settings`] found.
    pub environment: Vec<(String, String)>,
    /// `--override key=value`, first to last.
    pub overrides: Vec<(String, String)>,
}

/// The settings of a start, checked. They hold until the next one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StaticConfig {
    values: BTreeMap<String, String>,
}

/// A setting that is kept but does not do what its author may expect.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Warning {
    /// Kafka ignores keys that it does not know; so do we, but not silently.
    #[error("{key} is not a Kafka setting and is ignored{}", did_you_mean(.nearest))]
    Unknown { key: String, nearest: Option<&'static str> },
    /// The key is known and valid, and nothing in thalweg reads it yet.
    #[error("{key} is set but thalweg does not act on it yet")]
    NotActing { key: &'static str },
}

fn did_you_mean(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// One combined node on its own, when there is no file and no environment: what a first start
/// needs and no table default gives. Internal topics get one replica, as there is one broker.
const SINGLE_NODE: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
    ("controller.listener.names", "CONTROLLER"),
    ("controller.quorum.bootstrap.servers", "localhost:9093"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
];

/// Prefixes of keys that belong to plug-ins or to one listener; their names are open.
const OPEN_PREFIXES: &[&str] = &[
    "listener.name.",
    "config.providers.",
    "rsm.config.",
    "rlmm.config.",
    "remote.log.metadata.",
    "confluent.",
    "metrics.context.",
    "super.users",
    "allow.everyone.if.no.acl.found",
];

impl StaticConfig {
    /// Merges and checks the sources.
    ///
    /// # Errors
    /// Every invalid value and every required key without one.
    pub fn new(sources: &Sources) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let given = merge(sources);
        let mut values = BTreeMap::new();
        let mut warnings = Vec::new();
        let mut errors = Vec::new();
        for (name, text) in given {
            let Some(key) = keys::BROKER.get(name.as_str()) else {
                warnings.extend(unknown(&name));
                values.insert(name, text.trim().to_owned());
                continue;
            };
            match key.read(&text) {
                Ok(value) => {
                    warnings.extend(not_acting(key, &value));
                    values.insert(name, value);
                }
                Err(error) => errors.push(error),
            }
        }
        let refused = |name: &str| {
            let about = |error: &ConfigError| matches!(error, ConfigError::Value { key, .. } if key == name);
            errors.iter().any(about)
        };
        let missing: Vec<ConfigError> = keys::BROKER
            .values()
            .filter(|key| key.default == crate::Default::Required)
            .filter(|key| !values.contains_key(key.name) && !refused(key.name))
            .map(|key| ConfigError::Missing { key: key.name.to_owned(), allowed: key.allowed() })
            .collect();
        errors.extend(missing);
        if errors.is_empty() { Ok((Self { values }, warnings)) } else { Err(ConfigErrors(errors)) }
    }

    /// The text that was set for a key, known or not.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// All that was set, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// The last word on each key. `broker.id` and `node.id` are two names of one number.
fn merge(sources: &Sources) -> BTreeMap<String, String> {
    let mut given = BTreeMap::new();
    if sources.file.is_none() && sources.environment.is_empty() {
        given.extend(SINGLE_NODE.iter().map(|(key, value)| (key.to_string(), value.to_string())));
    }
    let file = sources.file.iter().flat_map(Properties::iter);
    given.extend(file.map(|(key, value)| (key.to_owned(), value.to_owned())));
    given.extend(sources.environment.iter().cloned());
    given.extend(sources.overrides.iter().cloned());
    for (name, other) in [("broker.id", "node.id"), ("node.id", "broker.id")] {
        if let (None, Some(id)) = (given.get(name), given.get(other).cloned()) {
            given.insert(name.to_owned(), id);
        }
    }
    given
}

/// The warning for a key that is in no table, unless its name is open.
pub(crate) fn unknown(name: &str) -> Option<Warning> {
    let open = OPEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let nearest = || nearest(name, keys::BROKER.keys().copied());
    (!open).then(|| Warning::Unknown { key: name.to_owned(), nearest: nearest() })
}

/// Values that every one-node setup carries are no reason to warn.
fn not_acting(key: &'static ConfigKey, value: &str) -> Option<Warning> {
    let usual = key.default_text() == Some(value) || SINGLE_NODE.contains(&(key.name, value));
    (!key.acting && !usual).then_some(Warning::NotActing { key: key.name })
}
