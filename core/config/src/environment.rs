//! Settings from environment variables, named as the container images of Kafka name them.
//!
//! `KAFKA_LOG_RETENTION_HOURS` as in apache/kafka (and cp-kafka), `KAFKA_CFG_LOG_RETENTION_HOURS`
//! as in bitnami/kafka. Pure functions: the caller reads the environment.

/// Variables that the images give another meaning than a setting, and the like of them.
const NOT_SETTINGS: &[&str] = &[
    "KAFKA_VERSION",
    "KAFKA_HEAP_OPTS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_JMX_PORT",
    "KAFKA_HOME",
    "KAFKA_DEBUG",
];

/// The settings among environment variables, as key and value in the order given.
pub fn settings<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    variables.filter_map(|(name, value)| Some((key_of(name)?, value.to_owned()))).collect()
}

/// The configuration key that a variable sets, `None` if it sets none.
pub fn key_of(variable: &str) -> Option<String> {
    if let Some(rest) = variable.strip_prefix("KAFKA_CFG_") {
        return non_empty(bitnami_key(rest));
    }
    let rest = variable.strip_prefix("KAFKA_")?;
    // The bitnami image keeps its own switches under names that no Kafka key has.
    let is_setting = !NOT_SETTINGS.contains(&variable) && !rest.starts_with("KRAFT_");
    if is_setting { non_empty(apache_key(rest)) } else { None }
}

fn non_empty(key: String) -> Option<String> {
    (!key.is_empty()).then_some(key)
}

/// `_` is a dot, `__` an underscore, `___` a dash; longer runs are read from the left in threes.
fn apache_key(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let (text, length) = match first {
            '_' if rest.starts_with("___") => ('-', 3),
            '_' if rest.starts_with("__") => ('_', 2),
            '_' => ('.', 1),
            letter => (letter.to_ascii_lowercase(), letter.len_utf8()),
        };
        key.push(text);
        rest = &rest[length..];
    }
    key
}

/// Every `_` is a dot, but the names of the default SASL listeners keep theirs.
fn bitnami_key(name: &str) -> String {
    name.to_ascii_lowercase()
        .replace('_', ".")
        .replace("sasl.ssl", "sasl_ssl")
        .replace("sasl.plaintext", "sasl_plaintext")
}
