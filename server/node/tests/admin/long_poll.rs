//! Fetches that wait: on the shard of the partition and on the other one.

use std::thread;
use std::time::{Duration, Instant};

use protocol::ApiKey;
use protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use types::ErrorCode;

use crate::client::{Client, TestNode};

/// Longer than a client of the tests waits for an answer.
const FOR_EVER_MS: i32 = 60_000;

fn fetch(client: &mut Client, topic: &str, max_wait_ms: i32, min_bytes: i32) -> PartitionData {
    fetch_at_most(client, topic, max_wait_ms, min_bytes, 1 << 20)
}

fn fetch_at_most(
    client: &mut Client,
    topic: &str,
    max_wait_ms: i32,
    min_bytes: i32,
    partition_max_bytes: i32,
) -> PartitionData {
    let partition = FetchPartition { partition_max_bytes, ..Default::default() };
    let topic =
        FetchTopic { topic: topic.to_owned(), partitions: vec![partition], ..Default::default() };
    let request = FetchRequest {
        replica_id: -1,
        max_wait_ms,
        min_bytes,
        max_bytes: 1 << 20,
        topics: vec![topic],
        ..Default::default()
    };
    let mut response: FetchResponse = client.call(ApiKey::Fetch, 4, &request);
    response.responses.remove(0).partitions.remove(0)
}

/// What two waiting readers got once `act` was done. Connections go to the shards in turn, so
/// that one of the two is on the shard of the partition.
fn with_readers(
    node: &TestNode,
    min_bytes: i32,
    act: impl FnOnce(&mut Client),
) -> Vec<PartitionData> {
    let mut client = node.client();
    client.create_topic("t", 1);
    let readers = [node.client(), node.client()]
        .map(|mut reader| thread::spawn(move || fetch(&mut reader, "t", FOR_EVER_MS, min_bytes)));
    act(&mut client);
    readers.into_iter().map(|reader| reader.join().unwrap()).collect()
}

#[test]
fn waiting_fetches_get_what_is_appended() {
    let node = TestNode::start();
    let answers = with_readers(&node, 1, |client| _ = client.produce("t", 1, 10, -1));
    for answer in answers {
        assert_eq!((answer.error_code, answer.high_watermark), (0, 1));
        assert!(!answer.records.unwrap().is_empty());
    }
}

#[test]
fn waiting_fetches_go_on_until_there_is_enough() {
    let node = TestNode::start();
    let answers = with_readers(&node, 2000, |client| {
        for _ in 0..3 {
            client.produce("t", 1, 1000, -1);
        }
    });
    for answer in answers {
        let bytes = answer.records.unwrap().len();
        assert!(bytes >= 2000, "{bytes}");
    }
}

#[test]
fn waiting_fetches_hear_that_the_topic_is_gone() {
    let node = TestNode::start();
    let answers = with_readers(&node, 1, |client| {
        let request = DeleteTopicsRequest {
            topic_names: vec!["t".to_owned()],
            timeout_ms: 5000,
            ..Default::default()
        };
        let response: DeleteTopicsResponse = client.call(ApiKey::DeleteTopics, 5, &request);
        assert_eq!(response.responses[0].error_code, 0);
    });
    for answer in answers {
        assert_ne!(answer.error_code, ErrorCode::None.to_wire());
    }
}

#[test]
fn a_wait_ends_when_its_time_is_over() {
    let node = TestNode::start();
    node.client().create_topic("t", 1);
    // Both stay open, so that they are on two shards.
    let mut readers = [node.client(), node.client()];
    for reader in &mut readers {
        let start = Instant::now();
        let answer = fetch(reader, "t", 100, 1);
        assert_eq!((answer.error_code, answer.high_watermark), (0, 0));
        assert!(start.elapsed() >= Duration::from_millis(100));
    }
}

#[test]
fn nobody_waits_for_more_than_an_answer_can_bring() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    for _ in 0..3 {
        client.produce("t", 1, 1000, -1);
    }
    for mut reader in [node.client(), node.client()] {
        let answer = fetch_at_most(&mut reader, "t", FOR_EVER_MS, 10_000, 1500);
        let bytes = answer.records.unwrap().len();
        assert!((1000..1500).contains(&bytes), "{bytes}");
    }
}
