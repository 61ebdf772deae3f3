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
    let here = shard.shared.config.node_id;
    match partition.leader {
        Some(leader) if leader == here => Ok(PartitionId { topic: topic.id, index }),
        Some(_) => Err(ErrorCode::NotLeaderOrFollower),
        None if lies_offline(&shard.image(), partition, here) => Err(ErrorCode::KafkaStorageError),
        None => Err(ErrorCode::LeaderNotAvailable),
    }
}

/// Whether a broker's replica lies in a log directory of it that does not work.
pub fn lies_offline(image: &Image, partition: &Partition, broker: BrokerId) -> bool {
    let registered = image.broker(broker).zip(partition.directory_of(broker));
    registered.is_some_and(|(broker, directory)| !broker.has_online_directory(directory))
}

/// Whether a topic belongs to the cluster's own work.
pub fn is_internal(topic: &str) -> bool {
    matches!(topic, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}
