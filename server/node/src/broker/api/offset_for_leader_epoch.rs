//! OffsetForLeaderEpoch: where the records of a leader's epoch end, for readers that may have
//! followed a leader whose records were lost (KIP-320).

use std::rc::Rc;

use protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use types::{ErrorCode, LeaderEpoch, Offset};

use crate::broker::Context;
use crate::broker::resolve::{self, TopicRef};
use crate::shard::Shard;

/// Serves one request.
pub async fn handle(
    context: Context,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            partitions.push(look_up(&context, &topic.topic, partition).await);
        }
        let topic = topic.topic;
        topics.push(OffsetForLeaderTopicResult { topic, partitions, ..Default::default() });
    }
    OffsetForLeaderEpochResponse { topics, ..Default::default() }
}

async fn look_up(
    context: &Context,
    topic: &str,
    wanted: OffsetForLeaderPartition,
) -> EpochEndOffset {
    let shard = &context.shard;
    let partition = wanted.partition;
    let found = async {
        let topic = resolve::topic(&shard.image(), TopicRef::Name(topic))?;
        let id = resolve::led_here(shard, &topic, partition)?;
        let find = move |shard: &Rc<Shard>| {
            let partition = shard.served_partition(id)?;
            let partition = partition.borrow();
            partition.check_epoch(wanted.current_leader_epoch)?;
            let log = partition.log();
            let epoch = LeaderEpoch(wanted.leader_epoch);
            Ok(log.leader_epochs().end_offset(epoch, log.end_offset()))
        };
        shard.call(id, find).await
    };
    let found: Result<Option<(LeaderEpoch, Offset)>, ErrorCode> = found.await;
    let none = EpochEndOffset { partition, ..Default::default() };
    match found {
        Ok(Some((epoch, end))) => {
            EpochEndOffset { leader_epoch: epoch.0, end_offset: end.get(), ..none }
        }
        Ok(None) => none,
        Err(code) => EpochEndOffset { error_code: code.to_wire(), ..none },
    }
}
