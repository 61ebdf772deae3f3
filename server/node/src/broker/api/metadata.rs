//! Metadata: brokers, topics and leaders; creates topics that are asked for where that is allowed.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::metadata::Image;
use ::metadata::controller::auto_create_request;
use ::metadata::image::Topic;
use protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use types::{BrokerId, ErrorCode, Uuid, validate_topic_name};

use crate::broker::Context;
use crate::broker::forward;
use crate::broker::once::first_of_each;
use crate::broker::operations;
use crate::broker::resolve;

/// Versions 10 and 11 have a field for ids, and no way to answer for a topic without a name.
const IDS_SINCE: i16 = 12;

/// Earlier clients do not know that a leader may lack their listener.
const LISTENERS_SINCE: i16 = 6;

/// Who asks: what they can reach, and which codes they know.
#[derive(Clone, Copy)]
struct Clients<'a> {
    listener: &'a str,
    version: i16,
}

/// Serves one request.
pub async fn handle(context: Context, mut request: MetadataRequest) -> MetadataResponse {
    if let Some(topics) = &mut request.topics {
        first_of_each(topics, |topic| (topic.topic_id, topic.name.clone()));
    }
    if context.version < IDS_SINCE && request.topics.iter().flatten().any(is_by_id) {
        return refuse(request);
    }
    let shard = &context.shard;
    let shared = &shard.shared;
    let failed = create_missing(&context, &request).await;
    let image = shard.image();
    // Version 0 has no null: an empty list stands for all topics there.
    let all = match &request.topics {
        None => true,
        Some(topics) => topics.is_empty() && context.version == 0,
    };
    let listener = &context.peer.listener;
    let clients = Clients { listener, version: context.version };
    let topic_operations = request.include_topic_authorized_operations;
    let mut topics: Vec<MetadataResponseTopic> = if all {
        image.topics().map(|topic| describe(&image, topic, clients)).collect()
    } else {
        let wanted = request.topics.iter().flatten();
        wanted.map(|topic| find(&image, topic, clients, &failed)).collect()
    };
    if topic_operations {
        for topic in topics.iter_mut().filter(|topic| topic.error_code == 0) {
            topic.topic_authorized_operations = operations::TOPIC;
        }
    }
    let cluster_operations = request.include_cluster_authorized_operations;
    MetadataResponse {
        brokers: brokers(&image, listener),
        cluster_id: Some(shared.dirs.cluster_id.clone()),
        controller_id: shared.config.node_id.0,
        topics,
        cluster_authorized_operations: match cluster_operations && context.version <= 10 {
            true => operations::CLUSTER,
            false => operations::NOT_ASKED,
        },
        ..Default::default()
    }
}

fn is_by_id(topic: &MetadataRequestTopic) -> bool {
    topic.name.is_none() || !topic.topic_id.is_zero()
}

/// There is no code for the whole: every topic gets it.
fn refuse(request: MetadataRequest) -> MetadataResponse {
    let topics = request.topics.into_iter().flatten().map(|topic| MetadataResponseTopic {
        error_code: ErrorCode::InvalidRequest.to_wire(),
        name: Some(topic.name.unwrap_or_default()),
        topic_id: topic.topic_id,
        ..Default::default()
    });
    MetadataResponse { topics: topics.collect(), ..Default::default() }
}

/// Creates what is asked for by name and missing, where client and node allow it. Gives the codes
/// of those that could not be created.
async fn create_missing(
    context: &Context,
    request: &MetadataRequest,
) -> BTreeMap<String, ErrorCode> {
    let shard = &context.shard;
    // Clients before version 4 cannot say; they always mean it.
    let allowed = (context.version < 4 || request.allow_auto_topic_creation)
        && shard.shared.config.topics.auto_create;
    let mut failed = BTreeMap::new();
    if !allowed {
        return failed;
    }
    let image = shard.image();
    let by_name = request.topics.iter().flatten().filter(|topic| topic.topic_id.is_zero());
    let names = by_name.filter_map(|topic| topic.name.as_ref());
    let missing: Vec<String> = names
        .filter(|name| image.topic(name).is_none() && validate_topic_name(name).is_ok())
        .cloned()
        .collect();
    if missing.is_empty() {
        return failed;
    }
    let fixed = &shard.shared.fixed;
    let create = auto_create_request(missing.iter().map(String::as_str), &image, fixed);
    // Without a controller the topics stay unknown, and the client asks again.
    let created = forward::create_topics(context, create).await;
    for topic in created.map_or_else(Vec::new, |response| response.topics) {
        let code = ErrorCode::from_wire(topic.error_code);
        if !matches!(code, ErrorCode::None | ErrorCode::TopicAlreadyExists) {
            failed.insert(topic.name, code);
        }
    }
    failed
}

fn find(
    image: &Image,
    wanted: &MetadataRequestTopic,
    clients: Clients<'_>,
    failed: &BTreeMap<String, ErrorCode>,
) -> MetadataResponseTopic {
    let unknown = |code: ErrorCode, name: Option<String>, topic_id: Uuid| MetadataResponseTopic {
        error_code: code.to_wire(),
        is_internal: name.as_deref().is_some_and(config::is_internal),
        name,
        topic_id,
        ..Default::default()
    };
    // Java's client leaves an empty name beside the id.
    match wanted.name.as_ref().filter(|_| wanted.topic_id.is_zero()) {
        Some(name) => match image.topic(name) {
            Some(topic) => describe(image, topic, clients),
            None => {
                let code = match validate_topic_name(name) {
                    Err(_) => ErrorCode::InvalidTopicException,
                    Ok(()) => {
                        failed.get(name).copied().unwrap_or(ErrorCode::UnknownTopicOrPartition)
                    }
                };
                unknown(code, Some(name.clone()), Uuid::ZERO)
            }
        },
        None => match image.topic_by_id(wanted.topic_id) {
            Some(topic) => describe(image, topic, clients),
            None => unknown(ErrorCode::UnknownTopicId, None, wanted.topic_id),
        },
    }
}

fn describe(image: &Image, topic: &Arc<Topic>, clients: Clients<'_>) -> MetadataResponseTopic {
    let partitions = topic.partitions().map(|(partition_index, partition)| {
        let leader = resolve::reachable_leader(image, partition, clients.listener);
        let is_offline = |id: &&BrokerId| {
            !image.is_active(**id) || resolve::lies_offline(image, partition, **id)
        };
        let offline = partition.replicas.iter().filter(is_offline);
        MetadataResponsePartition {
            error_code: match leader {
                Ok(_) => ErrorCode::None.to_wire(),
                Err(ErrorCode::ListenerNotFound) if clients.version < LISTENERS_SINCE => {
                    ErrorCode::LeaderNotAvailable.to_wire()
                }
                Err(code) => code.to_wire(),
            },
            partition_index,
            leader_id: leader.map_or(-1, |leader| leader.0),
            leader_epoch: partition.leader_epoch.0,
            replica_nodes: ids(&partition.replicas),
            isr_nodes: ids(&partition.isr),
            offline_replicas: offline.map(|id| id.0).collect(),
            ..Default::default()
        }
    });
    MetadataResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: config::is_internal(&topic.name),
        partitions: partitions.collect(),
        ..Default::default()
    }
}

fn ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|id| id.0).collect()
}

fn brokers(image: &Image, listener: &str) -> Vec<MetadataResponseBroker> {
    let reachable = image.brokers().filter(|broker| !broker.fenced).filter_map(|broker| {
        let endpoint = broker.endpoint(listener)?;
        Some(MetadataResponseBroker {
            node_id: broker.id.0,
            host: endpoint.host.clone(),
            port: i32::from(endpoint.port),
            rack: broker.rack.clone(),
            ..Default::default()
        })
    });
    reachable.collect()
}

#[cfg(test)]
mod tests {
    use ::metadata::MetadataRecord;
    use protocol::internal::metadata::register_broker_record::BrokerEndpoint;
    use protocol::internal::metadata::{PartitionRecord, RegisterBrokerRecord, TopicRecord};

    use super::*;

    /// Code and leader of a partition that `leader` leads, as clients of `listener` are told.
    fn told(leader: i32, listener: &str, version: i16) -> (ErrorCode, i32) {
        let topic_id = Uuid::from_bytes([9; 16]);
        let mut image = Image::default();
        let endpoint = BrokerEndpoint { name: "IN".to_owned(), ..Default::default() };
        let broker =
            RegisterBrokerRecord { broker_id: 1, end_points: vec![endpoint], ..Default::default() };
        let topic = TopicRecord { name: "t".to_owned(), topic_id, ..Default::default() };
        let partition =
            PartitionRecord { topic_id, replicas: vec![1], leader, ..Default::default() };
        for record in [
            MetadataRecord::from(broker),
            MetadataRecord::from(topic),
            MetadataRecord::from(partition),
        ] {
            image.apply(&record).unwrap();
        }
        let clients = Clients { listener, version };
        let described = describe(&image, image.topic("t").unwrap(), clients);
        let partition = &described.partitions[0];
        (ErrorCode::from_wire(partition.error_code), partition.leader_id)
    }

    #[test]
    fn a_leader_without_the_listener_is_none_and_newer_clients_learn_why() {
        assert_eq!(told(1, "IN", 6), (ErrorCode::None, 1));
        assert_eq!(told(1, "OUT", 6), (ErrorCode::ListenerNotFound, -1));
        assert_eq!(told(1, "OUT", 5), (ErrorCode::LeaderNotAvailable, -1));
        assert_eq!(told(-1, "IN", 6), (ErrorCode::LeaderNotAvailable, -1));
    }
}
