//! From what a request names to what this node has.

use std::sync::Arc;

use ::metadata::Image;
use ::metadata::image::{Partition, Topic};
use types::{BrokerId, ErrorCode, Uuid};

use crate::shard::{PartitionId, Shard};

/// A topic as a request names it.
#[derive(Clone, Copy, Debug)]
pub enum TopicRef<'a> {
    /// By name.
    Name(&'a str),
    /// By id.
    Id(Uuid),
}

impl<'a> TopicRef<'a> {
    /// Requests carry both fields; their version says which one counts.
    pub fn from_wire(name: &'a str, id: Uuid, by_id: bool) -> Self {
        if by_id { Self::Id(id) } else { Self::Name(name) }
    }
}

/// The topic, or the code that says that it is unknown.
pub fn topic(image: &Image, named: TopicRef<'_>) -> Result<Arc<Topic>, ErrorCode> {
    match named {
        TopicRef::Name(name) => {
            image.topic(name).cloned().ok_or(ErrorCode::UnknownTopicOrPartition)
        }
        TopicRef::Id(id) => image.topic_by_id(id).cloned().ok_or(ErrorCode::UnknownTopicId),
    }
}

/// A partition that this node leads, or the code that says why it does not.
pub fn led_here(shard: &Shard, topic: &Topic, index: i32) -> Result<PartitionId, ErrorCode> {
    let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_leader(&shard.image(), partition, shard.shared.config.node_id)?;
    Ok(PartitionId { topic: topic.id, index })
}

/// A partition that this node leads or follows, or the code that says why it does not.
pub fn kept_here(shard: &Shard, topic: &Topic, index: i32) -> Result<PartitionId, ErrorCode> {
    match led_here(shard, topic, index) {
        Err(ErrorCode::NotLeaderOrFollower) if follows(shard, topic, index) => {
            Ok(PartitionId { topic: topic.id, index })
        }
        led => led,
    }
}

fn follows(shard: &Shard, topic: &Topic, index: i32) -> bool {
    let here = shard.shared.config.node_id;
    topic.partition(index).is_some_and(|partition| partition.replicas.contains(&here))
}

/// That there is no leader at all is told by Metadata alone, as in Kafka.
fn check_leader(image: &Image, partition: &Partition, here: BrokerId) -> Result<(), ErrorCode> {
    match partition.leader {
        Some(leader) if leader == here => Ok(()),
        None if lies_offline(image, partition, here) => Err(ErrorCode::KafkaStorageError),
        Some(_) | None => Err(ErrorCode::NotLeaderOrFollower),
    }
}

/// The leader, as clients of a listener know it: one that they cannot reach is none to them.
///
/// # Errors
/// `LISTENER_NOT_FOUND` where it does not have the listener, `LEADER_NOT_AVAILABLE` without one.
pub fn reachable_leader(
    image: &Image,
    partition: &Partition,
    listener: &str,
) -> Result<BrokerId, ErrorCode> {
    let leader = partition.leader.and_then(|leader| image.broker(leader));
    let leader = leader.ok_or(ErrorCode::LeaderNotAvailable)?;
    match leader.endpoint(listener) {
        Some(_) => Ok(leader.id),
        None => Err(ErrorCode::ListenerNotFound),
    }
}

/// Whether a broker's replica lies in a log directory of it that does not work.
pub fn lies_offline(image: &Image, partition: &Partition, broker: BrokerId) -> bool {
    let registered = image.broker(broker).zip(partition.directory_of(broker));
    registered.is_some_and(|(broker, directory)| !broker.has_online_directory(directory))
}

#[cfg(test)]
mod tests {
    use ::metadata::MetadataRecord;
    use protocol::internal::metadata::{PartitionRecord, RegisterBrokerRecord, TopicRecord};

    use super::*;

    const ONLINE: Uuid = Uuid::from_bytes([1; 16]);
    const FAILED: Uuid = Uuid::from_bytes([2; 16]);

    /// What broker 1 says of a partition with the leader, in the directory.
    fn answer(leader: i32, directory: Uuid) -> Result<(), ErrorCode> {
        let topic_id = Uuid::from_bytes([9; 16]);
        let mut image = Image::default();
        let topic = TopicRecord { name: "t".to_owned(), topic_id, ..Default::default() };
        let broker =
            RegisterBrokerRecord { broker_id: 1, log_dirs: vec![ONLINE], ..Default::default() };
        let partition = PartitionRecord {
            topic_id,
            partition_id: 0,
            replicas: vec![1],
            isr: vec![1],
            directories: vec![directory],
            leader,
            ..Default::default()
        };
        image.apply(&MetadataRecord::from(broker)).unwrap();
        image.apply(&MetadataRecord::from(topic)).unwrap();
        image.apply(&MetadataRecord::from(partition)).unwrap();
        let topic = image.topic("t").unwrap();
        check_leader(&image, topic.partition(0).unwrap(), BrokerId(1))
    }

    #[test]
    fn who_is_asked_for_a_partition_it_does_not_lead_says_why() {
        assert_eq!(answer(1, ONLINE), Ok(()));
        assert_eq!(answer(2, ONLINE), Err(ErrorCode::NotLeaderOrFollower));
        assert_eq!(answer(-1, ONLINE), Err(ErrorCode::NotLeaderOrFollower));
        assert_eq!(answer(-1, FAILED), Err(ErrorCode::KafkaStorageError));
    }
}
