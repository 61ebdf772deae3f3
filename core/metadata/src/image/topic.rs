//! One topic and its partitions, as the metadata log describes them.

use std::sync::Arc;

use protocol::internal::metadata::{PartitionChangeRecord, PartitionRecord, TopicRecord};
use types::{BrokerId, LeaderEpoch, Uuid};

use super::BrokerIds;
use crate::shared_map::SharedMap;

/// Ids that stand for no directory in particular: the first 100, as Kafka reserves them.
pub mod directory {
    use types::Uuid;

    /// A replica of a time before directories had ids.
    pub const MIGRATING: Uuid = reserved(0);
    /// A replica whose broker has not chosen a directory yet.
    pub const UNASSIGNED: Uuid = reserved(1);
    /// A replica whose directory failed.
    pub const LOST: Uuid = reserved(2);

    const fn reserved(number: u8) -> Uuid {
        let mut bytes = [0; 16];
        bytes[15] = number;
        Uuid::from_bytes(bytes)
    }

    /// Whether no real directory may have this id.
    pub fn is_reserved(id: Uuid) -> bool {
        let bytes = id.as_bytes();
        bytes[..15] == [0; 15] && bytes[15] < 100
    }
}

/// A topic: its names and its partitions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topic {
    /// Identity, never used again after a deletion.
    pub id: Uuid,
    /// Name, unique in the cluster.
    pub name: Arc<str>,
    partitions: SharedMap<i32, Arc<Partition>>,
}

impl Topic {
    pub(super) fn new(id: Uuid, name: Arc<str>) -> Self {
        Self { id, name, partitions: SharedMap::default() }
    }

    /// How many partitions the topic has; their indexes run from 0.
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("partition indexes are 32-bit numbers")
    }

    /// The partition with this index.
    pub fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(&index)
    }

    /// All partitions, lowest index first.
    pub fn partitions(&self) -> impl Iterator<Item = (i32, &Arc<Partition>)> {
        self.partitions.iter().map(|(&index, partition)| (index, partition))
    }

    /// How many replicas each partition was made with.
    pub fn replication_factor(&self) -> usize {
        self.partitions.values().next().map_or(0, |partition| partition.replicas.len())
    }

    pub(super) fn partitions_map(&self) -> &SharedMap<i32, Arc<Partition>> {
        &self.partitions
    }

    pub(super) fn set_partition(&mut self, index: i32, partition: Partition) {
        self.partitions.insert(index, Arc::new(partition));
    }

    pub(super) fn to_record(&self) -> TopicRecord {
        TopicRecord { name: self.name.to_string(), topic_id: self.id, ..Default::default() }
    }
}

/// One partition: who holds it and who leads it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Partition {
    /// Brokers that hold a copy, preferred leader first.
    pub replicas: BrokerIds,
    /// Log directory of each replica, in the order of `replicas`.
    pub directories: Box<[Uuid]>,
    /// Replicas in sync.
    pub isr: BrokerIds,
    /// Eligible leader replicas: out of sync, yet they hold everything committed (KIP-966).
    pub elr: BrokerIds,
    /// The leader before the partition lost its last one.
    pub last_known_elr: BrokerIds,
    /// Replicas that a reassignment takes away.
    pub removing: BrokerIds,
    /// Replicas that a reassignment adds.
    pub adding: BrokerIds,
    /// Who leads, if anybody.
    pub leader: Option<BrokerId>,
    /// How often the leader has changed.
    pub leader_epoch: LeaderEpoch,
    /// How often anything here has changed.
    pub partition_epoch: i32,
    /// Whether the leader was elected uncleanly and has not said yet that it recovered.
    pub recovering: bool,
}

/// The leader that a change record names to say "as before".
pub const NO_LEADER_CHANGE: i32 = -2;

impl Partition {
    /// The first replica, which leads when all is well.
    pub fn preferred_leader(&self) -> Option<BrokerId> {
        self.replicas.first().copied()
    }

    /// Whether the first replica leads.
    pub fn has_preferred_leader(&self) -> bool {
        self.leader.is_some() && self.leader == self.preferred_leader()
    }

    /// Whether replicas are being moved.
    pub fn is_reassigning(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// Whether fewer replicas are in sync than it has where no reassignment is under way, or had
    /// before it.
    pub fn is_under_replicated(&self) -> bool {
        self.isr.len() + self.adding.len() < self.replicas.len()
    }

    /// The log directory of the replica on `broker`.
    pub fn directory_of(&self, broker: BrokerId) -> Option<Uuid> {
        let at = self.replicas.iter().position(|&replica| replica == broker)?;
        self.directories.get(at).copied()
    }

    /// Whether a replica lies in a directory that has an id; a log of before 3.7 has no field for it.
    fn has_directories(&self) -> bool {
        self.directories.iter().any(|&id| id != directory::MIGRATING)
    }

    pub(super) fn from_record(record: &PartitionRecord) -> Self {
        Self {
            replicas: brokers(&record.replicas),
            directories: directories_for(&record.directories, record.replicas.len()),
            isr: brokers(&record.isr),
            elr: brokers(record.eligible_leader_replicas.as_deref().unwrap_or_default()),
            last_known_elr: brokers(record.last_known_elr.as_deref().unwrap_or_default()),
            removing: brokers(&record.removing_replicas),
            adding: brokers(&record.adding_replicas),
            leader: leader_from_wire(record.leader),
            leader_epoch: LeaderEpoch(record.leader_epoch),
            partition_epoch: record.partition_epoch,
            recovering: record.leader_recovery_state == 1,
        }
    }

    /// The record that makes this partition anew.
    pub fn to_record(&self, topic_id: Uuid, partition_id: i32) -> PartitionRecord {
        // Empty lists are left out, as Kafka does: they are tagged fields.
        let tagged = |ids: &[BrokerId]| (!ids.is_empty()).then(|| wire_ids(ids));
        PartitionRecord {
            partition_id,
            topic_id,
            replicas: wire_ids(&self.replicas),
            isr: wire_ids(&self.isr),
            removing_replicas: wire_ids(&self.removing),
            adding_replicas: wire_ids(&self.adding),
            leader: self.leader.map_or(-1, |leader| leader.0),
            leader_recovery_state: i8::from(self.recovering),
            leader_epoch: self.leader_epoch.0,
            partition_epoch: self.partition_epoch,
            directories: if self.has_directories() { self.directories.to_vec() } else { vec![] },
            eligible_leader_replicas: tagged(&self.elr),
            last_known_elr: tagged(&self.last_known_elr),
            ..Default::default()
        }
    }

    /// This partition after `change`; every change advances the partition epoch, a named leader
    /// the leader epoch as well, even where it is the same one.
    pub(crate) fn changed_by(&self, change: &PartitionChangeRecord) -> Self {
        let or = |ids: &Option<Vec<i32>>, kept: &[BrokerId]| {
            ids.as_deref().map_or_else(|| kept.into(), brokers)
        };
        let replicas = or(&change.replicas, &self.replicas);
        let directories = change.directories.as_deref().unwrap_or(&self.directories);
        let leader_changes = change.leader != NO_LEADER_CHANGE;
        Self {
            directories: directories_for(directories, replicas.len()),
            replicas,
            isr: or(&change.isr, &self.isr),
            elr: or(&change.eligible_leader_replicas, &self.elr),
            last_known_elr: or(&change.last_known_elr, &self.last_known_elr),
            removing: or(&change.removing_replicas, &self.removing),
            adding: or(&change.adding_replicas, &self.adding),
            leader: if leader_changes { leader_from_wire(change.leader) } else { self.leader },
            leader_epoch: LeaderEpoch(self.leader_epoch.0.wrapping_add(i32::from(leader_changes))),
            partition_epoch: self.partition_epoch.wrapping_add(1),
            recovering: match change.leader_recovery_state {
                0 => false,
                1 => true,
                // -1: as before.
                _ => self.recovering,
            },
        }
    }
}

/// Broker ids of a message as values.
pub(crate) fn brokers(ids: &[i32]) -> BrokerIds {
    ids.iter().copied().map(BrokerId).collect()
}

/// Broker ids for a message.
pub(crate) fn wire_ids(ids: &[BrokerId]) -> Vec<i32> {
    ids.iter().map(|id| id.0).collect()
}

fn leader_from_wire(leader: i32) -> Option<BrokerId> {
    (leader >= 0).then_some(BrokerId(leader))
}

/// Records of before 3.7 name no directories.
fn directories_for(directories: &[Uuid], replicas: usize) -> Box<[Uuid]> {
    if directories.len() == replicas {
        directories.into()
    } else {
        vec![directory::MIGRATING; replicas].into()
    }
}
