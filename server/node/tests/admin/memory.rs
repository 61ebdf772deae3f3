//! Readers that wait for memory, on nodes where one answer uses up what there is for answers.

use std::thread;

use protocol::ApiKey;
use protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};

use crate::client::{Client, TestNode, eventually};

/// One batch that nobody has taken is more.
pub const LITTLE_MEMORY: (&str, &str) = ("queued.max.request.bytes", "100000");
/// More than the kernel takes for a client that does not read.
pub const BATCH_BYTES: usize = 900_000;
/// Longer than a client of the tests waits for an answer.
const FOR_EVER_MS: i32 = 60_000;
const VERSION: i16 = 4;

fn request(topic: &str, max_wait_ms: i32, min_bytes: i32) -> FetchRequest {
    let partition = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
    let topic =
        FetchTopic { topic: topic.to_owned(), partitions: vec![partition], ..Default::default() };
    FetchRequest {
        replica_id: -1,
        max_wait_ms,
        min_bytes,
        max_bytes: 8 << 20,
        topics: vec![topic],
        ..Default::default()
    }
}

fn receive(client: &mut Client) -> PartitionData {
    let mut response: FetchResponse = client.receive(ApiKey::Fetch, VERSION).unwrap();
    response.responses.remove(0).partitions.remove(0)
}

fn fetch(client: &mut Client, topic: &str, max_wait_ms: i32, min_bytes: i32) -> PartitionData {
    client.send(ApiKey::Fetch, VERSION, &request(topic, max_wait_ms, min_bytes)).unwrap();
    receive(client)
}

fn bytes(data: &PartitionData) -> usize {
    data.records.as_ref().map_or(0, |records| records.len())
}

/// A client that has asked for a batch of a topic and does not take it, so that no other reader gets
/// anything.
pub fn greedy(node: &TestNode, topic: &str) -> Client {
    let (mut greedy, mut other) = (node.client(), node.client());
    greedy.send(ApiKey::Fetch, VERSION, &request(topic, FOR_EVER_MS, 1)).unwrap();
    eventually("nothing to be left", || {
        (bytes(&fetch(&mut other, topic, 0, 1)) == 0).then_some(())
    });
    greedy
}

#[test]
fn a_reader_waits_until_another_one_has_taken_its_answer() {
    let node = TestNode::start_with(&[LITTLE_MEMORY]);
    let mut client = node.client();
    client.create_topic("t", 1);
    for _ in 0..2 {
        client.produce("t", 1, BATCH_BYTES, -1);
    }
    let mut greedy = greedy(&node, "t");
    let readers = [node.client(), node.client()]
        .map(|mut reader| thread::spawn(move || bytes(&fetch(&mut reader, "t", FOR_EVER_MS, 1))));
    let data = fetch(&mut client, "t", 100, 1);
    assert_eq!((data.error_code, data.high_watermark), (0, 2));
    assert_eq!(bytes(&data), 0, "its time was over before");
    client.produce("t", 1, BATCH_BYTES, -1);
    assert!(bytes(&receive(&mut greedy)) > BATCH_BYTES, "nothing of it is lost");
    for reader in readers {
        assert!(reader.join().unwrap() > BATCH_BYTES);
    }
}

#[test]
fn who_waits_for_more_records_leaves_the_room_to_others() {
    let node = TestNode::start_with(&[LITTLE_MEMORY]);
    let mut client = node.client();
    client.create_topic("t", 1);
    client.produce("t", 1, BATCH_BYTES / 3, -1);
    let waiting = [node.client(), node.client()].map(|mut reader| {
        reader.send(ApiKey::Fetch, VERSION, &request("t", FOR_EVER_MS, 500_000)).unwrap();
        thread::spawn(move || bytes(&receive(&mut reader)))
    });
    for mut other in [node.client(), node.client()] {
        assert!(bytes(&fetch(&mut other, "t", FOR_EVER_MS, 1)) > BATCH_BYTES / 3);
    }
    client.produce("t", 1, BATCH_BYTES / 3, -1);
    for reader in waiting {
        assert!(reader.join().unwrap() > BATCH_BYTES / 3 * 2);
    }
    // What is too little is read once more when the time is over.
    let data = fetch(&mut client, "t", 10, 1_000_000);
    assert!(bytes(&data) > BATCH_BYTES / 3 * 2);
}
