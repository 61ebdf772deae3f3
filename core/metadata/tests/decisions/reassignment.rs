//! AlterPartitionReassignments: replicas move, the move is redirected or taken back.

use protocol::internal::metadata::PartitionChangeRecord;
use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use thalweg_metadata::controller::alter_partition_reassignments;
use types::{BrokerId, ErrorCode};

use crate::world::{World, assigned, directory, ids, only, setting};

fn request(partitions: &[(i32, Option<&[i32]>)]) -> AlterPartitionReassignmentsRequest {
    let partitions = partitions.iter().map(|&(partition_index, replicas)| ReassignablePartition {
        partition_index,
        replicas: replicas.map(<[_]>::to_vec),
        ..Default::default()
    });
    let topic = ReassignableTopic {
        name: "t".to_owned(),
        partitions: partitions.collect(),
        ..Default::default()
    };
    AlterPartitionReassignmentsRequest { topics: vec![topic], ..Default::default() }
}

fn ask(world: &mut World, request: &AlterPartitionReassignmentsRequest) -> Vec<ErrorCode> {
    let response =
        world.decide(|image, context| alter_partition_reassignments(image, request, context));
    let answers = response.responses.iter().flat_map(|topic| &topic.partitions);
    answers.map(|one| ErrorCode::from_wire(one.error_code)).collect()
}

fn reassign(world: &mut World, replicas: Option<&[i32]>) -> ErrorCode {
    ask(world, &request(&[(0, replicas)]))[0]
}

fn lists(world: &World) -> [Vec<i32>; 4] {
    let one = only(world);
    [&one.replicas, &one.adding, &one.removing, &one.isr].map(|list| ids(list))
}

/// Brokers 1 to 4 active, 5 fenced; one partition on 1 and 2.
fn world() -> World {
    let mut world = World::of(4);
    world.register(5, 1, None);
    world.create(assigned("t", &[&[1, 2]]));
    world
}

#[test]
fn refusals_have_kafkas_codes() {
    use ErrorCode as E;
    let cases: [(&str, Option<&[i32]>, ErrorCode); 8] = [
        ("move", Some(&[3, 4]), E::None),
        ("to a fenced broker", Some(&[1, 5]), E::None),
        ("other factor", Some(&[1, 2, 3]), E::None),
        ("nowhere", Some(&[]), E::InvalidReplicaAssignment),
        ("stranger", Some(&[1, 9]), E::InvalidReplicaAssignment),
        ("negative", Some(&[-1]), E::InvalidReplicaAssignment),
        ("twice", Some(&[3, 3]), E::InvalidReplicaAssignment),
        ("nothing to revert", None, E::NoReassignmentInProgress),
    ];
    for (name, replicas, expected) in cases {
        let mut world = world();
        let before = only(&world).clone();
        assert_eq!(reassign(&mut world, replicas), expected, "{name}");
        assert_eq!(*only(&world) == before, expected != E::None, "{name}");
    }
    let mut world = world();
    let twice = request(&[(7, Some(&[1])), (0, Some(&[2, 1])), (0, Some(&[1]))]);
    assert_eq!(ask(&mut world, &twice), [E::UnknownTopicOrPartition, E::None, E::InvalidRequest]);
    assert_eq!(lists(&world)[0], [2, 1]);
}

#[test]
fn replication_factor_may_be_held() {
    let mut world = world();
    let mut held = |replicas: &[i32]| {
        let mut request = request(&[(0, Some(replicas))]);
        request.allow_replication_factor_change = false;
        ask(&mut world, &request)[0]
    };
    assert_eq!(held(&[1, 2, 3]), ErrorCode::InvalidReplicationFactor);
    assert_eq!(held(&[3, 4]), ErrorCode::None);
    // It is counted at the goal, not on the way.
    assert_eq!(held(&[3, 4, 1, 2]), ErrorCode::InvalidReplicationFactor);
    assert_eq!(held(&[4, 1]), ErrorCode::None);
}

#[test]
fn new_replicas_come_first_and_nobody_leads_anew() {
    let mut world = world();
    let before = only(&world).clone();
    reassign(&mut world, Some(&[3, 4]));
    assert_eq!(lists(&world), [vec![3, 4, 1, 2], vec![3, 4], vec![1, 2], vec![1, 2]]);
    let after = only(&world);
    assert_eq!((after.leader, after.leader_epoch), (before.leader, before.leader_epoch));
    assert_eq!(after.directories.to_vec(), [3, 4, 1, 2].map(directory));
}

#[test]
fn new_order_of_replicas_is_complete_at_once() {
    let mut world = world();
    reassign(&mut world, Some(&[2, 1]));
    assert_eq!(lists(&world), [vec![2, 1], vec![], vec![], vec![1, 2]]);
    assert_eq!(only(&world).leader, Some(BrokerId(1)));
}

#[test]
fn replicas_in_sync_can_lose_others_at_once() {
    let mut world = world();
    let epoch = only(&world).leader_epoch.0;
    reassign(&mut world, Some(&[2]));
    assert_eq!(lists(&world), [vec![2], vec![], vec![], vec![2]]);
    let after = only(&world);
    assert_eq!((after.leader, after.leader_epoch.0), (Some(BrokerId(2)), epoch + 1));
    assert_eq!(ids(&after.elr), []);
}

#[test]
fn revert_restores_what_was() {
    let mut world = world();
    let before = only(&world).clone();
    reassign(&mut world, Some(&[3, 4]));
    world.change_only(PartitionChangeRecord { isr: Some(vec![1, 2, 3]), ..Default::default() });
    assert_eq!(reassign(&mut world, None), ErrorCode::None);
    let after = only(&world);
    assert_eq!(lists(&world), [vec![1, 2], vec![], vec![], vec![1, 2]]);
    assert_eq!((&after.directories, after.leader), (&before.directories, before.leader));
    // Replica 3 must not go on following.
    assert_eq!(after.leader_epoch.0, before.leader_epoch.0 + 1);
}

#[test]
fn replica_that_is_taken_back_is_not_eligible() {
    let mut world = world();
    reassign(&mut world, Some(&[3, 4]));
    world.change_only(PartitionChangeRecord {
        isr: Some(vec![1]),
        eligible_leader_replicas: Some(vec![2, 3]),
        ..Default::default()
    });
    let record = protocol::internal::metadata::ConfigRecord {
        resource_type: 2,
        resource_name: "t".to_owned(),
        name: "min.insync.replicas".to_owned(),
        value: Some("2".to_owned()),
        ..Default::default()
    };
    world.apply(vec![record.into()]);
    assert_eq!(reassign(&mut world, None), ErrorCode::None);
    assert_eq!((lists(&world)[3].clone(), ids(&only(&world).elr)), (vec![1], vec![2]));
}

#[test]
fn redirected_move_can_still_be_reverted() {
    let mut world = world();
    reassign(&mut world, Some(&[3]));
    reassign(&mut world, Some(&[4]));
    assert_eq!(lists(&world), [vec![4, 1, 2, 3], vec![3, 4], vec![1, 2, 3], vec![1, 2]]);
    reassign(&mut world, None);
    assert_eq!(lists(&world)[0], [1, 2]);
}

#[test]
fn revert_to_replicas_out_of_sync_must_be_allowed() {
    for (unclean, expected) in
        [("false", ErrorCode::InvalidReplicaAssignment), ("true", ErrorCode::None)]
    {
        let mut world = World::of(4);
        let mut topic = assigned("t", &[&[1, 2]]);
        topic.configs = vec![setting("unclean.leader.election.enable", Some(unclean))];
        world.create(topic);
        reassign(&mut world, Some(&[3, 4]));
        world.change_only(PartitionChangeRecord {
            isr: Some(vec![3]),
            leader: 3,
            ..Default::default()
        });
        world.fence(1);
        assert_eq!(reassign(&mut world, None), expected, "{unclean}");
        if expected == ErrorCode::None {
            assert_eq!(lists(&world), [vec![1, 2], vec![], vec![], vec![2]]);
            assert_eq!(only(&world).leader, Some(BrokerId(2)));
            assert!(only(&world).recovering);
        }
    }
}

#[test]
fn old_metadata_versions_name_no_directories() {
    let mut world = World::at_level(16);
    (1..=3).for_each(|id| world.join(id, None));
    world.create(assigned("t", &[&[1, 2]]));
    reassign(&mut world, Some(&[2, 3]));
    for record in &world.log {
        record.encode(16).unwrap();
    }
    assert_eq!(lists(&world)[0], [2, 3, 1]);
}
