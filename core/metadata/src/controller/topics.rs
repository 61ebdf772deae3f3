//! CreateTopics: which topics may come to be, with what id, settings and partitions.
//!
//! Each topic of a request stands alone: one that is refused leaves the others. Not here: where
//! replicas go (`placement`), what a setting may hold (`config`), who may ask.

use std::collections::BTreeSet;

use protocol::internal::metadata::TopicRecord;
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use types::{ErrorCode, Rng, Uuid, validate_topic_name};

use super::partitions::{assigned_replicas, new_partition, placed_partitions};
use super::{
    Context, Decision, PARTITIONS_PER_REQUEST_MAX, Refusal, configs, split_duplicates, wire_result,
};
use crate::image::{Image, Partition};
use crate::record::MetadataRecord;

/// The topic whose partition is the metadata log itself.
const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// Decides CreateTopics. With `validate_only` all is checked and nothing made.
pub fn create_topics(
    image: &Image,
    request: &CreateTopicsRequest,
    context: &mut Context<'_>,
) -> Decision<CreateTopicsResponse> {
    let mut records = Vec::new();
    let mut response = CreateTopicsResponse::default();
    let names = request.topics.iter().map(|topic| topic.name.as_str());
    let (duplicates, _) = split_duplicates(names);
    let too_many = partitions_asked_for(request, context) > PARTITIONS_PER_REQUEST_MAX;

    // Topics of this request are not in the image yet, so their names are kept here.
    let mut look_alikes = BTreeSet::new();
    for topic in &request.topics {
        if duplicates.contains(&topic.name.as_str()) {
            continue;
        }
        let created = if too_many {
            Err(Refusal::new(
                ErrorCode::PolicyViolation,
                format!("a request may create {PARTITIONS_PER_REQUEST_MAX} partitions at most"),
            ))
        } else {
            check_name(image, &topic.name, &look_alikes)
                .and_then(|()| create_topic(image, topic, &mut records, context))
        };
        if created.is_ok() {
            look_alikes.insert(topic.name.replace('.', "_"));
        }
        response.topics.push(created.unwrap_or_else(|refusal| refused(&topic.name, refusal)));
    }
    for name in duplicates {
        let refusal = Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
        response.topics.push(refused(name, refusal));
    }
    if request.validate_only {
        records.clear();
    }
    Decision { records, response }
}

/// Counted before anything is made: the limit is on the request, not on a topic.
fn partitions_asked_for(request: &CreateTopicsRequest, context: &Context<'_>) -> usize {
    let default = default_partitions(context);
    let each = request.topics.iter().map(|topic| match topic.num_partitions {
        _ if !topic.assignments.is_empty() => topic.assignments.len(),
        -1 => default,
        count => usize::try_from(count).unwrap_or(0),
    });
    each.fold(0, usize::saturating_add)
}

fn check_name(image: &Image, name: &str, accepted: &BTreeSet<String>) -> Result<(), Refusal> {
    if name == CLUSTER_METADATA_TOPIC {
        let message = format!("Creation of internal topic {name} is prohibited.");
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    let invalid = |message| Refusal::new(ErrorCode::InvalidTopicException, message);
    validate_topic_name(name).map_err(|error| invalid(error.to_string()))?;
    if image.topic(name).is_some() {
        let message = format!("Topic '{name}' already exists.");
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, message));
    }
    if let Some(existing) = image.topic_looking_like(name) {
        return Err(invalid(format!("Topic '{name}' collides with existing topic: {existing}")));
    }
    if accepted.contains(&name.replace('.', "_")) {
        return Err(invalid(format!("Topic '{name}' collides with a topic of the same request")));
    }
    Ok(())
}

/// Adds the records of one topic: the topic, its settings, its partitions.
fn create_topic(
    image: &Image,
    topic: &CreatableTopic,
    records: &mut Vec<MetadataRecord>,
    context: &mut Context<'_>,
) -> Result<CreatableTopicResult, Refusal> {
    let settings = configs::settings_of_new_topic(image, topic, context)?;
    let partitions = new_partitions(image, topic, context)?;
    let topic_id = new_topic_id(image, context.rng);
    // The settings come between the topic and its partitions: whoever sees a partition in the
    // log has read what holds for it.
    let described = configs::effective_topic_configs(image, &settings, context);
    records.push(TopicRecord { name: topic.name.clone(), topic_id, ..Default::default() }.into());
    records.extend(configs::topic_config_records(&topic.name, &settings));
    let numbered = (0..).zip(&partitions);
    records.extend(numbered.map(|(index, partition)| partition.to_record(topic_id, index).into()));

    let replicas = partitions.first().map_or(0, |partition| partition.replicas.len());
    Ok(CreatableTopicResult {
        name: topic.name.clone(),
        topic_id,
        num_partitions: i32::try_from(partitions.len()).expect("bounded by the request's limit"),
        replication_factor: i16::try_from(replicas).expect("the request's factor, or checked"),
        configs: Some(described),
        ..Default::default()
    })
}

/// Replicas as the client chose them, else as the controller does. A count of -1 is the node's
/// default (KIP-464).
fn new_partitions(
    image: &Image,
    topic: &CreatableTopic,
    context: &mut Context<'_>,
) -> Result<Vec<Partition>, Refusal> {
    if !topic.assignments.is_empty() {
        return manual_partitions(image, topic);
    }
    let replicas = match topic.replication_factor {
        -1 => default_replicas(context),
        given => usize::try_from(given).unwrap_or(0),
    };
    if replicas == 0 {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
    }
    let count = match topic.num_partitions {
        -1 => default_partitions(context),
        given => usize::try_from(given).unwrap_or(0),
    };
    if count == 0 {
        let message = "Number of partitions was set to an invalid non-positive value.";
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    placed_partitions(image, count, replicas, context.rng)
}

/// Partitions whose replicas the client chose; every index from 0 exactly once.
fn manual_partitions(image: &Image, topic: &CreatableTopic) -> Result<Vec<Partition>, Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    if topic.replication_factor != -1 {
        return invalid(
            "A manual partition assignment was specified, but replication factor was not set to -1.",
        );
    }
    if topic.num_partitions != -1 {
        return invalid(
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        );
    }
    let bad = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    let mut assignments: Vec<_> = topic.assignments.iter().collect();
    assignments.sort_by_key(|assignment| assignment.partition_index);
    let mut partitions: Vec<Partition> = Vec::with_capacity(assignments.len());
    for (expected, assignment) in (0..).zip(assignments) {
        let index = assignment.partition_index;
        if index == expected - 1 {
            return bad(format!(
                "Found multiple manual partition assignments for partition {index}"
            ));
        }
        if index != expected {
            return bad("partitions should be a consecutive 0-based integer sequence".to_owned());
        }
        let factor = partitions.first().map(|first| first.replicas.len());
        let replicas = assigned_replicas(image, &assignment.broker_ids, factor)?;
        let Some(partition) = new_partition(image, &replicas) else {
            return bad(format!(
                "All brokers specified in the manual partition assignment for \
                partition {index} are fenced or in controlled shutdown."
            ));
        };
        partitions.push(partition);
    }
    Ok(partitions)
}

/// A random id that nobody has and that no tool misreads: Kafka reserves the first ids, and one
/// whose text begins with a dash looks like an option.
pub(super) fn new_topic_id(image: &Image, rng: &mut Rng) -> Uuid {
    loop {
        let id = Uuid::from_random(rng.bytes16());
        let usable = !crate::image::directory::is_reserved(id) && !id.to_string().starts_with('-');
        if usable && image.topic_by_id(id).is_none() {
            return id;
        }
    }
}

fn default_partitions(context: &Context<'_>) -> usize {
    context.start_count("num.partitions")
}

fn default_replicas(context: &Context<'_>) -> usize {
    context.start_count("default.replication.factor")
}

fn refused(name: &str, refusal: Refusal) -> CreatableTopicResult {
    let (error_code, error_message) = wire_result(&Err(refusal));
    CreatableTopicResult { name: name.to_owned(), error_code, error_message, ..Default::default() }
}
