//! Records: deleted up to an offset, and found by leader epoch.

use protocol::ApiKey;
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopic,
};
use types::ErrorCode;

use crate::client::TestNode;

#[test]
fn a_log_begins_where_records_were_deleted_to() {
    let mut node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    client.produce("t", 10, 10, -1);
    let cases = [
        (4, (ErrorCode::None, 4)),
        // Backward it never goes.
        (2, (ErrorCode::None, 4)),
        (11, (ErrorCode::OffsetOutOfRange, -1)),
        (-2, (ErrorCode::OffsetOutOfRange, -1)),
        // Everything that is committed.
        (-1, (ErrorCode::None, 10)),
    ];
    for (offset, expected) in cases {
        assert_eq!(client.delete_records("t", 0, offset), expected, "{offset}");
    }
    drop(client);
    node.restart();
    assert_eq!(node.client().delete_records("t", 0, 0), (ErrorCode::None, 10));
}

#[test]
fn a_start_is_written_down_before_the_answer() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    client.produce("t", 10, 10, -1);
    assert_eq!(client.delete_records("t", 0, 7), (ErrorCode::None, 7));
    let lines = node.log_dirs().map(|dir| {
        let path = dir.join("log-start-offset-checkpoint");
        std::fs::read_to_string(path).unwrap_or_default()
    });
    assert!(lines.concat().lines().any(|line| line == "t 0 7"), "{lines:?}");
}

#[test]
fn records_that_must_stay_have_kafkas_codes() {
    let node = TestNode::start();
    let mut client = node.client();
    let config = CreatableTopicConfig {
        name: "cleanup.policy".to_owned(),
        value: Some("compact".to_owned()),
        ..Default::default()
    };
    let topic = |name: &str, configs: Vec<_>| CreatableTopic {
        name: name.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        configs,
        ..Default::default()
    };
    let topics = vec![topic("c", vec![config]), topic("__consumer_offsets", vec![])];
    let request = CreateTopicsRequest { topics, ..Default::default() };
    let _: CreateTopicsResponse = client.call(ApiKey::CreateTopics, 7, &request);
    let cases = [
        ("c", 0, ErrorCode::PolicyViolation),
        ("__consumer_offsets", 0, ErrorCode::InvalidTopicException),
        ("nope", 0, ErrorCode::UnknownTopicOrPartition),
        ("c", 1, ErrorCode::UnknownTopicOrPartition),
    ];
    for (topic, partition, code) in cases {
        assert_eq!(client.delete_records(topic, partition, 0), (code, -1), "{topic} {partition}");
    }
}

#[test]
fn the_present_epoch_ends_with_the_log() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    client.produce("t", 5, 10, -1);
    let cases = [
        (-1, 0, (ErrorCode::None, 0, 5)),
        (0, 0, (ErrorCode::None, 0, 5)),
        (-1, 5, (ErrorCode::None, -1, -1)),
        (9, 0, (ErrorCode::UnknownLeaderEpoch, -1, -1)),
    ];
    for (current_leader_epoch, leader_epoch, expected) in cases {
        let partition = OffsetForLeaderPartition {
            partition: 0,
            current_leader_epoch,
            leader_epoch,
            ..Default::default()
        };
        let topic = OffsetForLeaderTopic {
            topic: "t".to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() };
        let response: OffsetForLeaderEpochResponse =
            client.call(ApiKey::OffsetForLeaderEpoch, 4, &request);
        let found = &response.topics[0].partitions[0];
        let code = ErrorCode::from_wire(found.error_code);
        assert_eq!((code, found.leader_epoch, found.end_offset), expected);
    }
}
