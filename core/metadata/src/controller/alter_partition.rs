//! AlterPartition: a leader says which replicas are in sync, and that it has recovered (KIP-497,
//! KIP-704, KIP-903).
//!
//! Not here: what a change of the ISR brings along (`partition_change`).

use std::collections::BTreeSet;

use protocol::internal::metadata::PartitionChangeRecord;
use protocol::messages::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse, BrokerState, PartitionData,
    ResponsePartitionData, ResponseTopicData, TopicData,
};
use types::{BrokerId, ErrorCode};

use super::election_rules::Rulebook;
use super::partition_change::{PartitionChange, can_lead};
use super::registered;
use super::{Context, Decision};
use crate::image::topic::{NO_LEADER_CHANGE, wire_ids};
use crate::image::{Image, Partition, Topic};
use crate::record::MetadataRecord;

/// The first version that names the broker epochs of the replicas.
const EPOCHS_SINCE: i16 = 3;

/// The epoch of a replica whose run the leader does not know.
const ANY_EPOCH: i64 = -1;

/// Decides AlterPartition; `version` is that of the request.
pub fn alter_partition(
    image: &Image,
    request: &AlterPartitionRequest,
    version: i16,
    context: &Context<'_>,
) -> Decision<AlterPartitionResponse> {
    if let Err(refusal) = registered(image, request.broker_id, request.broker_epoch) {
        let error_code = refusal.code.to_wire();
        return Decision::unchanged(AlterPartitionResponse { error_code, ..Default::default() });
    }
    let mut altering = Altering {
        rulebook: Rulebook::new(image, context),
        leader: BrokerId(request.broker_id),
        version,
        done: BTreeSet::new(),
        records: Vec::new(),
    };
    let topics = request.topics.iter().map(|topic| altering.topic(topic)).collect();
    Decision {
        records: altering.records,
        response: AlterPartitionResponse { topics, ..Default::default() },
    }
}

/// A request half done.
struct Altering<'a> {
    rulebook: Rulebook<'a>,
    leader: BrokerId,
    version: i16,
    /// Topics and partitions of this request: a second change of one would not see the first.
    done: BTreeSet<(types::Uuid, i32)>,
    records: Vec<MetadataRecord>,
}

impl Altering<'_> {
    fn topic(&mut self, wanted: &TopicData) -> ResponseTopicData {
        let topic = self.rulebook.image().topic_by_id(wanted.topic_id);
        let partitions = wanted.partitions.iter().map(|partition| {
            let altered = match topic {
                Some(topic) => self.partition(topic, partition),
                None => Err(ErrorCode::UnknownTopicId),
            };
            let partition_index = partition.partition_index;
            match altered {
                Ok(after) => ResponsePartitionData {
                    partition_index,
                    leader_id: after.leader.map_or(-1, |leader| leader.0),
                    leader_epoch: after.leader_epoch.0,
                    isr: wire_ids(&after.isr),
                    leader_recovery_state: i8::from(after.recovering),
                    partition_epoch: after.partition_epoch,
                    ..Default::default()
                },
                Err(code) => {
                    let error_code = code.to_wire();
                    ResponsePartitionData { partition_index, error_code, ..Default::default() }
                }
            }
        });
        let partitions = partitions.collect();
        ResponseTopicData { topic_id: wanted.topic_id, partitions, ..Default::default() }
    }

    /// The partition as it is then.
    fn partition(&mut self, topic: &Topic, wanted: &PartitionData) -> Result<Partition, ErrorCode> {
        let index = wanted.partition_index;
        let before = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if !self.done.insert((topic.id, index)) {
            return Err(ErrorCode::InvalidRequest);
        }
        let image = self.rulebook.image();
        let isr = replicas_of(wanted, self.version);
        self.check_epochs(before, wanted)?;
        check_isr(before, wanted.leader_recovery_state, &isr)?;
        check_eligible(image, &isr)?;

        let ids = isr.iter().map(|(id, _)| *id).collect();
        let rules = self.rulebook.rules(topic);
        let acceptable = |broker| can_lead(image, before, broker);
        let change = PartitionChange::new(before, rules, rules.online(), &acceptable)
            .with_isr(ids, wanted.leader_recovery_state == RECOVERING)
            .record(image, topic, index);
        let Some(record) = change else { return Ok(before.as_ref().clone()) };
        let after = before.changed_by(&record);
        let elected = self.elects_another(&record);
        self.records.push(record.into());
        // The change holds; the sender has to learn from the log that it leads no longer.
        if elected { Err(ErrorCode::NewLeaderElected) } else { Ok(after) }
    }

    /// A change that completes a reassignment may take the leader away.
    fn elects_another(&self, record: &PartitionChangeRecord) -> bool {
        record.leader != NO_LEADER_CHANGE && record.leader != self.leader.0
    }

    /// A leader that knows more than this controller asks the wrong one.
    fn check_epochs(&self, before: &Partition, wanted: &PartitionData) -> Result<(), ErrorCode> {
        use std::cmp::Ordering;
        let leader_epoch = wanted.leader_epoch.cmp(&before.leader_epoch.0);
        let partition_epoch = wanted.partition_epoch.cmp(&before.partition_epoch);
        match (leader_epoch, partition_epoch) {
            (Ordering::Greater, _) | (_, Ordering::Greater) => Err(ErrorCode::NotController),
            (Ordering::Less, _) => Err(ErrorCode::FencedLeaderEpoch),
            (Ordering::Equal, _) if before.leader != Some(self.leader) => {
                Err(ErrorCode::InvalidRequest)
            }
            (Ordering::Equal, Ordering::Less) => Err(ErrorCode::InvalidUpdateVersion),
            (Ordering::Equal, Ordering::Equal) => Ok(()),
        }
    }
}

/// The INT8 of a leader that has not recovered from an unclean election.
const RECOVERING: i8 = 1;

/// The ISR that the leader wants, with the broker epochs that it knows.
fn replicas_of(wanted: &PartitionData, version: i16) -> Vec<(BrokerId, i64)> {
    if version < EPOCHS_SINCE {
        return wanted.new_isr.iter().map(|&id| (BrokerId(id), ANY_EPOCH)).collect();
    }
    let states = wanted.new_isr_with_epochs.iter();
    states.map(|state: &BrokerState| (BrokerId(state.broker_id), state.broker_epoch)).collect()
}

fn check_isr(
    before: &Partition,
    recovery_state: i8,
    isr: &[(BrokerId, i64)],
) -> Result<(), ErrorCode> {
    let ids: BTreeSet<_> = isr.iter().map(|(id, _)| *id).collect();
    let strange = ids.len() < isr.len() || ids.iter().any(|id| !before.replicas.contains(id));
    let without_leader = before.leader.is_none_or(|leader| !ids.contains(&leader));
    // While the leader recovers nobody can follow it, and recovery does not begin by itself.
    let bad_state = match recovery_state {
        0 => false,
        RECOVERING => isr.len() > 1 || !before.recovering,
        _ => true,
    };
    if strange || without_leader || bad_state { Err(ErrorCode::InvalidRequest) } else { Ok(()) }
}

/// A replica must be the run of its broker that the leader has seen, and stay.
fn check_eligible(image: &Image, isr: &[(BrokerId, i64)]) -> Result<(), ErrorCode> {
    let eligible = |&(id, epoch): &(BrokerId, i64)| {
        image.broker(id).is_some_and(|broker| {
            broker.is_active() && (epoch == ANY_EPOCH || epoch == broker.epoch)
        })
    };
    if isr.iter().all(eligible) { Ok(()) } else { Err(ErrorCode::IneligibleReplica) }
}
