//! CreatePartitions.

use protocol::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use thalweg_metadata::controller::create_partitions;
use types::ErrorCode;

use crate::world::{World, ids};

fn more(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assignment = |ids: &&[i32]| CreatePartitionsAssignment {
        broker_ids: ids.to_vec(),
        ..Default::default()
    };
    CreatePartitionsTopic {
        name: name.to_owned(),
        count,
        assignments: assignments.map(|all| all.iter().map(assignment).collect()),
        ..Default::default()
    }
}

fn grow(world: &mut World, request: &CreatePartitionsRequest) -> Vec<(String, ErrorCode)> {
    let response = world.decide(|image, context| create_partitions(image, request, context));
    let results = response.results.into_iter();
    results.map(|result| (result.name, ErrorCode::from_wire(result.error_code))).collect()
}

#[test]
fn growth_has_kafkas_codes() {
    use ErrorCode as E;
    let cases = [
        ("by the controller", more("t", 5, None), E::None),
        ("by hand", more("t", 4, Some(&[&[1, 2], &[2, 3]])), E::None),
        ("unknown", more("u", 5, None), E::UnknownTopicOrPartition),
        ("the same", more("t", 2, None), E::InvalidPartitions),
        ("fewer", more("t", 1, None), E::InvalidPartitions),
        ("negative", more("t", i32::MIN, None), E::InvalidPartitions),
        ("far too many", more("t", i32::MAX, None), E::PolicyViolation),
        ("too few by hand", more("t", 4, Some(&[&[1, 2]])), E::InvalidReplicaAssignment),
        ("other factor", more("t", 3, Some(&[&[1]])), E::InvalidReplicaAssignment),
        ("stranger", more("t", 3, Some(&[&[1, 9]])), E::InvalidReplicaAssignment),
        ("twice", more("t", 3, Some(&[&[1, 1]])), E::InvalidReplicaAssignment),
        ("nobody", more("t", 3, Some(&[&[]])), E::InvalidReplicaAssignment),
        ("fenced", more("t", 3, Some(&[&[4, 5]])), E::InvalidReplicaAssignment),
    ];
    for (name, topic, expected) in cases {
        let mut world = World::of(3);
        world.register(4, 1, None);
        world.register(5, 1, None);
        world.made("t", 2, 2);
        let count = topic.count;
        let request = CreatePartitionsRequest { topics: vec![topic], ..Default::default() };
        assert_eq!(grow(&mut world, &request)[0].1, expected, "{name}");
        let after = world.image().topic("t").unwrap().partition_count();
        assert_eq!(after, if expected == E::None { count } else { 2 }, "{name}");
    }
}

#[test]
fn assigned_replicas_are_taken_in_order() {
    let mut world = World::of(3);
    world.made("t", 2, 2);
    let topics = vec![more("t", 4, Some(&[&[3, 1], &[2, 3]]))];
    grow(&mut world, &CreatePartitionsRequest { topics, ..Default::default() });
    let topic = world.image().topic("t").unwrap();
    let replicas = |index| ids(&topic.partition(index).unwrap().replicas);
    assert_eq!((replicas(2), replicas(3)), (vec![3, 1], vec![2, 3]));
}

#[test]
fn validation_alone_adds_nothing() {
    let mut world = World::of(1);
    world.made("t", 1, 1);
    let topics = vec![more("t", 3, None)];
    let request = CreatePartitionsRequest { topics, validate_only: true, ..Default::default() };
    assert_eq!(grow(&mut world, &request)[0].1, ErrorCode::None);
    assert_eq!(world.image().topic("t").unwrap().partition_count(), 1);
}

#[test]
fn topic_named_twice_is_left_alone() {
    let mut world = World::of(1);
    world.made("t", 1, 1);
    let topics = vec![more("t", 3, None), more("t", 4, None)];
    let answers = grow(&mut world, &CreatePartitionsRequest { topics, ..Default::default() });
    assert_eq!(answers, [("t".to_owned(), ErrorCode::InvalidRequest)]);
    assert_eq!(world.image().topic("t").unwrap().partition_count(), 1);
}
