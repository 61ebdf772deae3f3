//! DescribeQuorum: who keeps the metadata log and how far each has it (KIP-595).

use protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState,
    ResponsePartitionData, ResponseTopicData,
};
use types::{ErrorCode, Millis, Offset, Uuid};

use crate::broker::Context;
use crate::controller::{Description, Replica};

/// The one topic that has a quorum, with its one partition.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Serves one request.
pub async fn handle(context: Context, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    if !asks_for_metadata(&request) {
        return refuse(&request, ErrorCode::UnknownTopicOrPartition);
    }
    let Ok(quorum) = context.shard.shared.controller.describe_quorum().await else {
        return refuse(&request, ErrorCode::NotLeaderOrFollower);
    };
    let mut response = DescribeQuorumResponse {
        topics: vec![ResponseTopicData {
            topic_name: METADATA_TOPIC.to_owned(),
            partitions: vec![partition(&quorum, context.version)],
            ..Default::default()
        }],
        ..Default::default()
    };
    if context.version >= 2 {
        response.nodes = nodes(&quorum);
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

fn partition(quorum: &Description, version: i16) -> ResponsePartitionData {
    let time = |at: Option<Millis>| at.filter(|_| version >= 1).map_or(-1, Millis::get);
    let state = |replica: &Replica| ReplicaState {
        replica_id: replica.key.id.0,
        replica_directory_id: match replica.key.directory {
            Some(directory) if version >= 2 => directory,
            Some(_) | None => Uuid::ZERO,
        },
        log_end_offset: replica.end.map_or(-1, Offset::get),
        last_fetch_timestamp: time(replica.last_fetch),
        last_caught_up_timestamp: time(replica.last_caught_up),
        ..Default::default()
    };
    ResponsePartitionData {
        leader_id: quorum.facts.leader.map_or(-1, |leader| leader.0),
        leader_epoch: quorum.facts.epoch.0,
        high_watermark: quorum.facts.high_watermark.get(),
        current_voters: quorum.voters.iter().map(state).collect(),
        observers: quorum.observers.iter().map(state).collect(),
        ..Default::default()
    }
}

fn nodes(quorum: &Description) -> Vec<Node> {
    let nodes = quorum.endpoints.iter().map(|(id, endpoints)| {
        let listeners = endpoints.iter().map(|endpoint| Listener {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            ..Default::default()
        });
        Node { node_id: id.0, listeners: listeners.collect(), ..Default::default() }
    });
    nodes.collect()
}
