//! One change of a partition's leader and in-sync replicas.
//!
//! A caller says which replicas stay in sync and how to elect; out comes the record, or nothing
//! where all stays as it is. Eligible leader replicas (KIP-966): a replica that leaves the ISR when
//! fewer than `min.insync.replicas` are left still has everything committed, so it may lead later.
//!
//! Not here: reassignment of replicas.

use config::TopicConfig;
use protocol::internal::metadata::PartitionChangeRecord;
use types::{BrokerId, ErrorCode};

use super::{Context, MIN_ISR, Refusal};
use crate::features::elr_enabled;
use crate::image::topic::{NO_LEADER_CHANGE, wire_ids};
use crate::image::{Image, Partition, Settings, Topic};

/// The topic's key that allows unclean elections.
const UNCLEAN: &str = "unclean.leader.election.enable";

/// How a leader is sought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Election {
    /// The first replica if it can lead, else as `Online`.
    Preferred,
    /// The present leader if it can go on, else the first replica in sync.
    Online,
    /// As `Online`, else any replica that is alive, whatever it lacks.
    Unclean,
}

/// Settings of a topic that elections obey.
#[derive(Clone, Copy, Debug)]
pub(super) struct ElectionRules {
    /// Never above the replication factor.
    pub min_isr: usize,
    /// `unclean.leader.election.enable`.
    pub unclean: bool,
    /// Whether eligible leader replicas are kept.
    pub elr: bool,
}

/// The rules of all topics; few have settings of their own, so the rest is read once.
pub(super) struct Rulebook<'a> {
    image: &'a Image,
    context: &'a Context<'a>,
    /// `min.insync.replicas` and whether to elect uncleanly, for topics that do not say.
    default: (u32, bool),
}

impl<'a> Rulebook<'a> {
    pub(super) fn new(image: &'a Image, context: &'a Context<'a>) -> Self {
        Self { image, context, default: Self::read(image, context, &Settings::new()) }
    }

    /// The image that the rules are read from.
    pub(super) fn image(&self) -> &'a Image {
        self.image
    }

    /// The rules of one topic.
    pub(super) fn rules(&self, topic: &Topic) -> ElectionRules {
        let settings = self.image.topic_settings(&topic.name);
        let own = [MIN_ISR, UNCLEAN].into_iter().any(|name| settings.contains_key(name));
        let (min_isr, unclean) =
            if own { Self::read(self.image, self.context, settings) } else { self.default };
        ElectionRules {
            min_isr: usize::try_from(min_isr).unwrap_or(usize::MAX).min(topic.replication_factor()),
            unclean,
            elr: elr_enabled(self.image),
        }
    }

    fn read(image: &Image, context: &Context<'_>, settings: &Settings) -> (u32, bool) {
        let config = TopicConfig::resolve(settings, &context.layers(image));
        (config.min_insync_replicas, config.unclean_leader_election)
    }
}

/// A change in the making.
pub(super) struct PartitionChange<'a> {
    partition: &'a Partition,
    rules: ElectionRules,
    election: Election,
    /// Whether a broker is alive and its directory of this partition works.
    can_lead: &'a dyn Fn(BrokerId) -> bool,
    isr: Vec<BrokerId>,
    elr: Vec<BrokerId>,
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
    pub(super) fn new(
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
            isr: partition.isr.to_vec(),
            elr: partition.elr.to_vec(),
            lost_data: None,
        }
    }

    /// Takes a broker out of the ISR.
    pub(super) fn without(mut self, broker: BrokerId) -> Self {
        self.isr.retain(|&replica| replica != broker);
        self
    }

    /// Takes a broker out of the ISR and of the ELR: it lost what it had.
    pub(super) fn without_data_of(mut self, broker: BrokerId) -> Self {
        self.lost_data = Some(broker);
        self.elr.retain(|&replica| replica != broker);
        self.without(broker)
    }

    /// The record of the change, `None` where nothing changes.
    pub(super) fn record(mut self, topic: &Topic, index: i32) -> Option<PartitionChangeRecord> {
        let nothing =
            PartitionChangeRecord { topic_id: topic.id, partition_id: index, ..Default::default() };
        let mut record = nothing.clone();
        self.refill_elr();
        self.elect(&mut record);
        self.write_elr(&mut record);
        // Without ELR the last replica in sync stays written down, so that only it may lead again.
        let isr_may_be = !self.isr.is_empty() || self.rules.elr;
        if record.isr.is_none() && isr_may_be && self.isr[..] != self.partition.isr[..] {
            record.isr = Some(wire_ids(&self.isr));
        }
        self.write_last_leader(&mut record);
        (record != nothing).then_some(record)
    }

    fn refill_elr(&mut self) {
        if !self.rules.elr {
            return;
        }
        if self.isr.len() >= self.rules.min_isr {
            self.elr.clear();
            return;
        }
        self.elr.extend(self.partition.isr.iter().copied());
        let (isr, lost) = (&self.isr, self.lost_data);
        self.elr.retain(|replica| !isr.contains(replica) && lost != Some(*replica));
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
            record.isr = Some(vec![leader.0]);
            if !self.partition.recovering {
                record.leader_recovery_state = 1;
            }
        }
    }

    fn elected(&self) -> Elected {
        let clean = |leader| Elected { leader: Some(leader), unclean: false };
        let replicas = &self.partition.replicas;
        let preferred = match self.election {
            Election::Preferred => self.partition.preferred_leader(),
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
            [last] if nobody => Some(last).filter(|&last| (self.can_lead)(last)),
            _ => None,
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
