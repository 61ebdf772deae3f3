//! What a leader answers: each partition appends, cuts its log, or asks again later.

use std::rc::Rc;

use bytes::Bytes;
use protocol::messages::fetch::{FetchResponse, PartitionData};
use replication::{EpochEnd, LeaderAnswer, Realign, Step, Want};
use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset};

use super::{Pair, key, realign};
use crate::clock;
use crate::shard::{PartitionId, Shard, SharedPartition};
use crate::throttles::Way;

/// Wait before a leader is asked again that has not heard yet what this node has.
const SOON: Millis = Millis(50);

/// Takes a whole answer.
pub(super) fn take(shard: &Rc<Shard>, from: (BrokerId, &Pair), answer: FetchResponse) {
    for topic in answer.responses {
        for data in topic.partitions {
            let id = PartitionId { topic: topic.topic_id, index: data.partition_index };
            let asked = from.1.fetcher.borrow().asked(key(id));
            if let (Some(asked), Some(partition)) = (asked, shard.partition(id))
                && partition.borrow().followed() == Some(from.0)
            {
                take_one(shard, from, (&partition, &asked), data);
            }
        }
    }
    let error = ErrorCode::from_wire(answer.error_code);
    from.1.fetcher.borrow_mut().answered(error, answer.session_id);
}

fn take_one(
    shard: &Rc<Shard>,
    (leader, pair): (BrokerId, &Pair),
    (partition, asked): (&SharedPartition, &Want),
    data: PartitionData,
) {
    let records = data.records.clone().unwrap_or_default();
    let answer = answer_of(&data);
    let backoff = shard.shared.config.replication.backoff_ms;
    let taken = partition.borrow_mut().take_fetched(asked, &answer, &records);
    let step = match taken {
        Ok(Some(step)) => step,
        Ok(None) => return,
        Err(fault) => {
            let name = partition.borrow().name().clone();
            tracing::warn!(partition = %name, "cannot append what broker {leader} sent: {fault}");
            shard.commits.push(partition);
            return shard.ask_for_more(partition, Some(clock::monotonic() + backoff));
        }
    };
    match step {
        Step::Ignore => {}
        Step::Append => appended(shard, partition, &records),
        Step::Truncate(at) => realign::begin(shard, partition, Realign::Truncate(at)),
        Step::AskOffsets => realign::ask(shard, partition, leader),
        Step::BackOff(code) => {
            let wait = if is_early(code) { SOON.min(backoff) } else { backoff };
            if !is_early(code) {
                let name = partition.borrow().name().clone();
                tracing::warn!(partition = %name, "broker {leader} does not let it follow: {code}");
            }
            shard.ask_for_more(partition, Some(clock::monotonic() + wait));
        }
        Step::AwaitMetadata => pair.fetcher.borrow_mut().hold(key(partition.borrow().id())),
    }
}

fn appended(shard: &Rc<Shard>, partition: &SharedPartition, records: &Bytes) {
    if !records.is_empty() {
        let copied = partition.borrow().copied_here(shard.shared.config.node_id);
        shard.shared.throttles.record(Way::In, copied, records.len());
        shard.metrics.replication.count(Way::In, copied, records.len());
        shard.commits.push(partition);
    }
    shard.ask_for_more(partition, None);
}

/// Whether the leader has only not heard yet what this node has heard.
fn is_early(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UnknownLeaderEpoch
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::UnknownTopicId
            | ErrorCode::UnknownTopicOrPartition
    )
}

fn answer_of(data: &PartitionData) -> LeaderAnswer {
    let diverging = &data.diverging_epoch;
    LeaderAnswer {
        error: ErrorCode::from_wire(data.error_code),
        diverging: (diverging.epoch >= 0).then(|| EpochEnd {
            epoch: LeaderEpoch(diverging.epoch),
            end: Offset::new(diverging.end_offset.max(0)),
        }),
        high_watermark: Offset::from_wire(data.high_watermark),
        log_start: Offset::from_wire(data.log_start_offset),
    }
}
