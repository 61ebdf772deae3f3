//! Changes of dynamic values: each operation, each scope, each refusal.

use super::*;
use crate::fixed::started_with;
use crate::layers::map;

const fn change<'a>(name: &'a str, operation: Operation, value: &'a str) -> Change<'a> {
    Change { name, operation, value: Some(value) }
}

fn altered(
    scope: Scope,
    current: &[(&str, &str)],
    changes: &[Change<'_>],
) -> Result<ConfigMap, String> {
    let fixed = started_with(&[]);
    let start = BrokerLayers::at_start(&fixed);
    alter(scope, &map(current), changes, &start).map_err(|errors| errors.to_string())
}

#[test]
fn operations_change_lists_as_kafka_does() {
    use Operation::{Append, Delete, Set, Subtract};
    let policy = "cleanup.policy";
    let cases: [(&str, Option<&str>, Operation, &str, Option<&str>); 8] = [
        ("set", None, Set, "compact", Some("compact")),
        ("delete", Some("compact"), Delete, "", None),
        ("delete what is not there", None, Delete, "", None),
        ("append to the default", None, Append, "compact", Some("delete,compact")),
        ("append what is there", Some("compact"), Append, "compact", Some("compact")),
        ("subtract", Some("compact,delete"), Subtract, "delete", Some("compact")),
        ("subtract from the default", None, Subtract, "delete", Some("")),
        ("subtract what is not there", Some("compact"), Subtract, "delete", Some("compact")),
    ];
    for (name, before, operation, value, expected) in cases {
        let before = before.map(|value| (policy, value));
        let after = altered(Scope::Topic, before.as_slice(), &[change(policy, operation, value)]);
        let expected = map(expected.map(|value| (policy, value)).as_slice());
        assert_eq!(after, Ok(expected), "{name}");
    }
}

#[test]
fn a_change_keeps_all_other_values() {
    let current = [("retention.ms", "5"), ("segment.ms", "6")];
    let after = altered(Scope::Topic, &current, &[change("segment.ms", Operation::Set, "7")]);
    assert_eq!(after, Ok(map(&[("retention.ms", "5"), ("segment.ms", "7")])));
}

#[test]
fn refusals_name_the_key_and_the_cure() {
    use Operation::{Append, Set};
    use Scope::{Broker, ClientMetrics, ClusterDefault, Group, Topic};
    let cases = [
        (
            Topic,
            Append,
            "retention.ms",
            "1",
            "retention.ms is a long and not a list, so nothing can be appended or subtracted",
        ),
        (
            Topic,
            Set,
            "retention.m",
            "1",
            "retention.m is not a topic setting; did you mean retention.ms?",
        ),
        (
            Topic,
            Set,
            "segment.bytes",
            "1",
            "segment.bytes = \"1\" is refused, expected a whole number of at least 1048576",
        ),
        (Topic, Set, "max.compaction.lag.ms", "1", ""),
        (
            Topic,
            Set,
            "remote.storage.enable",
            "true",
            "remote.storage.enable: this broker has no tiered storage (remote.log.storage.system.enable)",
        ),
        (
            Broker,
            Set,
            "node.id",
            "2",
            "node.id cannot change while the broker runs; set it in its file and restart",
        ),
        (
            Broker,
            Set,
            "max.connections",
            "-1",
            "max.connections = \"-1\" is refused, expected a whole number of at least 0",
        ),
        (
            Broker,
            Set,
            "ssl.keystore.location",
            "x",
            "ssl.keystore.location can change only for one listener, as listener.name.<listener>.ssl.keystore.location",
        ),
        (Broker, Set, "listener.name.x.ssl.keystore.location", "x", ""),
        (
            Broker,
            Set,
            "listener.name.x.ssl.client.auth",
            "x",
            "ssl.client.auth = \"x\" is refused, expected one of required, requested, none",
        ),
        (
            Broker,
            Set,
            "listeners",
            "A://:1",
            "listeners and listener.security.protocol.map: listener A has no security protocol; map it, as in A:PLAINTEXT",
        ),
        (Broker, Set, "of.a.plug.in", "x", ""),
        (ClusterDefault, Set, "max.connections", "5", ""),
        (
            ClusterDefault,
            Set,
            "listeners",
            "PLAINTEXT://:1",
            "listeners has no cluster-wide default; name the broker to change it for",
        ),
        (ClusterDefault, Set, "listener.name.x.max.connections", "5", ""),
        (
            ClusterDefault,
            Set,
            "listener.name.x.max.connections.per.ip",
            "5",
            "listener.name.x.max.connections.per.ip has no cluster-wide default; name the broker to change it for",
        ),
        (ClusterDefault, Set, "leader.replication.throttled.rate", "5", ""),
        (Group, Set, "consumer.session.timeout.ms", "46000", ""),
        (
            Group,
            Set,
            "consumer.session.timeout.ms",
            "1",
            "consumer.session.timeout.ms = \"1\" is refused, expected 45000 to 60000, the bounds of this broker",
        ),
        (
            Group,
            Set,
            "session.timeout.ms",
            "1",
            "session.timeout.ms is not a group setting; did you mean share.session.timeout.ms?",
        ),
        (
            ClientMetrics,
            Set,
            "interval.ms",
            "99",
            "interval.ms = \"99\" is refused, expected a whole number from 100 to 3600000",
        ),
        (ClientMetrics, Set, "metrics", "a,b", ""),
    ];
    for (scope, operation, name, value, expected) in cases {
        let outcome = altered(scope, &[], &[change(name, operation, value)]);
        assert_eq!(
            outcome.err().unwrap_or_default().lines().next().unwrap_or(""),
            expected,
            "{name}={value}"
        );
    }
}

#[test]
fn keys_of_a_topic_are_checked_together() {
    let changes = [
        change("min.compaction.lag.ms", Operation::Set, "5"),
        change("max.compaction.lag.ms", Operation::Set, "4"),
    ];
    let expected = "min.compaction.lag.ms: 5 is above max.compaction.lag.ms, which is 4";
    assert_eq!(altered(Scope::Topic, &[], &changes), Err(expected.to_owned()));
}

#[test]
fn a_value_that_was_broken_before_does_not_hinder_another_change() {
    let changes = [change("segment.ms", Operation::Set, "7")];
    assert!(altered(Scope::Topic, &[("segment.bytes", "1")], &changes).is_ok());
}

#[test]
fn requests_that_contradict_themselves_are_refused() {
    let set = change("retention.ms", Operation::Set, "1");
    let twice = altered(Scope::Topic, &[], &[set, set]);
    assert_eq!(twice, Err("retention.ms is changed twice in one request".to_owned()));
    let nothing = altered(Scope::Topic, &[], &[Change { value: None, ..set }]);
    assert_eq!(nothing, Err("retention.ms came without a value".to_owned()));
    let deleted = Change { value: None, operation: Operation::Delete, ..set };
    assert_eq!(altered(Scope::Topic, &[], &[deleted]), Ok(ConfigMap::new()));
}

#[test]
fn refusals_have_kafkas_codes() {
    let read_only = ConfigError::ReadOnly { key: "node.id".to_owned() };
    let unknown = Scope::Topic.unknown("x");
    assert_eq!(Scope::Broker.refusal_code(&read_only), ErrorCode::InvalidRequest);
    assert_eq!(Scope::Broker.refusal_code(&unknown), ErrorCode::InvalidRequest);
    assert_eq!(Scope::Topic.refusal_code(&unknown), ErrorCode::InvalidConfig);
}

#[test]
fn differences_are_what_changed_and_what_went() {
    let before = map(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let after = map(&[("a", "1"), ("b", "9"), ("d", "4")]);
    let expected = [("c", None), ("b", Some("9")), ("d", Some("4"))];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
    assert_eq!(differences(&before, &after), expected);
}
