//! A static member of a classic group that commits, and follows the group to another coordinator.
//!
//! Not here: commits without members (`client`).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use protocol::ApiKey;
use protocol::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use protocol::messages::sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};

use super::{Client, FIND_COORDINATOR_VERSION, OFFSET_COMMIT_VERSION, only, refused};
use crate::wire::Connection;

const JOIN_GROUP_VERSION: i16 = 7;
const SYNC_GROUP_VERSION: i16 = 5;
/// Longer than any coordinator takes to be replaced.
const SESSION_MS: i32 = 120_000;
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What the coordinator gave a member when it joined.
#[derive(Debug)]
pub struct Membership {
    group: String,
    instance: String,
    topic: String,
    member: String,
    generation: i32,
}

impl Membership {
    /// Joins a group as its only member.
    ///
    /// # Errors
    /// [`super::Refused`], as all methods here.
    pub fn join(at: SocketAddr, group: &str, instance: &str, topic: &str) -> anyhow::Result<Self> {
        let mut connection = Connection::open(at)?;
        let protocol = JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"any"),
            ..JoinGroupRequestProtocol::default()
        };
        let question = JoinGroupRequest {
            group_id: group.to_owned(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: SESSION_MS,
            group_instance_id: Some(instance.to_owned()),
            protocol_type: "consumer".to_owned(),
            protocols: vec![protocol],
            ..JoinGroupRequest::default()
        };
        let joined: JoinGroupResponse =
            connection.ask(ApiKey::JoinGroup, JOIN_GROUP_VERSION, &question)?;
        refused("JoinGroup", joined.error_code)?;
        let membership = Self {
            group: group.to_owned(),
            instance: instance.to_owned(),
            topic: topic.to_owned(),
            member: joined.member_id,
            generation: joined.generation_id,
        };
        membership.sync(&mut connection)?;
        Ok(membership)
    }

    fn sync(&self, connection: &mut Connection) -> anyhow::Result<()> {
        let assignment = SyncGroupRequestAssignment {
            member_id: self.member.clone(),
            assignment: Bytes::from_static(b"all"),
            ..SyncGroupRequestAssignment::default()
        };
        let question = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member.clone(),
            group_instance_id: Some(self.instance.clone()),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments: vec![assignment],
            ..SyncGroupRequest::default()
        };
        let synced: SyncGroupResponse =
            connection.ask(ApiKey::SyncGroup, SYNC_GROUP_VERSION, &question)?;
        refused("SyncGroup", synced.error_code)
    }

    /// The node that coordinates a group, as another says.
    ///
    /// # Errors
    /// If nobody does.
    pub fn find_coordinator(at: SocketAddr, group: &str) -> anyhow::Result<u8> {
        let question = FindCoordinatorRequest {
            coordinator_keys: vec![group.to_owned()],
            ..FindCoordinatorRequest::default()
        };
        let mut connection = Connection::open_within(at, ANSWER_MAX)?;
        let answer: FindCoordinatorResponse =
            connection.ask(ApiKey::FindCoordinator, FIND_COORDINATOR_VERSION, &question)?;
        let found = only(&answer.coordinators)?;
        refused("FindCoordinator", found.error_code)?;
        Ok(u8::try_from(found.node_id)?)
    }

    /// Commits an offset of partition 0.
    ///
    /// # Errors
    /// [`super::Refused`].
    pub fn commit(&self, at: SocketAddr, offset: i64) -> anyhow::Result<()> {
        let mut connection = Connection::open_within(at, ANSWER_MAX)?;
        let question = self.commit_request(offset);
        let answer: OffsetCommitResponse =
            connection.ask(ApiKey::OffsetCommit, OFFSET_COMMIT_VERSION, &question)?;
        refused("OffsetCommit", only(&only(&answer.topics)?.partitions)?.error_code)
    }

    /// The same without waiting for the answer.
    ///
    /// # Errors
    /// If there is no connection.
    pub fn send_commit(&self, at: SocketAddr, offset: i64) -> anyhow::Result<()> {
        let mut connection = Connection::open_within(at, ANSWER_MAX)?;
        connection.send(ApiKey::OffsetCommit, OFFSET_COMMIT_VERSION, &self.commit_request(offset))
    }

    /// What is committed, as the coordinator says once it has loaded the group.
    ///
    /// # Errors
    /// [`super::Refused`].
    pub fn committed(&self, at: SocketAddr) -> anyhow::Result<Option<i64>> {
        Client::connect_within(at, ANSWER_MAX)?.committed(&self.group, &self.topic, 0)
    }

    fn commit_request(&self, offset: i64) -> OffsetCommitRequest {
        let partition = OffsetCommitRequestPartition {
            committed_offset: offset,
            committed_leader_epoch: -1,
            ..OffsetCommitRequestPartition::default()
        };
        let topic = OffsetCommitRequestTopic {
            name: self.topic.clone(),
            partitions: vec![partition],
            ..OffsetCommitRequestTopic::default()
        };
        OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.member.clone(),
            group_instance_id: Some(self.instance.clone()),
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        }
    }
}
