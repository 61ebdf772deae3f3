//! What the node is started with: overrides over environment over file over what it has learned
//! over built-in settings.

use std::collections::BTreeMap;

use crate::error::{ConfigError, ConfigErrors};
use crate::key::{ConfigKey, Default, Effect};
use crate::keys;
use crate::properties::Properties;
use crate::suggest::nearest;

/// Where the settings of a start come from.
#[derive(Clone, Debug, std::default::Default, Eq, PartialEq)]
pub struct Sources {
    /// What a node has learned of the cluster that it joined; holds where nobody says otherwise.
    pub learned: Vec<(String, String)>,
    /// The properties file, if one was named.
    pub file: Option<Properties>,
    /// What [`crate::environment::settings`] found.
    pub environment: Vec<(String, String)>,
    /// `--override key=value`, first to last.
    pub overrides: Vec<(String, String)>,
}

/// The settings of a start, checked. They hold until the next one.
#[derive(Clone, Debug, std::default::Default, Eq, PartialEq)]
pub struct StaticConfig {
    values: BTreeMap<String, String>,
    grows: bool,
}

/// A setting that is kept but does not do what its author may expect.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Warning {
    /// Kafka ignores keys that it does not know; so do we, but not silently.
    #[error("{key} is not a Kafka setting and is ignored{}", did_you_mean(.nearest))]
    Unknown { key: String, nearest: Option<&'static str> },
    /// The keys are known and valid, and what they are about is not there yet.
    #[error("set, but not supported yet, so without effect: {}", keys.join(", "))]
    NotYet { keys: Vec<&'static str> },
    /// The keys are known and valid, and mean nothing to thalweg.
    #[error(
        "set, but without effect in thalweg: {} (docs/reference/broker-configs.md says why)",
        keys.join(", ")
    )]
    Never { keys: Vec<&'static str> },
}

fn did_you_mean(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// One combined node on its own, when there is no file and nobody says what the node is: what a
/// first start needs and no default gives.
pub const SINGLE_NODE: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
    ("controller.listener.names", "CONTROLLER"),
];

/// What the files of single nodes say for want of a second broker.
const USUAL_ALONE: &[(&str, &str)] = &[
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
    "metrics.context.",
    "super.users",
    "allow.everyone.if.no.acl.found",
];

impl Sources {
    /// What somebody has set for a key, whatever was learned.
    pub fn given(&self, name: &str) -> Option<&str> {
        let set = self.overrides.iter().rev().chain(self.environment.iter().rev());
        let mut set = set.map(|(key, value)| (key.as_str(), value.as_str()));
        let in_file = || self.file.iter().flat_map(Properties::iter).filter(|one| one.0 == name);
        set.find(|one| one.0 == name).or_else(|| in_file().last()).map(|(_, value)| value)
    }
}

impl StaticConfig {
    /// Merges and checks the sources.
    ///
    /// # Errors
    /// Every invalid value and every required key without one.
    pub fn new(sources: &Sources) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let grows = says_nothing(sources);
        let given = merge(sources);
        let mut values = BTreeMap::new();
        let (mut idle, mut unknown_keys) = (Vec::new(), Vec::new());
        let mut errors: Vec<ConfigError> = keys::BROKER
            .values()
            .filter(|key| key.default == Default::Required && !given.contains_key(key.name))
            .map(|key| ConfigError::Missing { key: key.name.to_owned(), allowed: key.allowed() })
            .collect();
        for (name, text) in given {
            let Some(key) = keys::BROKER.get(name.as_str()) else {
                unknown_keys.extend(unknown(&name));
                values.insert(name, text.trim().to_owned());
                continue;
            };
            match key.read(&text) {
                Ok(value) => {
                    idle.extend(Some(*key).filter(|key| is_idle(key, &value)));
                    values.insert(name, value);
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        let mut warnings = without_effect(&idle);
        warnings.append(&mut unknown_keys);
        Ok((Self { values, grows }, warnings))
    }

    /// Whether nobody has said what the node is, so that it may be the first of several: sizes
    /// that nobody has set go by the brokers that there are.
    pub fn grows(&self) -> bool {
        self.grows
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

/// Whoever says what the node is says the rest too: its cluster may have other nodes.
fn says_nothing(sources: &Sources) -> bool {
    let mut set = sources.environment.iter().chain(&sources.overrides);
    sources.file.is_none() && !set.any(|(key, _)| key == "process.roles")
}

/// The last word on each key. `broker.id` and `node.id` are two names of one number.
fn merge(sources: &Sources) -> BTreeMap<String, String> {
    let mut given = BTreeMap::new();
    if says_nothing(sources) {
        given.extend(SINGLE_NODE.iter().map(|(key, value)| (key.to_string(), value.to_string())));
    }
    let file = sources.file.iter().flat_map(Properties::iter);
    given.extend(sources.learned.iter().cloned());
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
fn unknown(name: &str) -> Option<Warning> {
    let open = OPEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let nearest = || nearest(name, keys::BROKER.keys().copied());
    (!open).then(|| Warning::Unknown { key: name.to_owned(), nearest: nearest() })
}

/// Whether a value does nothing that its author may expect. What every one-node setup carries is no
/// reason to warn.
fn is_idle(key: &ConfigKey, value: &str) -> bool {
    let usual = key.default_text() == Some(value) || USUAL_ALONE.contains(&(key.name, value));
    key.effect != Effect::Acts && !usual
}

/// One warning for all keys of a kind: they belong together, and the log has other things to say.
fn without_effect(idle: &[&'static ConfigKey]) -> Vec<Warning> {
    let of = |effect: Effect| {
        let keys = idle.iter().filter(|key| key.effect == effect).map(|key| key.name);
        Some(keys.collect::<Vec<_>>()).filter(|keys| !keys.is_empty())
    };
    let not_yet = of(Effect::NotYet).map(|keys| Warning::NotYet { keys });
    let never = of(Effect::Never).map(|keys| Warning::Never { keys });
    not_yet.into_iter().chain(never).collect()
}

/// A node of its own with these overrides.
#[cfg(test)]
pub(crate) fn started_with(overrides: &[(&str, &str)]) -> StaticConfig {
    let overrides = overrides.iter().map(|(key, value)| (key.to_string(), value.to_string()));
    let sources = Sources { overrides: overrides.collect(), ..Sources::default() };
    StaticConfig::new(&sources).unwrap().0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    fn file(text: &str) -> Option<Properties> {
        Some(Properties::parse(text).unwrap())
    }

    const NODE: &str = "process.roles=broker\nnode.id=3\ncontroller.listener.names=C\n";

    #[test]
    fn overrides_win_over_environment_over_file() {
        let mut sources = Sources {
            file: file(&format!("{NODE}num.partitions=1\nlog.dirs=/f\nbroker.rack=f\n")),
            environment: pairs(&[("log.dirs", "/e"), ("broker.rack", "e")]),
            overrides: pairs(&[("broker.rack", "o")]),
            learned: Vec::new(),
        };
        let (fixed, _) = StaticConfig::new(&sources).unwrap();
        let found = ["num.partitions", "log.dirs", "broker.rack"].map(|name| fixed.get(name));
        assert_eq!(found, [Some("1"), Some("/e"), Some("o")]);

        sources.overrides.extend(pairs(&[("broker.rack", "later")]));
        let (fixed, _) = StaticConfig::new(&sources).unwrap();
        assert_eq!(fixed.get("broker.rack"), Some("later"));
    }

    #[test]
    fn single_node_settings_hold_until_somebody_says_what_the_node_is() {
        let roles = |sources: &Sources| {
            StaticConfig::new(sources)
                .map(|(fixed, _)| fixed.get("process.roles").map(str::to_owned))
        };
        let combined = Ok(Some("broker,controller".to_owned()));
        assert_eq!(roles(&Sources::default()), combined);
        let overrides = pairs(&[("log.dirs", "/x")]);
        assert_eq!(roles(&Sources { overrides, ..Sources::default() }), combined);
        let environment = pairs(&[("process.roles", "broker")]);
        assert!(roles(&Sources { environment, ..Sources::default() }).is_err());
        assert!(roles(&Sources { file: file("log.dirs=/x"), ..Sources::default() }).is_err());
    }

    #[test]
    fn what_was_learned_holds_where_nobody_says_otherwise() {
        let mut sources = Sources {
            learned: pairs(&[
                ("process.roles", "broker"),
                ("controller.listener.names", "C"),
                ("broker.rack", "l"),
                ("node.id", "7"),
            ]),
            environment: pairs(&[("broker.rack", "e")]),
            ..Sources::default()
        };
        let found = |sources: &Sources| {
            let (fixed, _) = StaticConfig::new(sources).unwrap();
            ["process.roles", "broker.rack", "node.id"].map(|key| fixed.get(key).map(str::to_owned))
        };
        let some = |texts: [&str; 3]| texts.map(|text| Some(text.to_owned()));
        assert_eq!(found(&sources), some(["broker", "e", "7"]));
        sources.file = file("broker.rack=f\nnode.id=3\n");
        assert_eq!(found(&sources), some(["broker", "e", "3"]));
        assert_eq!(sources.given("node.id"), Some("3"));
        assert_eq!(sources.given("broker.rack"), Some("e"));
        assert_eq!(sources.given("process.roles"), None);
    }

    #[test]
    fn usual_settings_of_a_single_node_give_no_warning() {
        let (_, warnings) = StaticConfig::new(&Sources::default()).unwrap();
        assert_eq!(warnings, []);
        let overrides = pairs(USUAL_ALONE);
        let sources = Sources { overrides, ..Sources::default() };
        assert_eq!(StaticConfig::new(&sources).unwrap().1, []);
    }

    #[test]
    fn a_node_grows_with_its_cluster_unless_somebody_says_what_it_is() {
        let grows = |sources: &Sources| StaticConfig::new(sources).unwrap().0.grows();
        assert!(grows(&Sources::default()));
        let learned = pairs(&[("process.roles", "broker")]);
        assert!(grows(&Sources { learned, ..Sources::default() }));
        assert!(!grows(&Sources { file: file(NODE), ..Sources::default() }));
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let text = "node.id=x\nlog.segment.bytes=12\nprocess.roles=broker,king\n";
        let sources = Sources { file: file(text), ..Sources::default() };
        let errors = StaticConfig::new(&sources).unwrap_err().to_string();
        let expected = "\
            controller.listener.names is not set, expected distinct entries, at least one\n\
            broker.id = \"x\" is refused, expected a whole number of 32 bits\n\
            log.segment.bytes = \"12\" is refused, expected a whole number of at least 1048576\n\
            node.id = \"x\" is refused, expected a whole number of at least 0\n\
            process.roles = \"broker,king\" is refused, expected at least one of broker, controller";
        assert_eq!(errors, expected);
    }

    #[test]
    fn passwords_are_not_in_messages() {
        let key = keys::BROKER["ssl.key.password"];
        let hidden = ConfigKey { check: crate::Check::OneOf(&["a"]), ..*key };
        assert!(!hidden.read("secret").unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn keys_that_do_nothing_give_a_warning() {
        let cases = [
            ("num.partitions=3", None),
            ("ssl.protocol=TLSv1.3", None),
            ("listener.name.x.ssl.keystore.type=PEM", None),
            ("rsm.config.bucket=b", None),
            (
                "log.retention.hour=3",
                Some(
                    "log.retention.hour is not a Kafka setting and is ignored; \
                     did you mean log.retention.hours?",
                ),
            ),
            (
                "zookeeper.connect=x",
                Some("zookeeper.connect is not a Kafka setting and is ignored"),
            ),
            (
                "num.replica.fetchers=4\nnum.io.threads=9\nnot.known=1",
                Some(
                    "set, but without effect in thalweg: num.io.threads, num.replica.fetchers \
                     (docs/reference/broker-configs.md says why)",
                ),
            ),
            (
                "ssl.keystore.location=k\nssl.key.password=p\nnum.io.threads=9",
                Some(
                    "set, but not supported yet, so without effect: ssl.key.password, \
                     ssl.keystore.location",
                ),
            ),
        ];
        for (line, expected) in cases {
            let sources = Sources { file: file(&format!("{NODE}{line}")), ..Sources::default() };
            let (_, warnings) = StaticConfig::new(&sources).unwrap();
            let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            assert_eq!(texts.first().map(String::as_str), expected, "{line}");
        }
    }

    #[test]
    fn broker_id_and_node_id_are_one() {
        let text = "process.roles=broker\ncontroller.listener.names=C\nbroker.id=7\n";
        let sources = Sources { file: file(text), ..Sources::default() };
        assert_eq!(StaticConfig::new(&sources).unwrap().0.get("node.id"), Some("7"));
    }
}
