//! Random requests against a small cluster: what the controller decides always fits the image,
//! keeps its invariants, and a checkpoint makes the same image.

use protocol::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use protocol::messages::create_topics::CreateTopicsRequest;
use protocol::messages::delete_topics::DeleteTopicsRequest;
use protocol::messages::elect_leaders::ElectLeadersRequest;
use protocol::messages::incremental_alter_configs as incremental;
use thalweg_metadata::controller::{
    create_partitions, create_topics, delete_topics, elect_leaders, fence_broker,
    incremental_alter_configs,
};
use thalweg_metadata::{Changes, Image, MetadataRecord};
use types::{BrokerId, Rng};

use crate::world::{World, topic};

const BROKERS: i32 = 4;
const STEPS: u32 = 60;

#[test]
fn every_decision_keeps_the_invariants() {
    for seed in 0..40 {
        let mut world = World::of(BROKERS);
        let mut dice = Rng::new(seed);
        for step in 0..STEPS {
            let before = world.image().clone();
            act(&mut world, &mut dice, u8::try_from(step).unwrap());
            let place = format!("seed {seed} step {step}");
            check(world.image(), &place);
            check_changes(&before, world.image(), &place);
        }
        check_checkpoint(world.image(), &format!("seed {seed}"));
    }
}

fn act(world: &mut World, dice: &mut Rng, run: u8) {
    let name = format!("t.{}", dice.below(5));
    let id = i32::try_from(1 + dice.below(4)).unwrap();
    match dice.below(9) {
        0 | 1 => {
            let partitions = i32::try_from(dice.below(4)).unwrap();
            let replicas = i16::try_from(dice.below(5)).unwrap();
            let topics = vec![topic(&name, partitions, replicas)];
            let request = CreateTopicsRequest { topics, ..Default::default() };
            world.decide(|image, context| create_topics(image, &request, context));
        }
        2 => {
            let request = DeleteTopicsRequest { topic_names: vec![name], ..Default::default() };
            world.decide(|image, context| delete_topics(image, &request, 5, context));
        }
        3 => {
            let count = i32::try_from(dice.below(6)).unwrap();
            let topics = vec![CreatePartitionsTopic { name, count, ..Default::default() }];
            let request = CreatePartitionsRequest { topics, ..Default::default() };
            world.decide(|image, context| create_partitions(image, &request, context));
        }
        4 => {
            let image = world.image().clone();
            let records = fence_broker(&image, BrokerId(id), &world.context());
            world.apply(records);
        }
        5 => _ = world.beat(id, |ask| ask.want_shut_down = dice.below(4) == 0),
        6 => _ = world.register(id, run, None),
        7 => {
            let election_type = i8::try_from(dice.below(2)).unwrap();
            let request = ElectLeadersRequest { election_type, ..Default::default() };
            world.decide(|image, context| elect_leaders(image, &request, context));
        }
        _ => set_min_isr(world, &name, dice.below(4)),
    }
}

fn set_min_isr(world: &mut World, topic: &str, value: u32) {
    let config = incremental::AlterableConfig {
        name: "min.insync.replicas".to_owned(),
        value: Some(value.to_string()),
        ..Default::default()
    };
    let resource = incremental::AlterConfigsResource {
        resource_type: 2,
        resource_name: topic.to_owned(),
        configs: vec![config],
        ..Default::default()
    };
    let request = incremental::IncrementalAlterConfigsRequest {
        resources: vec![resource],
        ..Default::default()
    };
    world.decide(|image, context| incremental_alter_configs(image, &request, context));
}

fn check(image: &Image, place: &str) {
    assert_eq!(image.topics().count(), image.topic_count(), "{place}");
    for topic in image.topics() {
        assert_eq!(image.topic(&topic.name), image.topic_by_id(topic.id), "{place}");
        assert!(topic.partition_count() > 0, "{place}: {}", topic.name);
        for (expected, (index, partition)) in (0..).zip(topic.partitions()) {
            let place = format!("{place}: {}-{index} {partition:?}", topic.name);
            assert_eq!(index, expected, "{place}");
            assert_eq!(partition.replicas.len(), topic.replication_factor(), "{place}");
            assert_eq!(partition.replicas.len(), partition.directories.len(), "{place}");
            let replica = |id| partition.replicas.contains(id);
            assert!(partition.isr.iter().chain(&partition.elr).all(replica), "{place}");
            assert!(!partition.elr.iter().any(|id| partition.isr.contains(id)), "{place}");
            assert!(partition.isr.iter().all(|&id| image.is_active(id)), "{place}");
            match partition.leader {
                Some(leader) => assert!(partition.isr.contains(&leader), "{place}"),
                None => assert!(partition.isr.is_empty(), "{place}"),
            }
        }
    }
    for (resource, settings) in image.config_resources() {
        assert!(!settings.is_empty(), "{place}: {resource:?}");
    }
}

/// The changes are exactly what takes one image to the other.
fn check_changes(before: &Image, after: &Image, place: &str) {
    let changes = Changes::between(before, after);
    assert_eq!(changes.is_empty(), before == after, "{place}");
    for one in &changes.partitions {
        let of = |image: &Image| {
            image
                .topic_by_id(one.topic_id)
                .and_then(|topic| topic.partition(one.partition).cloned())
        };
        assert_eq!((of(before), of(after)), (one.before.clone(), one.after.clone()), "{place}");
        assert_ne!(one.before, one.after, "{place}");
    }
}

fn check_checkpoint(image: &Image, place: &str) {
    let mut copy = Image::default();
    for record in image.snapshot_records() {
        let bytes = record.encode(image.metadata_version()).unwrap();
        copy.apply(&MetadataRecord::decode(&bytes).unwrap()).unwrap();
    }
    assert_eq!(&copy, image, "{place}");
}
