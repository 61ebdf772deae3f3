//! Registration, heartbeats, fencing, and what they do to partitions.

use protocol::internal::metadata::PartitionChangeRecord;
use protocol::messages::allocate_producer_ids::AllocateProducerIdsRequest;
use protocol::messages::broker_registration::BrokerRegistrationRequest;
use protocol::messages::controller_registration::ControllerRegistrationRequest;
use thalweg_metadata::controller::{allocate_producer_ids, register_controller, unregister_broker};
use types::{BrokerId, ErrorCode, Uuid};

use crate::world::{State, World, assigned, directory, ids, only, registration, topic};

type Ask = fn(&mut BrokerRegistrationRequest);

#[test]
fn registration_has_kafkas_codes() {
    use ErrorCode as E;
    let cases: [(&str, Ask, ErrorCode); 10] = [
        ("plain", |_| {}, E::None),
        ("other cluster", |ask| ask.cluster_id = "x".to_owned(), E::InconsistentClusterId),
        ("other run, session alive", |ask| ask.broker_id = 1, E::DuplicateBrokerRegistration),
        ("from ZooKeeper", |ask| ask.is_migrating_zk_broker = true, E::BrokerIdNotRegistered),
        ("no directory", |ask| ask.log_dirs.clear(), E::InvalidRegistration),
        ("reserved directory", |ask| ask.log_dirs = vec![Uuid::ZERO], E::InvalidRegistration),
        ("directory twice", |ask| ask.log_dirs = vec![directory(2); 2], E::InvalidRegistration),
        ("directory of another", |ask| ask.log_dirs = vec![directory(1)], E::InvalidRegistration),
        ("no features", |ask| ask.features.clear(), E::InvalidRegistration),
        (
            "too old",
            |ask| ask.features.iter_mut().for_each(|one| one.max_supported_version = 7),
            E::UnsupportedVersion,
        ),
    ];
    for (name, ask, expected) in cases {
        let mut world = World::of(1);
        let mut request = registration(2, 9, None);
        ask(&mut request);
        assert_eq!(world.register_as(&request, true), expected, "{name}");
        let registered = world.image().broker(BrokerId(2)).is_some();
        assert_eq!(registered, expected == E::None, "{name}");
    }
}

#[test]
fn new_run_in_the_same_place_need_not_wait_for_the_session_of_the_former() {
    let cases: [(&str, Ask, ErrorCode); 5] = [
        ("same directory and address", |_| {}, ErrorCode::None),
        (
            "other directory",
            |ask| ask.log_dirs = vec![directory(7)],
            ErrorCode::DuplicateBrokerRegistration,
        ),
        ("one directory more", |ask| ask.log_dirs.push(directory(7)), ErrorCode::None),
        ("none", |ask| ask.log_dirs.clear(), ErrorCode::DuplicateBrokerRegistration),
        ("other port", |ask| ask.listeners[0].port += 1, ErrorCode::DuplicateBrokerRegistration),
    ];
    for (name, ask, expected) in cases {
        let mut world = World::of(2);
        let mut request = registration(2, 9, None);
        ask(&mut request);
        assert_eq!(world.register_as(&request, true), expected, "{name}");
        let fenced = world.image().broker(BrokerId(2)).unwrap().fenced;
        assert_eq!(fenced, expected == ErrorCode::None, "{name}");
    }
}

#[test]
fn feature_that_must_be_on_is_refused_while_off() {
    let mut world = World::of(1);
    let mut request = registration(2, 1, None);
    request.features.push(protocol::messages::broker_registration::Feature {
        name: "share.version".to_owned(),
        min_supported_version: 1,
        max_supported_version: 1,
        ..Default::default()
    });
    assert_eq!(world.register_as(&request, false), ErrorCode::UnsupportedVersion);
}

#[test]
fn broker_comes_in_fenced() {
    let mut world = World::with(&[]);
    world.register(1, 1, Some("r"));
    let broker = world.image().broker(BrokerId(1)).unwrap();
    assert!(broker.fenced);
    assert_eq!(broker.rack.as_deref(), Some("r"));
    assert_eq!(broker.endpoint("PLAINTEXT").unwrap().host, "host1");
    assert_eq!(broker.endpoint("OTHER"), None);
}

#[test]
fn same_run_keeps_its_epoch_and_state() {
    let mut world = World::of(1);
    let before = world.image().broker(BrokerId(1)).unwrap().clone();
    assert_eq!(world.register(1, 1, Some("moved")), ErrorCode::None);
    let after = world.image().broker(BrokerId(1)).unwrap();
    assert_eq!((after.epoch, after.fenced), (before.epoch, false));
    assert_eq!(after.rack.as_deref(), Some("moved"));
}

#[test]
fn new_run_gets_a_higher_epoch_and_is_fenced() {
    let mut world = World::of(1);
    let before = world.image().broker(BrokerId(1)).unwrap().epoch;
    assert_eq!(world.register(1, 2, None), ErrorCode::None);
    let after = world.image().broker(BrokerId(1)).unwrap();
    assert!(after.epoch > before);
    assert!(after.fenced);
}

#[test]
fn heartbeat_lets_in_who_has_caught_up() {
    let mut world = World::with(&[]);
    world.register(1, 1, None);
    let steps: [(&str, fn(&mut _), State); 4] = [
        ("behind", |ask: &mut Heartbeat| ask.current_metadata_offset = 0, State::Fenced),
        ("wants to stay out", |ask| ask.want_fence = true, State::Fenced),
        ("caught up", |_| {}, State::Active),
        ("wants out", |ask| ask.want_fence = true, State::Fenced),
    ];
    for (name, ask, expected) in steps {
        assert_eq!(world.beat(1, ask), (ErrorCode::None, expected), "{name}");
        let fenced = world.image().broker(BrokerId(1)).unwrap().fenced;
        assert_eq!(fenced, expected == State::Fenced, "{name}");
    }
}

type Heartbeat = protocol::messages::broker_heartbeat::BrokerHeartbeatRequest;

#[test]
fn heartbeat_of_another_run_is_refused() {
    let mut world = World::of(1);
    assert_eq!(world.beat(1, |ask| ask.broker_epoch -= 1).0, ErrorCode::StaleBrokerEpoch);
    assert_eq!(world.beat(2, |_| {}).0, ErrorCode::StaleBrokerEpoch);
}

/// Leader, ISR and ELR of the only partition of "t".
fn partition(world: &World) -> (Option<i32>, Vec<i32>, Vec<i32>) {
    let partition = only(world);
    (partition.leader.map(|id| id.0), ids(&partition.isr), ids(&partition.elr))
}

fn three_replicas() -> World {
    let mut world = World::of(3);
    assert_eq!(world.create(assigned("t", &[&[1, 2, 3]])), ErrorCode::None);
    world
}

#[test]
fn fenced_leader_hands_over_to_the_next_in_sync() {
    let mut world = three_replicas();
    world.fence(1);
    assert_eq!(partition(&world), (Some(2), vec![2, 3], vec![]));
    let changed = only(&world);
    assert_eq!((changed.leader_epoch.0, changed.partition_epoch), (1, 1));
}

#[test]
fn fenced_follower_leaves_the_leader_alone() {
    let mut world = three_replicas();
    world.fence(3);
    assert_eq!(partition(&world), (Some(1), vec![1, 2], vec![]));
    assert_eq!(only(&world).leader_epoch.0, 0);
}

#[test]
fn replicas_below_min_isr_stay_eligible() {
    let mut world = three_replicas();
    for id in [1, 2, 3] {
        world.fence(id);
    }
    // min.insync.replicas is 1: only the last one to go was needed for it.
    assert_eq!(partition(&world), (None, vec![], vec![3]));
    assert_eq!(ids(&only(&world).last_known_elr), [3]);
    // One without the data does not lead.
    world.beat(1, |_| {});
    assert_eq!(partition(&world), (None, vec![], vec![3]));
    world.beat(3, |_| {});
    assert_eq!(partition(&world), (Some(3), vec![3], vec![]));
    assert!(!only(&world).recovering);
}

#[test]
fn unclean_restart_loses_eligibility() {
    let mut world = three_replicas();
    for id in [1, 2, 3] {
        world.fence(id);
    }
    // Another run of broker 3 that does not name its former epoch may have lost data.
    world.register(3, 2, None);
    assert_eq!(partition(&world), (None, vec![], vec![]));
    // Nobody else is left that was the last leader: balanced recovery takes it all the same.
    world.beat(3, |_| {});
    assert_eq!(partition(&world), (Some(3), vec![3], vec![]));
    assert!(only(&world).recovering);
}

#[test]
fn restart_without_data_leaves_the_isr_and_is_not_eligible() {
    let mut world = three_replicas();
    world.fence(2);
    world.fence(3);
    // Down and up again before anybody noticed, as the only one in sync.
    world.register(1, 2, None);
    assert_eq!(partition(&world), (None, vec![], vec![]));
    assert_eq!(ids(&only(&world).last_known_elr), [1]);
}

#[test]
fn clean_restart_keeps_eligibility() {
    let mut world = three_replicas();
    for id in [1, 2, 3] {
        world.fence(id);
    }
    let mut request = registration(3, 2, None);
    request.previous_broker_epoch = world.image().broker(BrokerId(3)).unwrap().epoch;
    assert_eq!(world.register_as(&request, false), ErrorCode::None);
    assert_eq!(partition(&world), (None, vec![], vec![3]));
}

#[test]
fn unclean_election_must_be_asked_for() {
    let mut world = three_replicas();
    world.made("u", 1, 1);
    let mut topic = assigned("v", &[&[1, 2]]);
    topic.configs = vec![crate::world::setting("unclean.leader.election.enable", Some("true"))];
    assert_eq!(world.create(topic), ErrorCode::None);
    world.fence(2);
    world.fence(1);
    world.beat(2, |_| {});
    let partition = world.image().topic("v").unwrap().partition(0).unwrap();
    assert_eq!((partition.leader, ids(&partition.isr)), (Some(BrokerId(2)), vec![2]));
    assert!(partition.recovering);
}

#[test]
fn controlled_shutdown_moves_leaders_first() {
    let mut world = three_replicas();
    let stop = |ask: &mut Heartbeat| ask.want_shut_down = true;
    assert_eq!(world.beat(1, stop), (ErrorCode::None, State::Active));
    assert!(world.image().broker(BrokerId(1)).unwrap().in_controlled_shutdown);
    assert_eq!(partition(&world), (Some(2), vec![2, 3], vec![]));
    assert_eq!(world.beat(1, stop), (ErrorCode::None, State::Stopped));
    assert!(world.image().broker(BrokerId(1)).unwrap().fenced);
}

#[test]
fn broker_without_leaderships_stops_at_once() {
    let mut world = three_replicas();
    let stop = |ask: &mut Heartbeat| ask.want_shut_down = true;
    assert_eq!(world.beat(3, stop), (ErrorCode::None, State::Stopped));
    assert_eq!(partition(&world), (Some(1), vec![1, 2], vec![]));
}

#[test]
fn failed_directory_takes_only_its_replicas() {
    let mut world = World::of(2);
    let mut request = registration(3, 1, None);
    let other = Uuid::from_bytes([77; 16]);
    request.log_dirs.push(other);
    world.register_as(&request, false);
    world.beat(3, |_| {});
    world.create(assigned("t", &[&[3, 1]]));
    // Its directory is not chosen yet; pretend that it was.
    let topic_id = world.image().topic("t").unwrap().id;
    world.apply(vec![
        protocol::internal::metadata::PartitionChangeRecord {
            topic_id,
            partition_id: 0,
            directories: Some(vec![other, directory(1)]),
            ..Default::default()
        }
        .into(),
    ]);
    world.beat(3, |ask| ask.offline_log_dirs = vec![directory(3)]);
    assert_eq!(partition(&world).0, Some(3));
    world.beat(3, |ask| ask.offline_log_dirs = vec![other]);
    assert_eq!(partition(&world), (Some(1), vec![1], vec![]));
    assert!(world.image().is_active(BrokerId(3)));
}

#[test]
fn broker_does_not_lead_from_a_directory_that_fails_as_it_comes() {
    let mut world = World::of(1);
    let mut request = registration(3, 1, None);
    request.log_dirs.push(Uuid::from_bytes([77; 16]));
    world.register_as(&request, false);
    world.beat(3, |_| {});
    world.create(assigned("t", &[&[3]]));
    world.change_only(PartitionChangeRecord {
        directories: Some(vec![directory(3)]),
        ..Default::default()
    });
    world.fence(3);
    assert_eq!(partition(&world), (None, vec![], vec![3]));
    world.beat(3, |ask| ask.offline_log_dirs = vec![directory(3)]);
    assert!(world.image().is_active(BrokerId(3)));
    assert_eq!(partition(&world), (None, vec![], vec![]));
}

#[test]
fn replicas_in_sync_lead_before_eligible_ones() {
    let mut world = World::of(3);
    let mut topic = assigned("t", &[&[1, 2, 3]]);
    topic.configs = vec![crate::world::setting("min.insync.replicas", Some("3"))];
    world.create(topic);
    world.fence(1);
    world.beat(1, |_| {});
    assert_eq!(partition(&world), (Some(2), vec![2, 3], vec![1]));
    world.fence(2);
    assert_eq!(partition(&world), (Some(3), vec![3], vec![1, 2]));
    world.fence(3);
    assert_eq!(partition(&world), (Some(1), vec![1], vec![2, 3]));
}

#[test]
fn min_isr_is_bounded_by_the_partitions_own_replicas() {
    let mut world = World::of(3);
    let mut topic = assigned("t", &[&[1], &[2]]);
    topic.configs = vec![crate::world::setting("min.insync.replicas", Some("2"))];
    world.create(topic);
    let grown = PartitionChangeRecord {
        topic_id: world.image().topic("t").unwrap().id,
        partition_id: 1,
        replicas: Some(vec![2, 3]),
        isr: Some(vec![2, 3]),
        ..Default::default()
    };
    world.apply(vec![grown.into()]);
    world.fence(3);
    let one = world.image().topic("t").unwrap().partition(1).unwrap();
    assert_eq!((ids(&one.isr), ids(&one.elr)), (vec![2], vec![3]));
    assert_eq!(partition(&world), (Some(1), vec![1], vec![]));
}

#[test]
fn clean_restart_without_a_directory_loses_what_lay_there() {
    for (kept, elr) in [(true, vec![3]), (false, vec![])] {
        let mut world = three_replicas();
        for id in [1, 2, 3] {
            world.fence(id);
        }
        let mut request = registration(3, 2, None);
        request.previous_broker_epoch = world.image().broker(BrokerId(3)).unwrap().epoch;
        if !kept {
            request.log_dirs = vec![Uuid::from_bytes([77; 16])];
        }
        world.register_as(&request, false);
        assert_eq!(partition(&world), (None, vec![], elr), "kept {kept}");
    }
}

#[test]
fn broker_that_stopped_in_order_still_counts_for_new_topics() {
    let mut world = World::of(3);
    world.lead_elsewhere(3);
    world.beat(3, |ask| ask.want_shut_down = true);
    assert_eq!(world.create(topic("early", 1, 3)), ErrorCode::InvalidReplicationFactor);
    assert_eq!(world.beat(3, |ask| ask.want_shut_down = true).1, State::Stopped);
    assert_eq!(world.create(topic("late", 1, 3)), ErrorCode::None);
}

#[test]
fn forgotten_broker_leaves_isr_and_elr() {
    let mut world = World::of(3);
    let mut topic = assigned("t", &[&[1, 2, 3]]);
    topic.configs = vec![crate::world::setting("min.insync.replicas", Some("3"))];
    world.create(topic);
    world.fence(3);
    assert_eq!(partition(&world), (Some(1), vec![1, 2], vec![3]));
    for (id, expected) in [(3, (Some(1), vec![1, 2], vec![])), (2, (Some(1), vec![1], vec![]))] {
        let image = world.image().clone();
        let records = unregister_broker(&image, BrokerId(id), &world.context()).unwrap();
        world.apply(records);
        assert_eq!(partition(&world), expected);
    }
}

#[test]
fn cordoned_broker_takes_no_new_replica() {
    let mut world = World::of(2);
    world.beat(2, |ask| ask.cordoned_log_dirs = Some(vec![directory(2)]));
    world.made("t", 10, 1);
    let topic = world.image().topic("t").unwrap();
    assert!(topic.partitions().all(|(_, one)| ids(&one.replicas) == [1]));
}

#[test]
fn unregistered_broker_is_forgotten() {
    let mut world = three_replicas();
    let image = world.image().clone();
    let records = unregister_broker(&image, BrokerId(1), &world.context()).unwrap();
    world.apply(records);
    assert_eq!(world.image().broker(BrokerId(1)), None);
    assert_eq!(partition(&world), (Some(2), vec![2, 3], vec![]));
    let image = world.image().clone();
    let again = unregister_broker(&image, BrokerId(1), &world.context());
    assert_eq!(again, Err(ErrorCode::BrokerIdNotRegistered));
}

#[test]
fn producer_id_blocks_never_overlap() {
    let mut world = World::of(2);
    let mut starts = Vec::new();
    for id in [1, 2, 1] {
        let request = AllocateProducerIdsRequest {
            broker_id: id,
            broker_epoch: world.image().broker(BrokerId(id)).unwrap().epoch,
            ..Default::default()
        };
        let response = world.decide(|image, _| allocate_producer_ids(image, &request));
        starts.push((response.producer_id_start, response.producer_id_len));
    }
    assert_eq!(starts, [(0, 1000), (1000, 1000), (2000, 1000)]);
}

#[test]
fn producer_ids_need_the_right_run() {
    let mut world = World::of(1);
    let request =
        AllocateProducerIdsRequest { broker_id: 1, broker_epoch: 12345, ..Default::default() };
    let response = world.decide(|image, _| allocate_producer_ids(image, &request));
    assert_eq!(response.error_code, ErrorCode::StaleBrokerEpoch.to_wire());
    assert_eq!(world.image().next_producer_id(), 0);
}

#[test]
fn controller_registers() {
    let mut world = World::of(0);
    let request = ControllerRegistrationRequest { controller_id: 5, ..Default::default() };
    world.decide(|_, _| register_controller(&request));
    let known: Vec<_> = world.image().controllers().map(|one| one.id.0).collect();
    assert_eq!(known, [5]);
}
