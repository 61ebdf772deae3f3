//! OffsetFetch: what one group has committed. Replies wait for the log like all others, so every
//! offset in them is committed, whether the client requires stable ones or not.

use protocol::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};
use types::Uuid;

use super::CommittedOffset;
use crate::logged::Logged;

/// The wire's word for "nothing committed".
const NO_OFFSET: i64 = -1;

/// Answers for the partitions asked for, or for all that the group has committed.
pub(crate) fn fetch_offsets(
    logged: &Logged,
    request: OffsetFetchRequestGroup,
) -> OffsetFetchResponseGroup {
    let offset_of = |topic: &str, topic_id: Uuid, partition| {
        let committed = logged.offsets().get(&request.group_id, topic, partition);
        // The topic may have been deleted and made again under the same name.
        committed.filter(|committed| is_same_topic(committed.topic_id, topic_id))
    };
    let topics = match request.topics {
        Some(topics) => topics
            .into_iter()
            .map(|topic| OffsetFetchResponseTopics {
                partitions: topic
                    .partition_indexes
                    .into_iter()
                    .map(|index| answer(index, offset_of(&topic.name, topic.topic_id, index)))
                    .collect(),
                name: topic.name,
                topic_id: topic.topic_id,
                ..Default::default()
            })
            .collect(),
        None => logged
            .offsets()
            .of_group(&request.group_id)
            .map(|(topic, partitions)| OffsetFetchResponseTopics {
                name: topic.to_string(),
                partitions: partitions.iter().map(|(&i, offset)| answer(i, Some(offset))).collect(),
                ..Default::default()
            })
            .collect(),
    };
    OffsetFetchResponseGroup { group_id: request.group_id, topics, ..Default::default() }
}

fn answer(
    partition_index: i32,
    committed: Option<&CommittedOffset>,
) -> OffsetFetchResponsePartitions {
    let leader_epoch = committed.and_then(|committed| committed.leader_epoch);
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: committed.map_or(NO_OFFSET, |committed| committed.offset),
        committed_leader_epoch: leader_epoch.map_or(-1, |epoch| epoch.0),
        metadata: Some(committed.map_or_else(String::new, |c| c.metadata.to_string())),
        ..Default::default()
    }
}

/// An id that one side does not know matches any.
fn is_same_topic(committed: Uuid, asked: Uuid) -> bool {
    committed.is_zero() || asked.is_zero() || committed == asked
}
