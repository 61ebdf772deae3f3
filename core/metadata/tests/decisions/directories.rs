//! AssignReplicasToDirs.

use protocol::messages::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, DirectoryData, PartitionData, TopicData,
};
use thalweg_metadata::controller::assign_replicas_to_dirs;
use thalweg_metadata::image;
use types::{BrokerId, ErrorCode, Uuid};

use crate::world::{World, assigned, directory, ids, only, registration};

const NEW: Uuid = Uuid::from_bytes([9; 16]);

/// The code for the partition if there is none for the whole.
fn assign(world: &mut World, sender: (i32, i64), directory: Uuid, at: (Uuid, i32)) -> ErrorCode {
    let partition = PartitionData { partition_index: at.1, ..Default::default() };
    let topic = TopicData { topic_id: at.0, partitions: vec![partition], ..Default::default() };
    let directory = DirectoryData { id: directory, topics: vec![topic], ..Default::default() };
    let request = AssignReplicasToDirsRequest {
        broker_id: sender.0,
        broker_epoch: sender.1,
        directories: vec![directory],
        ..Default::default()
    };
    let response = world.decide(|image, context| assign_replicas_to_dirs(image, &request, context));
    let code = match response.directories.first() {
        Some(directory) => directory.topics[0].partitions[0].error_code,
        None => response.error_code,
    };
    ErrorCode::from_wire(code)
}

/// Brokers 1 and 2, the first with two directories; "t" lies on 1 and then 2.
fn world() -> (World, (i32, i64), Uuid) {
    let mut world = World::with(&[]);
    let mut request = registration(1, 1, None);
    request.log_dirs.push(NEW);
    world.register_as(&request, false);
    world.beat(1, |_| {});
    world.join(2, None);
    world.create(assigned("t", &[&[1, 2]]));
    let epoch = world.image().broker(BrokerId(1)).unwrap().epoch;
    let topic = world.image().topic("t").unwrap().id;
    (world, (1, epoch), topic)
}

#[test]
fn a_broker_says_where_its_replicas_lie() {
    let (mut world, sender, topic) = world();
    let epoch = world.image().broker(BrokerId(2)).unwrap().epoch;
    world.create(assigned("u", &[&[1]]));
    let alone = world.image().topic("u").unwrap().id;
    let cases = [
        ((1, sender.1 + 1), topic, 0, ErrorCode::StaleBrokerEpoch),
        (sender, NEW, 0, ErrorCode::UnknownTopicId),
        (sender, topic, 1, ErrorCode::UnknownTopicOrPartition),
        ((2, epoch), alone, 0, ErrorCode::NotLeaderOrFollower),
    ];
    let records = world.log.len();
    for (sender, id, index, code) in cases {
        assert_eq!(assign(&mut world, sender, NEW, (id, index)), code);
    }
    assert_eq!(world.log.len(), records, "nothing is written for what is refused");
    // Said twice, written once; leader and epoch stay.
    let before = only(&world).clone();
    for _ in 0..2 {
        assert_eq!(assign(&mut world, sender, NEW, (topic, 0)), ErrorCode::None);
        assert_eq!(world.log.len(), records + 1);
        let after = only(&world);
        assert_eq!(after.directories.to_vec(), [NEW, directory(2)]);
        assert_eq!((after.leader, after.leader_epoch), (before.leader, before.leader_epoch));
    }
}

#[test]
fn a_replica_in_a_failed_directory_leaves() {
    for lost in [image::directory::LOST, Uuid::from_bytes([250; 16])] {
        let (mut world, sender, topic) = world();
        assert_eq!(assign(&mut world, sender, lost, (topic, 0)), ErrorCode::None);
        let after = only(&world);
        assert_eq!(after.directory_of(BrokerId(1)), Some(lost));
        assert_eq!((after.leader, ids(&after.isr)), (Some(BrokerId(2)), vec![2]));
        assert_eq!(ids(&after.elr), [0; 0], "it lost what it had");
        assert!(world.image().is_active(BrokerId(1)));
    }
}

#[test]
fn old_metadata_versions_know_no_directories() {
    let mut world = World::at_level(16);
    world.join(1, None);
    let topic = world.made("t", 1, 1);
    let sender = (1, world.image().broker(BrokerId(1)).unwrap().epoch);
    let code = assign(&mut world, sender, NEW, (topic, 0));
    assert_eq!(code, ErrorCode::UnsupportedVersion);
}
