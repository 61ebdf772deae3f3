//! One change of a partition's leader, in-sync replicas or assignment.
//!
//! A caller says which replicas stay in sync, where the replicas go and how to elect; out comes the
//! record, or nothing where all stays as it is. Eligible leader replicas (KIP-966): a replica that
//! leaves the ISR when fewer than `min.insync.replicas` are left still has everything committed,
//! so it may lead later.
//!
//! Not here: what settings say (`election_rules`), what a reassignment is (`assignment`).

use protocol::internal::metadata::PartitionChangeRecord;
use types::{BrokerId, ErrorCode};

use super::Refusal;
use super::assignment::{Assignment, without};
use super::election_rules::{Election, ElectionRules};
use super::partitions::first_directory;
use crate::image::topic::{NO_LEADER_CHANGE, wire_ids};
use crate::image::{Image, Partition, Topic};
use crate::record::has_directories;

/// The recovery state that a record names to say "as before".
const NO_RECOVERY_CHANGE: i8 = -1;

/// A change in the making.
pub(super) struct PartitionChange<'a> {
    partition: &'a Partition,
    rules: ElectionRules,
    election: Election,
    /// Whether a broker is alive and its directory of this partition works.
    can_lead: &'a dyn Fn(BrokerId) -> bool,
    assignment: Assignment,
    isr: Vec<BrokerId>,
    elr: Vec<BrokerId>,
    recovering: bool,
    /// A broker that came back without the data it had.
    lost_data: Option<BrokerId>,
}

/// Who leads after an election.
struct Elected {
    leader: Option<BrokerId>,
    /// Whether the leader may lack committed records.
    unclean: bool,
}

impl<'a> PartitionChange<'a> {
    pub fn new(
        partition: &'a Partition,
        rules: ElectionRules,
        election: Election,
        can_lead: &'a dyn Fn(BrokerId) -> bool,
    ) -> Self {
        Self {
            partition,
            rules,
            election,
            can_lead,
            assignment: Assignment::of(partition),
            isr: partition.isr.to_vec(),
            elr: partition.elr.to_vec(),
            recovering: partition.recovering,
            lost_data: None,
        }
    }

    /// Takes a broker out of the ISR.
    pub fn without(mut self, broker: BrokerId) -> Self {
        self.isr.retain(|&replica| replica != broker);
        self
    }

    /// Takes a broker out of the ISR and of the ELR: it lost what it had.
    pub fn without_data_of(mut self, broker: BrokerId) -> Self {
        self.lost_data = Some(broker);
        self.elr.retain(|&replica| replica != broker);
        self.without(broker)
    }

    /// Sets the ISR and whether its leader recovers from an unclean election.
    pub fn with_isr(mut self, isr: Vec<BrokerId>, recovering: bool) -> Self {
        self.isr = isr;
        self.recovering = recovering;
        self
    }

    /// Sends the replicas elsewhere.
    pub fn with_assignment(mut self, assignment: Assignment) -> Self {
        self.assignment = assignment;
        self
    }

    /// The record of the change, `None` where nothing changes.
    pub fn record(
        mut self,
        image: &Image,
        topic: &Topic,
        index: i32,
    ) -> Option<PartitionChangeRecord> {
        let nothing =
            PartitionChangeRecord { topic_id: topic.id, partition_id: index, ..Default::default() };
        let mut record = nothing.clone();
        if let Some(replicas) = self.assignment.completed_by(&self.isr) {
            self.isr = without(&self.isr, &self.assignment.removing);
            self.assignment = Assignment::settled(replicas);
        }
        self.refill_elr();
        self.elect(&mut record);
        // A replica that is gone must not go on as if it were one.
        self.advance_epoch(
            &mut record,
            !contains(&self.assignment.replicas, &self.partition.replicas),
        );
        self.write_elr(&mut record);
        // Without ELR the last replica in sync stays written down, so that only it may lead again.
        let isr_may_be = !self.isr.is_empty() || self.rules.elr;
        if record.isr.is_none() && isr_may_be && self.isr[..] != self.partition.isr[..] {
            record.isr = Some(wire_ids(&self.isr));
        }
        let shrinks = record.isr.is_some() && !contains(&self.isr, &self.partition.isr);
        self.advance_epoch(&mut record, shrinks && self.rules.epoch_at_shrink);
        self.write_last_leader(&mut record);
        self.write_assignment(image, &mut record);
        // The recovery of a leader that was elected just now begins anew.
        if record.leader_recovery_state == NO_RECOVERY_CHANGE
            && self.recovering != self.partition.recovering
        {
            record.leader_recovery_state = i8::from(self.recovering);
        }
        (record != nothing).then_some(record)
    }

    fn refill_elr(&mut self) {
        if !self.rules.elr {
            return;
        }
        // The leader commits with this many, so whoever left before may lack what it committed.
        if self.isr.len() >= self.rules.min_isr.min(self.assignment.replicas.len()) {
            self.elr.clear();
            return;
        }
        self.elr.extend(self.partition.isr.iter().copied());
        let (isr, lost, replicas) = (&self.isr, self.lost_data, &self.assignment.replicas);
        self.elr.retain(|replica| {
            !isr.contains(replica) && lost != Some(*replica) && replicas.contains(replica)
        });
        self.elr.sort_unstable();
        self.elr.dedup();
    }

    fn elect(&mut self, record: &mut PartitionChangeRecord) {
        let Elected { leader, unclean } = self.elected();
        if leader == self.partition.leader {
            return;
        }
        record.leader = leader.map_or(-1, |leader| leader.0);
        let Some(leader) = leader else { return };
        if self.elr.contains(&leader) {
            self.isr = vec![leader];
            self.elr.retain(|&replica| replica != leader);
        }
        if unclean {
            self.isr = vec![leader];
            record.isr = Some(vec![leader.0]);
            if !self.partition.recovering {
                record.leader_recovery_state = 1;
            }
        }
    }

    fn elected(&self) -> Elected {
        let clean = |leader| Elected { leader: Some(leader), unclean: false };
        let replicas = &self.assignment.replicas;
        let preferred = match self.election {
            Election::Preferred => replicas.first().copied(),
            Election::Online | Election::Unclean => None,
        };
        let leaders = preferred.into_iter().chain(self.partition.leader);
        let mut in_order = leaders.chain(replicas.iter().copied());
        if let Some(leader) = in_order.find(|&replica| self.is_clean_leader(replica)) {
            return clean(leader);
        }
        if let Some(leader) = self.last_leader() {
            return Elected { leader: Some(leader), unclean: true };
        }
        let alive = replicas.iter().copied().find(|&replica| (self.can_lead)(replica));
        let leader = alive.filter(|_| self.election == Election::Unclean);
        Elected { leader, unclean: true }
    }

    /// In sync, or eligible where nobody is in sync.
    fn is_clean_leader(&self, replica: BrokerId) -> bool {
        let complete =
            self.isr.contains(&replica) || (self.isr.is_empty() && self.elr.contains(&replica));
        complete && (self.can_lead)(replica)
    }

    /// The last leader of a partition that nobody else can lead.
    fn last_leader(&self) -> Option<BrokerId> {
        let nobody = self.rules.elr && self.isr.is_empty() && self.elr.is_empty();
        match self.partition.last_known_elr[..] {
            [last] if nobody && self.assignment.replicas.contains(&last) => {
                Some(last).filter(|&last| (self.can_lead)(last))
            }
            _ => None,
        }
    }

    /// Has the leader begin a new epoch, unless there is a new leader anyway.
    fn advance_epoch(&self, record: &mut PartitionChangeRecord, needed: bool) {
        if needed && record.leader == NO_LEADER_CHANGE {
            record.leader = self.partition.leader.map_or(-1, |leader| leader.0);
        }
    }

    fn write_elr(&mut self, record: &mut PartitionChangeRecord) {
        if record.isr.is_some() || !self.rules.elr {
            self.elr.clear();
        }
        if self.elr[..] != self.partition.elr[..] {
            record.eligible_leader_replicas = Some(wire_ids(&self.elr));
        }
    }

    fn write_last_leader(&self, record: &mut PartitionChangeRecord) {
        let known = !self.partition.last_known_elr.is_empty();
        if !self.rules.elr || record.leader == NO_LEADER_CHANGE {
            return;
        }
        match self.partition.leader {
            Some(leader) if record.leader < 0 && !known => {
                record.last_known_elr = Some(vec![leader.0]);
            }
            _ if record.leader >= 0 && known => record.last_known_elr = Some(vec![]),
            _ => {}
        }
    }

    fn write_assignment(&self, image: &Image, record: &mut PartitionChangeRecord) {
        let Assignment { replicas, adding, removing } = &self.assignment;
        let before = self.partition;
        let differ = |new: &[BrokerId], old: &[BrokerId]| (new != old).then(|| wire_ids(new));
        record.replicas = differ(replicas, &before.replicas);
        record.adding_replicas = differ(adding, &before.adding);
        record.removing_replicas = differ(removing, &before.removing);
        if record.replicas.is_some() && has_directories(image.metadata_version()) {
            let directories = replicas.iter().map(|&replica| {
                before.directory_of(replica).unwrap_or_else(|| first_directory(image, replica))
            });
            let directories: Vec<_> = directories.collect();
            record.directories = (directories[..] != before.directories[..]).then_some(directories);
        }
    }
}

fn contains(all: &[BrokerId], some: &[BrokerId]) -> bool {
    some.iter().all(|one| all.contains(one))
}

/// Whether `broker` may lead `partition` now.
pub(super) fn can_lead(image: &Image, partition: &Partition, broker: BrokerId) -> bool {
    image.is_active(broker) && has_directory(image, partition, broker)
}

/// Whether the directory of `partition` on `broker` works.
pub(super) fn has_directory(image: &Image, partition: &Partition, broker: BrokerId) -> bool {
    let directory = partition.directory_of(broker);
    let broker = image.broker(broker);
    broker.zip(directory).is_some_and(|(broker, id)| broker.has_online_directory(id))
}

/// Tells that a topic or partition does not exist.
pub(super) fn unknown_partition(topic: &str, partition: i32) -> Refusal {
    let message = format!("there is no partition {topic}-{partition}");
    Refusal::new(ErrorCode::UnknownTopicOrPartition, message)
}
