//! OffsetCommit: turns what a group has read into records. Whether it may is for the group.

use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use types::{ErrorCode, LeaderEpoch, Millis, Uuid};

use super::CommittedOffset;
use crate::message::{Now, Outcome};
use crate::records;
use crate::settings::Settings;

/// The retention of clients that leave it to the broker.
const RETENTION_OF_BROKER: i64 = -1;

/// Records for all partitions whose metadata is not too large, and the answer with their codes.
pub(crate) fn commit_offsets(
    request: OffsetCommitRequest,
    now: Now,
    settings: &Settings,
    outcome: &mut Outcome,
) -> OffsetCommitResponse {
    let expires_at = match request.retention_time_ms {
        RETENTION_OF_BROKER => None,
        retention => Some(now.wall + Millis(retention)),
    };
    let group_id = request.group_id;
    answer(request.topics, |topic, topic_id, partition| {
        let metadata = partition.committed_metadata.unwrap_or_default();
        if metadata.encode_utf16().count() > settings.offset_metadata_size_max {
            return ErrorCode::OffsetMetadataTooLarge;
        }
        let epoch = partition.committed_leader_epoch;
        let offset = CommittedOffset {
            offset: partition.committed_offset,
            leader_epoch: (epoch >= 0).then_some(LeaderEpoch(epoch)),
            metadata: metadata.into(),
            committed_at: now.wall,
            expires_at,
            topic_id,
        };
        let record = records::offset(&group_id, topic, partition.partition_index, &offset);
        outcome.records.push(record);
        ErrorCode::None
    })
}

/// The answer to a commit that the group does not allow.
pub(crate) fn refuse_commit(
    request: OffsetCommitRequest,
    error: ErrorCode,
) -> OffsetCommitResponse {
    answer(request.topics, |_, _, _| error)
}

fn answer(
    topics: Vec<OffsetCommitRequestTopic>,
    mut commit: impl FnMut(&str, Uuid, OffsetCommitRequestPartition) -> ErrorCode,
) -> OffsetCommitResponse {
    let mut response = OffsetCommitResponse::default();
    for topic in topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let partition_index = partition.partition_index;
            let error_code = commit(&topic.name, topic.topic_id, partition).to_wire();
            partitions.push(OffsetCommitResponsePartition {
                partition_index,
                error_code,
                ..Default::default()
            });
        }
        response.topics.push(OffsetCommitResponseTopic {
            name: topic.name,
            topic_id: topic.topic_id,
            partitions,
            ..Default::default()
        });
    }
    response
}
