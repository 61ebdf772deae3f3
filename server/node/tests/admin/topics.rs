//! Topics: made, described page by page, grown, deleted.

use protocol::ApiKey;
use protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use protocol::messages::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicRequest,
};
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use types::ErrorCode;

use crate::client::{Client, TestNode};

fn describe(
    client: &mut Client,
    names: &[&str],
    partitions_max: i32,
    cursor: Option<(&str, i32)>,
) -> DescribeTopicPartitionsResponse {
    let topic = |name: &&str| TopicRequest { name: (*name).to_owned(), ..Default::default() };
    let cursor = cursor.map(|(name, partition_index)| Cursor {
        topic_name: name.to_owned(),
        partition_index,
        ..Default::default()
    });
    let request = DescribeTopicPartitionsRequest {
        topics: names.iter().map(topic).collect(),
        response_partition_limit: partitions_max,
        cursor,
        ..Default::default()
    };
    client.call(ApiKey::DescribeTopicPartitions, 0, &request)
}

/// `topic:partitions` of a page, and where the next one begins.
fn page(response: &DescribeTopicPartitionsResponse) -> (Vec<String>, Option<(String, i32)>) {
    let topics = response.topics.iter().map(|topic| {
        let indexes = topic.partitions.iter().map(|one| one.partition_index.to_string());
        format!("{}:{}", topic.name.as_deref().unwrap(), indexes.collect::<Vec<_>>().join(","))
    });
    let next = response.next_cursor.as_ref();
    (topics.collect(), next.map(|next| (next.topic_name.clone(), next.partition_index)))
}

#[test]
fn topics_are_described_page_by_page() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("a", 3);
    client.create_topic("b", 2);
    let next = |name: &str, index| Some((name.to_owned(), index));
    let cases = [
        ((&[][..], 2, None), (vec!["a:0,1"], next("a", 2))),
        ((&[], 2, Some(("a", 2))), (vec!["a:2", "b:0"], next("b", 1))),
        ((&[], 2, Some(("b", 1))), (vec!["b:1"], None)),
        ((&[], 3, None), (vec!["a:0,1,2"], next("b", 0))),
        ((&["b", "a", "b"], 100, None), (vec!["a:0,1,2", "b:0,1"], None)),
        // No limit asked for is a limit of one.
        ((&["b"], 0, None), (vec!["b:0"], next("b", 1))),
    ];
    for ((names, partitions_max, cursor), (topics, next)) in cases {
        let response = describe(&mut client, names, partitions_max, cursor);
        let topics: Vec<String> = topics.into_iter().map(str::to_owned).collect();
        assert_eq!(page(&response), (topics, next), "{names:?} {partitions_max} {cursor:?}");
    }
}

#[test]
fn what_cannot_be_described_has_kafkas_codes() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("a", 1);
    let cases = [
        (&["nope"][..], None, ErrorCode::UnknownTopicOrPartition),
        (&["?"], None, ErrorCode::InvalidTopicException),
        (&["a"], Some(("b", 0)), ErrorCode::InvalidRequest),
        (&["a"], Some(("a", -1)), ErrorCode::InvalidRequest),
        (&["a"], Some(("a", 0)), ErrorCode::None),
    ];
    for (names, cursor, code) in cases {
        let response = describe(&mut client, names, 10, cursor);
        assert_eq!(response.topics[0].error_code, code.to_wire(), "{names:?} {cursor:?}");
    }
}

#[test]
fn topics_grow_and_go() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("a", 1);
    let grow = CreatePartitionsTopic { name: "a".to_owned(), count: 4, ..Default::default() };
    let mut request =
        CreatePartitionsRequest { topics: vec![grow], validate_only: true, ..Default::default() };
    for (validate_only, partitions) in [(true, 1), (false, 4)] {
        request.validate_only = validate_only;
        let response: CreatePartitionsResponse = client.call(ApiKey::CreatePartitions, 3, &request);
        assert_eq!(response.results[0].error_code, 0);
        let described = describe(&mut client, &["a"], 10, None);
        assert_eq!(described.topics[0].partitions.len(), partitions);
    }
    let request = DeleteTopicsRequest { topic_names: vec!["a".to_owned()], ..Default::default() };
    let response: DeleteTopicsResponse = client.call(ApiKey::DeleteTopics, 5, &request);
    assert_eq!(response.responses[0].error_code, 0);
    let response: DeleteTopicsResponse = client.call(ApiKey::DeleteTopics, 5, &request);
    let code = ErrorCode::UnknownTopicOrPartition.to_wire();
    assert_eq!(response.responses[0].error_code, code);
}

/// Fields that a version does not have must not keep an answer from being sent.
#[test]
fn every_version_of_a_creation_is_answered() {
    let node = TestNode::start();
    let mut client = node.client();
    for version in ApiKey::CreateTopics.versions() {
        let names = [format!("v{version}"), "bad name".to_owned()];
        let topic = |name: String| CreatableTopic {
            name,
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        };
        let topics = names.map(topic).to_vec();
        let request = CreateTopicsRequest { topics, ..Default::default() };
        let response: CreateTopicsResponse = client.call(ApiKey::CreateTopics, version, &request);
        let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, ErrorCode::InvalidTopicException.to_wire()], "version {version}");
    }
}

#[test]
fn what_is_asked_again_is_answered_alike_until_something_changes() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("a", 1);
    let first = describe(&mut client, &[], 10, None);
    assert_eq!(describe(&mut node.client(), &[], 10, None), first);
    assert_eq!(page(&describe(&mut client, &["a"], 10, None)).0, ["a:0"]);
    client.create_topic("b", 1);
    assert_eq!(page(&describe(&mut client, &[], 10, None)).0, ["a:0", "b:0"]);
}

/// Error, offset and leader epoch for each of the timestamps, in order.
fn offsets(client: &mut Client, known_epoch: i32, timestamps: &[i64]) -> Vec<(i16, i64, i32)> {
    let mut ask = |timestamp| {
        let partition = ListOffsetsPartition {
            timestamp,
            current_leader_epoch: known_epoch,
            ..Default::default()
        };
        let topic = ListOffsetsTopic {
            name: "t".to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request =
            ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let response: ListOffsetsResponse = client.call(ApiKey::ListOffsets, 11, &request);
        let found = &response.topics[0].partitions[0];
        (found.error_code, found.offset, found.leader_epoch)
    };
    timestamps.iter().map(|timestamp| ask(*timestamp)).collect()
}

#[test]
fn new_partitions_tell_their_offsets_without_a_file_and_as_once_they_have_one() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    let wanted = [-1, -2, -3, -4, -5, -6, -7, 0, 5];
    let closed = offsets(&mut client, 0, &wanted);
    let has_folder = || node.log_dirs().iter().any(|dir| dir.join("t-0").exists());
    assert!(!has_folder());
    let unknown = ErrorCode::UnknownLeaderEpoch.to_wire();
    assert_eq!(offsets(&mut client, 1, &[-1]), [(unknown, -1, -1)]);
    assert!(!has_folder());

    // This needs the log.
    assert_eq!(client.delete_records("t", 0, 0).0, ErrorCode::None);
    assert!(has_folder());
    assert_eq!(offsets(&mut client, 0, &wanted), closed);
    assert_eq!(closed[0], (0, 0, 0));
}
