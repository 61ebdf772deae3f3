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

/// After `KAFKA_`: the bitnami image's own switches, and what Kubernetes puts into every pod beside
/// a service that is named kafka.
const NOT_SETTINGS_PREFIXES: &[&str] = &["KRAFT_", "PORT", "SERVICE_"];

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
    let is_setting = !NOT_SETTINGS.contains(&variable)
        && !NOT_SETTINGS_PREFIXES.iter().any(|prefix| rest.starts_with(prefix));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_mapped_as_the_images_do() {
        let cases = [
            ("KAFKA_LOG_RETENTION_HOURS", Some("log.retention.hours")),
            ("KAFKA_NODE_ID", Some("node.id")),
            ("KAFKA_A__B", Some("a_b")),
            ("KAFKA_A___B", Some("a-b")),
            ("KAFKA_A____B", Some("a-.b")),
            ("KAFKA_A_____B", Some("a-_b")),
            (
                "KAFKA_LISTENER_NAME_SASL__SSL_SCRAM___SHA___256_SASL_JAAS_CONFIG",
                Some("listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config"),
            ),
            ("KAFKA_THALWEG_DURABILITY", Some("thalweg.durability")),
            ("KAFKA_CFG_LOG_DIRS", Some("log.dirs")),
            (
                "KAFKA_CFG_LISTENER_NAME_SASL_SSL_PLAIN_SASL_JAAS_CONFIG",
                Some("listener.name.sasl_ssl.plain.sasl.jaas.config"),
            ),
            ("KAFKA_HEAP_OPTS", None),
            ("KAFKA_JMX_HOSTNAME", None),
            ("KAFKA_LOG4J_LOGGERS", None),
            ("KAFKA_KRAFT_CLUSTER_ID", None),
            ("KAFKA_SERVICE_HOST", None),
            ("KAFKA_PORT_9092_TCP_ADDR", None),
            ("KAFKA_", None),
            ("KAFKA_CFG_", None),
            ("kafka_node_id", None),
            ("CLUSTER_ID", None),
            ("PATH", None),
        ];
        for (variable, expected) in cases {
            assert_eq!(key_of(variable).as_deref(), expected, "{variable}");
        }
    }

    #[test]
    fn settings_keep_their_order_and_values() {
        let variables = [("PATH", "/bin"), ("KAFKA_NODE_ID", "2"), ("KAFKA_CFG_NODE_ID", " 3 ")];
        let expected = [("node.id", "2"), ("node.id", " 3 ")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(settings(variables.into_iter()), expected);
    }
}
