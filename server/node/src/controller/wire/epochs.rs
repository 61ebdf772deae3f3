//! BeginQuorumEpoch and EndQuorumEpoch, APIs 53 and 54.

use protocol::messages::begin_quorum_epoch::{
    self as begin, BeginQuorumEpochRequest, BeginQuorumEpochResponse,
};
use protocol::messages::end_quorum_epoch::{
    self as end, EndQuorumEpochRequest, EndQuorumEpochResponse,
};
use raft::{
    BeginQuorumEpoch, EndQuorumEpoch, Endpoint, EpochAnswer, ReplicaKey, Request, Response,
};
use types::{BrokerId, ErrorCode};

use super::{
    METADATA_TOPIC, Terms, check_cluster, endpoint_of, from_directory, from_node, to_epoch, to_key,
    to_node,
};
use crate::controller::readers::Reply;

pub(super) fn begin_request(
    asked: &BeginQuorumEpoch,
    terms: &Terms,
    version: i16,
) -> BeginQuorumEpochRequest {
    let voter = asked.voter.filter(|_| version >= 1);
    let partition = begin::PartitionData {
        partition_index: 0,
        voter_directory_id: voter.as_ref().map(from_directory).unwrap_or_default(),
        leader_id: asked.leader.0,
        leader_epoch: asked.epoch.0,
        ..Default::default()
    };
    let endpoints = asked.endpoints.iter().filter(|_| version >= 1);
    let endpoints = endpoints.map(|one| begin::LeaderEndpoint {
        name: one.listener.clone(),
        host: one.host.clone(),
        port: one.port,
        ..Default::default()
    });
    BeginQuorumEpochRequest {
        cluster_id: Some(terms.cluster_id.clone()),
        voter_id: voter.map_or(-1, |voter| voter.id.0),
        topics: vec![begin::TopicData {
            topic_name: METADATA_TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        leader_endpoints: endpoints.collect(),
        ..Default::default()
    }
}

pub(super) fn begin_response(answer: &BeginQuorumEpochResponse) -> Option<Response> {
    let [begin::ResponseTopicData { partitions, .. }] = &answer.topics[..] else { return None };
    let [partition] = &partitions[..] else { return None };
    Some(Response::BeginQuorumEpoch(EpochAnswer {
        error: ErrorCode::from_wire(partition.error_code),
        leader: to_node(partition.leader_id),
        epoch: to_epoch(partition.leader_epoch),
    }))
}

pub(super) fn end_request(
    asked: &EndQuorumEpoch,
    terms: &Terms,
    version: i16,
) -> EndQuorumEpochRequest {
    let mut partition = end::PartitionData {
        partition_index: 0,
        leader_id: asked.leader.0,
        leader_epoch: asked.epoch.0,
        ..Default::default()
    };
    let mut endpoints = vec![];
    if version >= 1 {
        let candidate = |key: &ReplicaKey| end::ReplicaInfo {
            candidate_id: key.id.0,
            candidate_directory_id: from_directory(key),
            ..Default::default()
        };
        partition.preferred_candidates = asked.preferred.iter().map(candidate).collect();
        endpoints.extend(asked.endpoints.iter().map(|one| end::LeaderEndpoint {
            name: one.listener.clone(),
            host: one.host.clone(),
            port: one.port,
            ..Default::default()
        }));
    } else {
        partition.preferred_successors = asked.preferred.iter().map(|key| key.id.0).collect();
    }
    EndQuorumEpochRequest {
        cluster_id: Some(terms.cluster_id.clone()),
        topics: vec![end::TopicData {
            topic_name: METADATA_TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        leader_endpoints: endpoints,
        ..Default::default()
    }
}

pub(super) fn end_response(answer: &EndQuorumEpochResponse) -> Option<Response> {
    let [end::ResponseTopicData { partitions, .. }] = &answer.topics[..] else { return None };
    let [partition] = &partitions[..] else { return None };
    Some(Response::EndQuorumEpoch(EpochAnswer {
        error: ErrorCode::from_wire(partition.error_code),
        leader: to_node(partition.leader_id),
        epoch: to_epoch(partition.leader_epoch),
    }))
}

/// What a leader tells.
///
/// # Errors
/// The code of the whole answer, as below.
pub fn begin_asked(
    request: &BeginQuorumEpochRequest,
    cluster_id: &str,
) -> Result<Request, ErrorCode> {
    check_cluster(request.cluster_id.as_deref(), cluster_id)?;
    let [begin::TopicData { topic_name, partitions, .. }] = &request.topics[..] else {
        return Err(ErrorCode::InvalidRequest);
    };
    let [partition] = &partitions[..] else { return Err(ErrorCode::InvalidRequest) };
    if topic_name != METADATA_TOPIC || partition.partition_index != 0 {
        return Err(ErrorCode::InvalidRequest);
    }
    let endpoints = request.leader_endpoints.iter();
    let endpoints = endpoints.map(|one| endpoint(&one.name, &one.host, one.port));
    let voter = to_node(request.voter_id);
    Ok(Request::BeginQuorumEpoch(BeginQuorumEpoch {
        voter: voter.map(|voter| to_key(voter.0, partition.voter_directory_id)),
        leader: BrokerId(partition.leader_id),
        epoch: to_epoch(partition.leader_epoch),
        endpoints: endpoints.collect(),
    }))
}

/// What a leader that goes tells.
///
/// # Errors
/// As above.
pub fn end_asked(request: &EndQuorumEpochRequest, cluster_id: &str) -> Result<Request, ErrorCode> {
    check_cluster(request.cluster_id.as_deref(), cluster_id)?;
    let [end::TopicData { topic_name, partitions, .. }] = &request.topics[..] else {
        return Err(ErrorCode::InvalidRequest);
    };
    let [partition] = &partitions[..] else { return Err(ErrorCode::InvalidRequest) };
    if topic_name != METADATA_TOPIC || partition.partition_index != 0 {
        return Err(ErrorCode::InvalidRequest);
    }
    let endpoints = request.leader_endpoints.iter();
    let endpoints = endpoints.map(|one| endpoint(&one.name, &one.host, one.port));
    let candidates = partition.preferred_candidates.iter();
    let candidates = candidates.map(|one| to_key(one.candidate_id, one.candidate_directory_id));
    let successors = partition.preferred_successors.iter();
    let successors = successors.map(|id| ReplicaKey { id: BrokerId(*id), directory: None });
    Ok(Request::EndQuorumEpoch(EndQuorumEpoch {
        leader: BrokerId(partition.leader_id),
        epoch: to_epoch(partition.leader_epoch),
        // A version has the one or the other.
        preferred: candidates.chain(successors).collect(),
        endpoints: endpoints.collect(),
    }))
}

fn endpoint(listener: &str, host: &str, port: u16) -> Endpoint {
    Endpoint { listener: listener.to_owned(), host: host.to_owned(), port }
}

/// The answer to BeginQuorumEpoch.
pub fn begin_answer(
    reply: Result<&Reply, ErrorCode>,
    listener: &str,
    version: i16,
) -> BeginQuorumEpochResponse {
    let (reply, answer) = match told(reply) {
        Ok(told) => told,
        Err(code) => {
            let error_code = code.to_wire();
            return BeginQuorumEpochResponse { error_code, ..Default::default() };
        }
    };
    let partition = begin::ResponsePartitionData {
        partition_index: 0,
        error_code: answer.error.to_wire(),
        leader_id: from_node(answer.leader),
        leader_epoch: answer.epoch.0,
        ..Default::default()
    };
    let endpoint = endpoint_of(reply, listener).filter(|_| version >= 1);
    let node = endpoint.map(|endpoint| begin::NodeEndpoint {
        node_id: from_node(answer.leader),
        host: endpoint.host.clone(),
        port: endpoint.port,
        ..Default::default()
    });
    BeginQuorumEpochResponse {
        topics: vec![begin::ResponseTopicData {
            topic_name: METADATA_TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        node_endpoints: node.into_iter().collect(),
        ..Default::default()
    }
}

/// The answer to EndQuorumEpoch.
pub fn end_answer(
    reply: Result<&Reply, ErrorCode>,
    listener: &str,
    version: i16,
) -> EndQuorumEpochResponse {
    let (reply, answer) = match told(reply) {
        Ok(told) => told,
        Err(code) => {
            return EndQuorumEpochResponse { error_code: code.to_wire(), ..Default::default() };
        }
    };
    let partition = end::ResponsePartitionData {
        partition_index: 0,
        error_code: answer.error.to_wire(),
        leader_id: from_node(answer.leader),
        leader_epoch: answer.epoch.0,
        ..Default::default()
    };
    let endpoint = endpoint_of(reply, listener).filter(|_| version >= 1);
    let node = endpoint.map(|endpoint| end::NodeEndpoint {
        node_id: from_node(answer.leader),
        host: endpoint.host.clone(),
        port: endpoint.port,
        ..Default::default()
    });
    EndQuorumEpochResponse {
        topics: vec![end::ResponseTopicData {
            topic_name: METADATA_TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        node_endpoints: node.into_iter().collect(),
        ..Default::default()
    }
}

fn told(reply: Result<&Reply, ErrorCode>) -> Result<(&Reply, EpochAnswer), ErrorCode> {
    let reply = reply?;
    match &reply.response {
        Response::BeginQuorumEpoch(answer) | Response::EndQuorumEpoch(answer) => {
            Ok((reply, *answer))
        }
        Response::Vote(_)
        | Response::Fetch(_)
        | Response::FetchSnapshot(_)
        | Response::ChangeVoters(_) => Err(ErrorCode::UnknownServerError),
    }
}
