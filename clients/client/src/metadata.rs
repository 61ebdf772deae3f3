//! What a cluster says about its brokers and topics.

use std::sync::Arc;

use protocol::ApiKey;
use protocol::messages::metadata::{MetadataResponseBroker, MetadataResponseTopic};
use types::{TopicPartition, Uuid};

use crate::error::ClientError;

/// A broker and where it listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broker {
    /// `node.id`.
    pub id: i32,
    /// Host that it advertises.
    pub host: String,
    /// Port that it advertises.
    pub port: u16,
    /// Rack, if it has one.
    pub rack: Option<String>,
}

/// A topic and its partitions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TopicMetadata {
    /// Name of the topic.
    pub name: Arc<str>,
    /// Id of the topic; zero where the broker is too old to tell.
    pub id: Uuid,
    /// Whether Kafka keeps its own state in it.
    pub is_internal: bool,
    /// By index, without gaps.
    pub partitions: Vec<PartitionMetadata>,
}

/// A partition and its replicas.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PartitionMetadata {
    /// Index from 0.
    pub index: i32,
    /// The broker that leads, if one does.
    pub leader: Option<i32>,
    /// How often the leader changed; -1 where unknown.
    pub leader_epoch: i32,
    /// All replicas, preferred leader first.
    pub replicas: Vec<i32>,
    /// The replicas in sync.
    pub isr: Vec<i32>,
    /// The replicas that are down.
    pub offline: Vec<i32>,
}

impl Broker {
    /// `None` where the port cannot be one.
    pub(crate) fn new(id: i32, host: String, port: i32, rack: Option<String>) -> Option<Self> {
        Some(Self { id, host, port: u16::try_from(port).ok()?, rack })
    }

    pub(crate) fn from_wire(broker: MetadataResponseBroker) -> Option<Self> {
        Self::new(broker.node_id, broker.host, broker.port, broker.rack)
    }
}

impl TopicMetadata {
    pub(crate) fn from_wire(topic: MetadataResponseTopic) -> Result<Self, ClientError> {
        let name = topic.name.unwrap_or_default();
        let subject = || format!("topic {name:?}");
        ClientError::check(ApiKey::Metadata, subject, topic.error_code, None)?;
        let mut partitions: Vec<_> = topic
            .partitions
            .into_iter()
            .map(|partition| PartitionMetadata {
                index: partition.partition_index,
                leader: (partition.leader_id >= 0).then_some(partition.leader_id),
                leader_epoch: partition.leader_epoch,
                replicas: partition.replica_nodes,
                isr: partition.isr_nodes,
                offline: partition.offline_replicas,
            })
            .collect();
        partitions.sort_by_key(|partition| partition.index);
        let name = name.into();
        Ok(Self { name, id: topic.topic_id, is_internal: topic.is_internal, partitions })
    }

    /// Keeps what was known of partitions where that is newer: a broker that is cut off answers with what
    /// it had heard before (KIP-320).
    pub(crate) fn keep_newer(&mut self, known: &Self) {
        // Without an id it may be another topic of that name.
        if self.id == Uuid::ZERO || self.id != known.id {
            return;
        }
        for partition in &mut self.partitions {
            let known = known.partition(partition.index);
            if let Some(known) = known.filter(|known| known.leader_epoch > partition.leader_epoch) {
                *partition = known.clone();
            }
        }
    }

    /// The partition with this index.
    pub fn partition(&self, index: i32) -> Option<&PartitionMetadata> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn set_leader(&mut self, index: i32, leader: i32, leader_epoch: i32) {
        let at = usize::try_from(index).ok();
        if let Some(partition) = at.and_then(|at| self.partitions.get_mut(at)) {
            (partition.leader, partition.leader_epoch) = (Some(leader), leader_epoch);
        }
    }

    /// The broker that leads a partition.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] where the topic has no such partition, [`ClientError::NoLeader`].
    pub fn leader(&self, index: i32) -> Result<i32, ClientError> {
        let Some(partition) = self.partition(index) else {
            let (name, count) = (&self.name, self.partitions.len());
            let text = format!("topic {name:?} has {count} partitions, from 0; {index} is none");
            return Err(ClientError::Invalid(text));
        };
        partition.leader.ok_or_else(|| ClientError::NoLeader {
            partition: TopicPartition::new(self.name.clone(), index).to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: u8, leader: i32, leader_epoch: i32) -> TopicMetadata {
        let partition =
            PartitionMetadata { leader: Some(leader), leader_epoch, ..Default::default() };
        let id = Uuid::from_bytes([id; 16]);
        TopicMetadata { name: "t".into(), id, is_internal: false, partitions: vec![partition] }
    }

    #[test]
    fn what_is_older_than_known_is_not_taken() {
        let cases = [
            ("older", 1, 4, 1, Some(2)),
            ("as old", 1, 5, 1, Some(1)),
            ("newer", 1, 6, 1, Some(1)),
            ("of another topic", 3, 4, 1, Some(1)),
            ("of a topic without an id", 0, 4, 0, Some(1)),
        ];
        for (what, id, epoch, known_id, leader) in cases {
            let mut told = topic(id, 1, epoch);
            told.keep_newer(&topic(known_id, 2, 5));
            assert_eq!(told.partitions[0].leader, leader, "{what}");
        }
    }
}
