//! AlterPartitionReassignments: replicas move to other brokers, or the move is taken back (KIP-455,
//! KIP-860).
//!
//! Partitions stand alone: one that is refused leaves the others. Not here: how a move goes on
//! (`assignment`) and ends (`partition_change`), which partitions move just now (the image says).

use std::collections::BTreeSet;

use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopic, ReassignableTopicResponse,
};
use types::ErrorCode;

use super::assignment::{Assignment, without};
use super::election_rules::{Election, Rulebook};
use super::partition_change::{PartitionChange, can_lead, unknown_partition};
use super::partitions::assigned_replicas;
use super::{Context, Decision, PARTITIONS_PER_REQUEST_MAX, Refusal, wire_result};
use crate::image::{Image, Partition, Topic};
use crate::record::MetadataRecord;

/// Decides AlterPartitionReassignments.
pub fn alter_partition_reassignments(
    image: &Image,
    request: &AlterPartitionReassignmentsRequest,
    context: &Context<'_>,
) -> Decision<AlterPartitionReassignmentsResponse> {
    let mut moving = Moving {
        rulebook: Rulebook::new(image, context),
        may_change_factor: request.allow_replication_factor_change,
        done: BTreeSet::new(),
        records: Vec::new(),
    };
    let responses = request.topics.iter().map(|topic| moving.topic(topic)).collect();
    let response = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        error_message: None,
        responses,
        ..Default::default()
    };
    Decision { records: moving.records, response }
}

/// A request half done.
struct Moving<'a> {
    rulebook: Rulebook<'a>,
    may_change_factor: bool,
    /// Topics and partitions of this request: a second change of one would not see the first.
    done: BTreeSet<(types::Uuid, i32)>,
    records: Vec<MetadataRecord>,
}

impl Moving<'_> {
    fn topic(&mut self, wanted: &ReassignableTopic) -> ReassignableTopicResponse {
        let partitions = wanted.partitions.iter().map(|partition| {
            let moved = self.partition(&wanted.name, partition);
            let (error_code, error_message) = wire_result(&moved);
            ReassignablePartitionResponse {
                partition_index: partition.partition_index,
                error_code,
                error_message,
                ..Default::default()
            }
        });
        let partitions = partitions.collect();
        ReassignableTopicResponse { name: wanted.name.clone(), partitions, ..Default::default() }
    }

    fn partition(&mut self, name: &str, wanted: &ReassignablePartition) -> Result<(), Refusal> {
        let index = wanted.partition_index;
        let unknown = || unknown_partition(name, index);
        let topic = self.rulebook.image().topic(name).ok_or_else(unknown)?;
        let partition = topic.partition(index).ok_or_else(unknown)?;
        if !self.done.insert((topic.id, index)) {
            let message = format!("{name}-{index} is named more than once");
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        if self.records.len() >= PARTITIONS_PER_REQUEST_MAX {
            let message =
                format!("a request may move {PARTITIONS_PER_REQUEST_MAX} partitions at most");
            return Err(Refusal::new(ErrorCode::PolicyViolation, message));
        }
        let record = match &wanted.replicas {
            Some(replicas) => self.begin(topic, index, partition, replicas)?,
            None => self.revert(topic, index, partition)?,
        };
        self.records.extend(record);
        Ok(())
    }

    fn begin(
        &self,
        topic: &Topic,
        index: i32,
        partition: &Partition,
        replicas: &[i32],
    ) -> Result<Option<MetadataRecord>, Refusal> {
        let image = self.rulebook.image();
        let target = assigned_replicas(image, replicas, None)?;
        let factor = Assignment::of(partition).target().len();
        if !self.may_change_factor && target.len() != factor {
            let message =
                format!("The replication factor is changed from {factor} to {}", target.len());
            return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
        }
        let rules = self.rulebook.rules(topic);
        let acceptable = |broker| can_lead(image, partition, broker);
        let change = PartitionChange::new(partition, rules, Election::Online, &acceptable)
            .with_assignment(Assignment::towards(partition, &target));
        Ok(change.record(image, topic, index).map(Into::into))
    }

    /// Back to the replicas of before. If none of these is in sync any more, what the new ones have
    /// is lost, so that must be allowed.
    fn revert(
        &self,
        topic: &Topic,
        index: i32,
        partition: &Partition,
    ) -> Result<Option<MetadataRecord>, Refusal> {
        if !partition.is_reassigning() {
            let message = "No partition reassignment is in progress.";
            return Err(Refusal::new(ErrorCode::NoReassignmentInProgress, message));
        }
        let image = self.rulebook.image();
        let rules = self.rulebook.rules(topic);
        let replicas = Assignment::of(partition).reverted();
        let acceptable = |broker| can_lead(image, partition, broker);
        let mut isr = without(&partition.isr, &partition.adding);
        let mut recovering = partition.recovering;
        if isr.is_empty() {
            if !rules.unclean {
                let message = format!(
                    "Unable to revert partition assignment for {}:{index} because it would require \
                     an unclean leader election.",
                    topic.name
                );
                return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
            }
            let alive = replicas.iter().find(|&&replica| acceptable(replica));
            // With ELR nobody need be in sync; without, one must be named.
            let named = alive.or_else(|| replicas.first().filter(|_| !rules.elr));
            recovering |= named.is_some();
            isr.extend(named);
        }
        let change = PartitionChange::new(partition, rules, rules.online(), &acceptable)
            .with_isr(isr, recovering)
            .with_assignment(Assignment::settled(replicas));
        Ok(change.record(image, topic, index).map(Into::into))
    }
}
