//! Feature levels: of a new cluster, on offer, and changed by UpdateFeatures.

use protocol::internal::metadata::FeatureLevelRecord;
use protocol::messages::broker_registration::Feature;
use protocol::messages::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};
use thalweg_metadata::controller::{
    FeatureUpdate, corrected_levels, formatted_records, update_features,
};
use thalweg_metadata::features;
use thalweg_metadata::image::ConfigResource;
use types::{BrokerId, ErrorCode};

use crate::world::{World, assigned, ids, registration, setting};

const UPGRADE: i8 = 1;
const SAFE: i8 = 2;
const UNSAFE: i8 = 3;
const KRAFT_LEVEL: i16 = 0;

fn update(world: &mut World, updates: &[(&str, i16, i8)], validate_only: bool) -> FeatureUpdate {
    let key = |&(feature, max_version_level, upgrade_type): &(&str, i16, i8)| FeatureUpdateKey {
        feature: feature.to_owned(),
        max_version_level,
        upgrade_type,
        ..Default::default()
    };
    let request = UpdateFeaturesRequest {
        feature_updates: updates.iter().map(key).collect(),
        validate_only,
        ..Default::default()
    };
    world.decide(|image, context| update_features(image, &request, 2, KRAFT_LEVEL, context))
}

fn code(update: &FeatureUpdate) -> ErrorCode {
    ErrorCode::from_wire(update.response.error_code)
}

/// A cluster at an older `metadata.version`.
fn at(level: i16) -> World {
    let mut world = World::of(1);
    let name = "metadata.version".to_owned();
    let record = FeatureLevelRecord { name, feature_level: level, ..Default::default() };
    world.apply(vec![record.into()]);
    world
}

#[test]
fn new_cluster_has_the_served_levels() {
    let world = World::with(&[]);
    let levels: Vec<_> = world.image().features().collect();
    assert_eq!(levels, [("eligible.leader.replicas.version", 1), ("metadata.version", 30)]);
    assert_eq!(features::finalized(world.image().features(), 1).last().unwrap().0, "kraft.version");
    assert_eq!(features::finalized(world.image().features(), 0).len(), 2);
}

#[test]
fn a_format_by_kafka_begins_at_the_served_levels() {
    let level = |name: &str, feature_level| {
        FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() }.into()
    };
    let made =
        vec![level("metadata.version", 29), level("share.version", 1), level("group.version", 1)];
    let expected =
        [level("metadata.version", 29), level("share.version", 0), level("group.version", 0)];
    assert_eq!(formatted_records(made), expected);
}

#[test]
fn a_level_that_an_earlier_build_began_with_is_corrected_unless_kafka_may_use_it() {
    for (has_kafka, expected) in [(false, 0), (true, 1)] {
        let mut world = at(30);
        let name = "group.version".to_owned();
        let record = FeatureLevelRecord { name, feature_level: 1, ..Default::default() };
        let mut broker = registration(2, 1, None);
        let feature = |name: &str| Feature {
            name: name.to_owned(),
            max_supported_version: 1,
            ..Default::default()
        };
        broker.features.push(feature("group.version"));
        if has_kafka {
            broker.features.push(feature("transaction.version"));
        }
        world.apply(vec![record.into()]);
        assert_eq!(world.register_as(&broker, false), ErrorCode::None);
        let records = corrected_levels(world.image());
        world.apply(records);
        assert_eq!(world.image().feature("group.version"), expected, "Kafka's: {has_kafka}");
        assert_eq!(corrected_levels(world.image()), []);
    }
}

#[test]
fn the_level_that_keeps_a_node_out_is_named_with_what_to_do() {
    let served = [("metadata.version", 30), ("eligible.leader.replicas.version", 1)];
    assert_eq!(features::refusal(served.into_iter()), None);
    let high = [("metadata.version", 31), ("group.version", 1), ("other.version", 2)];
    let expected = "metadata.version is at 31, and this node serves 7 to 30; \
        group.version is at 1, and this node serves 0; other.version is at 2, and this node serves 0. \
        Lower them first: kafka-features.sh downgrade --feature metadata.version=30 \
        --feature group.version=0 --feature other.version=0";
    assert_eq!(features::refusal(high.into_iter()).as_deref(), Some(expected));
}

#[test]
fn new_cluster_has_one_min_isr() {
    let world = World::with(&[("min.insync.replicas", "2")]);
    let settings = world.image().settings(&ConfigResource::cluster());
    assert_eq!(settings.get("min.insync.replicas").unwrap(), "2");
}

#[test]
fn levels_that_are_not_served_are_not_offered() {
    let offered: Vec<_> = features::supported().collect();
    assert_eq!(
        offered,
        [
            ("metadata.version", 7, 30),
            ("kraft.version", 0, 1),
            ("eligible.leader.replicas.version", 0, 1),
        ]
    );
}

#[test]
fn every_metadata_version_has_a_name() {
    assert_eq!(features::metadata_version_name(7), Some("3.3-IV3"));
    assert_eq!(features::metadata_version_name(30), Some("4.3-IV0"));
    assert_eq!(features::metadata_version_name(31), None);
    assert_eq!(features::metadata_version_name(i16::MIN), None);
}

#[test]
fn updates_have_kafkas_codes() {
    const METADATA: &str = "metadata.version";
    const ELR: &str = "eligible.leader.replicas.version";
    use ErrorCode::{InvalidUpdateVersion as Invalid, None as Good};
    let cases = [
        ("upgrade", 29, (METADATA, 30, UPGRADE), Good),
        ("the same", 30, (METADATA, 30, UPGRADE), Good),
        ("unknown level", 30, (METADATA, 31, UPGRADE), Invalid),
        ("below the lowest", 30, (METADATA, 6, SAFE), Invalid),
        ("down without saying so", 29, (METADATA, 28, UPGRADE), Invalid),
        ("down where records stayed the same", 29, (METADATA, 24, SAFE), Good),
        ("down where records changed", 30, (METADATA, 29, SAFE), Invalid),
        ("down by force", 30, (METADATA, 29, UNSAFE), Invalid),
        ("up as a downgrade", 29, (METADATA, 30, SAFE), Invalid),
        ("unknown type", 29, (METADATA, 30, 9), Invalid),
        ("negative", 30, (ELR, -1, SAFE), Invalid),
        ("unknown feature", 30, ("nothing.version", 1, UPGRADE), Invalid),
        ("not served", 30, ("share.version", 1, UPGRADE), Invalid),
        ("not served, level 0", 30, ("share.version", 0, UPGRADE), Good),
        ("off", 30, (ELR, 0, SAFE), Good),
        ("needs newer records", 22, (ELR, 1, UPGRADE), Invalid),
        ("quorum down", 30, ("kraft.version", 0, SAFE), Good),
        ("quorum up", 30, ("kraft.version", 1, UPGRADE), Good),
        ("quorum too far", 30, ("kraft.version", 2, UPGRADE), Invalid),
    ];
    for (name, level, asked, expected) in cases {
        let mut world = at(level);
        let before = world.image().clone();
        let answer = update(&mut world, &[asked], false);
        assert_eq!(code(&answer), expected, "{name}: {:?}", answer.response.error_message);
        if expected != Good {
            assert_eq!(*world.image(), before, "{name}");
        } else if asked.0 != "kraft.version" {
            assert_eq!(world.image().feature(asked.0), asked.1, "{name}");
        }
    }
}

#[test]
fn quorum_is_told_its_new_level() {
    let mut world = World::of(1);
    let asked = [("kraft.version", 1, UPGRADE)];
    assert_eq!(update(&mut world, &asked, false).kraft_version, Some(1));
    assert_eq!(update(&mut world, &asked, true).kraft_version, None);
    assert_eq!(update(&mut world, &[("kraft.version", 0, UPGRADE)], false).kraft_version, None);
}

#[test]
fn all_features_change_or_none() {
    let mut world = at(29);
    let asked = [("metadata.version", 30, UPGRADE), ("share.version", 1, UPGRADE)];
    assert_eq!(code(&update(&mut world, &asked, false)), ErrorCode::InvalidUpdateVersion);
    assert_eq!(world.image().metadata_version(), 29);
}

#[test]
fn all_features_that_are_refused_are_named() {
    let asked = [
        ("group.version", 1, UPGRADE),
        ("eligible.leader.replicas.version", 1, UPGRADE),
        ("share.version", 1, UPGRADE),
    ];
    let message = update(&mut at(30), &asked, false).response.error_message.unwrap();
    for named in ["features had errors", "group.version", "share.version", "does not serve"] {
        assert!(message.contains(named), "{message}");
    }
    assert!(!message.contains("eligible"), "{message}");
    let many = vec![asked[0]; 1000];
    assert!(update(&mut at(30), &many, false).response.error_message.unwrap().len() < 5000);
}

#[test]
fn validation_alone_changes_no_level() {
    let mut world = at(29);
    let answer = update(&mut world, &[("metadata.version", 30, UPGRADE)], true);
    assert_eq!(code(&answer), ErrorCode::None);
    assert_eq!(world.image().metadata_version(), 29);
}

#[test]
fn every_broker_must_be_able_to() {
    let mut world = at(29);
    let mut old = registration(2, 1, None);
    old.features[0].max_supported_version = 29;
    assert_eq!(world.register_as(&old, false), ErrorCode::None);
    let answer = update(&mut world, &[("metadata.version", 30, UPGRADE)], false);
    assert_eq!(code(&answer), ErrorCode::InvalidUpdateVersion);
    assert!(answer.response.error_message.unwrap().contains("Broker 2"));
}

#[test]
fn switching_elr_on_gives_all_brokers_one_min_isr() {
    let mut world = World::of(1);
    update(&mut world, &[("eligible.leader.replicas.version", 0, SAFE)], false);
    let record = |name: &str, value: Option<&str>| {
        protocol::internal::metadata::ConfigRecord {
            resource_type: 4,
            resource_name: name.to_owned(),
            name: "min.insync.replicas".to_owned(),
            value: value.map(str::to_owned),
            ..Default::default()
        }
        .into()
    };
    world.apply(vec![record("", None), record("1", Some("3"))]);
    update(&mut world, &[("eligible.leader.replicas.version", 1, UPGRADE)], false);
    let of = |name: &str| {
        let resource = ConfigResource::new(thalweg_metadata::image::ResourceType::Broker, name);
        world.image().settings(&resource).get("min.insync.replicas").cloned()
    };
    assert_eq!((of(""), of("1")), (Some("1".to_owned()), None));
}

/// Led by nobody where 2 is the last of two; led by 1 where 2 has left below the minimum.
fn with_eligible() -> World {
    let mut world = World::of(2);
    for (name, min_isr) in [("t", "1"), ("u", "2")] {
        let mut topic = assigned(name, &[&[1, 2]]);
        topic.configs = vec![setting("min.insync.replicas", Some(min_isr))];
        world.create(topic);
    }
    world.fence(1);
    world.fence(2);
    world.beat(1, |_| {});
    let image = world.image();
    let of = |name: &str| image.topic(name).unwrap().partition(0).unwrap().clone();
    assert_eq!((ids(&of("t").isr), ids(&of("t").elr)), (vec![], vec![2]));
    assert_eq!((ids(&of("u").isr), ids(&of("u").elr)), (vec![1], vec![2]));
    world
}

#[test]
fn switching_elr_off_forgets_who_was_eligible_and_strands_nobody() {
    let mut world = with_eligible();
    let updated = update(&mut world, &[(features::ELR_VERSION, 0, SAFE)], false);
    assert_eq!(code(&updated), ErrorCode::None);
    let of = |world: &World, name: &str| {
        world.image().topic(name).unwrap().partition(0).unwrap().clone()
    };
    assert_eq!((ids(&of(&world, "t").isr), ids(&of(&world, "t").elr)), (vec![2], vec![]));
    assert_eq!((ids(&of(&world, "u").isr), ids(&of(&world, "u").elr)), (vec![1], vec![]));
    world.beat(2, |_| {});
    assert_eq!(of(&world, "t").leader, Some(BrokerId(2)));
    assert!(!of(&world, "t").recovering);
}
