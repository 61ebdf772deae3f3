//! The node under attack, and the good client that must be served all the while.

use std::cell::Cell;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use protocol::ApiKey;
use protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::messages::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::messages::produce::{PartitionProduceResponse, ProduceResponse};
use records::{BatchBuilder, Compression};
use types::ErrorCode;

use super::wire::Connection;
use crate::client::produce_request;

/// Where the good client appends, and where every batch that lies is aimed at.
pub(super) const TOPIC: &str = "hostile-target";
/// Where batches go that a node may accept.
pub(super) const BOMBS_TOPIC: &str = "hostile-bombs";
/// The last version that names topics instead of their ids.
const PRODUCE_VERSION: i16 = 12;
/// How often a new topic is tried before its leader must be there.
const LEADER_TRIES: usize = 100;
const LEADER_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Target {
    /// What is attacked: a listener for clients, or one of the controller.
    pub address: SocketAddr,
    /// Where the good client connects.
    clients: SocketAddr,
    /// What the node says it serves: API, first and last version.
    pub served: Vec<(ApiKey, i16, i16)>,
    next_offset: Cell<i64>,
}

impl Target {
    /// Learns what the node serves at `address` and makes the topics by way of `clients`.
    pub(super) fn prepare(address: SocketAddr, clients: SocketAddr) -> anyhow::Result<Self> {
        let mut connection = Connection::open(address)?;
        let question = ApiVersionsRequest::default();
        let versions: ApiVersionsResponse = connection.ask(ApiKey::ApiVersions, 0, &question)?;
        let served = versions.api_keys.iter().filter_map(|row| {
            Some((ApiKey::from_wire(row.api_key)?, row.min_version, row.max_version))
        });
        let target = Self { address, clients, served: served.collect(), next_offset: Cell::new(0) };
        for topic in [TOPIC, BOMBS_TOPIC] {
            let error = target.create_topic(topic)?;
            let exists = ErrorCode::TopicAlreadyExists.to_wire();
            ensure!(error == 0 || error == exists, "{topic} cannot be created: error {error}");
        }
        let first = target.wait_for_leader()?;
        target.next_offset.set(first + 1);
        Ok(target)
    }

    pub(super) fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.address)
    }

    /// A connection to where clients connect.
    fn connect_as_client(&self) -> anyhow::Result<Connection> {
        Connection::open(self.clients)
    }

    /// The versions that the node serves of this API.
    pub(super) fn versions_of(&self, api: ApiKey) -> Option<(i16, i16)> {
        let row = self.served.iter().find(|(served, ..)| *served == api);
        row.map(|&(_, first, last)| (first, last))
    }

    /// Tries to create a topic of one partition; returns the error code.
    pub(super) fn create_topic(&self, name: &str) -> anyhow::Result<i16> {
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let question = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: 10_000,
            ..CreateTopicsRequest::default()
        };
        let answer: CreateTopicsResponse =
            self.connect_as_client()?.ask(ApiKey::CreateTopics, 7, &question)?;
        let [topic] = &answer.topics[..] else { bail!("one topic asked, not one answered") };
        Ok(topic.error_code)
    }

    /// Sends a batch to partition 0 of a topic with `acks=all`.
    pub(super) fn produce(
        &self,
        topic: &str,
        records: Bytes,
    ) -> anyhow::Result<PartitionProduceResponse> {
        let question = produce_request(topic, 0, records);
        let answer: ProduceResponse =
            self.connect_as_client()?.ask(ApiKey::Produce, PRODUCE_VERSION, &question)?;
        let partition = answer.responses.into_iter().flat_map(|topic| topic.partition_responses);
        partition.last().context("the partition is not answered")
    }

    /// Demands that the node appends a good record right behind the last good one.
    pub(super) fn serve_good_client(&self) -> anyhow::Result<()> {
        let answer = self.produce(TOPIC, good_batch()).context("the good client is not served")?;
        ensure!(answer.error_code == 0, "the good client gets error {}", answer.error_code);
        let expected = self.next_offset.replace(answer.base_offset + 1);
        ensure!(
            answer.base_offset == expected,
            "something entered the log: offset {} where {expected} is next",
            answer.base_offset
        );
        Ok(())
    }

    /// Demands that the controller decides something, if need be once it is elected again.
    pub(super) fn decide(&self, topic: &str) -> anyhow::Result<()> {
        let mut error = 0;
        for _ in 0..LEADER_TRIES {
            error = self.create_topic(topic)?;
            if error == 0 || error == ErrorCode::TopicAlreadyExists.to_wire() {
                return Ok(());
            }
            thread::sleep(LEADER_PAUSE);
        }
        bail!("no topic can be made: error {error}")
    }

    fn wait_for_leader(&self) -> anyhow::Result<i64> {
        let mut error_code = 0;
        for _ in 0..LEADER_TRIES {
            let answer = self.produce(TOPIC, good_batch())?;
            if answer.error_code == 0 {
                return Ok(answer.base_offset);
            }
            error_code = answer.error_code;
            thread::sleep(LEADER_PAUSE);
        }
        bail!("{TOPIC} gets no leader: error {error_code}")
    }
}

/// A batch of one record that nothing is wrong with.
pub(super) fn good_batch() -> Bytes {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(1_700_000_000_000, Some(b"key"), Some(b"value"), &[]);
    batch.build()
}
