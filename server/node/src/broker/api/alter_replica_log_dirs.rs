//! AlterReplicaLogDirs: partitions of this broker move to another of its log directories.
//!
//! The answer says that the move has begun; DescribeLogDirs shows how far it is.

use std::rc::Rc;

use log::LogError;
use protocol::messages::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};
use types::ErrorCode;

use crate::broker::Context;
use crate::broker::resolve::{self, TopicRef};
use crate::dirs::{Dirs, absolute};
use crate::shard::Shard;
use crate::threads;

/// Bytes of a file name at most, and those that mark the folder of a move:
/// `-partition.` with up to ten digits, 32 hexadecimal ones, `-future`.
const FILE_NAME_BYTES_MAX: usize = 255;
const MARK_BYTES_MAX: usize = 1 + 10 + 1 + 32 + 7;

/// Serves one request.
pub async fn handle(
    context: Context,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let mut results = Vec::new();
    for dir in &request.dirs {
        for topic in &dir.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for &partition_index in &topic.partitions {
                let begun = begin(&context, &dir.path, &topic.name, partition_index).await;
                let error_code = begun.err().unwrap_or(ErrorCode::None).to_wire();
                partitions.push(AlterReplicaLogDirPartitionResult {
                    partition_index,
                    error_code,
                    ..Default::default()
                });
            }
            let topic_name = topic.name.clone();
            results.push(AlterReplicaLogDirTopicResult {
                topic_name,
                partitions,
                ..Default::default()
            });
        }
    }
    AlterReplicaLogDirsResponse { results, ..Default::default() }
}

/// Position of the directory that a request names.
fn target(dirs: &Dirs, path: &str) -> Result<usize, ErrorCode> {
    if dirs.unusable.iter().any(|dir| absolute(&dir.path) == path) {
        return Err(ErrorCode::KafkaStorageError);
    }
    let at = dirs.data().iter().position(|dir| absolute(dir.path()) == path);
    let at = at.ok_or(ErrorCode::LogDirNotFound)?;
    if dirs.data()[at].is_online() { Ok(at) } else { Err(ErrorCode::KafkaStorageError) }
}

async fn begin(context: &Context, path: &str, topic: &str, index: i32) -> Result<(), ErrorCode> {
    if topic.len() + MARK_BYTES_MAX > FILE_NAME_BYTES_MAX {
        return Err(ErrorCode::InvalidTopicException);
    }
    let shard = &context.shard;
    let to = target(&shard.shared.dirs, path)?;
    let topic = resolve::topic(&shard.image(), TopicRef::Name(topic))?;
    let id = resolve::led_here(shard, &topic, index).map_err(|code| match code {
        // The code that this API has had before brokers could say it better.
        ErrorCode::NotLeaderOrFollower => ErrorCode::ReplicaNotAvailable,
        other => other,
    })?;
    let refuse = |fault: LogError| {
        tracing::error!("cannot begin to move {topic}-{index}: {fault}", topic = topic.name);
        fault.code()
    };
    let plan = move |shard: &Rc<Shard>| shard.plan_move(id, to);
    let Some(copy) = shard.call(id, plan).await.map_err(refuse)? else { return Ok(()) };
    let future = threads::blocking(move || copy.make()).await.map_err(refuse)?;
    shard.call(id, move |shard: &Rc<Shard>| shard.begin_move(id, to, future)).await;
    Ok(())
}
