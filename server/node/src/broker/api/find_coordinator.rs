//! FindCoordinator: who serves a group. Creates `__consumer_offsets` when it is needed first.

use ::metadata::controller::auto_create_request;
use config::GROUP_METADATA_TOPIC;
use protocol::messages::create_topics::CreatableTopicResult;
use protocol::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use types::ErrorCode;

use crate::broker::Context;
use crate::broker::forward;
use crate::broker::group_call;

/// Key type of groups; transactions are 1, share partitions 2.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// Serves one request.
pub async fn handle(context: Context, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    if context.version >= 4 {
        let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
        for key in request.coordinator_keys {
            coordinators.push(find(&context, request.key_type, key).await);
        }
        return FindCoordinatorResponse { coordinators, ..Default::default() };
    }
    let found = find(&context, request.key_type, request.key).await;
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message.filter(|_| context.version >= 1),
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    }
}

async fn find(context: &Context, key_type: i8, key: String) -> Coordinator {
    let found = match key_type {
        GROUP => find_group(context, &key).await,
        // Neither is served yet, so there is nobody to name.
        TRANSACTION => Err(ErrorCode::CoordinatorNotAvailable),
        SHARE if context.version >= 6 => Err(ErrorCode::CoordinatorNotAvailable),
        _ => Err(ErrorCode::InvalidRequest),
    };
    match found {
        Ok(found) => Coordinator { key, ..found },
        Err(code) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: code.to_wire(),
            error_message: Some(code.name().to_owned()),
            ..Default::default()
        },
    }
}

/// Says what came of an internal topic; where it was made for few brokers, that it stays so.
fn tell(topic: &CreatableTopicResult, grows: bool) {
    let (name, replicas) = (&topic.name, topic.replication_factor);
    match ErrorCode::from_wire(topic.error_code) {
        // Another broker was asked for it, too.
        ErrorCode::TopicAlreadyExists => {}
        ErrorCode::None if grows => tracing::info!(
            "made {name} with replication factor {replicas}, by the brokers that serve now; \
             `thalweg cluster balance` raises it, to 3 at most, when more do"
        ),
        ErrorCode::None => {}
        code => tracing::warn!("cannot create {name}: {code}"),
    }
}

async fn find_group(context: &Context, group_id: &str) -> Result<Coordinator, ErrorCode> {
    let shared = &context.shard.shared;
    let image = context.shard.image();
    if image.topic(GROUP_METADATA_TOPIC).is_none() {
        let names = [GROUP_METADATA_TOPIC].into_iter();
        let request = auto_create_request(names, &image, &shared.fixed);
        let created = forward::create_topics(context, request).await;
        let response = created.ok_or(ErrorCode::CoordinatorNotAvailable)?;
        for topic in &response.topics {
            tell(topic, shared.fixed.grows());
        }
    }
    let unavailable = ErrorCode::CoordinatorNotAvailable;
    let partition = group_call::partition_of(context, group_id).map_err(|_| unavailable)?;
    let image = context.shard.image();
    let topic = image.topic_by_id(partition.topic).ok_or(unavailable)?;
    let leader = topic.partition(partition.index).and_then(|partition| partition.leader);
    let broker = leader.and_then(|leader| image.broker(leader)).ok_or(unavailable)?;
    let endpoint = broker.endpoint(&context.peer.listener).ok_or(unavailable)?;
    Ok(Coordinator {
        node_id: broker.id.0,
        host: endpoint.host.clone(),
        port: i32::from(endpoint.port),
        ..Default::default()
    })
}
