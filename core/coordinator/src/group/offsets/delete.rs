//! Deleting committed offsets: by OffsetDelete, with their group, with their topic.

use protocol::messages::offset_delete::{
    OffsetDeleteRequestTopic, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use types::{ErrorCode, Uuid};

use super::Offsets;
use crate::message::Outcome;
use crate::records;

/// Deletes what was asked for, except for topics that a member subscribes to.
pub(crate) fn delete_offsets(
    offsets: &Offsets,
    group_id: &str,
    topics: Vec<OffsetDeleteRequestTopic>,
    is_subscribed: impl Fn(&str) -> bool,
    outcome: &mut Outcome,
) -> Vec<OffsetDeleteResponseTopic> {
    let mut answers = Vec::with_capacity(topics.len());
    for topic in topics {
        let error = match is_subscribed(&topic.name) {
            true => ErrorCode::GroupSubscribedToTopic,
            false => ErrorCode::None,
        };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let partition_index = partition.partition_index;
            let is_committed = offsets.get(group_id, &topic.name, partition_index).is_some();
            if error.is_none() && is_committed {
                let record = records::offset_tombstone(group_id, &topic.name, partition_index);
                outcome.records.push(record);
            }
            partitions.push(OffsetDeleteResponsePartition {
                partition_index,
                error_code: error.to_wire(),
                ..Default::default()
            });
        }
        answers.push(OffsetDeleteResponseTopic {
            name: topic.name,
            partitions,
            ..Default::default()
        });
    }
    answers
}

/// Deletes all that a group has committed.
pub(crate) fn delete_all_offsets(offsets: &Offsets, group_id: &str, outcome: &mut Outcome) {
    for (topic, partitions) in offsets.of_group(group_id) {
        for &partition in partitions.keys() {
            outcome.records.push(records::offset_tombstone(group_id, topic, partition));
        }
    }
}

/// Deletes what groups have committed for topics that are gone. An offset whose topic id is known
/// stays if its topic lives on under the same name with another id.
pub(crate) fn delete_offsets_of_topics(
    offsets: &Offsets,
    deleted: &[(&str, Uuid)],
    outcome: &mut Outcome,
) {
    for (group_id, topics) in &offsets.groups {
        for (topic, topic_id) in deleted {
            for (&partition, committed) in topics.get(*topic).into_iter().flatten() {
                if committed.topic_id.is_zero() || committed.topic_id == *topic_id {
                    outcome.records.push(records::offset_tombstone(group_id, topic, partition));
                }
            }
        }
    }
}
