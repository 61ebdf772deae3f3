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
    // "-" is no value.
    let cases = [
        ("set", "-", Set, "compact", "compact"),
        ("delete", "compact", Delete, "", "-"),
        ("delete what is not there", "-", Delete, "", "-"),
        ("append to the default", "-", Append, "compact", "delete,compact"),
        ("append what is there", "compact", Append, "compact", "compact"),
        ("subtract", "compact,delete", Subtract, "delete", "compact"),
        ("subtract from the default", "-", Subtract, "delete", ""),
        ("subtract what is not there", "compact", Subtract, "delete", "compact"),
    ];
    let key = "cleanup.policy";
    let some = |value| (value != "-").then_some((key, value));
    for (name, before, operation, value, expected) in cases {
        let change = change(key, operation, value);
        let after = altered(Scope::Topic, some(before).as_slice(), &[change]);
        assert_eq!(after, Ok(map(some(expected).as_slice())), "{name}");
    }
}

#[test]
fn a_change_keeps_all_other_values() {
    let current = [("retention.ms", "5"), ("segment.ms", "6")];
    let after = altered(Scope::Topic, &current, &[change("segment.ms", Operation::Set, "7")]);
    assert_eq!(after, Ok(map(&[("retention.ms", "5"), ("segment.ms", "7")])));
}

/// The first mistake in setting one key, empty for none.
fn refusal(scope: Scope, name: &str, value: &str) -> String {
    let outcome = altered(scope, &[], &[change(name, Operation::Set, value)]);
    let text = outcome.err().unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn refusals_name_the_key_and_the_cure() {
    use Scope::{ClientMetrics, Group, Topic};
    let cases = [
        (Topic, "max.compaction.lag.ms", "1", ""),
        (Topic, "retention.m", "1", "not a topic setting; did you mean retention.ms?"),
        (Topic, "segment.bytes", "1", "refused, expected a whole number of at least 1048576"),
        (Topic, "remote.storage.enable", "true", "this broker has no tiered storage"),
        (Group, "consumer.session.timeout.ms", "46000", ""),
        (Group, "consumer.session.timeout.ms", "1", "45000 to 60000, the bounds of this broker"),
        (Group, "session.timeout.ms", "1", "did you mean share.session.timeout.ms?"),
        (ClientMetrics, "metrics", "a,b", ""),
        (ClientMetrics, "interval.ms", "99", "a whole number from 100 to 3600000"),
    ];
    for (scope, name, value, part) in cases {
        let refusal = refusal(scope, name, value);
        assert_eq!(refusal.is_empty(), part.is_empty(), "{name}: {refusal}");
        assert!(refusal.contains(part), "{name}: {refusal}");
        assert!(part.is_empty() || refusal.starts_with(name), "{name}: {refusal}");
    }
}

#[test]
fn brokers_take_only_what_can_change_there() {
    use Scope::{Broker, ClusterDefault};
    let (restart, per_broker) = ("in its file and restart", "has no cluster-wide default");
    let cases = [
        (Broker, "node.id", "2", restart),
        (Broker, "max.connections", "-1", "at least 0"),
        (Broker, "ssl.keystore.location", "x", "listener.name.<listener>.ssl.keystore.location"),
        (Broker, "listener.name.x.ssl.keystore.location", "x", ""),
        (Broker, "listener.name.x.ssl.client.auth", "x", "one of required, requested, none"),
        (Broker, "listeners", "A://:1", "listener A has no security protocol"),
        (Broker, "of.a.plug.in", "x", ""),
        (Broker, "listener.name.controller.max.connections", "5", "has no limit"),
        (ClusterDefault, "listener.name.controller.max.connections", "5", "has no limit"),
        (ClusterDefault, "node.id", "2", restart),
        (ClusterDefault, "max.connections", "5", ""),
        (ClusterDefault, "listeners", "PLAINTEXT://:1", per_broker),
        (ClusterDefault, "listener.name.x.max.connections", "5", ""),
        (ClusterDefault, "listener.name.x.max.connections.per.ip", "5", per_broker),
        (ClusterDefault, "leader.replication.throttled.rate", "5", ""),
    ];
    for (scope, name, value, part) in cases {
        let refusal = refusal(scope, name, value);
        assert_eq!(refusal.is_empty(), part.is_empty(), "{name}: {refusal}");
        assert!(refusal.contains(part), "{name}: {refusal}");
    }
}

#[test]
fn only_lists_can_be_appended_to() {
    let changes = [change("retention.ms", Operation::Append, "1")];
    let expected =
        "retention.ms is a long and not a list, so nothing can be appended or subtracted";
    assert_eq!(altered(Scope::Topic, &[], &changes), Err(expected.to_owned()));
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
fn a_limit_of_a_controllers_listener_does_not_hinder_another_change() {
    let before = [("listener.name.controller.max.connections", "5")];
    let changes = [change("max.connections", Operation::Set, "7")];
    assert!(altered(Scope::Broker, &before, &changes).is_ok());
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

#[test]
fn of_many_mistakes_the_first_ten_are_told() {
    let names: Vec<String> = (0..25).map(|at| format!("none.such.{at}")).collect();
    let changes = names.iter().map(|name| change(name, Operation::Set, "1"));
    let told = altered(Scope::Topic, &[], &changes.collect::<Vec<_>>()).unwrap_err();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), ERRORS_MAX + 1);
    assert!(lines[9].starts_with("none.such.9 is not"), "{told}");
    assert_eq!(lines[10], "15 more keys were not checked");
}
