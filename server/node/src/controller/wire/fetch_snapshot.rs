//! FetchSnapshot, API 59.

use protocol::messages::fetch_snapshot::{
    FetchSnapshotRequest, FetchSnapshotResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionSnapshot,
    ResponsePartitionSnapshot, ResponseSnapshotId, ResponseTopicSnapshot, SnapshotId,
    TopicSnapshot,
};
use raft::{EpochAnswer, FetchSnapshot, FetchSnapshotAnswer, LogPosition, Request, Response};
use types::{ErrorCode, Offset};

use super::{
    METADATA_TOPIC, Terms, check_cluster, endpoint_of, from_directory, from_node, to_epoch, to_key,
    to_node,
};
use crate::controller::readers::Reply;

pub(super) fn request(asked: &FetchSnapshot, terms: &Terms, version: i16) -> FetchSnapshotRequest {
    let mut partition = PartitionSnapshot {
        partition: 0,
        current_leader_epoch: asked.epoch.0,
        snapshot_id: SnapshotId {
            end_offset: asked.snapshot.offset.get(),
            epoch: asked.snapshot.epoch.0,
            ..Default::default()
        },
        position: i64::try_from(asked.position).unwrap_or(i64::MAX),
        ..Default::default()
    };
    if version >= 1 {
        partition.replica_directory_id = from_directory(&asked.replica);
    }
    FetchSnapshotRequest {
        cluster_id: Some(terms.cluster_id.clone()),
        replica_id: asked.replica.id.0,
        max_bytes: i32::try_from(terms.snapshot_bytes_max).unwrap_or(i32::MAX),
        topics: vec![TopicSnapshot {
            name: METADATA_TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(super) fn response(answer: FetchSnapshotResponse) -> Option<Response> {
    let [ResponseTopicSnapshot { partitions, .. }] = &answer.topics[..] else { return None };
    let [partition] = &partitions[..] else { return None };
    Some(Response::FetchSnapshot(FetchSnapshotAnswer {
        answer: EpochAnswer {
            error: ErrorCode::from_wire(partition.error_code),
            leader: to_node(partition.current_leader.leader_id),
            epoch: to_epoch(partition.current_leader.leader_epoch),
        },
        size: u64::try_from(partition.size).ok()?,
        position: u64::try_from(partition.position).ok()?,
        bytes: partition.unaligned_records.clone(),
    }))
}

/// Which piece a replica wants, and how many bytes at most.
///
/// # Errors
/// The code of the whole answer.
pub fn fetch_snapshot_asked(
    request: &FetchSnapshotRequest,
    cluster_id: &str,
) -> Result<(Request, usize), ErrorCode> {
    check_cluster(request.cluster_id.as_deref(), cluster_id)?;
    let [TopicSnapshot { name, partitions, .. }] = &request.topics[..] else {
        return Err(ErrorCode::InvalidRequest);
    };
    let [partition] = &partitions[..] else { return Err(ErrorCode::InvalidRequest) };
    if name != METADATA_TOPIC || partition.partition != 0 {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    let offset = Offset::from_wire(partition.snapshot_id.end_offset);
    let offset = offset.ok_or(ErrorCode::SnapshotNotFound)?;
    let fetch = FetchSnapshot {
        replica: to_key(request.replica_id, partition.replica_directory_id),
        epoch: to_epoch(partition.current_leader_epoch),
        snapshot: LogPosition { offset, epoch: to_epoch(partition.snapshot_id.epoch) },
        position: u64::try_from(partition.position).map_err(|_| ErrorCode::PositionOutOfRange)?,
    };
    Ok((Request::FetchSnapshot(fetch), usize::try_from(request.max_bytes).unwrap_or(0)))
}

/// The answer to it; `at` is what was asked for.
pub fn fetch_snapshot_answer(
    reply: Result<&Reply, ErrorCode>,
    at: LogPosition,
    listener: &str,
    version: i16,
) -> FetchSnapshotResponse {
    let refuse = |code: ErrorCode| FetchSnapshotResponse {
        error_code: code.to_wire(),
        ..Default::default()
    };
    let reply = match reply {
        Ok(reply) => reply,
        Err(code) => return refuse(code),
    };
    let Response::FetchSnapshot(fetched) = &reply.response else {
        return refuse(ErrorCode::UnknownServerError);
    };
    let leader = fetched.answer.leader;
    let partition = ResponsePartitionSnapshot {
        index: 0,
        error_code: fetched.answer.error.to_wire(),
        snapshot_id: ResponseSnapshotId {
            end_offset: at.offset.get(),
            epoch: at.epoch.0,
            ..Default::default()
        },
        current_leader: LeaderIdAndEpoch {
            leader_id: from_node(leader),
            leader_epoch: fetched.answer.epoch.0,
            ..Default::default()
        },
        size: i64::try_from(fetched.size).unwrap_or(i64::MAX),
        position: i64::try_from(fetched.position).unwrap_or(i64::MAX),
        unaligned_records: fetched.bytes.clone(),
        ..Default::default()
    };
    let endpoint = endpoint_of(reply, listener).filter(|_| version >= 1);
    let node = endpoint.map(|endpoint| NodeEndpoint {
        node_id: from_node(leader),
        host: endpoint.host.clone(),
        port: endpoint.port,
        ..Default::default()
    });
    FetchSnapshotResponse {
        topics: vec![ResponseTopicSnapshot {
            name: METADATA_TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        node_endpoints: node.into_iter().collect(),
        ..Default::default()
    }
}
