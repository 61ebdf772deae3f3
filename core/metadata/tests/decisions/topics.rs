//! CreateTopics, automatic creation and DeleteTopics.

use protocol::messages::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use thalweg_metadata::controller::{Decision, auto_create_request, create_topics, delete_topics};
use types::{ErrorCode, Uuid};

use crate::world::{World, assigned, ids, setting, topic};

#[test]
fn creation_has_kafkas_codes() {
    use ErrorCode as E;
    let with = |name: &str, value| {
        let mut topic = topic("t", 1, 1);
        topic.configs = vec![setting(name, value)];
        topic
    };
    let mut both = assigned("t", &[&[1]]);
    both.num_partitions = 1;
    let mut factor_too = assigned("t", &[&[1]]);
    factor_too.replication_factor = 1;
    let mut gap = assigned("t", &[&[1], &[2]]);
    gap.assignments[1].partition_index = 2;
    let mut same = assigned("t", &[&[1], &[2]]);
    same.assignments[1].partition_index = 0;

    let cases = [
        ("plain", topic("t", 3, 2), E::None),
        ("defaults", topic("t", -1, -1), E::None),
        ("empty name", topic("", 1, 1), E::InvalidTopicException),
        ("bad name", topic("a b", 1, 1), E::InvalidTopicException),
        ("metadata log", topic("__cluster_metadata", 1, 1), E::InvalidRequest),
        ("exists", topic("there.is", 1, 1), E::TopicAlreadyExists),
        ("looks like another", topic("there_is", 1, 1), E::InvalidTopicException),
        ("no partitions", topic("t", 0, 1), E::InvalidPartitions),
        ("negative partitions", topic("t", -2, 1), E::InvalidPartitions),
        ("no replicas", topic("t", 1, 0), E::InvalidReplicationFactor),
        ("negative replicas", topic("t", 1, -2), E::InvalidReplicationFactor),
        ("more replicas than brokers", topic("t", 1, 4), E::InvalidReplicationFactor),
        ("too many partitions", topic("t", 10_001, 1), E::PolicyViolation),
        ("setting", with("retention.ms", Some("1000")), E::None),
        ("unknown setting", with("retention.mss", Some("1000")), E::InvalidConfig),
        ("bad setting", with("retention.ms", Some("long")), E::InvalidConfig),
        ("setting without value", with("retention.ms", None), E::InvalidConfig),
        ("assigned", assigned("t", &[&[1, 2], &[2, 3]]), E::None),
        ("assigned and counted", both, E::InvalidRequest),
        ("assigned and replicated", factor_too, E::InvalidRequest),
        ("assigned with a gap", gap, E::InvalidReplicaAssignment),
        ("assigned twice", same, E::InvalidReplicaAssignment),
        ("assigned to nobody", assigned("t", &[&[]]), E::InvalidReplicaAssignment),
        ("assigned to a stranger", assigned("t", &[&[9]]), E::InvalidReplicaAssignment),
        ("one broker twice", assigned("t", &[&[1, 1]]), E::InvalidReplicaAssignment),
        ("uneven", assigned("t", &[&[1], &[1, 2]]), E::InvalidReplicaAssignment),
    ];
    for (name, topic, expected) in cases {
        let mut world = World::of(3);
        world.made("there.is", 1, 1);
        let before = world.image().clone();
        assert_eq!(world.create(topic), expected, "{name}");
        assert_eq!(*world.image() == before, expected != E::None, "{name}");
    }
}

#[test]
fn created_topic_is_described() {
    let mut world = World::of(3);
    let mut wanted = topic("t", 4, 2);
    wanted.configs = vec![setting("retention.ms", Some("1000"))];
    let response =
        create(&mut world, &CreateTopicsRequest { topics: vec![wanted], ..Default::default() });
    let result = &response.topics[0];
    let made = world.image().topic("t").unwrap();
    assert_eq!((result.num_partitions, result.replication_factor), (4, 2));
    assert_eq!(result.topic_id, made.id);
    assert_eq!(made.partition_count(), 4);
    let configs = result.configs.as_ref().unwrap();
    let config = |name| configs.iter().find(|config| config.name == name).unwrap();
    let retention = config("retention.ms");
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("1000"), 1));
    let minimum = config("min.insync.replicas");
    assert_eq!((minimum.value.as_deref(), minimum.config_source), (Some("1"), 3));
    assert_eq!(config("segment.ms").config_source, 5);
    assert_eq!(world.image().topic_settings("t").get("retention.ms").unwrap(), "1000");
}

#[test]
fn validation_alone_makes_nothing() {
    let mut world = World::of(1);
    let before = world.image().clone();
    let response = create(
        &mut world,
        &CreateTopicsRequest {
            topics: vec![topic("t", 2, 1)],
            validate_only: true,
            ..Default::default()
        },
    );
    assert_eq!((response.topics[0].error_code, response.topics[0].num_partitions), (0, 2));
    assert_eq!(*world.image(), before);
}

#[test]
fn one_bad_topic_leaves_the_others() {
    let mut world = World::of(1);
    let response = create(
        &mut world,
        &CreateTopicsRequest {
            topics: vec![
                topic("twice", 1, 1),
                topic("a.b", 1, 1),
                topic("a_b", 1, 1),
                topic("twice", 1, 1),
                topic("c", 1, 1),
            ],
            ..Default::default()
        },
    );
    let codes: Vec<_> = response
        .topics
        .iter()
        .map(|topic| (topic.name.as_str(), ErrorCode::from_wire(topic.error_code)))
        .collect();
    assert_eq!(
        codes,
        [
            ("a.b", ErrorCode::None),
            ("a_b", ErrorCode::InvalidTopicException),
            ("c", ErrorCode::None),
            ("twice", ErrorCode::InvalidRequest),
        ]
    );
    let names: Vec<_> = world.image().topics().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, ["a.b", "c"]);
}

#[test]
fn no_replica_starts_in_sync_on_a_fenced_broker() {
    let mut world = World::of(2);
    world.register(3, 1, None);
    assert_eq!(world.create(assigned("t", &[&[3, 1, 2]])), ErrorCode::None);
    let made = world.image().topic("t").unwrap().partition(0).unwrap();
    assert_eq!((ids(&made.isr), made.leader.unwrap().0), (vec![1, 2], 1));
    assert_eq!(world.create(assigned("u", &[&[3]])), ErrorCode::InvalidReplicaAssignment);
}

#[test]
fn no_broker_no_topic() {
    let mut world = World::with(&[]);
    assert_eq!(world.create(topic("t", 1, 1)), ErrorCode::InvalidReplicationFactor);
    world.register(1, 1, None);
    assert_eq!(world.create(topic("t", 1, 1)), ErrorCode::InvalidReplicationFactor);
}

#[test]
fn ids_are_never_reserved_nor_options() {
    let mut world = World::of(1);
    for number in 0..300 {
        let id = world.made(&format!("t{number}"), 1, 1);
        assert!(!id.to_string().starts_with('-'), "{id}");
        assert_ne!(id.as_bytes()[..8], [0; 8]);
    }
}

#[test]
fn group_topic_has_kafkas_settings() {
    let mut world = World::with(&[
        ("offsets.topic.num.partitions", "5"),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.segment.bytes", "2097152"),
    ]);
    world.join(1, None);
    let names = ["__consumer_offsets", "plain"];
    let response = world.decide(|image, context| {
        let request = auto_create_request(names.into_iter(), image, context.fixed);
        create_topics(image, &request, context)
    });
    assert!(response.topics.iter().all(|topic| topic.error_code == 0), "{response:?}");
    assert_eq!(world.image().topic("__consumer_offsets").unwrap().partition_count(), 5);
    let settings = world.image().topic_settings("__consumer_offsets");
    let settings: Vec<_> =
        settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        settings,
        [
            ("cleanup.policy", "compact"),
            ("compression.type", "producer"),
            ("segment.bytes", "2097152"),
        ]
    );
    assert_eq!(world.image().topic("plain").unwrap().partition_count(), 1);
    assert!(world.image().topic_settings("plain").is_empty());
}

#[test]
fn internal_topics_get_what_the_brokers_allow_where_nobody_says_how_many() {
    let three = Some(("offsets.topic.replication.factor", "3"));
    let cases = [
        ("alone", None, 1, (1, "1")),
        ("two", None, 2, (2, "1")),
        ("three", None, 3, (3, "2")),
        ("no more than Kafka's", None, 5, (3, "2")),
        ("as somebody says", three, 1, (3, "1")),
    ];
    for (name, setting, brokers, expected) in cases {
        let mut world = World::with(setting.as_slice());
        (1..=brokers).for_each(|id| world.join(id, None));
        world.register(9, 9, None);
        let request = world.decide(|image, context| {
            let names = ["__consumer_offsets", "__transaction_state"];
            let response = auto_create_request(names.into_iter(), image, context.fixed);
            Decision { records: Vec::new(), response }
        });
        let min_isr = |topic: &CreatableTopic| {
            let own = topic.configs.iter().find(|config| config.name == "min.insync.replicas");
            own.and_then(|config| config.value.clone()).unwrap()
        };
        let found = (request.topics[0].replication_factor, &*min_isr(&request.topics[1]));
        assert_eq!(found, expected, "{name}");
    }
}

fn create(world: &mut World, request: &CreateTopicsRequest) -> CreateTopicsResponse {
    world.decide(|image, context| create_topics(image, request, context))
}

/// What each answered item says: name, id, code.
fn delete(
    world: &mut World,
    request: &DeleteTopicsRequest,
    version: i16,
) -> Vec<(Option<String>, Uuid, ErrorCode)> {
    let response = world.decide(|image, context| delete_topics(image, request, version, context));
    let items = response.responses.into_iter();
    items.map(|item| (item.name, item.topic_id, ErrorCode::from_wire(item.error_code))).collect()
}

fn state(name: Option<&str>, topic_id: Uuid) -> DeleteTopicState {
    DeleteTopicState { name: name.map(str::to_owned), topic_id, ..Default::default() }
}

#[test]
fn deletion_has_kafkas_codes() {
    let mut world = World::of(1);
    let [a, b, c] = ["a", "b", "c"].map(|name| world.made(name, 1, 1));
    let stranger = Uuid::from_bytes([9; 16]);
    let topics = vec![
        state(Some("a"), Uuid::ZERO),
        state(None, b),
        state(None, stranger),
        state(Some("nowhere"), Uuid::ZERO),
        state(None, Uuid::ZERO),
        state(Some("c"), c),
        state(Some("twice"), Uuid::ZERO),
        state(Some("twice"), Uuid::ZERO),
    ];
    let mut answers = delete(&mut world, &DeleteTopicsRequest { topics, ..Default::default() }, 6);
    answers.sort();
    let name = |name: &str| Some(name.to_owned());
    let mut expected = vec![
        (None, Uuid::ZERO, ErrorCode::InvalidRequest),
        (None, stranger, ErrorCode::UnknownTopicId),
        (name("a"), a, ErrorCode::None),
        (name("b"), b, ErrorCode::None),
        (name("c"), c, ErrorCode::InvalidRequest),
        (name("nowhere"), Uuid::ZERO, ErrorCode::UnknownTopicOrPartition),
        (name("twice"), Uuid::ZERO, ErrorCode::InvalidRequest),
    ];
    expected.sort();
    assert_eq!(answers, expected);
    let left: Vec<_> = world.image().topics().map(|topic| topic.id).collect();
    assert_eq!(left, [c]);
}

#[test]
fn topic_named_twice_in_two_ways_is_deleted_once() {
    let mut world = World::of(1);
    let id = world.made("a", 1, 1);
    let topics = vec![state(None, id), state(Some("a"), Uuid::ZERO)];
    let answers = delete(&mut world, &DeleteTopicsRequest { topics, ..Default::default() }, 6);
    let codes: Vec<_> = answers.iter().map(|answer| answer.2).collect();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::InvalidRequest]);
    assert_eq!(world.image().topic_count(), 0);
}

#[test]
fn deletion_can_be_switched_off() {
    for (version, code) in [(2, ErrorCode::InvalidRequest), (3, ErrorCode::TopicDeletionDisabled)] {
        let mut world = World::with(&[("delete.topic.enable", "false")]);
        world.join(1, None);
        world.made("a", 1, 1);
        let request =
            DeleteTopicsRequest { topic_names: vec!["a".to_owned()], ..Default::default() };
        assert_eq!(delete(&mut world, &request, version)[0].2, code, "version {version}");
        assert_eq!(world.image().topic_count(), 1);
    }
}

#[test]
fn settings_go_with_the_topic() {
    let mut world = World::of(1);
    let mut with_setting = topic("a", 1, 1);
    with_setting.configs = vec![setting("retention.ms", Some("1"))];
    world.create(with_setting);
    let request = DeleteTopicsRequest { topic_names: vec!["a".to_owned()], ..Default::default() };
    delete(&mut world, &request, 5);
    world.made("a", 1, 1);
    assert!(world.image().topic_settings("a").is_empty());
}
