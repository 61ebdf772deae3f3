//! What follows for partitions when a broker comes, goes, or loses what it has.
//!
//! When a broker is fenced, leaves or fails, what it leads goes to other replicas in sync; when it
//! comes, it may lead what nobody leads.
//!
//! Every partition is looked at when a broker changes state: 12 ms of CPU with a million partitions
//! (`benches/million.rs`), a third of what the records of such a broker cost anyway. An index by
//! broker would cost memory in every image and time in every change.
//!
//! Not here: when a broker is fenced (`heartbeat`, `sessions`), what one partition does
//! (`partition_change`).

use protocol::internal::metadata::{BrokerRegistrationChangeRecord, UnregisterBrokerRecord};
use types::{BrokerId, ErrorCode, Uuid};

use super::Context;
use super::election_rules::{ElectionRules, Rulebook};
use super::partition_change::{PartitionChange, has_directory};
use crate::image::{Broker, Image, Partition, Topic};
use crate::record::MetadataRecord;

/// The records that keep out a broker whose session has run out; none for an unknown one.
pub fn fence_broker(image: &Image, id: BrokerId, context: &Context<'_>) -> Vec<MetadataRecord> {
    let Some(broker) = image.broker(id) else { return Vec::new() };
    let mut records = departures(image, id, Departure::Leaves, context);
    records.push(fencing(broker, 1));
    records
}

/// The records that let a broker in.
pub(super) fn unfence_broker(
    image: &Image,
    broker: &Broker,
    context: &Context<'_>,
) -> Vec<MetadataRecord> {
    let mut records = vec![fencing(broker, -1)];
    // It may lead what nobody leads, unless it is on its way out: no record takes that back.
    let arrives = (!broker.in_controlled_shutdown).then_some(broker.id);
    records.extend(changes(image, context, |partition| {
        partition.leader.is_none().then_some(Step { arrives, ..Step::default() })
    }));
    records
}

/// The records that begin the controlled shutdown of a broker.
pub(super) fn leave_in_order(
    image: &Image,
    broker: &Broker,
    context: &Context<'_>,
) -> Vec<MetadataRecord> {
    let change = BrokerRegistrationChangeRecord { in_controlled_shutdown: 1, ..change_of(broker) };
    let mut records = vec![change.into()];
    records.extend(departures(image, broker.id, Departure::Leaves, context));
    records
}

/// Forgets a broker for good, and what it has with it.
///
/// # Errors
/// [`ErrorCode::BrokerIdNotRegistered`] where there is none of this id.
pub fn unregister_broker(
    image: &Image,
    id: BrokerId,
    context: &Context<'_>,
) -> Result<Vec<MetadataRecord>, ErrorCode> {
    let broker = image.broker(id).ok_or(ErrorCode::BrokerIdNotRegistered)?;
    let mut records = departures(image, id, Departure::LosesAll, context);
    let record = UnregisterBrokerRecord {
        broker_id: id.0,
        broker_epoch: broker.epoch,
        ..Default::default()
    };
    records.push(record.into());
    Ok(records)
}

/// The records of directories of a broker that have failed; none where the image knows of all. What
/// lies there can have no mark of a clean stop, so it is not eligible to lead later.
pub(super) fn directories_fail(
    image: &Image,
    broker: &Broker,
    failed: &[Uuid],
    context: &Context<'_>,
) -> Vec<MetadataRecord> {
    let (fail, work): (Vec<_>, Vec<_>) =
        broker.directories.iter().copied().partition(|id| failed.contains(id));
    if fail.is_empty() {
        return Vec::new();
    }
    let mut records = changes(image, context, |partition| {
        let lies_there = partition.directory_of(broker.id).is_some_and(|id| fail.contains(&id));
        Departure::LosesAll.step(partition, broker.id).filter(|_| lies_there)
    });
    let change = BrokerRegistrationChangeRecord { log_dirs: work, ..change_of(broker) };
    records.push(change.into());
    records
}

/// A change record of a broker that changes nothing yet.
pub(super) fn change_of(broker: &Broker) -> BrokerRegistrationChangeRecord {
    BrokerRegistrationChangeRecord {
        broker_id: broker.id.0,
        broker_epoch: broker.epoch,
        ..Default::default()
    }
}

fn fencing(broker: &Broker, fenced: i8) -> MetadataRecord {
    BrokerRegistrationChangeRecord { fenced, ..change_of(broker) }.into()
}

/// Whether a broker that goes keeps what it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Departure {
    /// It may come back with all that it had, so it may become eligible.
    Leaves,
    /// It comes back, if ever, with less.
    LosesAll,
}

/// The records of all partitions that a former run of a broker leaves. `kept` says whether the new
/// run has what the former one had in a directory.
pub(super) fn departures_of_former_run(
    image: &Image,
    id: BrokerId,
    kept: impl Fn(Uuid) -> bool,
    context: &Context<'_>,
) -> Vec<MetadataRecord> {
    changes(image, context, |partition| {
        let is_kept = partition.directory_of(id).is_some_and(&kept);
        let departure = if is_kept { Departure::Leaves } else { Departure::LosesAll };
        departure.step(partition, id)
    })
}

fn departures(
    image: &Image,
    id: BrokerId,
    departure: Departure,
    context: &Context<'_>,
) -> Vec<MetadataRecord> {
    changes(image, context, |partition| departure.step(partition, id))
}

/// What happens to one partition.
#[derive(Clone, Copy, Default)]
struct Step {
    /// Leaves the ISR and may not lead.
    leaves: Option<BrokerId>,
    /// Lost its data: leaves the ELR too.
    lost: Option<BrokerId>,
    /// May lead although the image still has it fenced.
    arrives: Option<BrokerId>,
}

impl Departure {
    /// What it means for a partition that `id` goes; `None` where it does not matter.
    fn step(self, partition: &Partition, id: BrokerId) -> Option<Step> {
        let in_sync = partition.isr.contains(&id);
        match self {
            Self::Leaves => in_sync.then_some(Step { leaves: Some(id), ..Step::default() }),
            Self::LosesAll => (in_sync || partition.elr.contains(&id))
                .then_some(Step { lost: Some(id), ..Step::default() }),
        }
    }
}

/// The changes of all partitions that `step` names.
fn changes(
    image: &Image,
    context: &Context<'_>,
    step: impl Fn(&Partition) -> Option<Step>,
) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    let rulebook = Rulebook::new(image, context);
    for topic in image.topics() {
        // Settings are read for topics that need them alone.
        let mut rules = None;
        for (index, partition) in topic.partitions() {
            let Some(step) = step(partition) else { continue };
            let rules = *rules.get_or_insert_with(|| rulebook.rules(topic));
            records.extend(change(image, topic, index, partition, rules, step));
        }
    }
    records
}

fn change(
    image: &Image,
    topic: &Topic,
    index: i32,
    partition: &Partition,
    rules: ElectionRules,
    step: Step,
) -> Option<MetadataRecord> {
    let Step { leaves, lost, arrives } = step;
    let can_lead = |broker| {
        let stays = leaves != Some(broker) && lost != Some(broker);
        let active = arrives == Some(broker) || image.is_active(broker);
        stays && active && has_directory(image, partition, broker)
    };
    let mut change = PartitionChange::new(partition, rules, rules.online(), &can_lead);
    if let Some(broker) = leaves {
        change = change.without(broker);
    }
    if let Some(broker) = lost {
        change = change.without_data_of(broker);
    }
    change.record(image, topic, index).map(Into::into)
}
