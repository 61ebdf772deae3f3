//! ElectLeaders and the return of preferred leaders.

use protocol::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use thalweg_metadata::controller::{
    elect_leaders, elect_preferred_leaders, elect_unclean_leaders, end_recovery,
};
use types::{BrokerId, ErrorCode};

use crate::world::{World, assigned};

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

fn elect(
    world: &mut World,
    election_type: i8,
    partitions: Option<Vec<i32>>,
) -> Vec<(i32, ErrorCode)> {
    let named =
        |partitions| TopicPartitions { topic: "t".to_owned(), partitions, ..Default::default() };
    let request = ElectLeadersRequest {
        election_type,
        topic_partitions: partitions.map(|partitions| vec![named(partitions)]),
        ..Default::default()
    };
    let response = world.decide(|image, context| elect_leaders(image, &request, context));
    assert_eq!(response.error_code, 0);
    let results = response.replica_election_results.iter();
    let results = results.flat_map(|topic| &topic.partition_result);
    results.map(|one| (one.partition_id, ErrorCode::from_wire(one.error_code))).collect()
}

/// Partition 0 is led by 2 although 1 is preferred and back in sync; partition 1 is well.
fn astray() -> World {
    let mut world = World::of(2);
    world.create(assigned("t", &[&[1, 2], &[2, 1]]));
    world.fence(1);
    world.beat(1, |_| {});
    let topic_id = world.image().topic("t").unwrap().id;
    for partition_id in [0, 1] {
        let change = protocol::internal::metadata::PartitionChangeRecord {
            topic_id,
            partition_id,
            isr: Some(vec![1, 2]),
            ..Default::default()
        };
        world.apply(vec![change.into()]);
    }
    world
}

fn leaders(world: &World) -> Vec<Option<i32>> {
    let topic = world.image().topic("t").unwrap();
    topic.partitions().map(|(_, one)| one.leader.map(|id| id.0)).collect()
}

#[test]
fn preferred_leader_takes_over() {
    let mut world = astray();
    assert_eq!(leaders(&world), [Some(2), Some(2)]);
    let answers = elect(&mut world, PREFERRED, Some(vec![0, 1, 7]));
    assert_eq!(
        answers,
        [
            (0, ErrorCode::None),
            (1, ErrorCode::ElectionNotNeeded),
            (7, ErrorCode::UnknownTopicOrPartition),
        ]
    );
    assert_eq!(leaders(&world), [Some(1), Some(2)]);
}

#[test]
fn election_of_all_leaves_out_what_is_well() {
    let mut world = astray();
    assert_eq!(elect(&mut world, PREFERRED, None), [(0, ErrorCode::None)]);
    assert_eq!(elect(&mut world, PREFERRED, None), []);
}

#[test]
fn preferred_leader_must_be_alive() {
    let mut world = astray();
    world.fence(1);
    let answers = elect(&mut world, PREFERRED, Some(vec![0]));
    assert_eq!(answers, [(0, ErrorCode::PreferredLeaderNotAvailable)]);
}

#[test]
fn unclean_election_takes_any_live_replica_and_says_so() {
    let mut world = astray();
    world.fence(1);
    world.fence(2);
    let answers = elect(&mut world, UNCLEAN, Some(vec![0]));
    assert_eq!(answers, [(0, ErrorCode::EligibleLeadersNotAvailable)]);
    world.beat(1, |_| {});
    assert_eq!(leaders(&world), [None, None]);
    assert_eq!(elect(&mut world, UNCLEAN, Some(vec![0])), [(0, ErrorCode::None)]);
    assert_eq!(leaders(&world), [Some(1), None]);
    assert!(world.image().topic("t").unwrap().partition(0).unwrap().recovering);
}

#[test]
fn unclean_election_is_not_needed_with_a_leader() {
    let mut world = astray();
    let answers = elect(&mut world, UNCLEAN, Some(vec![0]));
    assert_eq!(answers, [(0, ErrorCode::ElectionNotNeeded)]);
}

#[test]
fn unknown_election_is_refused() {
    let mut world = astray();
    let request = ElectLeadersRequest { election_type: 2, ..Default::default() };
    let response = world.decide(|image, context| elect_leaders(image, &request, context));
    assert_eq!(response.error_code, ErrorCode::InvalidRequest.to_wire());
}

#[test]
fn preferred_leaders_return_a_few_at_a_time() {
    let mut world = astray();
    let image = world.image().clone();
    assert_eq!(elect_preferred_leaders(&image, 0, &world.context()), []);
    let records = elect_preferred_leaders(&image, 10, &world.context());
    assert_eq!(records.len(), 1);
    world.apply(records);
    assert_eq!(leaders(&world), [Some(1), Some(2)]);
}

#[test]
fn a_leader_ends_the_recovery_of_its_own_partitions() {
    let mut world = World::of(2);
    world.create(assigned("t", &[&[1], &[2]]));
    let topic_id = world.image().topic("t").unwrap().id;
    for partition_id in [0, 1] {
        let change = protocol::internal::metadata::PartitionChangeRecord {
            topic_id,
            partition_id,
            leader_recovery_state: 1,
            ..Default::default()
        };
        world.apply(vec![change.into()]);
    }
    let recovering = |world: &World| -> Vec<bool> {
        world.image().topic("t").unwrap().partitions().map(|(_, one)| one.recovering).collect()
    };
    assert_eq!(recovering(&world), [true, true]);
    world.decide(|image, _| end_recovery(image, BrokerId(1)));
    assert_eq!(recovering(&world), [false, true]);
    // Nothing is left to write.
    assert!(end_recovery(world.image(), BrokerId(1)).records.is_empty());
}

#[test]
fn unclean_elections_follow_the_setting() {
    let mut world = World::of(3);
    world.create(assigned("t", &[&[1, 2], &[1, 2], &[3, 2]]));
    world.fence(2);
    world.fence(1);
    world.beat(2, |_| {});
    assert_eq!(leaders(&world), [None, None, Some(3)]);
    let image = world.image().clone();
    assert_eq!(elect_unclean_leaders(&image, 10, &world.context()), []);

    let record = protocol::internal::metadata::ConfigRecord {
        resource_type: 2,
        resource_name: "t".to_owned(),
        name: "unclean.leader.election.enable".to_owned(),
        value: Some("true".to_owned()),
        ..Default::default()
    };
    world.apply(vec![record.into()]);
    for expected in [[Some(2), None, Some(3)], [Some(2), Some(2), Some(3)]] {
        let image = world.image().clone();
        let records = elect_unclean_leaders(&image, 1, &world.context());
        world.apply(records);
        assert_eq!(leaders(&world), expected);
    }
}
