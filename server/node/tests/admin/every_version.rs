//! Every API that is served, at every version: an answer comes and can be read at that version.
//!
//! What the answers say is tested elsewhere. Each API is asked for things that exist, for things
//! that do not, and for nonsense, since refusals fill other fields.

use std::collections::BTreeSet;
use std::fmt::Debug;

use bytes::Bytes;
use protocol::messages::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};
use protocol::messages::alter_partition_reassignments as alter;
use protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use protocol::messages::describe_quorum as quorum;
use protocol::messages::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use protocol::messages::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use protocol::messages::update_features as features;
use protocol::{ApiKey, Message};
use types::Uuid;

use crate::client::{Client, TestNode};

mod groups;
mod topics;

/// Names that a request may hold: one that exists, one that does not, one that never can.
const TOPICS: [&str; 3] = ["t", "nope", "?"];

/// One run through the versions of all APIs.
struct Sweep<'a> {
    node: &'a TestNode,
    client: Client,
    topic_id: Uuid,
    asked: BTreeSet<i16>,
    unanswered: Vec<String>,
}

impl Sweep<'_> {
    /// Asks one API at each version that the table names.
    fn ask<Q: Message + Debug, R: Message>(
        &mut self,
        api: ApiKey,
        requests: impl Fn(i16) -> Vec<Q>,
    ) {
        self.asked.insert(api.to_wire());
        for version in api.versions() {
            for request in requests(version) {
                let answer = self.client.try_call::<Q, R>(api, version, &request);
                if let Err(error) = answer {
                    let name = api.name();
                    self.unanswered.push(format!("{name} {version}: {error} to {request:?}"));
                    self.client = self.node.client();
                }
            }
        }
    }

    /// The ids that go with [`TOPICS`].
    fn ids(&self) -> [Uuid; 3] {
        [self.topic_id, Uuid::from_bytes([7; 16]), Uuid::ZERO]
    }

    fn cluster(&mut self) {
        self.ask::<ApiVersionsRequest, ApiVersionsResponse>(ApiKey::ApiVersions, |version| {
            let mut request = ApiVersionsRequest::default();
            if version >= 3 {
                "test".clone_into(&mut request.client_software_name);
                "1.0".clone_into(&mut request.client_software_version);
            }
            vec![ApiVersionsRequest::default(), request]
        });
        self.ask::<DescribeClusterRequest, DescribeClusterResponse>(
            ApiKey::DescribeCluster,
            |version| {
                let all = DescribeClusterRequest {
                    include_cluster_authorized_operations: true,
                    include_fenced_brokers: version >= 2,
                    ..Default::default()
                };
                let endpoint_type = if version >= 1 { 2 } else { 1 };
                let controllers = DescribeClusterRequest { endpoint_type, ..Default::default() };
                vec![all, controllers]
            },
        );
        self.ask::<quorum::DescribeQuorumRequest, quorum::DescribeQuorumResponse>(
            ApiKey::DescribeQuorum,
            |_| {
                let of = |name: &str| quorum::DescribeQuorumRequest {
                    topics: vec![quorum::TopicData {
                        topic_name: name.to_owned(),
                        partitions: vec![quorum::PartitionData::default()],
                        ..Default::default()
                    }],
                    ..Default::default()
                };
                vec![of("__cluster_metadata"), of("t")]
            },
        );
        self.ask::<features::UpdateFeaturesRequest, features::UpdateFeaturesResponse>(
            ApiKey::UpdateFeatures,
            |_| {
                let to = |feature: &str| features::UpdateFeaturesRequest {
                    feature_updates: vec![features::FeatureUpdateKey {
                        feature: feature.to_owned(),
                        max_version_level: 1,
                        ..Default::default()
                    }],
                    ..Default::default()
                };
                vec![Default::default(), to("group.version"), to("nope")]
            },
        );
        self.voters();
    }

    fn voters(&mut self) {
        self.ask::<alter::AlterPartitionReassignmentsRequest, alter::AlterPartitionReassignmentsResponse>(
            ApiKey::AlterPartitionReassignments,
            |_| vec![Default::default()],
        );
        self.ask::<UnregisterBrokerRequest, UnregisterBrokerResponse>(
            ApiKey::UnregisterBroker,
            |_| vec![UnregisterBrokerRequest { broker_id: 99, ..Default::default() }],
        );
        self.ask::<AddRaftVoterRequest, AddRaftVoterResponse>(ApiKey::AddRaftVoter, |_| {
            vec![AddRaftVoterRequest { voter_id: 2, timeout_ms: 1, ..Default::default() }]
        });
        self.ask::<RemoveRaftVoterRequest, RemoveRaftVoterResponse>(
            ApiKey::RemoveRaftVoter,
            |_| vec![RemoveRaftVoterRequest { voter_id: 2, ..Default::default() }],
        );
    }
}

#[test]
fn every_api_that_is_advertised_answers_at_every_version() {
    let node = TestNode::start();
    let mut client = node.client();
    let topic_id = client.create_topic("t", 2);
    client.produce("t", 3, 10, 42);
    let mut sweep =
        Sweep { node: &node, client, topic_id, asked: BTreeSet::new(), unanswered: vec![] };
    sweep.cluster();
    sweep.groups();
    sweep.topics();
    sweep.records();
    sweep.settings();
    assert!(sweep.unanswered.is_empty(), "{:#?}", sweep.unanswered);
    let versions: ApiVersionsResponse =
        sweep.client.call(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default());
    let advertised = versions.api_keys.iter().map(|one| one.api_key).collect();
    assert_eq!(sweep.asked, advertised);
}

/// A batch of one record.
fn batch() -> Bytes {
    let mut batch = records::BatchBuilder::new(records::Compression::None);
    batch.append(1, None, Some(b"v"), &[]);
    batch.build()
}
