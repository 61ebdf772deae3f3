//! Fetches of much at once, from the files and from memory: every byte is right.

use std::ops::ControlFlow;

use protocol::ApiKey;
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use records::{check_crc, split_batches};

use crate::client::{Client, TestNode};

/// Batches of each topic; one is about 38 KiB.
const BATCHES: i64 = 60;
const RECORDS: i64 = 40;

/// Takes one response and moves the positions of both topics.
fn fetch(client: &mut Client, positions: &mut [i64; 2], isolation_level: i8) -> ControlFlow<()> {
    let topic = |(name, fetch_offset): (&str, i64)| FetchTopic {
        topic: name.to_owned(),
        partitions: vec![FetchPartition {
            fetch_offset,
            partition_max_bytes: 500_000,
            ..Default::default()
        }],
        ..Default::default()
    };
    let request = FetchRequest {
        replica_id: -1,
        max_bytes: 50 << 20,
        isolation_level,
        topics: ["a", "b"].into_iter().zip(*positions).map(topic).collect(),
        ..Default::default()
    };
    let response: FetchResponse = client.call(ApiKey::Fetch, 4, &request);
    let mut any = false;
    for (position, topic) in positions.iter_mut().zip(&response.responses) {
        let partition = &topic.partitions[0];
        assert_eq!(partition.error_code, 0);
        let records = partition.records.as_ref().unwrap();
        for cut in split_batches(records) {
            let (range, header) = cut.unwrap();
            check_crc(&records[range], &header).unwrap();
            assert_eq!(header.base_offset, *position, "{}", topic.topic);
            *position += RECORDS;
            any = true;
        }
    }
    if any { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

#[test]
fn large_fetches_give_every_record_of_every_topic_in_order() {
    let node = TestNode::start();
    let mut client = node.client();
    // Of two lengths, so that records in the wrong place are noticed.
    for (topic, bytes) in [("a", 1000), ("b", 900)] {
        client.create_topic(topic, 1);
        for _ in 0..BATCHES {
            client.produce(topic, RECORDS as usize, bytes, -1);
        }
    }
    for isolation_level in [0, 1] {
        let mut positions = [0, 0];
        while fetch(&mut client, &mut positions, isolation_level).is_continue() {}
        assert_eq!(positions, [BATCHES * RECORDS; 2], "isolation level {isolation_level}");
    }
}

#[test]
fn readers_at_the_end_get_every_record_in_order() {
    let node = TestNode::start();
    let mut client = node.client();
    let topics = [("a", 1000), ("b", 900)];
    for (topic, _) in topics {
        client.create_topic(topic, 1);
    }
    let mut positions = [0, 0];
    for round in 1..=BATCHES / 10 {
        while fetch(&mut client, &mut positions, 0).is_continue() {}
        for (topic, bytes) in topics {
            for n in 0..10 {
                // A few small ones among the large.
                client.produce(topic, RECORDS as usize, bytes >> (n % 4 * 3), -1);
            }
        }
        while fetch(&mut client, &mut positions, 1).is_continue() {}
        assert_eq!(positions, [round * 10 * RECORDS; 2], "round {round}");
    }
}

#[test]
fn more_partitions_than_are_read_at_once_come_from_closed_files() {
    const TOPICS: usize = 9;
    const BYTES: usize = 600_000;
    // Two batches do not fit into a segment.
    let mut node = TestNode::start_with(&[("log.segment.bytes", "1048576")]);
    let names: Vec<_> = (0..TOPICS).map(|n| format!("cold-{n}")).collect();
    let mut client = node.client();
    for name in &names {
        client.create_topic(name, 1);
        for _ in 0..2 {
            client.produce(name, 1, BYTES, -1);
        }
    }
    drop(client);
    node.restart();
    let topic = |name: &String| FetchTopic {
        topic: name.clone(),
        partitions: vec![FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() }],
        ..Default::default()
    };
    let topics = names.iter().map(topic).collect();
    let request =
        FetchRequest { replica_id: -1, max_bytes: 50 << 20, topics, ..Default::default() };
    let response: FetchResponse = node.client().call(ApiKey::Fetch, 4, &request);
    assert_eq!(response.responses.len(), TOPICS);
    for topic in &response.responses {
        let records = topic.partitions[0].records.as_ref().unwrap();
        let headers: Vec<_> = split_batches(records).map(|cut| cut.unwrap().1).collect();
        assert_eq!((headers.len(), headers[0].base_offset), (1, 0), "{}", topic.topic);
    }
}
