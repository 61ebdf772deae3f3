//! ListPartitionReassignments: partitions whose replicas are on the move (KIP-455).

use std::collections::BTreeSet;

use ::metadata::image::{Image, Topic};
use protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use types::BrokerId;

use crate::broker::Context;

/// Serves one request.
pub async fn handle(
    context: Context,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse {
        error_message: None,
        topics: ongoing(&context.shard.image(), &request),
        ..Default::default()
    }
}

/// What the request asks for and is not there is left out, as in Kafka.
fn ongoing(
    image: &Image,
    request: &ListPartitionReassignmentsRequest,
) -> Vec<OngoingTopicReassignment> {
    let topics: Vec<_> = match &request.topics {
        None => image.topics().map(|topic| topic_reassignment(topic, |_| true)).collect(),
        Some(wanted) => wanted
            .iter()
            .filter_map(|wanted| Some((image.topic(&wanted.name)?, &wanted.partition_indexes)))
            .map(|(topic, indexes)| {
                let indexes: BTreeSet<i32> = indexes.iter().copied().collect();
                topic_reassignment(topic, |index| indexes.contains(&index))
            })
            .collect(),
    };
    topics.into_iter().filter(|topic| !topic.partitions.is_empty()).collect()
}

fn topic_reassignment(topic: &Topic, wants: impl Fn(i32) -> bool) -> OngoingTopicReassignment {
    let ongoing = topic.partitions().filter(|(_, partition)| partition.is_reassigning());
    let partitions = ongoing.filter(|(index, _)| wants(*index)).map(|(index, partition)| {
        OngoingPartitionReassignment {
            partition_index: index,
            replicas: ids(&partition.replicas),
            adding_replicas: ids(&partition.adding),
            removing_replicas: ids(&partition.removing),
            ..Default::default()
        }
    });
    OngoingTopicReassignment {
        name: topic.name.to_string(),
        partitions: partitions.collect(),
        ..Default::default()
    }
}

fn ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|broker| broker.0).collect()
}

#[cfg(test)]
mod tests {
    use ::metadata::MetadataRecord;
    use protocol::internal::metadata::{PartitionRecord, TopicRecord};
    use protocol::messages::list_partition_reassignments::ListPartitionReassignmentsTopics;
    use types::Uuid;

    use super::*;

    #[test]
    fn only_what_moves_and_is_asked_for_is_listed() {
        let image = image();
        let asked = |name: &str, partition_indexes| ListPartitionReassignmentsTopics {
            name: name.to_owned(),
            partition_indexes,
            ..Default::default()
        };
        let cases = [
            ("all", None, vec![("moving", vec![1])]),
            ("by name", Some(vec![asked("moving", vec![0, 1, 7])]), vec![("moving", vec![1])]),
            ("one at rest", Some(vec![asked("moving", vec![0])]), vec![]),
            ("unknown", Some(vec![asked("nowhere", vec![0])]), vec![]),
            ("none", Some(vec![]), vec![]),
        ];
        for (name, topics, expected) in cases {
            let request = ListPartitionReassignmentsRequest { topics, ..Default::default() };
            let listed = ongoing(&image, &request);
            let listed: Vec<(&str, Vec<i32>)> = listed
                .iter()
                .map(|topic| {
                    let indexes = topic.partitions.iter().map(|one| one.partition_index);
                    (topic.name.as_str(), indexes.collect())
                })
                .collect();
            assert_eq!(listed, expected, "{name}");
        }
    }

    /// Partition 1 of `moving` moves from broker 1 to broker 2, all else rests.
    fn image() -> Image {
        let mut image = Image::default();
        for (topic, id) in [("moving", 1), ("resting", 2)] {
            let topic_id = Uuid::from_bytes([id; 16]);
            let record = TopicRecord { name: topic.to_owned(), topic_id, ..Default::default() };
            image.apply(&MetadataRecord::from(record)).unwrap();
            for partition_id in 0..2 {
                let moves = topic == "moving" && partition_id == 1;
                let record = PartitionRecord {
                    partition_id,
                    topic_id,
                    replicas: if moves { vec![1, 2] } else { vec![1] },
                    isr: vec![1],
                    removing_replicas: if moves { vec![1] } else { vec![] },
                    adding_replicas: if moves { vec![2] } else { vec![] },
                    leader: 1,
                    ..Default::default()
                };
                image.apply(&MetadataRecord::from(record)).unwrap();
            }
        }
        image
    }
}
