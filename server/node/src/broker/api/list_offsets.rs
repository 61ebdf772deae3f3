//! ListOffsets: offsets by timestamp and by the special values that stand for the ends of a log.

use std::rc::Rc;

use log::{LogError, TimeLookup, TimeWanted, TimestampedOffset};
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use replication::check_epoch;
use types::{ErrorCode, LeaderEpoch, Offset};

use crate::broker::Context;
use crate::broker::resolve::{self, TopicRef};
use crate::shard::{Call, Partition, PartitionId, Shard};
use crate::threads;

/// The end of the log.
const LATEST: i64 = -1;
/// The start of the log.
const EARLIEST: i64 = -2;
/// The record with the greatest timestamp (KIP-734).
const MAX_TIMESTAMP: i64 = -3;
/// The start of what lies on local disks; the start of the log as long as nothing is tiered.
const EARLIEST_LOCAL: i64 = -4;
/// The last offset in tiered storage: none without it.
const LATEST_TIERED: i64 = -5;
/// The first offset that waits for its upload: none without tiered storage.
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// Who wants to know, and thus where the log ends.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Reader {
    /// A broker that has a replica: with what has been written.
    Replica,
    /// A consumer of committed transactions.
    Committed,
    /// Any other consumer.
    Any,
}

/// Timestamp, offset and leader epoch of what was found.
type Found = (i64, Option<Offset>, Option<LeaderEpoch>);

/// A look-up that its shard has begun.
struct Begun {
    id: PartitionId,
    call: Call<Result<Finding, ErrorCode>>,
}

/// Serves one request.
pub async fn handle(context: Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let reader = match (request.replica_id, request.isolation_level) {
        (0.., _) => Reader::Replica,
        (_, 1) => Reader::Committed,
        _ => Reader::Any,
    };
    // All begin before any is waited for, so that closed logs are opened side by side.
    let mut begun = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let begin = |wanted: ListOffsetsPartition| {
            let index = wanted.partition_index;
            (index, begin(&context, &topic.name, wanted, reader))
        };
        let partitions: Vec<_> = topic.partitions.into_iter().map(begin).collect();
        begun.push((topic.name, partitions));
    }
    let mut topics = Vec::with_capacity(begun.len());
    for (name, begun) in begun {
        let mut partitions = Vec::with_capacity(begun.len());
        for (index, look_up) in begun {
            let found = match look_up {
                Ok(look_up) => finish(&context, look_up).await,
                Err(code) => Err(code),
            };
            partitions.push(answer(context.version, index, found));
        }
        topics.push(ListOffsetsTopicResponse { name, partitions, ..Default::default() });
    }
    ListOffsetsResponse { topics, ..Default::default() }
}

fn begin(
    context: &Context,
    topic: &str,
    wanted: ListOffsetsPartition,
    reader: Reader,
) -> Result<Begun, ErrorCode> {
    let shard = &context.shard;
    let version = context.version;
    let topic = resolve::topic(&shard.image(), TopicRef::Name(topic))?;
    let id = resolve::led_here(shard, &topic, wanted.partition_index)?;
    let ListOffsetsPartition { timestamp, current_leader_epoch: known, .. } = wanted;
    let find = move |shard: &Rc<Shard>| {
        let partition = shard.served_partition(id)?;
        let mut partition = partition.borrow_mut();
        partition.check_epoch(known)?;
        find(&mut partition, timestamp, reader, version)
    };
    // Clients ask this of new partitions, and of all of them: no file is made for that.
    let find_none = move |epoch: LeaderEpoch| {
        check_epoch((known >= 0).then_some(LeaderEpoch(known)), epoch)?;
        match end_of(&Ends::of_empty(epoch), timestamp, version) {
            Some(found) => Ok(Finding::Found(found)),
            None => wanted_time(timestamp, version).map(|_| Finding::Found((-1, None, None))),
        }
    };
    Ok(Begun { id, call: shard.call_unless_empty(id, find_none, find) })
}

async fn finish(context: &Context, begun: Begun) -> Result<Found, ErrorCode> {
    let Begun { id, call } = begun;
    match call.await? {
        Finding::Found(found) => Ok(found),
        Finding::LookUp { lookup, end } => {
            let (found, learned) = threads::blocking(move || lookup.run()).await;
            // For the next look-up; this one does not wait for it.
            _ = context.shard.call(id, move |shard: &Rc<Shard>| {
                if let Some(partition) = shard.partition(id) {
                    partition.borrow_mut().log_mut().learn_times(learned);
                }
            });
            found.map(|found| below(found, end)).map_err(|fault| refuse(&fault))
        }
    }
}

fn answer(
    version: i16,
    partition_index: i32,
    found: Result<Found, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    match found {
        Ok((timestamp, offset, epoch)) => ListOffsetsPartitionResponse {
            partition_index,
            timestamp,
            offset: offset.map_or(-1, Offset::get),
            leader_epoch: epoch.filter(|_| version >= 4).map_or(-1, |epoch| epoch.0),
            ..Default::default()
        },
        Err(code) => ListOffsetsPartitionResponse {
            partition_index,
            error_code: code.to_wire(),
            timestamp: -1,
            offset: -1,
            leader_epoch: -1,
            ..Default::default()
        },
    }
}

/// What is known at once, or what must be looked up where a thread may block.
enum Finding {
    Found(Found),
    LookUp { lookup: TimeLookup, end: Offset },
}

/// Where a log begins and ends.
struct Ends {
    start: Offset,
    start_epoch: Option<LeaderEpoch>,
    end: Offset,
    leader_epoch: LeaderEpoch,
}

impl Ends {
    /// Of a log that nothing was ever appended to.
    fn of_empty(leader_epoch: LeaderEpoch) -> Self {
        Self { start: Offset::ZERO, start_epoch: None, end: Offset::ZERO, leader_epoch }
    }
}

fn find(
    partition: &mut Partition,
    timestamp: i64,
    reader: Reader,
    version: i16,
) -> Result<Finding, ErrorCode> {
    let end = match reader {
        Reader::Replica => partition.log().end_offset(),
        Reader::Committed => partition.last_stable_offset(),
        Reader::Any => partition.high_watermark(),
    };
    if timestamp == LATEST && reader != Reader::Replica && partition.latest_offset().is_none() {
        // What an earlier leader has told may be more than this one knows to be committed yet.
        return Err(ErrorCode::OffsetNotAvailable);
    }
    let start = partition.log().start_offset();
    let start_epoch = partition.log().leader_epochs().epoch_of(start);
    let ends = Ends { start, start_epoch, end, leader_epoch: partition.leader_epoch() };
    match end_of(&ends, timestamp, version) {
        Some(found) => Ok(Finding::Found(found)),
        None => look_up_time(partition, wanted_time(timestamp, version)?, end),
    }
}

/// What the special values stand for that need no look-up.
fn end_of(ends: &Ends, timestamp: i64, version: i16) -> Option<Found> {
    let Ends { start, start_epoch, end, leader_epoch } = *ends;
    match timestamp {
        LATEST => Some((-1, Some(end), Some(leader_epoch))),
        EARLIEST => Some((-1, Some(start), start_epoch)),
        EARLIEST_LOCAL if version >= 8 => Some((-1, Some(start), start_epoch)),
        LATEST_TIERED if version >= 9 => Some((-1, None, None)),
        EARLIEST_PENDING_UPLOAD if version >= 11 => Some((-1, None, None)),
        _ => None,
    }
}

fn wanted_time(timestamp: i64, version: i16) -> Result<TimeWanted, ErrorCode> {
    match timestamp {
        MAX_TIMESTAMP if version >= 7 => Ok(TimeWanted::Greatest),
        _ if timestamp < 0 => Err(ErrorCode::UnsupportedVersion),
        _ => Ok(TimeWanted::Since(timestamp)),
    }
}

fn look_up_time(
    partition: &mut Partition,
    wanted: TimeWanted,
    end: Offset,
) -> Result<Finding, ErrorCode> {
    let lookup = partition.log_mut().time_lookup(wanted).map_err(|fault| refuse(&fault))?;
    Ok(Finding::LookUp { lookup, end })
}

fn refuse(fault: &LogError) -> ErrorCode {
    tracing::error!("cannot look up a time: {fault}");
    fault.read_code()
}

/// What was found, unless a reader may not see it yet.
fn below(found: Option<TimestampedOffset>, end: Offset) -> Found {
    match found.filter(|found| found.offset < end) {
        Some(found) => (found.timestamp, Some(found.offset), found.leader_epoch),
        None => (-1, None, None),
    }
}
