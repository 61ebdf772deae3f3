//! Offsets and records that could not be written.

use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use thalweg_coordinator::{Caller, Outcome, ReplyToken, Request, Response, Settings};
use types::{ErrorCode, Uuid};

use crate::world::{World, join_request, joined_response, sync_request};

const OLD_TOPIC: Uuid = Uuid::from_bytes([1; 16]);
const NEW_TOPIC: Uuid = Uuid::from_bytes([2; 16]);

#[test]
fn metadata_is_measured_in_utf16_units() {
    let cases = [
        ("as long as allowed", "x".repeat(4_096), ErrorCode::None),
        ("one too long", "x".repeat(4_097), ErrorCode::OffsetMetadataTooLarge),
        ("two bytes each", "ä".repeat(4_096), ErrorCode::None),
        ("two units each", "😀".repeat(2_049), ErrorCode::OffsetMetadataTooLarge),
    ];
    for (name, metadata, expected) in cases {
        let mut world = World::new(Settings::default());
        let response = world.ask(Request::OffsetCommit(commit("t", Uuid::ZERO, &metadata)), 9);
        assert_eq!(committed(&response), expected, "{name}");
        assert_eq!(world.log.is_empty(), !expected.is_none(), "{name}");
    }
}

#[test]
fn offset_of_a_deleted_topic_is_not_that_of_its_successor() {
    let cases = [
        ("the same topic", OLD_TOPIC, OLD_TOPIC, 42),
        ("another topic of that name", OLD_TOPIC, NEW_TOPIC, -1),
        ("id not known at the commit", Uuid::ZERO, NEW_TOPIC, 42),
        ("id not known at the fetch", OLD_TOPIC, Uuid::ZERO, 42),
    ];
    for (name, committed, asked, expected) in cases {
        let mut world = World::new(Settings::default());
        world.ask(Request::OffsetCommit(commit("t", committed, "")), 9);
        assert_eq!(fetch(&mut world, "t", asked), expected, "{name}");
    }
}

#[test]
fn offsets_go_with_their_topic() {
    let mut world = World::new(Settings::default());
    for (topic, topic_id) in [("old", OLD_TOPIC), ("again", NEW_TOPIC), ("unknown", Uuid::ZERO)] {
        world.ask(Request::OffsetCommit(commit(topic, topic_id, "")), 9);
    }
    let deleted = [("old", OLD_TOPIC), ("again", OLD_TOPIC), ("unknown", OLD_TOPIC)];
    let outcome = world.coordinator.topics_deleted(&deleted);
    _ = world.settle(outcome);
    let left = [("old", -1), ("again", 42), ("unknown", -1)];
    for (topic, expected) in left {
        assert_eq!(fetch(&mut world, topic, Uuid::ZERO), expected, "{topic}");
    }
}

#[test]
fn commit_that_is_not_written_is_not_told() {
    let mut world = World::new(Settings::default());
    let outcome = decide(&mut world, Request::OffsetCommit(commit("t", Uuid::ZERO, "")));
    let failed = fail(&mut world, outcome, ErrorCode::NotEnoughReplicas);
    let [(_, response)] = &failed.replies[..] else { panic!("one reply") };
    assert_eq!(committed(response), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(fetch(&mut world, "t", Uuid::ZERO), -1);
}

#[test]
fn group_that_is_not_written_does_not_come_to_be() {
    let mut world = World::new(Settings::default());
    let request = join_request("g", "", &[("range", &["t"])]);
    let outcome = decide(&mut world, Request::Join { request, fresh_id: Uuid::ZERO });
    assert_eq!(outcome.replies, [], "the reply waits for other members");
    let failed = fail(&mut world, outcome, ErrorCode::NotLeaderOrFollower);
    let [(_, response)] = &failed.replies[..] else { panic!("one reply") };
    let error = ErrorCode::from_wire(joined_response(response).error_code);
    assert_eq!(error, ErrorCode::NotCoordinator);
    assert!(world.wait(10_000).is_empty());
    assert_eq!(describe(&mut world, "g"), "Dead");
}

#[test]
fn assignment_that_is_not_written_is_made_anew() {
    let mut world = World::new(Settings::default());
    let member_id = world.stable_group("g", &["t"]);
    let request = join_request("g", &member_id, &[("range", &["t"])]);
    _ = world.join(request, 3, "c");
    let request = sync_request("g", &member_id, 2, &[(&member_id, "too much")]);
    let outcome = decide(&mut world, Request::Sync(request));
    let failed = fail(&mut world, outcome, ErrorCode::MessageTooLarge);
    let [(_, Response::Sync(response))] = &failed.replies[..] else { panic!("one reply") };
    assert_eq!(ErrorCode::from_wire(response.error_code), ErrorCode::UnknownServerError);
    assert_eq!(response.assignment, "");
    assert_eq!(describe(&mut world, "g"), "PreparingRebalance");
}

#[test]
fn old_generation_of_an_empty_group_is_not_served_while_the_log_lags() {
    let mut world = World::new(Settings::default());
    let member_id = world.stable_group("g", &["t"]);
    let fired = loop {
        world.now.monotonic = world.coordinator.next_deadline().expect("a session is running");
        if let Some(outcome) = world.coordinator.tick(world.now) {
            break outcome;
        }
    };
    let failed = fail(&mut world, fired, ErrorCode::NotEnoughReplicas);
    assert!(failed.is_empty());
    assert_eq!(describe(&mut world, "g"), "Empty");
    let request = sync_request("g", &member_id, 1, &[]);
    let Response::Sync(response) = world.ask(Request::Sync(request), 5) else { panic!("sync") };
    assert_eq!(ErrorCode::from_wire(response.error_code), ErrorCode::UnknownMemberId);
}

/// What the coordinator decides, not settled.
fn decide(world: &mut World, request: Request) -> Outcome {
    let caller = Caller {
        token: ReplyToken(1_000),
        api_version: 3,
        client_id: "c",
        client_host: "/h",
        member_bytes_left: usize::MAX,
    };
    world.coordinator.handle(request, &caller, world.now)
}

fn fail(world: &mut World, outcome: Outcome, error: ErrorCode) -> Outcome {
    assert!(!outcome.records.is_empty());
    let follows = world.coordinator.append_failed(outcome, error, world.now);
    world.settle(follows)
}

fn describe(world: &mut World, group_id: &str) -> String {
    let request = Request::DescribeGroups(vec![group_id.to_owned()]);
    let Response::DescribeGroups(groups) = world.ask(request, 6) else { panic!("describe") };
    groups[0].group_state.clone()
}

fn commit(topic: &str, topic_id: Uuid, metadata: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        committed_offset: 42,
        committed_metadata: Some(metadata.to_owned()),
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: "s".to_owned(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.to_owned(),
            topic_id,
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn committed(response: &Response) -> ErrorCode {
    let Response::OffsetCommit(response) = response else { panic!("not an OffsetCommit") };
    ErrorCode::from_wire(response.topics[0].partitions[0].error_code)
}

fn fetch(world: &mut World, topic: &str, topic_id: Uuid) -> i64 {
    let request = OffsetFetchRequestGroup {
        group_id: "s".to_owned(),
        topics: Some(vec![OffsetFetchRequestTopics {
            name: topic.to_owned(),
            topic_id,
            partition_indexes: vec![0],
            ..Default::default()
        }]),
        ..Default::default()
    };
    let Response::OffsetFetch(response) = world.ask(Request::OffsetFetch(request), 9) else {
        panic!("not an OffsetFetch");
    };
    response.topics[0].partitions[0].committed_offset
}
