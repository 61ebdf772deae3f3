//! OffsetCommit: stores how far a group has read, for topics that exist.

use std::collections::BTreeMap;

use coordinator::{Request, Response};
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use types::{ErrorCode, Uuid};

use crate::broker::Context;
use crate::broker::group_call::{ask, unasked};
use crate::broker::resolve::{self, TopicRef};

/// Serves one request.
pub async fn handle(context: Context, mut request: OffsetCommitRequest) -> OffsetCommitResponse {
    let by_id = context.version >= 10;
    // A topic that is named twice is answered once, with all its partitions.
    let mut order: Vec<_> = Vec::with_capacity(request.topics.len());
    let mut answers: BTreeMap<_, Vec<OffsetCommitResponsePartition>> = BTreeMap::new();
    let mut known = Vec::new();
    for topic in std::mem::take(&mut request.topics) {
        let (refused, accepted) = check(&context, topic, by_id);
        let name = identity(&accepted, by_id);
        if !answers.contains_key(&name) {
            order.push(name.clone());
        }
        answers.entry(name).or_default().extend(refused);
        if !accepted.partitions.is_empty() {
            known.push(accepted);
        }
    }
    request.topics = known.clone();
    let group_id = request.group_id.clone();
    let committed = match ask(&context, &group_id, Request::OffsetCommit(request)).await {
        Ok(Response::OffsetCommit(response)) => response.topics,
        Ok(other) => unasked(&other),
        Err(code) => known.iter().map(|topic| refuse(topic, code)).collect(),
    };
    for (topic, response) in known.iter().zip(committed) {
        answers.entry(identity(topic, by_id)).or_default().extend(response.partitions);
    }
    let topics = order.into_iter().map(|(name, topic_id)| OffsetCommitResponseTopic {
        partitions: answers.remove(&(name.clone(), topic_id)).unwrap_or_default(),
        name,
        topic_id,
        ..Default::default()
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

/// How the request and its response name a topic.
fn identity(topic: &OffsetCommitRequestTopic, by_id: bool) -> (String, Uuid) {
    if by_id { (String::new(), topic.topic_id) } else { (topic.name.clone(), Uuid::ZERO) }
}

/// Parts a topic into what is refused here and what the coordinator decides, with name and id.
fn check(
    context: &Context,
    mut topic: OffsetCommitRequestTopic,
    by_id: bool,
) -> (Vec<OffsetCommitResponsePartition>, OffsetCommitRequestTopic) {
    let image = context.shard.image();
    let found = resolve::topic(&image, TopicRef::from_wire(&topic.name, topic.topic_id, by_id));
    let mut refused = Vec::new();
    topic.partitions.retain(|partition| {
        let code = match &found {
            Err(code) => *code,
            Ok(found) if found.partition(partition.partition_index).is_none() => {
                ErrorCode::UnknownTopicOrPartition
            }
            Ok(_) => return true,
        };
        refused.push(partition_response(partition.partition_index, code));
        false
    });
    if let Ok(found) = found {
        topic.name = found.name.to_string();
        topic.topic_id = found.id;
    }
    (refused, topic)
}

fn refuse(topic: &OffsetCommitRequestTopic, code: ErrorCode) -> OffsetCommitResponseTopic {
    let partitions = topic.partitions.iter();
    let partitions = partitions.map(|one| partition_response(one.partition_index, code));
    OffsetCommitResponseTopic { partitions: partitions.collect(), ..Default::default() }
}

fn partition_response(partition_index: i32, code: ErrorCode) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition {
        partition_index,
        error_code: code.to_wire(),
        ..Default::default()
    }
}
