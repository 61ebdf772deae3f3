//! IncrementalAlterConfigs and AlterConfigs.

use protocol::messages::{alter_configs as replacing, incremental_alter_configs as incremental};
use thalweg_metadata::controller::{alter_configs, incremental_alter_configs};
use thalweg_metadata::image::{ConfigResource, ResourceType};
use thalweg_metadata::{Image, MetadataRecord};
use types::ErrorCode;

use crate::world::World;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const METRICS: i8 = 16;
const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

type Op<'a> = (&'a str, i8, Option<&'a str>);

fn resource(kind: i8, name: &str, ops: &[Op<'_>]) -> incremental::AlterConfigsResource {
    let config = |&(name, config_operation, value): &Op<'_>| incremental::AlterableConfig {
        name: name.to_owned(),
        config_operation,
        value: value.map(str::to_owned),
        ..Default::default()
    };
    incremental::AlterConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configs: ops.iter().map(config).collect(),
        ..Default::default()
    }
}

fn alter(world: &mut World, kind: i8, name: &str, ops: &[Op<'_>]) -> ErrorCode {
    let request = incremental::IncrementalAlterConfigsRequest {
        resources: vec![resource(kind, name, ops)],
        ..Default::default()
    };
    let response =
        world.decide(|image, context| incremental_alter_configs(image, &request, context));
    ErrorCode::from_wire(response.responses[0].error_code)
}

fn replace(world: &mut World, kind: i8, name: &str, values: &[(&str, Option<&str>)]) -> ErrorCode {
    let config = |&(name, value): &(&str, Option<&str>)| replacing::AlterableConfig {
        name: name.to_owned(),
        value: value.map(str::to_owned),
        ..Default::default()
    };
    let resource = replacing::AlterConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configs: values.iter().map(config).collect(),
        ..Default::default()
    };
    let request =
        replacing::AlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let response = world.decide(|image, context| alter_configs(image, &request, context));
    ErrorCode::from_wire(response.responses[0].error_code)
}

fn world() -> World {
    let mut world = World::of(1);
    world.made("t", 1, 1);
    world
}

fn setting<'a>(image: &'a Image, kind: ResourceType, name: &str, key: &str) -> Option<&'a str> {
    image.settings(&ConfigResource::new(kind, name)).get(key).map(String::as_str)
}

#[test]
fn alteration_has_kafkas_codes() {
    use ErrorCode as E;
    let long = "x".repeat(40_000);
    let set = |name, value| (name, SET, Some(value));
    let cases = [
        ("topic", TOPIC, "t", set("retention.ms", "1"), E::None),
        ("topic, unknown key", TOPIC, "t", set("retention", "1"), E::InvalidConfig),
        ("topic, bad value", TOPIC, "t", set("retention.ms", "x"), E::InvalidConfig),
        ("no such topic", TOPIC, "u", set("retention.ms", "1"), E::UnknownTopicOrPartition),
        ("default topic", TOPIC, "", set("retention.ms", "1"), E::InvalidRequest),
        ("bad topic name", TOPIC, "a b", set("retention.ms", "1"), E::InvalidTopicException),
        ("broker", BROKER, "1", set("log.retention.ms", "1"), E::None),
        ("cluster", BROKER, "", set("log.retention.ms", "1"), E::None),
        ("broker, read-only key", BROKER, "1", set("num.partitions", "2"), E::InvalidRequest),
        ("no such broker", BROKER, "7", set("log.retention.ms", "1"), E::BrokerIdNotRegistered),
        ("broker not a number", BROKER, "one", set("log.retention.ms", "1"), E::InvalidRequest),
        ("negative broker", BROKER, "-1", set("log.retention.ms", "1"), E::InvalidRequest),
        ("group", GROUP, "g", set("consumer.session.timeout.ms", "50000"), E::None),
        (
            "group out of bounds",
            GROUP,
            "g",
            set("consumer.session.timeout.ms", "1"),
            E::InvalidConfig,
        ),
        (
            "default group",
            GROUP,
            "",
            set("consumer.session.timeout.ms", "50000"),
            E::InvalidRequest,
        ),
        ("metrics", METRICS, "m", set("interval.ms", "1000"), E::None),
        ("metrics without name", METRICS, "", set("interval.ms", "1000"), E::InvalidRequest),
        ("log level", LOGGER, "1", set("root", "INFO"), E::InvalidRequest),
        ("unknown type", 3, "x", set("a", "b"), E::UnsupportedVersion),
        ("unknown operation", TOPIC, "t", ("retention.ms", 9, Some("1")), E::InvalidRequest),
        ("append to a number", TOPIC, "t", ("retention.ms", APPEND, Some("1")), E::InvalidConfig),
        ("value too long", BROKER, "1", set("made.up", &long), E::InvalidConfig),
        (
            "min.insync.replicas of a broker",
            BROKER,
            "1",
            set("min.insync.replicas", "1"),
            E::InvalidConfig,
        ),
        (
            "min.insync.replicas taken away",
            BROKER,
            "",
            ("min.insync.replicas", DELETE, None),
            E::InvalidConfig,
        ),
        (
            "min.insync.replicas of the cluster",
            BROKER,
            "",
            set("min.insync.replicas", "2"),
            E::None,
        ),
    ];
    for (name, kind, resource, op, expected) in cases {
        let mut world = world();
        let before = world.image().clone();
        assert_eq!(alter(&mut world, kind, resource, &[op]), expected, "{name}");
        assert_eq!(*world.image() == before, expected != E::None, "{name}");
    }
}

#[test]
fn operations_set_delete_append_and_subtract() {
    let mut world = world();
    let policy = |world: &World| {
        setting(world.image(), ResourceType::Topic, "t", "cleanup.policy").map(str::to_owned)
    };
    // Nothing set: lists grow from the default.
    alter(&mut world, TOPIC, "t", &[("cleanup.policy", APPEND, Some("compact"))]);
    assert_eq!(policy(&world).as_deref(), Some("delete,compact"));
    alter(&mut world, TOPIC, "t", &[("cleanup.policy", SUBTRACT, Some("delete"))]);
    assert_eq!(policy(&world).as_deref(), Some("compact"));
    alter(&mut world, TOPIC, "t", &[("cleanup.policy", DELETE, None)]);
    assert_eq!(policy(&world), None);
}

#[test]
fn one_bad_key_keeps_all_keys_of_the_resource() {
    let mut world = world();
    let ops = [("retention.ms", SET, Some("5")), ("segment.bytes", SET, Some("x"))];
    assert_eq!(alter(&mut world, TOPIC, "t", &ops), ErrorCode::InvalidConfig);
    assert!(world.image().topic_settings("t").is_empty());
}

#[test]
fn resource_named_twice_is_left_alone() {
    let mut world = world();
    let set = resource(TOPIC, "t", &[("retention.ms", SET, Some("5"))]);
    let request = incremental::IncrementalAlterConfigsRequest {
        resources: vec![set.clone(), set],
        ..Default::default()
    };
    let response =
        world.decide(|image, context| incremental_alter_configs(image, &request, context));
    let codes: Vec<_> = response.responses.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [ErrorCode::InvalidRequest.to_wire()]);
    assert!(world.image().topic_settings("t").is_empty());
}

#[test]
fn validation_alone_changes_nothing() {
    let mut world = world();
    let request = incremental::IncrementalAlterConfigsRequest {
        resources: vec![resource(TOPIC, "t", &[("retention.ms", SET, Some("5"))])],
        validate_only: true,
        ..Default::default()
    };
    let response =
        world.decide(|image, context| incremental_alter_configs(image, &request, context));
    assert_eq!(response.responses[0].error_code, 0);
    assert!(world.image().topic_settings("t").is_empty());
}

#[test]
fn replacing_drops_what_is_not_named() {
    let mut world = world();
    alter(&mut world, TOPIC, "t", &[("retention.ms", SET, Some("5"))]);
    assert_eq!(replace(&mut world, TOPIC, "t", &[("segment.ms", Some("6"))]), ErrorCode::None);
    let settings = world.image().topic_settings("t");
    assert_eq!(settings.keys().collect::<Vec<_>>(), ["segment.ms"]);
    assert_eq!(replace(&mut world, TOPIC, "t", &[]), ErrorCode::None);
    assert!(world.image().topic_settings("t").is_empty());
}

#[test]
fn replacing_needs_values() {
    let mut world = world();
    let code = replace(&mut world, TOPIC, "t", &[("segment.ms", None)]);
    assert_eq!(code, ErrorCode::InvalidRequest);
}

#[test]
fn broker_key_set_again_is_written_again() {
    let mut world = world();
    for _ in 0..2 {
        let before = world.log.len();
        alter(&mut world, BROKER, "1", &[("log.retention.ms", SET, Some("5"))]);
        assert_eq!(world.log.len(), before + 1);
    }
    let before = world.log.len();
    for _ in 0..2 {
        alter(&mut world, TOPIC, "t", &[("retention.ms", SET, Some("5"))]);
    }
    assert_eq!(world.log.len(), before + 1);
}

#[test]
fn new_min_isr_clears_eligible_replicas() {
    let mut world = world();
    alter(&mut world, TOPIC, "t", &[("min.insync.replicas", SET, Some("2"))]);
    let cleared = |world: &World| match world.log.last() {
        Some(MetadataRecord::ClearElr(record)) => Some(record.topic_name.clone()),
        _ => None,
    };
    assert_eq!(cleared(&world).as_deref(), Some("t"));
    alter(&mut world, BROKER, "", &[("min.insync.replicas", SET, Some("2"))]);
    assert_eq!(cleared(&world).as_deref(), Some(""));
}

#[test]
fn a_refusal_of_long_names_fits_into_an_answer() {
    let mut world = world();
    let long = "x".repeat(100_000);
    let request = incremental::IncrementalAlterConfigsRequest {
        resources: vec![resource(TOPIC, "t", &[(&long, SET, Some("1"))])],
        ..Default::default()
    };
    let response =
        world.decide(|image, context| incremental_alter_configs(image, &request, context));
    let message = response.responses[0].error_message.as_deref().unwrap();
    assert_eq!(message, &long[..4096]);
}

#[test]
fn a_broker_takes_unknown_settings_up_to_a_size() {
    let mut world = world();
    let value = "v".repeat(30_000);
    let names: Vec<String> = (0..40).map(|at| format!("of.a.plug.in.{at}")).collect();
    let mut set = |from: usize, to: usize| {
        let ops: Vec<_> =
            names[from..to].iter().map(|name| (&**name, SET, Some(&*value))).collect();
        alter(&mut world, BROKER, "1", &ops)
    };
    assert_eq!(set(0, 40), ErrorCode::InvalidConfig, "at once");
    assert_eq!(set(0, 30), ErrorCode::None);
    assert_eq!(set(30, 40), ErrorCode::InvalidConfig, "little by little");
    assert_eq!(set(0, 30), ErrorCode::None, "the same again");
}
