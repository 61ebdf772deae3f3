//! OffsetFetch: how far groups have read. Old versions ask for one group, new ones for many, the
//! newest name topics by id.

use coordinator::{Request, Response};
use protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use types::{ErrorCode, Uuid};

use crate::broker::Context;
use crate::broker::group_call::{ask, unasked};
use crate::broker::once::{first_of_each, partitions_once};

/// First version with many groups.
const MANY_GROUPS: i16 = 8;
/// First version with topic ids.
const TOPIC_IDS: i16 = 10;

/// Serves one request.
pub async fn handle(context: Context, mut request: OffsetFetchRequest) -> OffsetFetchResponse {
    if context.version < MANY_GROUPS {
        return one_group(&context, request).await;
    }
    first_of_each(&mut request.groups, |group| group.group_id.clone());
    let mut groups = Vec::with_capacity(request.groups.len());
    for mut group in request.groups {
        if let Some(topics) = &mut group.topics {
            partitions_once(topics, |topic| {
                ((topic.name.clone(), topic.topic_id), &mut topic.partition_indexes)
            });
        }
        groups.push(match context.version >= TOPIC_IDS {
            true => fetch_by_id(&context, group).await,
            false => fetch(&context, group).await,
        });
    }
    OffsetFetchResponse { groups, ..Default::default() }
}

async fn one_group(context: &Context, mut request: OffsetFetchRequest) -> OffsetFetchResponse {
    if let Some(topics) = &mut request.topics {
        partitions_once(topics, |topic| (topic.name.clone(), &mut topic.partition_indexes));
    }
    let topics = request.topics.map(|topics| {
        let rename = |topic: protocol::messages::offset_fetch::OffsetFetchRequestTopic| {
            OffsetFetchRequestTopics {
                name: topic.name,
                partition_indexes: topic.partition_indexes,
                ..Default::default()
            }
        };
        topics.into_iter().map(rename).collect::<Vec<_>>()
    });
    let asked = topics.clone();
    let group = OffsetFetchRequestGroup {
        group_id: request.group_id,
        member_id: None,
        member_epoch: -1,
        topics,
        ..Default::default()
    };
    let found = fetch(context, group).await;
    let mut topics: Vec<_> = found.topics.into_iter().map(old_topic).collect();
    if found.error_code != 0 && context.version < 2 {
        // There is no error of the whole: every partition carries it.
        topics = asked.into_iter().flatten().map(|t| refused_topic(t, found.error_code)).collect();
    }
    OffsetFetchResponse {
        topics,
        error_code: if context.version >= 2 { found.error_code } else { 0 },
        ..Default::default()
    }
}

fn old_topic(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|one| OffsetFetchResponsePartition {
        partition_index: one.partition_index,
        committed_offset: one.committed_offset,
        committed_leader_epoch: one.committed_leader_epoch,
        metadata: one.metadata,
        error_code: one.error_code,
        ..Default::default()
    });
    OffsetFetchResponseTopic {
        name: topic.name,
        partitions: partitions.collect(),
        ..Default::default()
    }
}

fn refused_topic(topic: OffsetFetchRequestTopics, error_code: i16) -> OffsetFetchResponseTopic {
    let partitions =
        topic.partition_indexes.into_iter().map(|partition_index| OffsetFetchResponsePartition {
            partition_index,
            committed_offset: -1,
            committed_leader_epoch: -1,
            metadata: Some(String::new()),
            error_code,
            ..Default::default()
        });
    OffsetFetchResponseTopic {
        name: topic.name,
        partitions: partitions.collect(),
        ..Default::default()
    }
}

async fn fetch(context: &Context, group: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let group_id = group.group_id.clone();
    match ask(context, &group_id, Request::OffsetFetch(group)).await {
        Ok(Response::OffsetFetch(response)) => response,
        Ok(other) => unasked(&other),
        Err(code) => {
            OffsetFetchResponseGroup { group_id, error_code: code.to_wire(), ..Default::default() }
        }
    }
}

/// The coordinator keeps offsets by name: ids are translated on the way in and out.
async fn fetch_by_id(
    context: &Context,
    mut group: OffsetFetchRequestGroup,
) -> OffsetFetchResponseGroup {
    let image = context.shard.image();
    let mut unknown = Vec::new();
    if let Some(topics) = &mut group.topics {
        topics.retain_mut(|topic| match image.topic_by_id(topic.topic_id) {
            Some(found) => {
                topic.name = found.name.to_string();
                true
            }
            None => {
                let indexes = std::mem::take(&mut topic.partition_indexes);
                unknown.push(unknown_topic(topic.topic_id, indexes));
                false
            }
        });
    }
    let mut response = fetch(context, group).await;
    // Offsets of topics that are gone have no id to be told by.
    response.topics.retain_mut(|topic| match image.topic(&std::mem::take(&mut topic.name)) {
        Some(found) => {
            topic.topic_id = found.id;
            true
        }
        None => false,
    });
    if response.error_code == 0 {
        response.topics.extend(unknown);
    }
    response
}

fn unknown_topic(topic_id: Uuid, indexes: Vec<i32>) -> OffsetFetchResponseTopics {
    let partitions = indexes.into_iter().map(|partition_index| OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(String::new()),
        error_code: ErrorCode::UnknownTopicId.to_wire(),
        ..Default::default()
    });
    OffsetFetchResponseTopics { topic_id, partitions: partitions.collect(), ..Default::default() }
}
