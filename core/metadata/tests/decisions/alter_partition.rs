//! AlterPartition: which ISR a leader may set, and what follows from it.

use protocol::internal::metadata::PartitionChangeRecord;
use protocol::messages::alter_partition::{
    AlterPartitionRequest, BrokerState, PartitionData, ResponsePartitionData, TopicData,
};
use thalweg_metadata::controller::alter_partition;
use thalweg_metadata::image::Partition;
use types::{BrokerId, ErrorCode, Uuid};

use crate::world::{World, assigned, ids, only};

type Ask = fn(&mut AlterPartitionRequest);

/// Three replicas led by 1, with only 1 in sync and 4 partition changes behind it.
fn shrunk() -> World {
    let mut world = World::of(4);
    world.create(assigned("t", &[&[1, 2, 3]]));
    world.fence(2);
    world.fence(3);
    world.beat(2, |_| {});
    world.beat(3, |_| {});
    assert_eq!(ids(&only(&world).isr), [1]);
    world
}

/// What the leader of the only partition asks for to have this ISR.
fn request(world: &World, isr: &[i32]) -> AlterPartitionRequest {
    let partition = only(world);
    let leader = partition.leader.unwrap();
    let epoch = |id: i32| world.image().broker(BrokerId(id)).map_or(0, |broker| broker.epoch);
    let states = isr.iter().map(|&broker_id| BrokerState {
        broker_id,
        broker_epoch: epoch(broker_id),
        ..Default::default()
    });
    let partition = PartitionData {
        partition_index: 0,
        leader_epoch: partition.leader_epoch.0,
        new_isr_with_epochs: states.collect(),
        partition_epoch: partition.partition_epoch,
        ..Default::default()
    };
    AlterPartitionRequest {
        broker_id: leader.0,
        broker_epoch: epoch(leader.0),
        topics: vec![TopicData {
            topic_id: world.image().topic("t").unwrap().id,
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn one(request: &mut AlterPartitionRequest) -> &mut PartitionData {
    &mut request.topics[0].partitions[0]
}

fn alter(world: &mut World, request: &AlterPartitionRequest, version: i16) -> ErrorCode {
    answer(world, request, version)
        .map_or_else(|code| code, |one| ErrorCode::from_wire(one.error_code))
}

/// The answer for the partition, or the code of the whole request.
fn answer(
    world: &mut World,
    request: &AlterPartitionRequest,
    version: i16,
) -> Result<ResponsePartitionData, ErrorCode> {
    let response = world.decide(|image, context| alter_partition(image, request, version, context));
    match ErrorCode::from_wire(response.error_code) {
        ErrorCode::None => Ok(response.topics[0].partitions[0].clone()),
        code => Err(code),
    }
}

fn set_isr(world: &mut World, isr: &[i32]) -> ErrorCode {
    let request = request(world, isr);
    alter(world, &request, 3)
}

#[test]
fn refusals_have_kafkas_codes() {
    use ErrorCode as E;
    let cases: [(&str, Ask, ErrorCode); 16] = [
        ("plain", |_| {}, E::None),
        ("other run of the leader", |ask| ask.broker_epoch -= 1, E::StaleBrokerEpoch),
        ("unknown broker", |ask| ask.broker_id = 9, E::StaleBrokerEpoch),
        (
            "unknown topic",
            |ask| ask.topics[0].topic_id = Uuid::from_bytes([9; 16]),
            E::UnknownTopicId,
        ),
        ("unknown partition", |ask| one(ask).partition_index = 7, E::UnknownTopicOrPartition),
        ("later leader epoch", |ask| one(ask).leader_epoch += 1, E::NotController),
        ("later partition epoch", |ask| one(ask).partition_epoch += 1, E::NotController),
        ("former leader epoch", |ask| one(ask).leader_epoch -= 1, E::FencedLeaderEpoch),
        ("former partition epoch", |ask| one(ask).partition_epoch -= 1, E::InvalidUpdateVersion),
        ("no replica", |ask| one(ask).new_isr_with_epochs[1].broker_id = 4, E::InvalidRequest),
        ("twice", |ask| one(ask).new_isr_with_epochs[1].broker_id = 1, E::InvalidRequest),
        ("without itself", |ask| _ = one(ask).new_isr_with_epochs.remove(0), E::InvalidRequest),
        ("nobody", |ask| one(ask).new_isr_with_epochs.clear(), E::InvalidRequest),
        ("recovering again", |ask| one(ask).leader_recovery_state = 1, E::InvalidRequest),
        ("no such state", |ask| one(ask).leader_recovery_state = 2, E::InvalidRequest),
        (
            "former run of a replica",
            |ask| one(ask).new_isr_with_epochs[1].broker_epoch -= 1,
            E::IneligibleReplica,
        ),
    ];
    for (name, ask, expected) in cases {
        let mut world = shrunk();
        let mut request = request(&world, &[1, 2]);
        ask(&mut request);
        assert_eq!(alter(&mut world, &request, 3), expected, "{name}");
        let isr = ids(&only(&world).isr);
        assert_eq!(isr, if expected == E::None { vec![1, 2] } else { vec![1] }, "{name}");
    }
}

#[test]
fn only_the_leader_may_set_the_isr() {
    let mut world = shrunk();
    let mut request = request(&world, &[1, 2]);
    request.broker_id = 2;
    request.broker_epoch = world.image().broker(BrokerId(2)).unwrap().epoch;
    assert_eq!(alter(&mut world, &request, 3), ErrorCode::InvalidRequest);
}

#[test]
fn answer_holds_the_new_state() {
    let mut world = shrunk();
    let before = only(&world).clone();
    let request = request(&world, &[1, 3]);
    let answer = answer(&mut world, &request, 3).unwrap();
    assert_eq!((answer.leader_id, answer.isr), (1, vec![1, 3]));
    assert_eq!(answer.leader_epoch, before.leader_epoch.0);
    assert_eq!(answer.partition_epoch, before.partition_epoch + 1);
    assert_eq!(only(&world).partition_epoch, before.partition_epoch + 1);
}

#[test]
fn same_isr_changes_nothing() {
    let mut world = shrunk();
    let before = only(&world).clone();
    assert_eq!(set_isr(&mut world, &[1]), ErrorCode::None);
    assert_eq!(*only(&world), before);
}

#[test]
fn version_2_and_an_unknown_run_name_no_epochs() {
    let mut world = shrunk();
    let mut ask = request(&world, &[]);
    one(&mut ask).new_isr = vec![1, 2];
    assert_eq!(alter(&mut world, &ask, 2), ErrorCode::None);
    let mut ask = request(&world, &[1, 2, 3]);
    one(&mut ask).new_isr_with_epochs[2].broker_epoch = -1;
    assert_eq!(alter(&mut world, &ask, 3), ErrorCode::None);
    assert_eq!(ids(&only(&world).isr), [1, 2, 3]);
}

#[test]
fn replicas_that_are_not_active_may_not_join() {
    let mut world = shrunk();
    world.fence(2);
    assert_eq!(set_isr(&mut world, &[1, 2]), ErrorCode::IneligibleReplica);
    world.lead_elsewhere(3);
    world.beat(3, |ask| ask.want_shut_down = true);
    assert!(world.image().broker(BrokerId(3)).unwrap().in_controlled_shutdown);
    assert_eq!(set_isr(&mut world, &[1, 3]), ErrorCode::IneligibleReplica);
}

#[test]
fn partition_named_twice_is_altered_once() {
    let mut world = shrunk();
    let mut ask = request(&world, &[1, 2]);
    let again = one(&mut ask).clone();
    ask.topics[0].partitions.push(again);
    let response = world.decide(|image, context| alter_partition(image, &ask, 3, context));
    let codes: Vec<_> = response.topics[0].partitions.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::InvalidRequest.to_wire()]);
}

#[test]
fn replicas_below_min_isr_become_eligible_and_cease_to_be() {
    let mut world = World::of(4);
    let mut topic = assigned("t", &[&[1, 2, 3]]);
    topic.configs = vec![crate::world::setting("min.insync.replicas", Some("2"))];
    world.create(topic);
    let state = |world: &World| (ids(&only(world).isr), ids(&only(world).elr));
    assert_eq!(set_isr(&mut world, &[1, 2]), ErrorCode::None);
    assert_eq!(state(&world), (vec![1, 2], vec![]));
    assert_eq!(set_isr(&mut world, &[1]), ErrorCode::None);
    assert_eq!(state(&world), (vec![1], vec![2]));
    assert_eq!(set_isr(&mut world, &[1, 3]), ErrorCode::None);
    assert_eq!(state(&world), (vec![1, 3], vec![]));
}

#[test]
fn leader_recovers_before_others_join() {
    let mut world = shrunk();
    world.change_only(PartitionChangeRecord { leader_recovery_state: 1, ..Default::default() });
    let recovering = |ask: &mut AlterPartitionRequest| one(ask).leader_recovery_state = 1;
    let mut ask = request(&world, &[1, 2]);
    recovering(&mut ask);
    assert_eq!(alter(&mut world, &ask, 3), ErrorCode::InvalidRequest);
    let mut ask = request(&world, &[1]);
    recovering(&mut ask);
    assert_eq!(alter(&mut world, &ask, 3), ErrorCode::None);
    assert!(only(&world).recovering);
    assert_eq!(set_isr(&mut world, &[1, 2]), ErrorCode::None);
    assert!(!only(&world).recovering);
}

/// The partition moves from 1 and 2 to 3 and 4, which are not in sync yet.
fn moving() -> World {
    let mut world = World::of(4);
    world.create(assigned("t", &[&[1, 2]]));
    world.change_only(PartitionChangeRecord {
        replicas: Some(vec![3, 4, 1, 2]),
        adding_replicas: Some(vec![3, 4]),
        removing_replicas: Some(vec![1, 2]),
        ..Default::default()
    });
    world
}

fn assignment(partition: &Partition) -> [Vec<i32>; 3] {
    [&partition.replicas, &partition.adding, &partition.removing].map(|list| ids(list))
}

#[test]
fn isr_of_all_new_replicas_completes_a_reassignment() {
    let mut world = moving();
    assert_eq!(set_isr(&mut world, &[1, 2, 3]), ErrorCode::None);
    assert_eq!(assignment(only(&world)), [vec![3, 4, 1, 2], vec![3, 4], vec![1, 2]]);
    let epoch = only(&world).leader_epoch;
    // The leader has moved, too, and hears of it.
    assert_eq!(set_isr(&mut world, &[1, 2, 3, 4]), ErrorCode::NewLeaderElected);
    let after = only(&world);
    assert_eq!(assignment(after), [vec![3, 4], vec![], vec![]]);
    assert_eq!((after.leader, ids(&after.isr)), (Some(BrokerId(3)), vec![3, 4]));
    assert_eq!(after.leader_epoch.0, epoch.0 + 1);
    assert_eq!(after.directories.len(), 2);
}

#[test]
fn leader_that_stays_gets_a_new_epoch_when_replicas_go() {
    let mut world = moving();
    world.change_only(PartitionChangeRecord {
        adding_replicas: Some(vec![3, 4]),
        removing_replicas: Some(vec![2]),
        ..Default::default()
    });
    let epoch = only(&world).leader_epoch;
    assert_eq!(set_isr(&mut world, &[1, 2, 3, 4]), ErrorCode::None);
    let after = only(&world);
    assert_eq!(assignment(after), [vec![3, 4, 1], vec![], vec![]]);
    assert_eq!((after.leader, after.leader_epoch.0), (Some(BrokerId(1)), epoch.0 + 1));
}
