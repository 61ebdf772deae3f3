//! The cluster itself: brokers, quorum, feature levels, disks.

use std::ops::RangeInclusive;

use protocol::ApiKey;
use protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use protocol::messages::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, PartitionData, ReplicaState, TopicData,
};
use protocol::messages::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use protocol::messages::update_features::{
    FeatureUpdateKey, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use types::{TopicPartition, Uuid};

use super::{Admin, CHANGE_TIMEOUT_MS};
use crate::cluster::Lane;
use crate::error::ClientError;
use crate::metadata::Broker;

/// The cluster and its brokers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterDescription {
    /// `cluster.id`.
    pub id: String,
    /// A broker that takes requests for the controller; -1 where there is none.
    pub controller: i32,
    /// The brokers, by id.
    pub brokers: Vec<Broker>,
}

/// The metadata quorum.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QuorumDescription {
    /// Node id of the leader; -1 where there is none.
    pub leader: i32,
    /// Its epoch.
    pub leader_epoch: i32,
    /// Up to where the metadata log is committed.
    pub high_watermark: i64,
    /// The nodes that vote.
    pub voters: Vec<QuorumReplica>,
    /// The nodes that follow.
    pub observers: Vec<QuorumReplica>,
    /// Where each voter listens for controllers; empty where the cluster is too old to tell.
    pub endpoints: Vec<QuorumEndpoint>,
}

/// Where a voter of the metadata quorum listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QuorumEndpoint {
    /// Node id.
    pub id: i32,
    /// Name of the listener.
    pub listener: String,
    /// Host to connect to.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
}

/// A node's copy of the metadata log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QuorumReplica {
    /// Node id.
    pub id: i32,
    /// Id of the directory that it lies in; zero where unknown.
    pub directory: Uuid,
    /// Its end.
    pub log_end_offset: i64,
    /// Milliseconds since 1970 when it last fetched; -1 where unknown.
    pub last_fetch_ms: i64,
    /// Milliseconds since 1970 when it last had everything; -1 where unknown.
    pub last_caught_up_ms: i64,
}

/// A feature of the cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FeatureLevel {
    /// Its name, such as `metadata.version`.
    pub name: String,
    /// Lowest level that the broker supports.
    pub supported_min: i16,
    /// Highest level that the broker supports.
    pub supported_max: i16,
    /// Level in force; 0 means off.
    pub finalized: i16,
}

/// How a feature level may move.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UpgradeType {
    /// Only up.
    Upgrade,
    /// Down where nothing is lost.
    SafeDowngrade,
    /// Down even where metadata is lost.
    UnsafeDowngrade,
}

/// A log directory of a broker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogDir {
    /// The broker.
    pub broker: i32,
    /// Its path there.
    pub path: String,
    /// Bytes of the volume; -1 where the broker does not tell.
    pub total_bytes: i64,
    /// Bytes that are free; -1 where the broker does not tell.
    pub usable_bytes: i64,
    /// Why it is offline, if it is.
    pub error: Option<types::ErrorCode>,
    /// The partitions in it.
    pub replicas: Vec<LogDirReplica>,
}

/// A partition in a log directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogDirReplica {
    /// The partition.
    pub partition: TopicPartition,
    /// Bytes of its segments.
    pub bytes: i64,
    /// Records that it lacks.
    pub offset_lag: i64,
    /// Whether it is being moved here from another directory.
    pub is_future: bool,
}

impl Admin {
    /// The cluster and its brokers.
    ///
    /// # Errors
    /// Whatever keeps the cluster away.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, ClientError> {
        self.ask_cluster(0..=2, &DescribeClusterRequest::default()).await
    }

    /// The cluster and all brokers that are registered, those that do not run among them.
    ///
    /// # Errors
    /// Whatever keeps the cluster away, or that it is older than Kafka 4.0.
    pub async fn describe_registered(&self) -> Result<ClusterDescription, ClientError> {
        let include_fenced_brokers = true;
        let request = DescribeClusterRequest { include_fenced_brokers, ..Default::default() };
        self.ask_cluster(2..=2, &request).await
    }

    /// The controllers, where the client's bootstrap servers are controllers, too.
    ///
    /// # Errors
    /// `MISMATCHED_ENDPOINT_TYPE` where a broker was asked, and whatever keeps them away.
    pub async fn describe_controllers(&self) -> Result<Vec<Broker>, ClientError> {
        const CONTROLLERS: i8 = 2;
        let request = DescribeClusterRequest { endpoint_type: CONTROLLERS, ..Default::default() };
        Ok(self.ask_cluster(1..=2, &request).await?.brokers)
    }

    /// Forgets a broker that does not run.
    ///
    /// # Errors
    /// `BROKER_ID_NOT_REGISTERED` where there is none of this id.
    pub async fn unregister_broker(&self, id: i32) -> Result<(), ClientError> {
        let api = ApiKey::UnregisterBroker;
        let request = UnregisterBrokerRequest { broker_id: id, ..Default::default() };
        let code = |answer: &UnregisterBrokerResponse| Some(answer.error_code);
        let answer = self.call_controller(None, (api, 0..=0), &request, code).await?;
        let subject = || format!("broker {id}");
        ClientError::check(api, subject, answer.error_code, answer.error_message.as_ref())
    }

    async fn ask_cluster(
        &self,
        versions: RangeInclusive<i16>,
        request: &DescribeClusterRequest,
    ) -> Result<ClusterDescription, ClientError> {
        let api = ApiKey::DescribeCluster;
        let answer: DescribeClusterResponse = self.client.call_any(api, versions, request).await?;
        let message = answer.error_message.as_ref();
        ClientError::check(api, String::new, answer.error_code, message)?;
        let brokers = answer.brokers.into_iter().filter_map(|broker| {
            let port = u16::try_from(broker.port).ok()?;
            Some(Broker { id: broker.broker_id, host: broker.host, port, rack: broker.rack })
        });
        let mut brokers: Vec<_> = brokers.collect();
        brokers.sort_by_key(|broker| broker.id);
        Ok(ClusterDescription { id: answer.cluster_id, controller: answer.controller_id, brokers })
    }

    /// The metadata quorum.
    ///
    /// # Errors
    /// Whatever keeps the cluster away.
    pub async fn describe_quorum(&self) -> Result<QuorumDescription, ClientError> {
        let api = ApiKey::DescribeQuorum;
        let topic = TopicData {
            topic_name: "__cluster_metadata".to_owned(),
            partitions: vec![PartitionData::default()],
            ..TopicData::default()
        };
        let request =
            DescribeQuorumRequest { topics: vec![topic], ..DescribeQuorumRequest::default() };
        let answer: DescribeQuorumResponse = self.client.call_any(api, 0..=2, &request).await?;
        let message = answer.error_message.as_ref();
        ClientError::check(api, String::new, answer.error_code, message)?;
        let partition = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let Some(found) = partition else {
            return Err(ClientError::Invalid("the answer names no quorum".to_owned()));
        };
        ClientError::check(api, String::new, found.error_code, found.error_message.as_ref())?;
        let endpoints = answer.nodes.into_iter().flat_map(|node| {
            node.listeners.into_iter().map(move |one| QuorumEndpoint {
                id: node.node_id,
                listener: one.name,
                host: one.host,
                port: one.port,
            })
        });
        Ok(QuorumDescription {
            leader: found.leader_id,
            leader_epoch: found.leader_epoch,
            high_watermark: found.high_watermark,
            voters: found.current_voters.into_iter().map(replica).collect(),
            observers: found.observers.into_iter().map(replica).collect(),
            endpoints: endpoints.collect(),
        })
    }

    /// The features that a broker supports and the levels in force, by name.
    ///
    /// # Errors
    /// Whatever keeps the cluster away.
    pub async fn features(&self) -> Result<Vec<FeatureLevel>, ClientError> {
        let api = ApiKey::ApiVersions;
        let request = ApiVersionsRequest {
            client_software_name: "thalweg-client".to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ApiVersionsRequest::default()
        };
        let answer: ApiVersionsResponse = self.client.call_any(api, 3..=4, &request).await?;
        ClientError::check(api, String::new, answer.error_code, None)?;
        let finalized = answer.finalized_features;
        let level = |name: &str| finalized.iter().find(|feature| feature.name == name);
        let features = answer.supported_features.into_iter().map(|feature| FeatureLevel {
            finalized: level(&feature.name).map_or(0, |level| level.max_version_level),
            name: feature.name,
            supported_min: feature.min_version,
            supported_max: feature.max_version,
        });
        let mut features: Vec<_> = features.collect();
        features.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(features)
    }

    /// Moves features to other levels; level 0 turns one off.
    ///
    /// # Errors
    /// `INVALID_UPDATE_VERSION` and `FEATURE_UPDATE_FAILED` say which cannot go there.
    pub async fn update_features(
        &self,
        levels: &[(String, i16)],
        how: UpgradeType,
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let upgrade_type = match how {
            UpgradeType::Upgrade => 1,
            UpgradeType::SafeDowngrade => 2,
            UpgradeType::UnsafeDowngrade => 3,
        };
        let update = |(name, level): &(String, i16)| FeatureUpdateKey {
            feature: name.clone(),
            max_version_level: *level,
            upgrade_type,
            ..FeatureUpdateKey::default()
        };
        let request = UpdateFeaturesRequest {
            timeout_ms: CHANGE_TIMEOUT_MS,
            feature_updates: levels.iter().map(update).collect(),
            validate_only,
            ..UpdateFeaturesRequest::default()
        };
        let api = ApiKey::UpdateFeatures;
        let code = |answer: &UpdateFeaturesResponse| Some(answer.error_code);
        let answer = self.call_controller(None, (api, 1..=2), &request, code).await?;
        for result in &answer.results {
            let subject = || format!("feature {:?}", result.feature);
            ClientError::check(api, subject, result.error_code, result.error_message.as_ref())?;
        }
        ClientError::check(api, String::new, answer.error_code, answer.error_message.as_ref())
    }

    /// The log directories of all brokers.
    ///
    /// # Errors
    /// Where one broker does not answer.
    pub async fn describe_log_dirs(&self) -> Result<Vec<LogDir>, ClientError> {
        self.client.metadata(Some(&[]), false).await?;
        let api = ApiKey::DescribeLogDirs;
        let request = DescribeLogDirsRequest { topics: None, ..DescribeLogDirsRequest::default() };
        let mut dirs = Vec::new();
        for broker in self.client.brokers() {
            let answer: DescribeLogDirsResponse =
                self.client.call_broker(broker.id, Lane::General, api, 1..=5, &request).await?;
            ClientError::check(api, String::new, answer.error_code, None)?;
            for dir in answer.results {
                let mut replicas = Vec::new();
                for topic in dir.topics {
                    replicas.extend(topic.partitions.iter().map(|one| LogDirReplica {
                        partition: TopicPartition::new(topic.name.as_str(), one.partition_index),
                        bytes: one.partition_size,
                        offset_lag: one.offset_lag,
                        is_future: one.is_future_key,
                    }));
                }
                replicas.sort_by(|a, b| a.partition.cmp(&b.partition));
                let code = types::ErrorCode::from_wire(dir.error_code);
                dirs.push(LogDir {
                    broker: broker.id,
                    path: dir.log_dir,
                    total_bytes: dir.total_bytes,
                    usable_bytes: dir.usable_bytes,
                    error: (!code.is_none()).then_some(code),
                    replicas,
                });
            }
        }
        Ok(dirs)
    }
}

fn replica(replica: ReplicaState) -> QuorumReplica {
    QuorumReplica {
        id: replica.replica_id,
        directory: replica.replica_directory_id,
        log_end_offset: replica.log_end_offset,
        last_fetch_ms: replica.last_fetch_timestamp,
        last_caught_up_ms: replica.last_caught_up_timestamp,
    }
}
