//! What reading a request and writing an answer cost: the three APIs that carry the load.
//!
//! `cargo bench -p thalweg-protocol`. Requests are read as the node does it, in views over the frame;
//! answers are written into one buffer of the right size. Record bytes are shared, not copied.

use bytes::Bytes;
use divan::{Bencher, black_box};
use thalweg_protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData,
};
use thalweg_protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use thalweg_protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData, TopicProduceResponse,
};
use thalweg_protocol::views::fetch::FetchRequestView;
use thalweg_protocol::views::metadata::MetadataRequestView;
use thalweg_protocol::views::produce::ProduceRequestView;
use thalweg_protocol::{Message, View};
use types::Uuid;

const PRODUCE: i16 = 13;
const FETCH: i16 = 17;
const METADATA: i16 = 13;
/// Partitions in one request.
const PARTITIONS: [i32; 3] = [1, 12, 100];

fn main() {
    divan::main();
}

fn topic_id() -> Uuid {
    Uuid::from_random([7; 16])
}

fn records(bytes: usize) -> Option<Bytes> {
    Some(Bytes::from(vec![7; bytes]))
}

#[divan::bench(args = PARTITIONS)]
fn produce_request_decode(bencher: Bencher, partitions: i32) {
    let data = (0..partitions).map(|index| PartitionProduceData {
        index,
        records: records(1024),
        ..PartitionProduceData::default()
    });
    let topic = TopicProduceData {
        topic_id: topic_id(),
        partition_data: data.collect(),
        ..TopicProduceData::default()
    };
    let request = ProduceRequest { acks: -1, topic_data: vec![topic], ..ProduceRequest::default() };
    let frame = request.to_bytes(PRODUCE).expect("the version exists");
    bencher.bench(|| drop(ProduceRequestView::from_bytes(black_box(&frame), PRODUCE)));
}

#[divan::bench(args = PARTITIONS)]
fn fetch_request_decode(bencher: Bencher, partitions: i32) {
    let asked = (0..partitions).map(|partition| FetchPartition {
        partition,
        fetch_offset: 1 << 40,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    });
    let topic =
        FetchTopic { topic_id: topic_id(), partitions: asked.collect(), ..FetchTopic::default() };
    let request = FetchRequest { topics: vec![topic], ..FetchRequest::default() };
    let frame = request.to_bytes(FETCH).expect("the version exists");
    bencher.bench(|| drop(FetchRequestView::from_bytes(black_box(&frame), FETCH)));
}

/// Of so many topics.
#[divan::bench(args = [1, 100])]
fn metadata_request_decode(bencher: Bencher, topics: i32) {
    let asked = (0..topics).map(|at| MetadataRequestTopic {
        name: Some(format!("orders-of-region-{at:03}")),
        ..MetadataRequestTopic::default()
    });
    let request = MetadataRequest { topics: Some(asked.collect()), ..MetadataRequest::default() };
    let frame = request.to_bytes(METADATA).expect("the version exists");
    bencher.bench(|| drop(MetadataRequestView::from_bytes(black_box(&frame), METADATA)));
}

#[divan::bench(args = PARTITIONS)]
fn produce_response_encode(bencher: Bencher, partitions: i32) {
    let answers = (0..partitions).map(|index| PartitionProduceResponse {
        index,
        base_offset: 1 << 40,
        log_start_offset: 0,
        ..PartitionProduceResponse::default()
    });
    let topic = TopicProduceResponse {
        topic_id: topic_id(),
        partition_responses: answers.collect(),
        ..TopicProduceResponse::default()
    };
    let response = ProduceResponse { responses: vec![topic], ..ProduceResponse::default() };
    bencher.bench(|| black_box(&response).to_bytes(PRODUCE).expect("the version exists"));
}

/// With 16 KiB of records for each partition, which are copied into the buffer.
#[divan::bench(args = PARTITIONS)]
fn fetch_response_encode(bencher: Bencher, partitions: i32) {
    let answers = (0..partitions).map(|partition_index| PartitionData {
        partition_index,
        high_watermark: 1 << 40,
        last_stable_offset: 1 << 40,
        records: records(16 << 10),
        ..PartitionData::default()
    });
    let topic = FetchableTopicResponse {
        topic_id: topic_id(),
        partitions: answers.collect(),
        ..FetchableTopicResponse::default()
    };
    let response = FetchResponse { responses: vec![topic], ..FetchResponse::default() };
    bencher.bench(|| black_box(&response).to_bytes(FETCH).expect("the version exists"));
}

/// Three brokers, topics of twelve partitions with three replicas.
#[divan::bench(args = [1, 100])]
fn metadata_response_encode(bencher: Bencher, topics: i32) {
    let partitions = (0..12).map(|partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: 1 + partition_index % 3,
        leader_epoch: 5,
        replica_nodes: vec![1, 2, 3],
        isr_nodes: vec![1, 2, 3],
        ..MetadataResponsePartition::default()
    });
    let partitions: Vec<_> = partitions.collect();
    let topics = (0..topics).map(|at| MetadataResponseTopic {
        name: Some(format!("orders-of-region-{at:03}")),
        topic_id: topic_id(),
        partitions: partitions.clone(),
        ..MetadataResponseTopic::default()
    });
    let brokers = (1..=3).map(|node_id| MetadataResponseBroker {
        node_id,
        host: format!("broker-{node_id}.example.org"),
        port: 9092,
        ..MetadataResponseBroker::default()
    });
    let response = MetadataResponse {
        brokers: brokers.collect(),
        topics: topics.collect(),
        ..MetadataResponse::default()
    };
    bencher.bench(|| black_box(&response).to_bytes(METADATA).expect("the version exists"));
}
