//! The producer against a scripted broker: order, numbers, repetitions, refusals.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::ApiKey;
use protocol::messages::init_producer_id::InitProducerIdResponse;
use protocol::messages::produce::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use records::BatchHeader;
use types::{ErrorCode, Uuid};

use super::*;
use crate::settings::ClientSettings;
use crate::testing::{Action, Request, Script, address_of, broker, run};

/// Producer id, first sequence number and records of each batch that came, in order.
type Seen = Arc<Mutex<Vec<(i64, i32, i32)>>>;

/// Every record its own batch, sent at once.
fn one_by_one() -> ProducerSettings {
    ProducerSettings { linger: Duration::ZERO, batch_bytes: 1, ..ProducerSettings::default() }
}

/// A broker that gives out the producer ids 100, 101, … and leaves Produce to `produce`.
fn script(
    seen: &Seen,
    mut produce: impl FnMut(&Request, BatchHeader) -> Vec<Action> + Send + 'static,
) -> Script {
    let seen = seen.clone();
    let mut next_id = 100;
    Box::new(move |request| match request.api {
        ApiKey::InitProducerId => {
            let producer_id = next_id;
            next_id += 1;
            let answer = InitProducerIdResponse { producer_id, ..Default::default() };
            vec![request.answer(&answer)]
        }
        ApiKey::Produce => {
            let message: ProduceRequest = request.read();
            let records = message.topic_data[0].partition_data[0].records.clone().unwrap();
            let header = BatchHeader::parse(&records).unwrap();
            let row = (header.producer_id, header.base_sequence, header.record_count);
            seen.lock().unwrap().push(row);
            produce(request, header)
        }
        other => panic!("{other} was not expected"),
    })
}

fn answer(request: &Request, code: ErrorCode, base_offset: i64) -> Action {
    request.answer(&response(code, base_offset))
}

fn response(code: ErrorCode, base_offset: i64) -> ProduceResponse {
    let partition = PartitionProduceResponse {
        error_code: code.to_wire(),
        base_offset,
        log_append_time_ms: -1,
        ..Default::default()
    };
    let topic = TopicProduceResponse {
        name: "t".to_owned(),
        topic_id: Uuid::from_bytes([7; 16]),
        partition_responses: vec![partition],
        ..Default::default()
    };
    ProduceResponse { responses: vec![topic], ..Default::default() }
}

fn record(value: &'static str) -> ProducerRecord {
    ProducerRecord::new("t", value)
}

#[test]
fn records_of_a_batch_get_consecutive_offsets() {
    run(async {
        let seen = Seen::default();
        let ok = |request: &Request, _| vec![answer(request, ErrorCode::None, 40)];
        let client = broker(script(&seen, ok)).await;
        let producer = client.producer(ProducerSettings::default());
        let first = producer.enqueue(record("a")).await.unwrap();
        let second = producer.enqueue(record("b")).await.unwrap();
        producer.flush().await.unwrap();
        assert_eq!(first.wait().await.unwrap().offset, 40);
        assert_eq!(second.wait().await.unwrap().offset, 41);
        assert_eq!(*seen.lock().unwrap(), [(100, 0, 2)]);
    });
}

/// The first batch is refused while the second is under way: both go again, in order, with the
/// numbers that they had.
#[test]
fn refused_batches_go_again_in_order_with_their_numbers() {
    run(async {
        let seen = Seen::default();
        let mut held: Option<Request> = None;
        let mut next_offset = 0;
        let mut has_refused = false;
        let produce = move |request: &Request, _| {
            if has_refused {
                next_offset += 1;
                return vec![answer(request, ErrorCode::None, next_offset - 1)];
            }
            let Some(first) = held.take() else {
                held = Some(request.clone());
                return Vec::new();
            };
            has_refused = true;
            vec![
                answer(&first, ErrorCode::NotLeaderOrFollower, -1),
                answer(request, ErrorCode::OutOfOrderSequenceNumber, -1),
            ]
        };
        let client = broker(script(&seen, produce)).await;
        let producer = client.producer(one_by_one());
        let first = producer.enqueue(record("a")).await.unwrap();
        let second = producer.enqueue(record("b")).await.unwrap();
        assert_eq!(first.wait().await.unwrap().offset, 0);
        assert_eq!(second.wait().await.unwrap().offset, 1);
        let rows = seen.lock().unwrap().clone();
        assert_eq!(rows, [(100, 0, 1), (100, 1, 1), (100, 0, 1), (100, 1, 1)]);
    });
}

#[test]
fn a_batch_whose_connection_is_lost_goes_again_with_its_number() {
    run(async {
        let seen = Seen::default();
        let mut tries = 0;
        let produce = move |request: &Request, _| {
            tries += 1;
            if tries == 1 { vec![Action::Close] } else { vec![answer(request, ErrorCode::None, 9)] }
        };
        let client = broker(script(&seen, produce)).await;
        let producer = client.producer(one_by_one());
        assert_eq!(producer.send(record("a")).await.unwrap().offset, 9);
        assert_eq!(*seen.lock().unwrap(), [(100, 0, 1), (100, 0, 1)]);
    });
}

#[test]
fn a_batch_that_is_refused_for_good_fails_alone_and_numbering_begins_anew() {
    run(async {
        let seen = Seen::default();
        let mut tries = 0;
        let produce = move |request: &Request, _| {
            tries += 1;
            let code = if tries == 2 { ErrorCode::MessageTooLarge } else { ErrorCode::None };
            vec![answer(request, code, 0)]
        };
        let client = broker(script(&seen, produce)).await;
        let producer = client.producer(one_by_one());
        producer.send(record("a")).await.unwrap();
        let refused = producer.send(record("b")).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::MessageTooLarge));
        producer.send(record("c")).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [(100, 0, 1), (100, 1, 1), (101, 0, 1)]);
    });
}

#[test]
fn a_repetition_that_the_broker_knows_is_a_success() {
    run(async {
        let seen = Seen::default();
        let known =
            |request: &Request, _| vec![answer(request, ErrorCode::DuplicateSequenceNumber, -1)];
        let client = broker(script(&seen, known)).await;
        let producer = client.producer(one_by_one());
        assert_eq!(producer.send(record("a")).await.unwrap().offset, -1);
    });
}

#[test]
fn records_that_wait_too_long_say_why() {
    run(async {
        let seen = Seen::default();
        let refuse = |request: &Request, _| vec![answer(request, ErrorCode::NotEnoughReplicas, -1)];
        let client = broker(script(&seen, refuse)).await;
        let delivery_timeout = Duration::from_millis(100);
        let producer = client.producer(ProducerSettings { delivery_timeout, ..one_by_one() });
        let error = producer.send(record("a")).await.unwrap_err();
        assert!(matches!(error, ClientError::DeliveryTimedOut { .. }), "{error}");
        assert!(error.to_string().contains("NOT_ENOUGH_REPLICAS"), "{error}");
    });
}

#[test]
fn a_record_beyond_the_limit_is_not_taken() {
    run(async {
        let client = broker(script(&Seen::default(), |_, _| Vec::new())).await;
        let settings = ProducerSettings { request_bytes_max: 1000, ..one_by_one() };
        let producer = client.producer(settings);
        let big = ProducerRecord::new("t", vec![0; 1000]);
        let error = producer.enqueue(big).await.unwrap_err();
        assert!(matches!(error, ClientError::RecordTooLarge { limit: 1000, .. }), "{error}");
    });
}

#[test]
fn without_acks_nothing_is_waited_for_and_nothing_numbered() {
    run(async {
        let seen = Seen::default();
        let client = broker(script(&seen, |_, _| Vec::new())).await;
        let producer = client.producer(ProducerSettings { acks: Acks::None, ..one_by_one() });
        assert_eq!(producer.send(record("a")).await.unwrap().offset, -1);
        while seen.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(*seen.lock().unwrap(), [(-1, -1, 1)]);
    });
}

#[test]
fn dropping_the_producer_still_sends_what_was_enqueued() {
    run(async {
        let seen = Seen::default();
        let ok = |request: &Request, _| vec![answer(request, ErrorCode::None, 3)];
        let client = broker(script(&seen, ok)).await;
        let settings = ProducerSettings { linger: Duration::from_secs(3600), ..one_by_one() };
        let settings = ProducerSettings { batch_bytes: 1000, ..settings };
        let producer = client.producer(settings);
        let delivery = producer.enqueue(record("a")).await.unwrap();
        drop(producer);
        assert_eq!(delivery.wait().await.unwrap().offset, 3);
    });
}

/// Pauses that double are for what passes slowly; a leader is elected soon.
#[test]
fn a_batch_goes_again_soon_where_the_leader_has_gone() {
    run(async {
        let seen = Seen::default();
        let mut tries = 0;
        let produce = move |request: &Request, _| {
            tries += 1;
            let code = if tries <= 3 { ErrorCode::NotLeaderOrFollower } else { ErrorCode::None };
            vec![answer(request, code, 9)]
        };
        let settings = broker(script(&seen, produce)).await.settings().clone();
        let hour = Duration::from_secs(3600);
        let client =
            Client::new(ClientSettings { retry_pause: hour, retry_pause_max: hour, ..settings });
        let producer = client.producer(one_by_one());
        assert_eq!(producer.send(record("a")).await.unwrap().offset, 9);
    });
}

/// The metadata names the broker that refuses, again and again; only the refusal knows better.
#[test]
fn a_refused_batch_goes_to_the_leader_that_the_refusal_names() {
    run(async {
        let (refused, taken) = (Seen::default(), Seen::default());
        let ok = |request: &Request, _| vec![answer(request, ErrorCode::None, 9)];
        let leader = address_of(&broker(script(&taken, ok)).await);
        let moved = move |request: &Request, _| {
            let mut response = response(ErrorCode::NotLeaderOrFollower, -1);
            response.responses[0].partition_responses[0].current_leader =
                LeaderIdAndEpoch { leader_id: 2, leader_epoch: 1, ..Default::default() };
            response.node_endpoints = vec![NodeEndpoint {
                node_id: 2,
                host: leader.0.clone(),
                port: leader.1.into(),
                ..Default::default()
            }];
            vec![request.answer(&response)]
        };
        let client = broker(script(&refused, moved)).await;
        let producer = client.producer(one_by_one());
        assert_eq!(producer.send(record("a")).await.unwrap().offset, 9);
        assert_eq!(*refused.lock().unwrap(), [(100, 0, 1)]);
        assert_eq!(*taken.lock().unwrap(), [(100, 0, 1)]);
    });
}
