//! CreatePartitions, and how partitions are made that do not exist yet.

use protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};
use types::{BrokerId, ErrorCode, LeaderEpoch, Rng, Uuid};

use super::{
    Context, Decision, PARTITIONS_PER_REQUEST_MAX, Refusal, placement, split_duplicates,
    wire_result,
};
use crate::image::{BrokerIds, Image, Partition, directory};
use crate::record::{MetadataRecord, has_directories};

/// Decides CreatePartitions. With `validate_only` all is checked and nothing made.
pub fn create_partitions(
    image: &Image,
    request: &CreatePartitionsRequest,
    context: &mut Context<'_>,
) -> Decision<CreatePartitionsResponse> {
    let mut records = Vec::new();
    let names = request.topics.iter().map(|topic| topic.name.as_str());
    let (duplicates, _) = split_duplicates(names);
    let mut results: Vec<_> = duplicates
        .iter()
        .map(|name| {
            let refusal = Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
            result(name, &Err(refusal))
        })
        .collect();
    for topic in &request.topics {
        if !duplicates.contains(&topic.name.as_str()) {
            let added = add_partitions(image, topic, &mut records, context);
            results.push(result(&topic.name, &added));
        }
    }
    if request.validate_only {
        records.clear();
    }
    Decision { records, response: CreatePartitionsResponse { results, ..Default::default() } }
}

fn result(name: &str, outcome: &Result<(), Refusal>) -> CreatePartitionsTopicResult {
    let (error_code, error_message) = wire_result(outcome);
    let name = name.to_owned();
    CreatePartitionsTopicResult { name, error_code, error_message, ..Default::default() }
}

fn add_partitions(
    image: &Image,
    request: &CreatePartitionsTopic,
    records: &mut Vec<MetadataRecord>,
    context: &mut Context<'_>,
) -> Result<(), Refusal> {
    let topic = image.topic(&request.name).ok_or_else(|| {
        let message = format!("there is no topic {:?}", request.name);
        Refusal::new(ErrorCode::UnknownTopicOrPartition, message)
    })?;
    let (name, present) = (&topic.name, topic.partition_count());
    let refuse = |message: String| Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    if request.count == present {
        return refuse(format!("Topic already has {present} partition(s)."));
    }
    let added = usize::try_from(i64::from(request.count) - i64::from(present));
    let Ok(added) = added else {
        return refuse(format!(
            "The topic {name} currently has {present} partition(s); {} would not be an increase.",
            request.count
        ));
    };
    // `records` holds what this request has already added to other topics.
    if records.len().saturating_add(added) > PARTITIONS_PER_REQUEST_MAX {
        let message =
            format!("a request may create {PARTITIONS_PER_REQUEST_MAX} partitions at most");
        return Err(Refusal::new(ErrorCode::PolicyViolation, message));
    }
    // New partitions get as many replicas as the first one has; the factor is no setting.
    let factor = topic.replication_factor();
    let partitions = match &request.assignments {
        None => placed_partitions(image, added, factor, context.rng)?,
        Some(assignments) => {
            if assignments.len() != added {
                let message = format!(
                    "Attempted to add {added} additional partition(s), but only {} assignment(s) \
                     were specified.",
                    assignments.len()
                );
                return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
            }
            let indexed = (present..).zip(assignments);
            let made = indexed.map(|(index, assignment)| {
                let replicas = assigned_replicas(image, &assignment.broker_ids, Some(factor))?;
                new_partition(image, &replicas).ok_or_else(|| {
                    let message = format!(
                        "All brokers specified in the manual partition assignment for partition \
                         {index} are fenced or in controlled shutdown."
                    );
                    Refusal::new(ErrorCode::InvalidReplicaAssignment, message)
                })
            });
            made.collect::<Result<Vec<_>, _>>()?
        }
    };
    let numbered = (present..).zip(&partitions);
    records.extend(numbered.map(|(index, partition)| partition.to_record(topic.id, index).into()));
    Ok(())
}

/// New partitions on brokers that the controller chooses.
pub(super) fn placed_partitions(
    image: &Image,
    count: usize,
    replicas: usize,
    rng: &mut Rng,
) -> Result<Vec<Partition>, Refusal> {
    let placed = placement::place(image, count, replicas, rng)?;
    let made = placed.iter().map(|replicas| new_partition(image, replicas));
    Ok(made.map(|partition| partition.expect("the first replica is on an active broker")).collect())
}

/// A new partition on these brokers, led by the first active one; `None` where none is.
pub(super) fn new_partition(image: &Image, replicas: &[BrokerId]) -> Option<Partition> {
    let isr: BrokerIds = replicas.iter().copied().filter(|&id| image.is_active(id)).collect();
    let leader = *isr.first()?;
    Some(Partition {
        replicas: replicas.into(),
        directories: replicas.iter().map(|&id| first_directory(image, id)).collect(),
        isr,
        leader: Some(leader),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
        ..Partition::default()
    })
}

/// Checks replicas that a client chose.
pub(super) fn assigned_replicas(
    image: &Image,
    ids: &[i32],
    factor: Option<usize>,
) -> Result<Vec<BrokerId>, Refusal> {
    let refuse = |message| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if ids.is_empty() {
        return refuse(
            "The manual partition assignment includes an empty replica list.".to_owned(),
        );
    }
    let replicas: Vec<_> = ids.iter().copied().map(BrokerId).collect();
    let unknown = replicas.iter().find(|id| image.broker(**id).is_none());
    if let Some(id) = unknown {
        return refuse(format!(
            "The manual partition assignment includes broker {id}, but no such broker is registered."
        ));
    }
    if let Some(id) = split_duplicates(replicas.iter()).0.first() {
        return refuse(format!(
            "The manual partition assignment includes the broker {id} more than once."
        ));
    }
    match factor {
        Some(factor) if factor != replicas.len() => refuse(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is \
             not consistent with previous partitions, which have {factor} replica(s).",
            replicas.len()
        )),
        Some(_) | None => Ok(replicas),
    }
}

/// A broker with several directories chooses itself where a new replica goes.
pub(super) fn first_directory(image: &Image, id: BrokerId) -> Uuid {
    if !has_directories(image.metadata_version()) {
        return directory::MIGRATING;
    }
    match image.broker(id).map(|broker| broker.directories.as_slice()) {
        Some([]) => directory::MIGRATING,
        Some([only]) => *only,
        Some(_) | None => directory::UNASSIGNED,
    }
}
