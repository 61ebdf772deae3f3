//! ElectLeaders, and what the driver looks after from time to time: that preferred leaders lead, and
//! that somebody leads where an unclean election is allowed.
//!
//! Leaders that change because a broker comes or goes are decided in `brokers`; what an election
//! does to a partition is in `partition_change`.

use protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use types::ErrorCode;

use super::election_rules::{Election, Rulebook};
use super::partition_change::{PartitionChange, can_lead, unknown_partition};
use super::{Context, Decision, Refusal, wire_result};
use crate::image::{Image, Topic};
use crate::record::MetadataRecord;

/// How many elections one look after the leaders decides at most; the driver looks again at once.
pub const ELECTIONS_PER_CHECK: usize = 1000;

/// Decides ElectLeaders: the preferred leader (type 0) or any live one (type 1).
pub fn elect_leaders(
    image: &Image,
    request: &ElectLeadersRequest,
    context: &Context<'_>,
) -> Decision<ElectLeadersResponse> {
    let rulebook = Rulebook::new(image, context);
    let mut response = ElectLeadersResponse::default();
    let election = match request.election_type {
        0 => Election::Preferred,
        1 => Election::Unclean,
        _ => {
            response.error_code = ErrorCode::InvalidRequest.to_wire();
            return Decision::unchanged(response);
        }
    };
    let mut records = Vec::new();
    let mut elect = |topic: &str, partition| {
        let result = elect_leader(&rulebook, topic, partition, election);
        let result = result.map(|record| records.push(record));
        let (error_code, error_message) = wire_result(&result);
        PartitionResult { partition_id: partition, error_code, error_message, ..Default::default() }
    };
    let results = &mut response.replica_election_results;
    match &request.topic_partitions {
        // All partitions: those that need no election are not worth a line.
        None => results.extend(image.topics().map(|topic| {
            let partition_result = topic.partitions().map(|(index, _)| elect(&topic.name, index));
            let partition_result = partition_result
                .filter(|result| result.error_code != ErrorCode::ElectionNotNeeded.to_wire());
            ReplicaElectionResult {
                topic: topic.name.to_string(),
                partition_result: partition_result.collect(),
                ..Default::default()
            }
        })),
        Some(topics) => results.extend(topics.iter().map(|topic| {
            let partitions = topic.partitions.iter();
            ReplicaElectionResult {
                topic: topic.topic.clone(),
                partition_result: partitions.map(|&index| elect(&topic.topic, index)).collect(),
                ..Default::default()
            }
        })),
    }
    Decision { records, response }
}

/// Gives up to `max` partitions back to their preferred leaders where these can lead.
pub fn elect_preferred_leaders(
    image: &Image,
    max: usize,
    context: &Context<'_>,
) -> Vec<MetadataRecord> {
    let rulebook = Rulebook::new(image, context);
    let astray = image.topics().flat_map(|topic| {
        let partitions = topic.partitions();
        partitions
            .filter(|(_, partition)| !partition.has_preferred_leader())
            .filter_map(|(index, _)| elect_one(&rulebook, topic, index, Election::Preferred))
    });
    astray.take(max).collect()
}

/// Gives up to `max` partitions that nobody leads a leader that may lack records, where their topics
/// allow that: the setting may be younger than the loss of the leader.
pub fn elect_unclean_leaders(
    image: &Image,
    max: usize,
    context: &Context<'_>,
) -> Vec<MetadataRecord> {
    let rulebook = Rulebook::new(image, context);
    let mut records = Vec::new();
    for topic in image.topics() {
        let mut leaderless = topic.partitions().filter(|(_, one)| one.leader.is_none()).peekable();
        if leaderless.peek().is_none() || !rulebook.rules(topic).unclean {
            continue;
        }
        let elected = leaderless
            .filter_map(|(index, _)| elect_one(&rulebook, topic, index, Election::Unclean));
        records.extend(elected.take(max - records.len()));
        if records.len() == max {
            break;
        }
    }
    records
}

fn elect_leader(
    rulebook: &Rulebook<'_>,
    topic_name: &str,
    index: i32,
    election: Election,
) -> Result<MetadataRecord, Refusal> {
    let unknown = || unknown_partition(topic_name, index);
    let topic = rulebook.image().topic(topic_name).ok_or_else(unknown)?;
    let partition = topic.partition(index).ok_or_else(unknown)?;
    let (needed, unavailable) = match election {
        Election::Preferred => {
            (!partition.has_preferred_leader(), ErrorCode::PreferredLeaderNotAvailable)
        }
        Election::Online | Election::Unclean => {
            (partition.leader.is_none(), ErrorCode::EligibleLeadersNotAvailable)
        }
    };
    // Retriable on the wire, but a client that asked for this leader has what it wants.
    if !needed {
        let message = format!("{topic_name}-{index} has the leader that was asked for");
        return Err(Refusal::new(ErrorCode::ElectionNotNeeded, message));
    }
    elect_one(rulebook, topic, index, election).ok_or_else(|| {
        Refusal::new(unavailable, format!("no replica of {topic_name}-{index} can take over"))
    })
}

fn elect_one(
    rulebook: &Rulebook<'_>,
    topic: &Topic,
    index: i32,
    election: Election,
) -> Option<MetadataRecord> {
    let partition = topic.partition(index)?;
    let acceptable = |broker| can_lead(rulebook.image(), partition, broker);
    let rules = rulebook.rules(topic);
    let change = PartitionChange::new(partition, rules, election, &acceptable);
    change.record(rulebook.image(), topic, index).map(Into::into)
}
