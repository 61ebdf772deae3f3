//! AssignReplicasToDirs: brokers say in which log directory each of their replicas lies (KIP-858).

use protocol::internal::metadata::PartitionChangeRecord;
use protocol::messages::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, PartitionData,
    ResponseDirectoryData, ResponsePartitionData, ResponseTopicData, TopicData,
};
use types::{BrokerId, ErrorCode, Uuid};

use super::Decision;
use super::brokers::check_epoch;
use crate::image::{Image, Topic};
use crate::record::MetadataRecord;

/// Decides AssignReplicasToDirs.
pub fn assign_replicas_to_dirs(
    image: &Image,
    request: &AssignReplicasToDirsRequest,
) -> Decision<AssignReplicasToDirsResponse> {
    if let Err(refusal) = check_epoch(image, request.broker_id, request.broker_epoch) {
        let error_code = refusal.code.to_wire();
        return Decision::unchanged(AssignReplicasToDirsResponse {
            error_code,
            ..Default::default()
        });
    }
    let mut assigning =
        Assigning { image, broker: BrokerId(request.broker_id), records: Vec::new() };
    let directories = request.directories.iter().map(|directory| ResponseDirectoryData {
        id: directory.id,
        topics: directory.topics.iter().map(|topic| assigning.topic(directory.id, topic)).collect(),
        ..Default::default()
    });
    let directories = directories.collect();
    Decision {
        records: assigning.records,
        response: AssignReplicasToDirsResponse { directories, ..Default::default() },
    }
}

struct Assigning<'a> {
    image: &'a Image,
    broker: BrokerId,
    records: Vec<MetadataRecord>,
}

impl Assigning<'_> {
    fn topic(&mut self, directory: Uuid, wanted: &TopicData) -> ResponseTopicData {
        let topic = self.image.topic_by_id(wanted.topic_id);
        let partitions = wanted.partitions.iter().map(|partition: &PartitionData| {
            let index = partition.partition_index;
            let code = match topic {
                Some(topic) => self.partition(directory, topic, index),
                None => ErrorCode::UnknownTopicId,
            };
            ResponsePartitionData {
                partition_index: index,
                error_code: code.to_wire(),
                ..Default::default()
            }
        });
        let partitions = partitions.collect();
        ResponseTopicData { topic_id: wanted.topic_id, partitions, ..Default::default() }
    }

    fn partition(&mut self, directory: Uuid, topic: &Topic, index: i32) -> ErrorCode {
        let Some(partition) = topic.partition(index) else {
            return ErrorCode::UnknownTopicOrPartition;
        };
        let Some(at) = partition.replicas.iter().position(|replica| *replica == self.broker) else {
            return ErrorCode::NotLeaderOrFollower;
        };
        let mut directories = partition.directories.to_vec();
        if std::mem::replace(&mut directories[at], directory) != directory {
            let record = PartitionChangeRecord {
                partition_id: index,
                topic_id: topic.id,
                directories: Some(directories),
                ..Default::default()
            };
            self.records.push(record.into());
        }
        ErrorCode::None
    }
}
