//! DeleteRecords: the start of a log moves forward, here and then on every replica that is there.
//!
//! The new start is in the checkpoint before the answer leaves, so that no crash brings back what
//! a client was told is gone. Followers hear of it with their next fetch, which is answered at
//! once, and show by the one after it that they have given up the records, too.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use types::{ErrorCode, Offset};

use crate::broker::Context;
use crate::broker::resolve::{self, TopicRef};
use crate::shard::{Call, Partition, PartitionId, Shard};
use crate::upkeep;

/// The offset that stands for everything that is committed.
const HIGH_WATERMARK: i64 = -1;
/// How often is looked whether the brokers that are waited for are still there; a follower's fetch
/// is heard of at once.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// One partition of the request.
struct Part {
    topic: usize,
    index: i32,
    stage: Stage,
}

/// What is known of a partition.
enum Stage {
    /// The leader has begun, at its shard.
    Begun(PartitionId, Call<Result<Deleted, ErrorCode>>),
    /// The leader has nothing before the offset; replicas may.
    Awaits(PartitionId, Offset),
    /// No replica that is there has anything before the offset.
    Done(Offset),
    Refused(ErrorCode),
}

/// What the leader's part of the work has come to.
struct Deleted {
    /// All replicas are to begin here, or later.
    offset: Offset,
    low_watermark: Option<Offset>,
}

/// Serves one request.
pub async fn handle(context: Context, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let until =
        Instant::now() + Duration::from_millis(request.timeout_ms.max(0).unsigned_abs().into());
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut parts = Vec::new();
    for (at, topic) in request.topics.into_iter().enumerate() {
        for partition in topic.partitions {
            let index = partition.partition_index;
            let stage = match begin(&context, &topic.name, &partition) {
                Ok((id, call)) => Stage::Begun(id, call),
                Err(code) => Stage::Refused(code),
            };
            parts.push(Part { topic: at, index, stage });
        }
        topics.push(DeleteRecordsTopicResult { name: topic.name, ..Default::default() });
    }
    delete_here(&context, &mut parts).await;
    await_replicas(&context, &mut parts, until).await;
    for Part { topic, index, stage } in parts {
        topics[topic].partitions.push(result(index, &stage));
    }
    DeleteRecordsResponse { topics, ..Default::default() }
}

/// Begins to delete what the leader has. The call gives the offset that all replicas are to reach.
fn begin(
    context: &Context,
    topic: &str,
    wanted: &DeleteRecordsPartition,
) -> Result<(PartitionId, Call<Result<Deleted, ErrorCode>>), ErrorCode> {
    let shard = &context.shard;
    let topic = resolve::topic(&shard.image(), TopicRef::Name(topic))?;
    if config::is_internal(&topic.name) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let id = resolve::led_here(shard, &topic, wanted.partition_index)?;
    let offset = wanted.offset;
    Ok((id, shard.call(id, move |shard| delete_before(shard, id, offset))))
}

/// Has the leader's part of the work done and on the disk.
async fn delete_here(context: &Context, parts: &mut [Part]) {
    let mut is_moved = false;
    for part in &mut *parts {
        if let Stage::Begun(id, call) = &mut part.stage {
            part.stage = match call.await {
                Ok(Deleted { offset, low_watermark }) => match low_watermark {
                    Some(low) if low >= offset => Stage::Done(low),
                    Some(_) | None => Stage::Awaits(*id, offset),
                },
                Err(code) => Stage::Refused(code),
            };
            is_moved |= !matches!(part.stage, Stage::Refused(_));
        }
    }
    if is_moved && let Err(fault) = upkeep::write_checkpoints(&context.shard).await {
        tracing::error!("cannot write the new starts of logs: {fault:#}");
        for part in parts.iter_mut().filter(|part| !matches!(part.stage, Stage::Refused(_))) {
            part.stage = Stage::Refused(ErrorCode::KafkaStorageError);
        }
    }
}

/// Waits until no replica of a broker that is there has what was deleted.
async fn await_replicas(context: &Context, parts: &mut [Part], until: Instant) {
    let notify = Arc::new(Notify::new());
    loop {
        let mut is_complete = true;
        for part in &mut *parts {
            let Stage::Awaits(id, offset) = part.stage else { continue };
            let notify = Arc::clone(&notify);
            let look = context.shard.call(id, move |shard| look(shard, id, &notify));
            match look.await {
                Ok(Some(low)) if low >= offset => part.stage = Stage::Done(low),
                Ok(_) => is_complete = false,
                Err(code) => part.stage = Stage::Refused(code),
            }
        }
        if is_complete || Instant::now() >= until || context.shard.is_draining() {
            return;
        }
        _ = timeout_at(until.min(Instant::now() + LOOK_EVERY), notify.notified()).await;
    }
}

/// The first offset that a replica still has, and a word to `notify` when that may have changed.
fn look(
    shard: &Rc<Shard>,
    id: PartitionId,
    notify: &Arc<Notify>,
) -> Result<Option<Offset>, ErrorCode> {
    let partition = shard.served_partition(id)?;
    let mut partition = partition.borrow_mut();
    partition.watch_start(notify);
    low_watermark(shard, &partition)
}

fn low_watermark(shard: &Shard, partition: &Partition) -> Result<Option<Offset>, ErrorCode> {
    let image = shard.image();
    partition.low_watermark(|id| image.broker(id).is_some_and(|broker| !broker.fenced))
}

fn result(partition_index: i32, stage: &Stage) -> DeleteRecordsPartitionResult {
    let (low_watermark, code) = match stage {
        Stage::Done(low) => (low.get(), ErrorCode::None),
        Stage::Refused(code) => (-1, *code),
        // The records go on all the same, only later.
        Stage::Begun(..) | Stage::Awaits(..) => (-1, ErrorCode::RequestTimedOut),
    };
    DeleteRecordsPartitionResult {
        partition_index,
        low_watermark,
        error_code: code.to_wire(),
        ..Default::default()
    }
}

fn delete_before(shard: &Rc<Shard>, id: PartitionId, offset: i64) -> Result<Deleted, ErrorCode> {
    let partition = shard.served_partition(id)?;
    let mut partition = partition.borrow_mut();
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
    let deleted = partition.log_mut().delete_records(offset, high_watermark);
    deleted.map_err(|error| error.code())?;
    partition.wake_replicas();
    Ok(Deleted { offset, low_watermark: low_watermark(shard, &partition)? })
}
