//! Decisions that outgrow a batch: a reader of the log sees them whole or not at all.

use protocol::internal::metadata::{AbortTransactionRecord, PartitionRecord, TopicRecord};
use thalweg_metadata::controller::fence_broker;
use thalweg_metadata::{MetadataRecord, batches};
use types::{BrokerId, Uuid};

use crate::world::World;

/// More than two batches hold.
const PARTITIONS: i32 = 20_000;

/// Brokers 1 and 2; 1 leads all partitions of one topic.
fn world() -> World {
    let mut world = World::of(2);
    let topic_id = Uuid::from_bytes([5; 16]);
    let topic = TopicRecord { name: "t".to_owned(), topic_id, ..Default::default() };
    let partition = |partition_id| {
        let record = PartitionRecord {
            topic_id,
            partition_id,
            replicas: vec![1, 2],
            isr: vec![1, 2],
            leader: 1,
            leader_epoch: 0,
            partition_epoch: 0,
            ..Default::default()
        };
        MetadataRecord::from(record)
    };
    let topic = std::iter::once(topic.into());
    world.apply(topic.chain((0..PARTITIONS).map(partition)).collect());
    world
}

/// The batches that fence broker 1.
fn fencing(world: &mut World) -> Vec<Vec<MetadataRecord>> {
    let image = world.image().clone();
    let records = fence_broker(&image, BrokerId(1), &world.context());
    batches(records, image.metadata_version()).unwrap()
}

#[test]
fn large_decision_is_seen_with_its_last_batch() {
    let mut world = world();
    let cut = fencing(&mut world);
    assert_eq!(cut.len(), 3);
    let before = world.image().clone();
    for (at, batch) in cut.into_iter().enumerate() {
        assert_eq!(*world.image(), before, "before batch {at}");
        world.apply(batch);
    }
    assert!(!world.loader.in_transaction());
    let topic = world.image().topic("t").unwrap();
    assert!(topic.partitions().all(|(_, one)| one.leader == Some(BrokerId(2))));
    assert!(!world.image().is_active(BrokerId(1)));
}

#[test]
fn large_decision_of_a_controller_that_failed_is_undone() {
    let mut world = world();
    let before = world.image().clone();
    let mut cut = fencing(&mut world);
    cut.pop();
    cut.into_iter().for_each(|batch| world.apply(batch));
    world.apply(vec![AbortTransactionRecord::default().into()]);
    assert_eq!(*world.loader.latest(), before);
}
