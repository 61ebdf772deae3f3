//! Vote, API 52.

use protocol::messages::vote::{
    NodeEndpoint, PartitionData, ResponsePartitionData, ResponseTopicData, TopicData, VoteRequest,
    VoteResponse,
};
use raft::{LogPosition, Request, Response, Vote, VoteAnswer};
use types::{ErrorCode, Offset};

use super::{
    METADATA_TOPIC, Terms, check_cluster, endpoint_of, from_directory, from_node, to_epoch, to_key,
    to_node,
};
use crate::controller::readers::Reply;

pub(super) fn request(vote: &Vote, terms: &Terms, version: i16) -> VoteRequest {
    let voter = vote.voter.filter(|_| version >= 1);
    let partition = PartitionData {
        partition_index: 0,
        replica_epoch: vote.epoch.0,
        replica_id: vote.candidate.id.0,
        replica_directory_id: if version >= 1 {
            from_directory(&vote.candidate)
        } else {
            Default::default()
        },
        voter_directory_id: voter.as_ref().map(from_directory).unwrap_or_default(),
        last_offset_epoch: vote.end.epoch.0,
        last_offset: vote.end.offset.get(),
        pre_vote: vote.is_pre_vote,
        ..Default::default()
    };
    let topic = TopicData {
        topic_name: METADATA_TOPIC.to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    VoteRequest {
        cluster_id: Some(terms.cluster_id.clone()),
        voter_id: voter.map_or(-1, |voter| voter.id.0),
        topics: vec![topic],
        ..Default::default()
    }
}

pub(super) fn response(answer: &VoteResponse) -> Option<Response> {
    let [ResponseTopicData { partitions, .. }] = &answer.topics[..] else { return None };
    let [partition] = &partitions[..] else { return None };
    Some(Response::Vote(VoteAnswer {
        error: ErrorCode::from_wire(partition.error_code),
        leader: to_node(partition.leader_id),
        epoch: to_epoch(partition.leader_epoch),
        is_granted: partition.vote_granted,
    }))
}

/// What a node asks.
///
/// # Errors
/// The code of the whole answer.
pub fn vote_asked(request: &VoteRequest, cluster_id: &str) -> Result<Request, ErrorCode> {
    check_cluster(request.cluster_id.as_deref(), cluster_id)?;
    let [TopicData { topic_name, partitions, .. }] = &request.topics[..] else {
        return Err(ErrorCode::InvalidRequest);
    };
    let [partition] = &partitions[..] else { return Err(ErrorCode::InvalidRequest) };
    if topic_name != METADATA_TOPIC || partition.partition_index != 0 {
        return Err(ErrorCode::InvalidRequest);
    }
    let offset = Offset::from_wire(partition.last_offset).ok_or(ErrorCode::InvalidRequest)?;
    let voter = to_node(request.voter_id);
    Ok(Request::Vote(Vote {
        voter: voter.map(|voter| to_key(voter.0, partition.voter_directory_id)),
        epoch: to_epoch(partition.replica_epoch),
        candidate: to_key(partition.replica_id, partition.replica_directory_id),
        end: LogPosition { offset, epoch: to_epoch(partition.last_offset_epoch) },
        is_pre_vote: partition.pre_vote,
    }))
}

/// The answer to it.
pub fn vote_answer(reply: Result<&Reply, ErrorCode>, listener: &str, version: i16) -> VoteResponse {
    let reply = match reply {
        Ok(reply) => reply,
        Err(code) => return VoteResponse { error_code: code.to_wire(), ..Default::default() },
    };
    let Response::Vote(answer) = &reply.response else {
        let error_code = ErrorCode::UnknownServerError.to_wire();
        return VoteResponse { error_code, ..Default::default() };
    };
    let partition = ResponsePartitionData {
        partition_index: 0,
        error_code: answer.error.to_wire(),
        leader_id: from_node(answer.leader),
        leader_epoch: answer.epoch.0,
        vote_granted: answer.is_granted,
        ..Default::default()
    };
    let topic = ResponseTopicData {
        topic_name: METADATA_TOPIC.to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    let endpoint = endpoint_of(reply, listener).filter(|_| version >= 1);
    let node = endpoint.map(|endpoint| NodeEndpoint {
        node_id: from_node(answer.leader),
        host: endpoint.host.clone(),
        port: endpoint.port,
        ..Default::default()
    });
    VoteResponse {
        topics: vec![topic],
        node_endpoints: node.into_iter().collect(),
        ..Default::default()
    }
}
