//! Ids of producers, and what partitions remember of them.

use std::collections::BTreeSet;

use protocol::ApiKey;
use protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, TopicRequest,
};
use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use types::ErrorCode;

use crate::client::{Client, TestNode, eventually};

fn init(client: &mut Client, request: &InitProducerIdRequest) -> (ErrorCode, i64, i16) {
    let response: InitProducerIdResponse = client.call(ApiKey::InitProducerId, 4, request);
    let code = ErrorCode::from_wire(response.error_code);
    (code, response.producer_id, response.producer_epoch)
}

#[test]
fn no_id_is_given_twice_not_even_after_a_restart() {
    let mut node = TestNode::start();
    let mut seen = BTreeSet::new();
    for round in 0..2 {
        for _ in 0..4 {
            // Connections are spread over the shards.
            let mut client = node.client();
            for _ in 0..300 {
                let (code, id, epoch) = init(&mut client, &InitProducerIdRequest::default());
                assert_eq!((code, epoch), (ErrorCode::None, 0));
                assert!(seen.insert(id), "{id} in round {round}");
            }
        }
        node.restart();
    }
}

#[test]
fn producers_that_get_no_id_learn_why() {
    let node = TestNode::start();
    let mut client = node.client();
    let request = |transactional_id: Option<&str>, producer_id, producer_epoch| {
        let transactional_id = transactional_id.map(str::to_owned);
        InitProducerIdRequest {
            transactional_id,
            producer_id,
            producer_epoch,
            ..Default::default()
        }
    };
    let cases = [
        (request(None, 5, -1), ErrorCode::InvalidRequest),
        (request(None, -1, 5), ErrorCode::InvalidRequest),
        (request(Some(""), -1, -1), ErrorCode::InvalidRequest),
        (request(Some("x"), -1, -1), ErrorCode::CoordinatorNotAvailable),
    ];
    for (request, code) in cases {
        assert_eq!(init(&mut client, &request), (code, -1, -1), "{request:?}");
    }
}

/// The producers of a partition.
fn describe(client: &mut Client, name: &str, index: i32) -> PartitionResponse {
    let topic = TopicRequest {
        name: name.to_owned(),
        partition_indexes: vec![index],
        ..Default::default()
    };
    let request = DescribeProducersRequest { topics: vec![topic], ..Default::default() };
    let response: DescribeProducersResponse = client.call(ApiKey::DescribeProducers, 0, &request);
    response.topics[0].partitions[0].clone()
}

#[test]
fn producers_are_forgotten_as_often_as_they_are_looked_for() {
    let node = TestNode::start_with(&[
        ("producer.id.expiration.ms", "1"),
        ("producer.id.expiration.check.interval.ms", "1"),
        ("log.retention.check.interval.ms", "3600000"),
    ]);
    let mut client = node.client();
    client.create_topic("t", 1);
    client.produce("t", 3, 1, 42);
    eventually("the producer is forgotten", || {
        describe(&mut client, "t", 0).active_producers.is_empty().then_some(())
    });
}

#[test]
fn partitions_tell_their_producers() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    client.produce("t", 3, 1, -1);
    client.produce("t", 3, 1, 42);
    let mut describe = |name, index| describe(&mut client, name, index);
    let partition = describe("t", 0);
    let [producer] = &partition.active_producers[..] else { panic!("{partition:?}") };
    assert_eq!((producer.producer_id, producer.producer_epoch), (42, 0));
    assert_eq!((producer.last_sequence, producer.current_txn_start_offset), (2, -1));
    for (name, index, code) in [
        ("t", 1, ErrorCode::UnknownTopicOrPartition),
        ("nope", 0, ErrorCode::UnknownTopicOrPartition),
        ("?", 0, ErrorCode::InvalidTopicException),
    ] {
        assert_eq!(describe(name, index).error_code, code.to_wire(), "{name} {index}");
    }
}
