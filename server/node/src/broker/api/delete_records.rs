//! DeleteRecords: the start of a log moves forward.
//!
//! The new start is in the checkpoint before the answer leaves, so that no crash brings back what
//! a client was told is gone.

use std::rc::Rc;

use protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use types::{ErrorCode, Offset};

use crate::broker::Context;
use crate::broker::resolve::{self, TopicRef};
use crate::shard::{Partition, Shard};
use crate::upkeep;

/// The offset that stands for everything that is committed.
const HIGH_WATERMARK: i64 = -1;

/// Serves one request.
pub async fn handle(context: Context, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut moved = false;
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let result = delete(&context, &topic.name, partition).await;
            moved |= result.error_code == 0;
            partitions.push(result);
        }
        let name = topic.name;
        topics.push(DeleteRecordsTopicResult { name, partitions, ..Default::default() });
    }
    if moved && let Err(fault) = upkeep::write_checkpoints(&context.shard).await {
        tracing::error!("cannot write the new starts of logs: {fault:#}");
        let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        for partition in partitions.filter(|one| one.error_code == 0) {
            partition.low_watermark = -1;
            partition.error_code = ErrorCode::KafkaStorageError.to_wire();
        }
    }
    DeleteRecordsResponse { topics, ..Default::default() }
}

async fn delete(
    context: &Context,
    topic: &str,
    wanted: DeleteRecordsPartition,
) -> DeleteRecordsPartitionResult {
    let shard = &context.shard;
    let partition_index = wanted.partition_index;
    let deleted = async {
        let topic = resolve::topic(&shard.image(), TopicRef::Name(topic))?;
        if resolve::is_internal(&topic.name) {
            return Err(ErrorCode::InvalidTopicException);
        }
        let id = resolve::led_here(shard, &topic, partition_index)?;
        let delete = move |shard: &Rc<Shard>| {
            let partition = shard.served_partition(id)?;
            delete_before(&mut partition.borrow_mut(), wanted.offset)
        };
        shard.call(id, delete).await
    };
    match deleted.await {
        Ok(start) => DeleteRecordsPartitionResult {
            partition_index,
            low_watermark: start.get(),
            ..Default::default()
        },
        Err(code) => DeleteRecordsPartitionResult {
            partition_index,
            low_watermark: -1,
            error_code: code.to_wire(),
            ..Default::default()
        },
    }
}

fn delete_before(partition: &mut Partition, offset: i64) -> Result<Offset, ErrorCode> {
    partition.check_epoch(-1)?;
    let high_watermark = partition.high_watermark();
    let config = partition.log().config();
    if config.compact && !config.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let offset = match offset {
        HIGH_WATERMARK => high_watermark,
        _ => Offset::from_wire(offset).ok_or(ErrorCode::OffsetOutOfRange)?,
    };
    let log = partition.log_mut();
    log.delete_records(offset, high_watermark).map_err(|error| error.code())
}
