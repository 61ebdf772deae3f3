//! Settings: described, changed, in force at once.

use protocol::ApiKey;
use protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse, DescribeConfigsResult,
};
use protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use protocol::messages::list_config_resources::{
    ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use types::ErrorCode;

use crate::client::{Client, TestNode, eventually};

pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

fn describe(client: &mut Client, kind: i8, name: &str, key: Option<&str>) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configuration_keys: key.map(|key| vec![key.to_owned()]),
        ..Default::default()
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: true,
        ..Default::default()
    };
    let response: DescribeConfigsResponse = client.call(ApiKey::DescribeConfigs, 4, &request);
    response.results.into_iter().next().unwrap()
}

/// Sets a key, or deletes it without a value; gives the code.
pub fn set(client: &mut Client, kind: i8, name: &str, key: &str, value: Option<&str>) -> ErrorCode {
    let config = AlterableConfig {
        name: key.to_owned(),
        config_operation: i8::from(value.is_none()),
        value: value.map(str::to_owned),
        ..Default::default()
    };
    let resource = AlterConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configs: vec![config],
        ..Default::default()
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let response: IncrementalAlterConfigsResponse =
        client.call(ApiKey::IncrementalAlterConfigs, 1, &request);
    ErrorCode::from_wire(response.responses[0].error_code)
}

#[test]
fn resources_that_cannot_be_described_have_kafkas_codes() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    let cases = [
        (TOPIC, "t", ErrorCode::None),
        (TOPIC, "nope", ErrorCode::UnknownTopicOrPartition),
        (TOPIC, "?", ErrorCode::InvalidTopicException),
        (BROKER, "1", ErrorCode::None),
        (BROKER, "", ErrorCode::None),
        (BROKER, "2", ErrorCode::InvalidRequest),
        (BROKER, "x", ErrorCode::InvalidRequest),
        (LOGGER, "1", ErrorCode::None),
        (LOGGER, "", ErrorCode::InvalidRequest),
        (LOGGER, "2", ErrorCode::InvalidRequest),
        (CLIENT_METRICS, "m", ErrorCode::None),
        (CLIENT_METRICS, "", ErrorCode::InvalidRequest),
        (GROUP, "g", ErrorCode::None),
        (GROUP, "", ErrorCode::InvalidRequest),
        (99, "1", ErrorCode::InvalidRequest),
    ];
    for (kind, name, code) in cases {
        let result = describe(&mut client, kind, name, None);
        assert_eq!(result.error_code, code.to_wire(), "{kind} {name:?}");
        assert_eq!(result.error_message.is_none(), code == ErrorCode::None || name == "nope");
        assert_eq!(result.configs.is_empty(), code != ErrorCode::None, "{kind} {name:?}");
    }
}

#[test]
fn a_described_key_tells_where_its_value_comes_from() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    assert_eq!(set(&mut client, TOPIC, "t", "retention.ms", Some("7000")), ErrorCode::None);
    assert_eq!(set(&mut client, BROKER, "", "log.retention.ms", Some("9000")), ErrorCode::None);
    let result = describe(&mut client, TOPIC, "t", Some("retention.ms"));
    let [config] = &result.configs[..] else { panic!("{result:?}") };
    assert_eq!((config.value.as_deref(), config.config_source), (Some("7000"), 1));
    let synonyms = config.synonyms.iter().map(|one| (one.name.as_str(), one.source));
    let expected = [("retention.ms", 1), ("log.retention.ms", 3), ("log.retention.hours", 5)];
    assert_eq!(synonyms.collect::<Vec<_>>(), expected);
    assert_eq!(config.config_type, 5);
    assert!(config.documentation.as_ref().is_some_and(|text| !text.is_empty()));
}

#[test]
fn a_changed_setting_outlives_a_restart() {
    let mut node = TestNode::start();
    let code = set(&mut node.client(), BROKER, "1", "max.connections", Some("77"));
    assert_eq!(code, ErrorCode::None);
    node.restart();
    let result = describe(&mut node.client(), BROKER, "1", Some("max.connections"));
    assert_eq!(result.configs[0].value.as_deref(), Some("77"));
}

#[test]
fn limits_of_connections_change_at_once() {
    let node = TestNode::start();
    let mut client = node.client();
    let key = "max.connections.per.ip";
    assert_eq!(set(&mut client, BROKER, "1", key, Some("1")), ErrorCode::None);
    let request = ListConfigResourcesRequest::default();
    let api = ApiKey::ListConfigResources;
    let refused = node.client().try_call::<_, ListConfigResourcesResponse>(api, 1, &request);
    assert!(refused.is_err());
    assert_eq!(set(&mut client, BROKER, "1", key, None), ErrorCode::None);
    eventually("a second connection", || {
        node.client().try_call::<_, ListConfigResourcesResponse>(api, 1, &request).ok()
    });
}

#[test]
fn limits_that_were_set_before_a_restart_hold_after_it() {
    let mut node = TestNode::start();
    let key = "max.connections.per.ip";
    assert_eq!(set(&mut node.client(), BROKER, "1", key, Some("1")), ErrorCode::None);
    node.restart();
    let request = ListConfigResourcesRequest::default();
    let mut first = node.client();
    let _: ListConfigResourcesResponse = first.call(ApiKey::ListConfigResources, 1, &request);
    let api = ApiKey::ListConfigResources;
    let refused = node.client().try_call::<_, ListConfigResourcesResponse>(api, 1, &request);
    assert!(refused.is_err());
}

#[test]
fn resources_are_listed_by_kind() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    set(&mut client, CLIENT_METRICS, "m", "interval.ms", Some("1000"));
    set(&mut client, GROUP, "g", "consumer.session.timeout.ms", Some("50000"));
    let cases = [
        (0, vec![], vec![("m", CLIENT_METRICS)]),
        (1, vec![TOPIC], vec![("t", TOPIC)]),
        (1, vec![BROKER], vec![("1", BROKER)]),
        (
            1,
            vec![],
            vec![("g", GROUP), ("m", CLIENT_METRICS), ("1", LOGGER), ("1", BROKER), ("t", TOPIC)],
        ),
    ];
    for (version, resource_types, expected) in cases {
        let request = ListConfigResourcesRequest { resource_types, ..Default::default() };
        let response: ListConfigResourcesResponse =
            client.call(ApiKey::ListConfigResources, version, &request);
        let resources = response.config_resources.iter();
        let found = resources.map(|one| (one.resource_name.as_str(), one.resource_type));
        assert_eq!(found.collect::<Vec<_>>(), expected, "{request:?}");
    }
    let request = ListConfigResourcesRequest { resource_types: vec![3], ..Default::default() };
    let response: ListConfigResourcesResponse =
        client.call(ApiKey::ListConfigResources, 1, &request);
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion.to_wire());
}

/// Messages repeat names, and a string has a longest length.
#[test]
fn the_longest_names_are_answered() {
    let node = TestNode::start();
    let mut client = node.client();
    let long = "é".repeat(16_000);
    for kind in [TOPIC, BROKER, LOGGER] {
        assert_ne!(describe(&mut client, kind, &long, None).error_code, 0, "{kind}");
    }
    for (name, key) in [(long.as_str(), "root"), ("1", &long)] {
        assert_ne!(set(&mut client, LOGGER, name, key, Some("INFO")), ErrorCode::None);
    }
    assert_ne!(set(&mut client, LOGGER, "1", "root", Some(&long)), ErrorCode::None);
}
