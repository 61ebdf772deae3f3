//! AssignReplicasToDirs.

use protocol::messages::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, DirectoryData, PartitionData, TopicData,
};
use thalweg_metadata::controller::assign_replicas_to_dirs;
use types::{BrokerId, ErrorCode, Uuid};

use crate::world::World;

const NEW: Uuid = Uuid::from_bytes([9; 16]);

/// The code for the partition if there is none for the whole.
fn assign(world: &mut World, broker: i32, epoch: i64, topic: Uuid, index: i32) -> ErrorCode {
    let partition = PartitionData { partition_index: index, ..Default::default() };
    let topic = TopicData { topic_id: topic, partitions: vec![partition], ..Default::default() };
    let directory = DirectoryData { id: NEW, topics: vec![topic], ..Default::default() };
    let request = AssignReplicasToDirsRequest {
        broker_id: broker,
        broker_epoch: epoch,
        directories: vec![directory],
        ..Default::default()
    };
    let response = world.decide(|image, _| assign_replicas_to_dirs(image, &request));
    let code = match response.directories.first() {
        Some(directory) => directory.topics[0].partitions[0].error_code,
        None => response.error_code,
    };
    ErrorCode::from_wire(code)
}

#[test]
fn a_broker_says_where_its_replicas_lie() {
    let mut world = World::of(2);
    world.made("t", 1, 1);
    let topic = world.image().topic("t").unwrap().clone();
    let owner = topic.partition(0).unwrap().replicas[0];
    let other = BrokerId(3 - owner.0);
    let epoch = |world: &World, id| world.image().broker(id).unwrap().epoch;
    let (own, others) = (epoch(&world, owner), epoch(&world, other));
    let cases = [
        (owner.0, own + 1, topic.id, 0, ErrorCode::StaleBrokerEpoch),
        (owner.0, own, NEW, 0, ErrorCode::UnknownTopicId),
        (owner.0, own, topic.id, 1, ErrorCode::UnknownTopicOrPartition),
        (other.0, others, topic.id, 0, ErrorCode::NotLeaderOrFollower),
    ];
    let records = world.log.len();
    for (broker, epoch, id, index, code) in cases {
        assert_eq!(assign(&mut world, broker, epoch, id, index), code);
    }
    assert_eq!(world.log.len(), records, "nothing is written for what is refused");
    // Said twice, written once; leader and epoch stay.
    for _ in 0..2 {
        assert_eq!(assign(&mut world, owner.0, own, topic.id, 0), ErrorCode::None);
        assert_eq!(world.log.len(), records + 1);
        let partition = world.image().topic("t").unwrap().partition(0).unwrap().clone();
        assert_eq!(partition.directory_of(owner), Some(NEW));
        assert_eq!(partition.leader, topic.partition(0).unwrap().leader);
        assert_eq!(partition.leader_epoch, topic.partition(0).unwrap().leader_epoch);
    }
}
