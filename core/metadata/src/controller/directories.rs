//! AssignReplicasToDirs: brokers say in which log directory each of their replicas lies (KIP-858).
//!
//! A replica may turn out to lie in a directory that does not work; then it leaves the ISR.

use protocol::internal::metadata::PartitionChangeRecord;
use protocol::messages::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, PartitionData,
    ResponseDirectoryData, ResponsePartitionData, ResponseTopicData, TopicData,
};
use types::{ErrorCode, Uuid};

use super::election_rules::Rulebook;
use super::partition_change::{PartitionChange, can_lead};
use super::{Context, Decision, registered};
use crate::image::{Broker, Image, Partition, Topic};
use crate::record::{MetadataRecord, has_directories};

/// Decides AssignReplicasToDirs.
pub fn assign_replicas_to_dirs(
    image: &Image,
    request: &AssignReplicasToDirsRequest,
    context: &Context<'_>,
) -> Decision<AssignReplicasToDirsResponse> {
    let refused = |code: ErrorCode| {
        let error_code = code.to_wire();
        Decision::unchanged(AssignReplicasToDirsResponse { error_code, ..Default::default() })
    };
    if !has_directories(image.metadata_version()) {
        return refused(ErrorCode::UnsupportedVersion);
    }
    let broker = match registered(image, request.broker_id, request.broker_epoch) {
        Ok(broker) => broker,
        Err(refusal) => return refused(refusal.code),
    };
    let mut assigning =
        Assigning { rulebook: Rulebook::new(image, context), broker, records: Vec::new() };
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
    rulebook: Rulebook<'a>,
    broker: &'a Broker,
    records: Vec<MetadataRecord>,
}

impl Assigning<'_> {
    fn topic(&mut self, directory: Uuid, wanted: &TopicData) -> ResponseTopicData {
        let topic = self.rulebook.image().topic_by_id(wanted.topic_id);
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
        let id = self.broker.id;
        let Some(at) = partition.replicas.iter().position(|replica| *replica == id) else {
            return ErrorCode::NotLeaderOrFollower;
        };
        let mut directories = partition.directories.to_vec();
        if std::mem::replace(&mut directories[at], directory) != directory {
            let mut record = self.leave_unless_online(directory, topic, index, partition);
            record.directories = Some(directories);
            self.records.push(record.into());
        }
        ErrorCode::None
    }

    /// What else changes for a partition whose replica lies there.
    fn leave_unless_online(
        &self,
        directory: Uuid,
        topic: &Topic,
        index: i32,
        partition: &Partition,
    ) -> PartitionChangeRecord {
        let (image, leaving) = (self.rulebook.image(), self.broker.id);
        let nothing =
            PartitionChangeRecord { partition_id: index, topic_id: topic.id, ..Default::default() };
        if self.broker.has_online_directory(directory) {
            return nothing;
        }
        let acceptable = |id| id != leaving && can_lead(image, partition, id);
        let rules = self.rulebook.rules(topic);
        let change = PartitionChange::new(partition, rules, rules.online(), &acceptable);
        // What lies there can have no mark of a clean stop.
        change.without_data_of(leaving).record(image, topic, index).unwrap_or(nothing)
    }
}
