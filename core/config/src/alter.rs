//! Changes of dynamic values: what a resource has afterwards, and why a change is refused.

use std::collections::BTreeSet;

use types::ErrorCode;

use crate::describe::{broker_key_of, listener_base};
use crate::error::{ConfigError, ConfigErrors};
use crate::group_bounds::bounds;
use crate::key::{ConfigKey, Kind, Mode};
use crate::keys;
use crate::layers::{BrokerLayers, ConfigMap, ResourceLayers};
use crate::node::{NodeConfig, limits_controllers};
use crate::suggest::nearest;

/// Whose values change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    Topic,
    /// One broker.
    Broker,
    /// All brokers: the broker resource with the empty name.
    ClusterDefault,
    Group,
    ClientMetrics,
}

/// One change of an `IncrementalAlterConfigs`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Change<'a> {
    pub name: &'a str,
    pub operation: Operation,
    /// Needed by all operations but [`Operation::Delete`].
    pub value: Option<&'a str>,
}

/// What a change does; INT8 on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    Set,
    Delete,
    /// Adds entries to a list.
    Append,
    /// Takes entries from a list.
    Subtract,
}

impl Operation {
    /// The operation with this number of `IncrementalAlterConfigs`.
    pub fn from_wire(value: i8) -> Option<Self> {
        match value {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }
}

/// Mistakes that one answer lists: more would not fit into it, and each costs a search for what the
/// client may have meant.
const ERRORS_MAX: usize = 10;

/// Key material changes per listener only, so that a change never hits a listener unasked.
const LISTENER_ONLY: &[&str] = &[
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

/// The values of a resource after `changes` (`IncrementalAlterConfigs`).
///
/// `current` are its values now; `broker` the layers of the broker that answers.
///
/// # Errors
/// Everything that is wrong; nothing is changed then. [`Scope::refusal_code`] has the wire code.
pub fn alter(
    scope: Scope,
    current: &ConfigMap,
    changes: &[Change<'_>],
    broker: &BrokerLayers<'_>,
) -> Result<ConfigMap, ConfigErrors> {
    let mut names = BTreeSet::new();
    for change in changes {
        if !names.insert(change.name) {
            return Err(ConfigError::Twice { key: change.name.to_owned() }.into());
        }
    }
    let mut after = current.clone();
    for change in changes {
        apply(scope, &mut after, change)?;
    }
    let touched = changes.iter().map(|change| change.name);
    check(scope, &after, touched, broker)?;
    Ok(after)
}

/// Checks values that replace all that a resource has (`AlterConfigs`, `CreateTopics`).
///
/// # Errors
/// As [`alter`].
pub fn replace(
    scope: Scope,
    values: &ConfigMap,
    broker: &BrokerLayers<'_>,
) -> Result<(), ConfigErrors> {
    check(scope, values, values.keys().map(String::as_str), broker)
}

/// What to write to the metadata log to get from one set of values to another: each key that
/// differs, with `None` for one that goes.
pub fn differences(before: &ConfigMap, after: &ConfigMap) -> Vec<(String, Option<String>)> {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let gone = gone.map(|name| (name.clone(), None));
    let changed = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
    gone.chain(changed.map(|(name, value)| (name.clone(), Some(value.clone())))).collect()
}

impl Scope {
    /// The wire code of a refusal: a broker's are INVALID_REQUEST whatever is wrong, as Kafka's
    /// brokers answer.
    pub fn refusal_code(self, error: &ConfigError) -> ErrorCode {
        match self {
            Self::Broker | Self::ClusterDefault | Self::ClientMetrics => ErrorCode::InvalidRequest,
            Self::Topic | Self::Group => error.code(),
        }
    }

    /// The row of a key that may be set here.
    fn key(self, name: &str) -> Option<&'static ConfigKey> {
        match self {
            Self::Broker | Self::ClusterDefault => broker_key_of(name),
            Self::Topic => keys::TOPIC.get(name).copied(),
            Self::Group => keys::GROUP.get(name).copied(),
            Self::ClientMetrics => keys::CLIENT_METRICS.get(name).copied(),
        }
    }

    fn unknown(self, name: &str) -> ConfigError {
        let (scope, table) = match self {
            Self::Broker | Self::ClusterDefault => ("broker", &keys::BROKER),
            Self::Topic => ("topic", &keys::TOPIC),
            Self::Group => ("group", &keys::GROUP),
            Self::ClientMetrics => ("client metrics", &keys::CLIENT_METRICS),
        };
        let nearest = nearest(name, table.keys().copied());
        ConfigError::Unknown { key: name.to_owned(), scope, nearest }
    }
}

fn apply(scope: Scope, values: &mut ConfigMap, change: &Change<'_>) -> Result<(), ConfigError> {
    let name = change.name;
    if change.operation == Operation::Delete {
        values.remove(name);
        return Ok(());
    }
    let given = change.value.ok_or_else(|| ConfigError::NoValue { key: name.to_owned() })?;
    let value = match change.operation {
        Operation::Set | Operation::Delete => given.to_owned(),
        Operation::Append => {
            let mut entries = list_entries(scope, values, name)?;
            let mut known: BTreeSet<String> = entries.iter().cloned().collect();
            let new = crate::entries(given).filter(|entry| known.insert((*entry).to_owned()));
            entries.extend(new.map(str::to_owned));
            entries.join(",")
        }
        Operation::Subtract => {
            let mut entries = list_entries(scope, values, name)?;
            let gone: BTreeSet<&str> = crate::entries(given).collect();
            entries.retain(|present| !gone.contains(present.as_str()));
            entries.join(",")
        }
    };
    values.insert(name.to_owned(), value);
    Ok(())
}

/// What a list has now; where nobody has set it, its default.
fn list_entries(scope: Scope, values: &ConfigMap, name: &str) -> Result<Vec<String>, ConfigError> {
    let key = scope.key(name).ok_or_else(|| scope.unknown(name))?;
    if key.kind != Kind::List {
        let kind = key.kind.name();
        return Err(ConfigError::NotAList { key: name.to_owned(), kind });
    }
    let text = values.get(name).map(String::as_str).or(key.default_text()).unwrap_or_default();
    Ok(crate::entries(text).map(str::to_owned).collect())
}

/// Checks the values of the keys that a request has touched, and all values together.
fn check<'a>(
    scope: Scope,
    values: &ConfigMap,
    touched: impl Iterator<Item = &'a str>,
    broker: &BrokerLayers<'_>,
) -> Result<(), ConfigErrors> {
    let mut left = touched.filter_map(|name| Some((name, values.get(name)?)));
    let checked = left.by_ref().map(|(name, value)| check_value(scope, name, value, broker));
    let mut errors: Vec<_> = checked.filter_map(Result::err).take(ERRORS_MAX).collect();
    if errors.is_empty() {
        errors = check_together(scope, values, broker);
    }
    let count = left.count();
    if count > 0 {
        errors.push(ConfigError::Unchecked { count });
    }
    if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
}

fn check_value(
    scope: Scope,
    name: &str,
    value: &str,
    broker: &BrokerLayers<'_>,
) -> Result<(), ConfigError> {
    let Some(key) = scope.key(name) else {
        // Brokers take any name, since a plug-in may read it.
        let is_broker = matches!(scope, Scope::Broker | Scope::ClusterDefault);
        return if is_broker { Ok(()) } else { Err(scope.unknown(name)) };
    };
    if matches!(scope, Scope::Broker | Scope::ClusterDefault) {
        check_mode(scope, name, key)?;
        // What an earlier version has let in stays; a new one would be asked in vain.
        if limits_controllers(broker, name) {
            let reason =
                "a listener of controllers has no limit, so that every setting can be undone there";
            return Err(ConfigError::conflict(name, reason));
        }
    }
    let value = key.read(value)?;
    if scope == Scope::Group {
        check_bounds(key, &value, broker)?;
    }
    Ok(())
}

fn check_mode(scope: Scope, name: &str, key: &ConfigKey) -> Result<(), ConfigError> {
    let cluster_wide = key.mode == Mode::ClusterWide;
    let for_listener = listener_base(name).is_some();
    let key = name.to_owned();
    if key_is_read_only(name) {
        return Err(ConfigError::ReadOnly { key });
    }
    if LISTENER_ONLY.contains(&name) {
        return Err(ConfigError::NeedsListener { key });
    }
    if scope == Scope::ClusterDefault && !cluster_wide {
        return Err(ConfigError::PerBrokerOnly { key });
    }
    // A listener's own limits are the only ones of its keys with a cluster-wide default.
    let limits = ["max.connections", "max.connection.creation.rate", "num.network.threads"];
    let is_limit = || listener_base(name).is_some_and(|base| limits.contains(&base));
    if scope == Scope::ClusterDefault && for_listener && !is_limit() {
        return Err(ConfigError::PerBrokerOnly { key });
    }
    Ok(())
}

/// Keys of a listener may change whatever their base key says.
fn key_is_read_only(name: &str) -> bool {
    keys::BROKER.get(name).is_some_and(|key| key.mode == Mode::ReadOnly)
}

fn check_bounds(
    key: &ConfigKey,
    value: &str,
    broker: &BrokerLayers<'_>,
) -> Result<(), ConfigError> {
    let (least, most) = bounds(key.name, broker);
    match value.parse::<i32>() {
        Ok(number) if !(least..=most).contains(&number) => Err(ConfigError::Value {
            key: key.name.to_owned(),
            value: value.to_owned(),
            allowed: format!("{least} to {most}, the bounds of this broker"),
        }),
        _ => Ok(()),
    }
}

/// Rules between the keys of a resource.
fn check_together(scope: Scope, values: &ConfigMap, broker: &BrokerLayers<'_>) -> Vec<ConfigError> {
    let with = match scope {
        Scope::Topic => return check_topic(values, broker),
        Scope::Group => return check_group(values, broker),
        Scope::ClientMetrics => return Vec::new(),
        Scope::Broker => BrokerLayers { broker: values, ..*broker },
        Scope::ClusterDefault => BrokerLayers { cluster: values, ..*broker },
    };
    NodeConfig::resolve(&with).err().map(|errors| errors.0).unwrap_or_default()
}

fn check_topic(values: &ConfigMap, broker: &BrokerLayers<'_>) -> Vec<ConfigError> {
    let layers = ResourceLayers { table: &keys::TOPIC, overrides: values, broker: *broker };
    let mut errors = Vec::new();
    let (least, most) =
        (layers.long("min.compaction.lag.ms"), layers.long("max.compaction.lag.ms"));
    if least > most {
        let reason = format!("{least} is above max.compaction.lag.ms, which is {most}");
        errors.push(ConfigError::conflict("min.compaction.lag.ms", reason));
    }
    let tiered = broker.boolean("remote.log.storage.system.enable");
    if layers.boolean("remote.storage.enable") && !tiered {
        let reason = "this broker has no tiered storage (remote.log.storage.system.enable)";
        errors.push(ConfigError::conflict("remote.storage.enable", reason));
    }
    errors
}

fn check_group(values: &ConfigMap, broker: &BrokerLayers<'_>) -> Vec<ConfigError> {
    let layers = ResourceLayers { table: &keys::GROUP, overrides: values, broker: *broker };
    let too_slow = |kind: &&str| {
        let heartbeat = layers.int(&format!("{kind}.heartbeat.interval.ms"));
        let session = layers.int(&format!("{kind}.session.timeout.ms"));
        heartbeat >= session
    };
    let kinds = ["consumer", "share", "streams"].into_iter().filter(too_slow);
    let error = |kind: &str| {
        let reason = format!("it must be below {kind}.session.timeout.ms");
        ConfigError::conflict(format!("{kind}.heartbeat.interval.ms"), reason)
    };
    kinds.map(error).collect()
}

#[cfg(test)]
mod tests;
