//! The way from a request to the coordinator of its group, on whatever shard that is.

use config::GROUP_METADATA_TOPIC;
use coordinator::{Request, Response, partition_for};
use types::ErrorCode;

use super::Context;
use crate::groups::Asker;
use crate::shard::PartitionId;

/// The partition whose coordinator serves a group.
///
/// # Errors
/// `NOT_COORDINATOR` where `__consumer_offsets` does not exist: FindCoordinator makes it.
pub fn partition_of(context: &Context, group_id: &str) -> Result<PartitionId, ErrorCode> {
    let image = context.shard.image();
    let topic = image.topic(GROUP_METADATA_TOPIC).ok_or(ErrorCode::NotCoordinator)?;
    let index = partition_for(group_id, topic.partition_count());
    Ok(PartitionId { topic: topic.id, index })
}

/// All partitions that have a coordinator.
pub fn all_partitions(context: &Context) -> Vec<PartitionId> {
    let image = context.shard.image();
    let topic = image.topic(GROUP_METADATA_TOPIC);
    let indexes = topic.iter().flat_map(|topic| {
        (0..topic.partition_count()).map(|index| PartitionId { topic: topic.id, index })
    });
    indexes.collect()
}

/// Asks the coordinator of a group.
///
/// # Errors
/// `NOT_COORDINATOR` where this node does not have it.
pub async fn ask(
    context: &Context,
    group_id: &str,
    request: Request,
) -> Result<Response, ErrorCode> {
    ask_partition(context, partition_of(context, group_id)?, request).await
}

/// Asks the coordinator of a partition.
///
/// # Errors
/// `NOT_COORDINATOR` where this node does not have it.
pub async fn ask_partition(
    context: &Context,
    partition: PartitionId,
    request: Request,
) -> Result<Response, ErrorCode> {
    let asker = Asker {
        api_version: context.version,
        client_id: context.client_id.to_string(),
        client_host: format!("/{}", context.peer.address.ip()),
    };
    let handle = move |shard: &std::rc::Rc<crate::shard::Shard>| {
        shard.groups.handle(shard, partition, request, &asker)
    };
    let reply = context.shard.call(partition, handle).await.ok_or(ErrorCode::NotCoordinator)?;
    reply.await.map_err(|_| ErrorCode::NotCoordinator)
}

/// A coordinator answers what it was asked; anything else is a mistake of this program.
///
/// # Panics
/// Always.
pub fn unasked(response: &Response) -> ! {
    unreachable!("a coordinator answers what it was asked, not {response:?}")
}
