//! Questions that the tests ask a node, one method each, and what counts as a good answer.
//!
//! Versions are the last that name topics instead of their ids, so that no state is kept. Not
//! here: several requests in flight (`load`).

pub mod admin;
pub mod groups;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use protocol::ApiKey;
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse,
};
use protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use protocol::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use types::{ErrorCode, ProducerId};

use crate::wire::Connection;

/// The last version that names topics instead of their ids.
pub const PRODUCE_VERSION: i16 = 12;
pub const FETCH_VERSION: i16 = 12;
const LIST_OFFSETS_VERSION: i16 = 8;
const OFFSET_COMMIT_VERSION: i16 = 9;
const OFFSET_FETCH_VERSION: i16 = 9;
const FIND_COORDINATOR_VERSION: i16 = 4;
const CREATE_TOPICS_VERSION: i16 = 7;
const INIT_PRODUCER_ID_VERSION: i16 = 4;
const METADATA_VERSION: i16 = 12;
const DELETE_RECORDS_VERSION: i16 = 2;
const ALTER_CONFIGS_VERSION: i16 = 1;
const DESCRIBE_CONFIGS_VERSION: i16 = 4;

/// What ListOffsets takes for the first and the next offset.
pub const EARLIEST: i64 = -2;
pub const LATEST: i64 = -1;
/// Kinds of resources that have settings.
pub const TOPIC_RESOURCE: i8 = 2;
pub const BROKER_RESOURCE: i8 = 4;
/// A coordinator that is still loading answers so much later at most.
const COORDINATOR_MAX: Duration = Duration::from_secs(10);
const COORDINATOR_PAUSE: Duration = Duration::from_millis(10);

/// A node that says no.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    pub what: &'static str,
    pub code: ErrorCode,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} is refused with {}", self.what, self.code.name())
    }
}

impl std::error::Error for Refused {}

/// One connection that asks one thing at a time.
#[derive(Debug)]
pub struct Client {
    pub connection: Connection,
    /// What reads say of the leader they mean; -1 where any will do.
    pub leader_epoch: i32,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If nothing listens there.
    pub fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { connection: Connection::open(address)?, leader_epoch: -1 })
    }

    /// Connects; whatever is asked is answered within `limit` or not at all.
    ///
    /// # Errors
    /// If nothing listens there.
    pub fn connect_within(address: SocketAddr, limit: Duration) -> anyhow::Result<Self> {
        Ok(Self { connection: Connection::open_within(address, limit)?, leader_epoch: -1 })
    }

    /// Creates a topic with one replica.
    ///
    /// # Errors
    /// [`Refused`], as all methods here.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        self.create_replicated_topic(name, partitions, 1, configs)
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// [`Refused`], as all methods here.
    pub fn create_replicated_topic(
        &mut self,
        name: &str,
        partitions: i32,
        replicas: i16,
        configs: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
            ..CreatableTopicConfig::default()
        });
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: replicas,
            configs: configs.collect(),
            ..CreatableTopic::default()
        };
        let question = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: 10_000,
            ..CreateTopicsRequest::default()
        };
        let answer: CreateTopicsResponse =
            self.connection.ask(ApiKey::CreateTopics, CREATE_TOPICS_VERSION, &question)?;
        refused("CreateTopics", only(&answer.topics)?.error_code)
    }

    /// What the node knows of all brokers and one topic, or all.
    pub fn metadata(&mut self, topic: Option<&str>) -> anyhow::Result<MetadataResponse> {
        let asked = topic.map(|name| {
            let name = Some(name.to_owned());
            vec![MetadataRequestTopic { name, ..MetadataRequestTopic::default() }]
        });
        let question = MetadataRequest {
            topics: asked,
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        self.connection.ask(ApiKey::Metadata, METADATA_VERSION, &question)
    }

    /// Names and partition counts of all topics, sorted.
    pub fn topics(&mut self) -> anyhow::Result<Vec<(String, usize)>> {
        let answer = self.metadata(None)?;
        let topics = answer.topics.into_iter();
        let mut topics: Vec<_> =
            topics.map(|topic| (topic.name.unwrap_or_default(), topic.partitions.len())).collect();
        topics.sort();
        Ok(topics)
    }

    /// An id for an idempotent producer, and its epoch.
    pub fn init_producer_id(&mut self) -> anyhow::Result<(ProducerId, i16)> {
        let question = InitProducerIdRequest {
            transaction_timeout_ms: 60_000,
            ..InitProducerIdRequest::default()
        };
        let answer: InitProducerIdResponse =
            self.connection.ask(ApiKey::InitProducerId, INIT_PRODUCER_ID_VERSION, &question)?;
        refused("InitProducerId", answer.error_code)?;
        Ok((ProducerId(answer.producer_id), answer.producer_epoch))
    }

    /// Appends a batch with acks=all; returns the offset of its first record.
    pub fn produce(&mut self, topic: &str, partition: i32, batch: Bytes) -> anyhow::Result<i64> {
        let question = produce_request(topic, partition, batch);
        self.connection.send(ApiKey::Produce, PRODUCE_VERSION, &question)?;
        produced(&mut self.connection)
    }

    /// Reads from one partition, as much as the node gives, without waiting for more.
    pub fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> anyhow::Result<PartitionData> {
        let mut question = fetch_request(topic, partition, offset);
        question.topics[0].partitions[0].current_leader_epoch = self.leader_epoch;
        let answer: FetchResponse = self.connection.ask(ApiKey::Fetch, FETCH_VERSION, &question)?;
        refused("Fetch", answer.error_code)?;
        let topic = answer.responses.into_iter().next().context("no topic in the answer")?;
        let partition = topic.partitions.into_iter().next().context("no partition")?;
        refused("Fetch", partition.error_code)?;
        Ok(partition)
    }

    /// The offset for a timestamp or for [`EARLIEST`] or [`LATEST`].
    pub fn list_offset(
        &mut self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> anyhow::Result<i64> {
        let partition = ListOffsetsPartition {
            partition_index: partition,
            current_leader_epoch: self.leader_epoch,
            timestamp,
            ..ListOffsetsPartition::default()
        };
        let topic = ListOffsetsTopic {
            name: topic.to_owned(),
            partitions: vec![partition],
            ..ListOffsetsTopic::default()
        };
        let question = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![topic],
            ..ListOffsetsRequest::default()
        };
        let answer: ListOffsetsResponse =
            self.connection.ask(ApiKey::ListOffsets, LIST_OFFSETS_VERSION, &question)?;
        let partition = only(&only(&answer.topics)?.partitions)?;
        refused("ListOffsets", partition.error_code)?;
        Ok(partition.offset)
    }

    /// Commits an offset for a group without members; waits while its coordinator loads.
    pub fn commit(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> anyhow::Result<()> {
        let partition = OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            committed_leader_epoch: -1,
            committed_metadata: Some(String::new()),
            ..OffsetCommitRequestPartition::default()
        };
        let topic = OffsetCommitRequestTopic {
            name: topic.to_owned(),
            partitions: vec![partition],
            ..OffsetCommitRequestTopic::default()
        };
        let question = OffsetCommitRequest {
            group_id: group.to_owned(),
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        };
        self.ask_coordinator(group, |client| {
            let connection = &mut client.connection;
            let answer: OffsetCommitResponse =
                connection.ask(ApiKey::OffsetCommit, OFFSET_COMMIT_VERSION, &question)?;
            let partition = only(&only(&answer.topics)?.partitions)?;
            refused("OffsetCommit", partition.error_code)
        })
    }

    /// The committed offset of a group, if there is one.
    pub fn committed(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
    ) -> anyhow::Result<Option<i64>> {
        let topic = OffsetFetchRequestTopics {
            name: topic.to_owned(),
            partition_indexes: vec![partition],
            ..OffsetFetchRequestTopics::default()
        };
        let asked = OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            topics: Some(vec![topic]),
            ..OffsetFetchRequestGroup::default()
        };
        let question = OffsetFetchRequest {
            groups: vec![asked],
            require_stable: true,
            ..OffsetFetchRequest::default()
        };
        self.ask_coordinator(group, |client| {
            let connection = &mut client.connection;
            let answer: OffsetFetchResponse =
                connection.ask(ApiKey::OffsetFetch, OFFSET_FETCH_VERSION, &question)?;
            let group = only(&answer.groups)?;
            refused("OffsetFetch", group.error_code)?;
            let partition = only(&only(&group.topics)?.partitions)?;
            refused("OffsetFetch", partition.error_code)?;
            Ok((partition.committed_offset >= 0).then_some(partition.committed_offset))
        })
    }

    /// Deletes what lies before `offset`; returns the new first offset.
    pub fn delete_records(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> anyhow::Result<i64> {
        let partition = DeleteRecordsPartition {
            partition_index: partition,
            offset,
            ..DeleteRecordsPartition::default()
        };
        let topic = DeleteRecordsTopic {
            name: topic.to_owned(),
            partitions: vec![partition],
            ..DeleteRecordsTopic::default()
        };
        let question = DeleteRecordsRequest {
            topics: vec![topic],
            timeout_ms: 10_000,
            ..DeleteRecordsRequest::default()
        };
        let answer: DeleteRecordsResponse =
            self.connection.ask(ApiKey::DeleteRecords, DELETE_RECORDS_VERSION, &question)?;
        let partition = only(&only(&answer.topics)?.partitions)?;
        refused("DeleteRecords", partition.error_code)?;
        Ok(partition.low_watermark)
    }

    /// Sets a dynamic config of a topic or broker (`""` is all brokers).
    pub fn set_config(
        &mut self,
        kind: i8,
        name: &str,
        key: &str,
        value: &str,
    ) -> anyhow::Result<()> {
        let config = AlterableConfig {
            name: key.to_owned(),
            value: Some(value.to_owned()),
            ..AlterableConfig::default()
        };
        let resource = AlterConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned(),
            configs: vec![config],
            ..AlterConfigsResource::default()
        };
        let question = IncrementalAlterConfigsRequest {
            resources: vec![resource],
            ..IncrementalAlterConfigsRequest::default()
        };
        let answer: IncrementalAlterConfigsResponse = self.connection.ask(
            ApiKey::IncrementalAlterConfigs,
            ALTER_CONFIGS_VERSION,
            &question,
        )?;
        refused("IncrementalAlterConfigs", only(&answer.responses)?.error_code)
    }

    /// One config of a topic or broker, as it acts.
    pub fn config(
        &mut self,
        kind: i8,
        name: &str,
        key: &str,
    ) -> anyhow::Result<DescribeConfigsResourceResult> {
        let resource = DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned(),
            configuration_keys: Some(vec![key.to_owned()]),
            ..DescribeConfigsResource::default()
        };
        let question = DescribeConfigsRequest {
            resources: vec![resource],
            ..DescribeConfigsRequest::default()
        };
        let answer: DescribeConfigsResponse =
            self.connection.ask(ApiKey::DescribeConfigs, DESCRIBE_CONFIGS_VERSION, &question)?;
        let result = only(&answer.results)?;
        refused("DescribeConfigs", result.error_code)?;
        Ok(only(&result.configs)?.clone())
    }

    /// Asks again while the coordinator is not ready, as every client does after a start. To look
    /// for a coordinator is what makes the topic of the offsets come into being.
    fn ask_coordinator<T>(
        &mut self,
        group: &str,
        ask: impl Fn(&mut Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let give_up = Instant::now() + COORDINATOR_MAX;
        loop {
            let answer = ask(self);
            let refused = answer.as_ref().err().and_then(|error| error.downcast_ref::<Refused>());
            let is_loading = refused.is_some_and(|refused| refused.code.is_retriable());
            if !is_loading || Instant::now() > give_up {
                return answer;
            }
            self.find_coordinator(group)?;
            thread::sleep(COORDINATOR_PAUSE);
        }
    }

    /// One node coordinates everything, so what it answers does not matter.
    fn find_coordinator(&mut self, group: &str) -> anyhow::Result<()> {
        let question = FindCoordinatorRequest {
            coordinator_keys: vec![group.to_owned()],
            ..FindCoordinatorRequest::default()
        };
        let _: FindCoordinatorResponse =
            self.connection.ask(ApiKey::FindCoordinator, FIND_COORDINATOR_VERSION, &question)?;
        Ok(())
    }
}

/// A Produce request with acks=all for one partition.
pub fn produce_request(topic: &str, partition: i32, batch: Bytes) -> ProduceRequest {
    let partition = PartitionProduceData {
        index: partition,
        records: Some(batch),
        ..PartitionProduceData::default()
    };
    let topic = TopicProduceData {
        name: topic.to_owned(),
        partition_data: vec![partition],
        ..TopicProduceData::default()
    };
    ProduceRequest {
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![topic],
        ..ProduceRequest::default()
    }
}

/// Takes the answer to a [`produce_request`]: the offset of its first record.
///
/// # Errors
/// [`Refused`], or that there is no answer.
pub fn produced(connection: &mut Connection) -> anyhow::Result<i64> {
    let answer: ProduceResponse = connection.receive(ApiKey::Produce, PRODUCE_VERSION)?;
    let partition = only(&only(&answer.responses)?.partition_responses)?;
    refused("Produce", partition.error_code)?;
    Ok(partition.base_offset)
}

/// A Fetch request without a session for one partition.
pub fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition {
        partition,
        fetch_offset: offset,
        current_leader_epoch: -1,
        partition_max_bytes: 8 << 20,
        ..FetchPartition::default()
    };
    let topic = FetchTopic {
        topic: topic.to_owned(),
        partitions: vec![partition],
        ..FetchTopic::default()
    };
    FetchRequest { max_bytes: 8 << 20, topics: vec![topic], ..FetchRequest::default() }
}

fn refused(what: &'static str, code: i16) -> anyhow::Result<()> {
    if code == 0 {
        return Ok(());
    }
    Err(Refused { what, code: ErrorCode::from_wire(code) }.into())
}

fn only<T>(rows: &[T]) -> anyhow::Result<&T> {
    let [row] = rows else { bail!("one thing asked, {} answered", rows.len()) };
    Ok(row)
}
