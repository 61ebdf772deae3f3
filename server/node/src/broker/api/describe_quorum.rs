//! DescribeQuorum: who keeps the metadata log and how far each has it (KIP-595).

use protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState,
    ResponsePartitionData, ResponseTopicData,
};
use types::{ErrorCode, Uuid};

use crate::broker::Context;
use crate::clock;
use crate::controller::QuorumFacts;

/// The one topic that has a quorum, with its one partition.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Serves one request.
pub async fn handle(context: Context, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    if !asks_for_metadata(&request) {
        return refuse(&request, ErrorCode::UnknownTopicOrPartition);
    }
    let Ok(facts) = context.shard.shared.controller.facts().await else {
        return refuse(&request, ErrorCode::NotLeaderOrFollower);
    };
    let mut response = DescribeQuorumResponse {
        topics: vec![ResponseTopicData {
            topic_name: METADATA_TOPIC.to_owned(),
            partitions: vec![partition(&facts, context.version)],
            ..Default::default()
        }],
        ..Default::default()
    };
    if context.version >= 2 {
        response.nodes = nodes(&facts);
    }
    response
}

fn asks_for_metadata(request: &DescribeQuorumRequest) -> bool {
    let [topic] = &request.topics[..] else { return false };
    let [partition] = &topic.partitions[..] else { return false };
    topic.topic_name == METADATA_TOPIC && partition.partition_index == 0
}

fn refuse(request: &DescribeQuorumRequest, code: ErrorCode) -> DescribeQuorumResponse {
    let refused = |partition: &PartitionData| ResponsePartitionData {
        partition_index: partition.partition_index,
        error_code: code.to_wire(),
        ..Default::default()
    };
    let topics = request.topics.iter().map(|topic| ResponseTopicData {
        topic_name: topic.topic_name.clone(),
        partitions: topic.partitions.iter().map(refused).collect(),
        ..Default::default()
    });
    DescribeQuorumResponse { topics: topics.collect(), ..Default::default() }
}

/// No observers: this node's broker reads the log of its controller.
fn partition(facts: &QuorumFacts, version: i16) -> ResponsePartitionData {
    let now = clock::wall().get();
    let voters = facts.voters.iter().map(|voter| ReplicaState {
        replica_id: voter.id.0,
        replica_directory_id: if version >= 2 { voter.directory_id } else { Uuid::ZERO },
        log_end_offset: facts.end.get(),
        // The leader is never behind itself.
        last_fetch_timestamp: if version >= 1 { now } else { -1 },
        last_caught_up_timestamp: if version >= 1 { now } else { -1 },
        ..Default::default()
    });
    ResponsePartitionData {
        leader_id: facts.leader.0,
        leader_epoch: facts.epoch.0,
        high_watermark: facts.high_watermark.get(),
        current_voters: voters.collect(),
        ..Default::default()
    }
}

fn nodes(facts: &QuorumFacts) -> Vec<Node> {
    let nodes = facts.voters.iter().map(|voter| {
        let listeners = voter.endpoints.iter().map(|(name, address)| Listener {
            name: name.clone(),
            host: address.host.clone(),
            port: address.port,
            ..Default::default()
        });
        Node { node_id: voter.id.0, listeners: listeners.collect(), ..Default::default() }
    });
    nodes.collect()
}
