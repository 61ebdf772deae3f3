//! Fetch of the metadata log, API 1.

use protocol::messages::fetch::{
    self, EpochEndOffset, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse,
    LeaderIdAndEpoch, NodeEndpoint, PartitionData, SnapshotId,
};
use raft::{Endpoint, EpochAnswer, Fetch, FetchReply, LogPosition, Request, Response};
use types::{BrokerId, ErrorCode, Millis, Offset};

use super::{
    METADATA_TOPIC, Terms, check_cluster, endpoint_of, from_directory, from_node, to_epoch, to_key,
    to_node,
};
use crate::controller::metadata_log::METADATA_TOPIC_ID;
use crate::controller::readers::Reply;

/// How long a follower lets the leader wait for more, in milliseconds, as Kafka has it.
const WAIT_MS: i32 = 500;
/// From this version on topics are named by their ids.
const IDS_SINCE: i16 = 13;
/// From this version on the replica is a structure of its own.
const STATE_SINCE: i16 = 15;
const DIRECTORY_SINCE: i16 = 17;
/// From this version on the reader says what it knows as committed (KIP-1166).
const HIGH_WATERMARK_SINCE: i16 = 18;

pub(super) fn request(asked: &Fetch, terms: &Terms, version: i16) -> FetchRequest {
    let mut partition = fetch::FetchPartition {
        partition: 0,
        current_leader_epoch: asked.epoch.0,
        fetch_offset: asked.end.offset.get(),
        last_fetched_epoch: asked.end.epoch.0,
        partition_max_bytes: i32::try_from(terms.fetch_bytes_max).unwrap_or(i32::MAX),
        ..Default::default()
    };
    if version >= DIRECTORY_SINCE {
        partition.replica_directory_id = from_directory(&asked.replica);
    }
    if version >= HIGH_WATERMARK_SINCE {
        partition.high_watermark = asked.high_watermark.map_or(-1, Offset::get);
    }
    let mut topic = FetchTopic { partitions: vec![partition], ..Default::default() };
    if version >= IDS_SINCE {
        topic.topic_id = METADATA_TOPIC_ID;
    } else {
        topic.topic = METADATA_TOPIC.to_owned();
    }
    let mut request = FetchRequest {
        cluster_id: Some(terms.cluster_id.clone()),
        max_wait_ms: WAIT_MS,
        max_bytes: i32::try_from(terms.fetch_bytes_max).unwrap_or(i32::MAX),
        topics: vec![topic],
        ..Default::default()
    };
    if version >= STATE_SINCE {
        request.replica_state.replica_id = asked.replica.id.0;
    } else {
        request.replica_id = asked.replica.id.0;
    }
    request
}

pub(super) fn response(answer: FetchResponse, listener: &str) -> Option<Response> {
    let [FetchableTopicResponse { partitions, .. }] = &answer.responses[..] else { return None };
    let [partition] = &partitions[..] else { return None };
    let leader = to_node(partition.current_leader.leader_id);
    let nodes = answer.node_endpoints.iter();
    let nodes = nodes.filter(|node| Some(BrokerId(node.node_id)) == leader);
    let endpoints = nodes.filter_map(|node| {
        let (listener, host) = (listener.to_owned(), node.host.clone());
        Some(Endpoint { listener, host, port: u16::try_from(node.port).ok()? })
    });
    Some(Response::Fetch(FetchReply {
        answer: EpochAnswer {
            error: ErrorCode::from_wire(partition.error_code),
            leader,
            epoch: to_epoch(partition.current_leader.leader_epoch),
        },
        endpoints: endpoints.collect(),
        diverging: position(partition.diverging_epoch.end_offset, partition.diverging_epoch.epoch),
        snapshot: position(partition.snapshot_id.end_offset, partition.snapshot_id.epoch),
        high_watermark: Offset::from_wire(partition.high_watermark),
        records: partition.records.clone().unwrap_or_default(),
    }))
}

/// Both are -1 where there is none.
fn position(offset: i64, epoch: i32) -> Option<LogPosition> {
    let offset = Offset::from_wire(offset)?;
    (epoch >= 0).then(|| LogPosition { offset, epoch: to_epoch(epoch) })
}

/// What a replica wants to read, how many bytes at most, and how long it waits.
///
/// # Errors
/// The code of the whole answer.
pub fn fetch_asked(
    request: &FetchRequest,
    cluster_id: &str,
    version: i16,
) -> Result<(Request, usize, Millis), ErrorCode> {
    check_cluster(request.cluster_id.as_deref(), cluster_id)?;
    let invalid = ErrorCode::InvalidRequest;
    let [topic] = &request.topics[..] else { return Err(invalid) };
    let [partition] = &topic.partitions[..] else { return Err(invalid) };
    let is_metadata = match version >= IDS_SINCE {
        true => topic.topic_id == METADATA_TOPIC_ID,
        false => topic.topic == METADATA_TOPIC,
    };
    let (epoch, last) = (partition.current_leader_epoch, partition.last_fetched_epoch);
    if !is_metadata || partition.partition != 0 || epoch < 0 || last < 0 || request.max_wait_ms < 0
    {
        return Err(invalid);
    }
    let id = match version >= STATE_SINCE {
        true => request.replica_state.replica_id,
        false => request.replica_id,
    };
    let offset = Offset::from_wire(partition.fetch_offset).ok_or(invalid)?;
    let fetch = Fetch {
        replica: to_key(id, partition.replica_directory_id),
        epoch: to_epoch(epoch),
        end: LogPosition { offset, epoch: to_epoch(last) },
        high_watermark: Offset::from_wire(partition.high_watermark),
    };
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0);
    Ok((Request::Fetch(fetch), bytes_max, Millis(request.max_wait_ms.into())))
}

/// The answer to it.
pub fn fetch_answer(
    reply: Result<&Reply, ErrorCode>,
    listener: &str,
    version: i16,
) -> FetchResponse {
    let reply = match reply {
        Ok(reply) => reply,
        Err(code) => return FetchResponse { error_code: code.to_wire(), ..Default::default() },
    };
    let Response::Fetch(fetched) = &reply.response else {
        let error_code = ErrorCode::UnknownServerError.to_wire();
        return FetchResponse { error_code, ..Default::default() };
    };
    let leader = fetched.answer.leader;
    let mut partition = PartitionData {
        partition_index: 0,
        error_code: fetched.answer.error.to_wire(),
        high_watermark: fetched.high_watermark.map_or(-1, Offset::get),
        log_start_offset: reply.log_start.get(),
        current_leader: LeaderIdAndEpoch {
            leader_id: from_node(leader),
            leader_epoch: fetched.answer.epoch.0,
            ..Default::default()
        },
        records: Some(fetched.records.clone()),
        ..Default::default()
    };
    if let Some(at) = fetched.diverging {
        let (epoch, end_offset) = (at.epoch.0, at.offset.get());
        partition.diverging_epoch = EpochEndOffset { epoch, end_offset, ..Default::default() };
    }
    if let Some(at) = fetched.snapshot {
        let (epoch, end_offset) = (at.epoch.0, at.offset.get());
        partition.snapshot_id = SnapshotId { end_offset, epoch, ..Default::default() };
    }
    let mut topic = FetchableTopicResponse { partitions: vec![partition], ..Default::default() };
    if version >= IDS_SINCE {
        topic.topic_id = METADATA_TOPIC_ID;
    } else {
        topic.topic = METADATA_TOPIC.to_owned();
    }
    let endpoint = endpoint_of(reply, listener).filter(|_| version >= DIRECTORY_SINCE);
    let node = endpoint.map(|endpoint| NodeEndpoint {
        node_id: from_node(leader),
        host: endpoint.host.clone(),
        port: endpoint.port.into(),
        ..Default::default()
    });
    FetchResponse {
        responses: vec![topic],
        node_endpoints: node.into_iter().collect(),
        ..Default::default()
    }
}
