//! What a listener of the controller serves, and what the quorum says of itself.

use protocol::ApiKey;
use protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, PartitionData, TopicData,
};
use protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use types::ErrorCode;

use crate::client::TestNode;
use crate::configs::{BROKER, set};

#[test]
fn brokers_and_controllers_serve_different_apis() {
    let node = TestNode::start();
    let request = ApiVersionsRequest::default();
    let served = |mut client: crate::client::Client, api: ApiKey| {
        let response: ApiVersionsResponse = client.call(ApiKey::ApiVersions, 0, &request);
        response.api_keys.iter().any(|one| one.api_key == api.to_wire())
    };
    for (api, on_broker, on_controller) in [
        (ApiKey::CreateTopics, true, true),
        (ApiKey::DescribeQuorum, true, true),
        (ApiKey::Fetch, true, true),
        (ApiKey::Metadata, true, false),
        (ApiKey::Vote, false, true),
    ] {
        assert_eq!(served(node.client(), api), on_broker, "{api}");
        assert_eq!(served(node.controller(), api), on_controller, "{api}");
    }
    let request = MetadataRequest { topics: None, ..Default::default() };
    let answer = node.controller().try_call::<_, MetadataResponse>(ApiKey::Metadata, 12, &request);
    assert!(answer.is_err());
}

#[test]
fn a_cluster_is_described_by_the_kind_of_its_nodes() {
    let node = TestNode::start();
    let cases = [
        (1, 2, 1, ErrorCode::None, 1),
        (1, 2, 2, ErrorCode::MismatchedEndpointType, 0),
        (1, 2, 9, ErrorCode::UnsupportedEndpointType, 0),
        (2, 2, 2, ErrorCode::None, 1),
        (2, 2, 1, ErrorCode::MismatchedEndpointType, 0),
        (2, 0, 1, ErrorCode::InvalidRequest, 0),
    ];
    for (listener, version, endpoint_type, code, nodes) in cases {
        let mut client = if listener == 1 { node.client() } else { node.controller() };
        let request = DescribeClusterRequest { endpoint_type, ..Default::default() };
        let response: DescribeClusterResponse =
            client.call(ApiKey::DescribeCluster, version, &request);
        let case = format!("{listener} {endpoint_type}");
        assert_eq!(response.error_code, code.to_wire(), "{case}");
        assert_eq!(response.brokers.len(), nodes, "{case}");
        assert_eq!(response.controller_id, if nodes == 1 { 1 } else { -1 }, "{case}");
    }
}

#[test]
fn the_quorum_has_one_voter_and_no_observer() {
    let node = TestNode::start();
    let request = |name: &str| {
        let partitions = vec![PartitionData::default()];
        let topic = TopicData { topic_name: name.to_owned(), partitions, ..Default::default() };
        DescribeQuorumRequest { topics: vec![topic], ..Default::default() }
    };
    for mut client in [node.client(), node.controller()] {
        for version in ApiKey::DescribeQuorum.versions() {
            let response: DescribeQuorumResponse =
                client.call(ApiKey::DescribeQuorum, version, &request("__cluster_metadata"));
            let partition = &response.topics[0].partitions[0];
            assert_eq!((partition.leader_id, partition.current_voters.len()), (1, 1));
            assert!(partition.observers.is_empty());
            let voter = &partition.current_voters[0];
            assert_eq!(voter.log_end_offset, partition.high_watermark);
            assert_eq!(voter.last_fetch_timestamp > 0, version >= 1);
            assert_eq!(response.nodes.len(), usize::from(version >= 2));
        }
        let response: DescribeQuorumResponse =
            client.call(ApiKey::DescribeQuorum, 2, &request("other"));
        let code = ErrorCode::UnknownTopicOrPartition.to_wire();
        assert_eq!(response.topics[0].partitions[0].error_code, code);
    }
}

#[test]
fn limits_that_lock_everybody_out_are_undone_on_it() {
    let mut node = TestNode::start();
    for (key, value) in [
        ("max.connections", "0"),
        ("max.connections.per.ip.overrides", "127.0.0.1:0"),
        ("max.connection.creation.rate", "0"),
    ] {
        assert_eq!(set(&mut node.client(), BROKER, "", key, Some(value)), ErrorCode::None, "{key}");
        if key == "max.connections" {
            node.restart();
        }
        assert_eq!(set(&mut node.controller(), BROKER, "", key, None), ErrorCode::None, "{key}");
        let request = ApiVersionsRequest::default();
        let _: ApiVersionsResponse = node.client().call(ApiKey::ApiVersions, 0, &request);
    }
}
