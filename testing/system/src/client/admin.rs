//! What only administrators ask: the quorum, topics that go, replicas that move, brokers that leave.
//!
//! Not here: what producers and readers ask (`client`).

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use protocol::ApiKey;
use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignableTopic,
};
use protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
    CreateTopicsResponse,
};
use protocol::messages::delete_topics::{
    DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, PartitionData, ResponsePartitionData, TopicData,
};
use protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopic,
};
use protocol::messages::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::{CREATE_TOPICS_VERSION, Client, only, refused};
use crate::wire::Connection;

const DESCRIBE_QUORUM_VERSION: i16 = 2;
const DELETE_TOPICS_VERSION: i16 = 6;
const REASSIGN_VERSION: i16 = 0;
const UNREGISTER_VERSION: i16 = 0;
const EPOCH_END_VERSION: i16 = 4;
const TIMEOUT_MS: i32 = 10_000;

/// What a node hears from the active controller about the quorum.
///
/// # Errors
/// If it hears nothing.
pub fn describe_quorum(at: SocketAddr) -> anyhow::Result<ResponsePartitionData> {
    let partitions = vec![PartitionData::default()];
    let topic_name = "__cluster_metadata".to_owned();
    let topics = vec![TopicData { topic_name, partitions, ..TopicData::default() }];
    let question = DescribeQuorumRequest { topics, ..DescribeQuorumRequest::default() };
    let mut connection = Connection::open(at)?;
    let answer: DescribeQuorumResponse =
        connection.ask(ApiKey::DescribeQuorum, DESCRIBE_QUORUM_VERSION, &question)?;
    let mut partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
    let found = partitions.next().context("no quorum is described")?;
    ensure!(found.error_code == 0, "the quorum is described with error {}", found.error_code);
    Ok(found)
}

impl Client {
    /// Creates a topic of one partition with its replicas on these brokers.
    ///
    /// # Errors
    /// [`super::Refused`], as all methods here.
    pub fn create_topic_on(
        &mut self,
        name: &str,
        brokers: &[u8],
        configs: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
            ..CreatableTopicConfig::default()
        });
        let assignment = CreatableReplicaAssignment {
            partition_index: 0,
            broker_ids: brokers.iter().copied().map(i32::from).collect(),
            ..CreatableReplicaAssignment::default()
        };
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: vec![assignment],
            configs: configs.collect(),
            ..CreatableTopic::default()
        };
        let question = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: TIMEOUT_MS,
            ..CreateTopicsRequest::default()
        };
        let answer: CreateTopicsResponse =
            self.connection.ask(ApiKey::CreateTopics, CREATE_TOPICS_VERSION, &question)?;
        refused("CreateTopics", only(&answer.topics)?.error_code)
    }

    /// Where a leader epoch ended, as a consumer asks that wants to know whether what it has read
    /// is still there.
    ///
    /// # Errors
    /// [`super::Refused`].
    pub fn end_of_epoch(&mut self, topic: &str, epoch: i32) -> anyhow::Result<i64> {
        let partition = OffsetForLeaderPartition {
            current_leader_epoch: -1,
            leader_epoch: epoch,
            ..OffsetForLeaderPartition::default()
        };
        let topic = OffsetForLeaderTopic {
            topic: topic.to_owned(),
            partitions: vec![partition],
            ..OffsetForLeaderTopic::default()
        };
        let question = OffsetForLeaderEpochRequest {
            replica_id: -1,
            topics: vec![topic],
            ..OffsetForLeaderEpochRequest::default()
        };
        let answer: OffsetForLeaderEpochResponse =
            self.connection.ask(ApiKey::OffsetForLeaderEpoch, EPOCH_END_VERSION, &question)?;
        let partition = only(&only(&answer.topics)?.partitions)?;
        refused("OffsetForLeaderEpoch", partition.error_code)?;
        Ok(partition.end_offset)
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// [`super::Refused`].
    pub fn delete_topic(&mut self, name: &str) -> anyhow::Result<()> {
        let topic = DeleteTopicState { name: Some(name.to_owned()), ..DeleteTopicState::default() };
        let question = DeleteTopicsRequest {
            topics: vec![topic],
            timeout_ms: TIMEOUT_MS,
            ..DeleteTopicsRequest::default()
        };
        let answer: DeleteTopicsResponse =
            self.connection.ask(ApiKey::DeleteTopics, DELETE_TOPICS_VERSION, &question)?;
        refused("DeleteTopics", only(&answer.responses)?.error_code)
    }

    /// Begins to move a partition to these brokers, the first of them its preferred leader.
    ///
    /// # Errors
    /// [`super::Refused`].
    pub fn reassign(&mut self, topic: &str, partition: i32, replicas: &[u8]) -> anyhow::Result<()> {
        let partition = ReassignablePartition {
            partition_index: partition,
            replicas: Some(replicas.iter().copied().map(i32::from).collect()),
            ..ReassignablePartition::default()
        };
        let topic = ReassignableTopic {
            name: topic.to_owned(),
            partitions: vec![partition],
            ..ReassignableTopic::default()
        };
        let question = AlterPartitionReassignmentsRequest {
            timeout_ms: TIMEOUT_MS,
            topics: vec![topic],
            ..AlterPartitionReassignmentsRequest::default()
        };
        let answer: AlterPartitionReassignmentsResponse = self.connection.ask(
            ApiKey::AlterPartitionReassignments,
            REASSIGN_VERSION,
            &question,
        )?;
        refused("AlterPartitionReassignments", answer.error_code)?;
        let code = only(&only(&answer.responses)?.partitions)?.error_code;
        refused("AlterPartitionReassignments", code)
    }

    /// Strikes a broker off that has gone for good.
    ///
    /// # Errors
    /// [`super::Refused`].
    pub fn unregister_broker(&mut self, id: u8) -> anyhow::Result<()> {
        let question = UnregisterBrokerRequest {
            broker_id: i32::from(id),
            ..UnregisterBrokerRequest::default()
        };
        let answer: UnregisterBrokerResponse =
            self.connection.ask(ApiKey::UnregisterBroker, UNREGISTER_VERSION, &question)?;
        refused("UnregisterBroker", answer.error_code)
    }
}
