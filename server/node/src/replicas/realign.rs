//! Putting a follower's log right where it has what its leader lacks, or ends before its leader
//! begins.
//!
//! Before a log is cut the checkpoints must say so: what is missing before a recovery point counts
//! as damage after a crash.

use std::rc::Rc;
use std::time::Duration;

use protocol::ApiKey;
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use replication::Realign;
use types::{BrokerId, ErrorCode, LeaderEpoch, Offset, TopicPartition};

use super::fetching::{self, Connected};
use crate::shard::{Shard, SharedPartition};
use crate::{clock, upkeep};

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// Cuts the log, in a while; until then it asks for nothing.
pub(super) fn begin(shard: &Rc<Shard>, partition: &SharedPartition, realign: Realign) {
    let (id, epoch) = (partition.borrow().id(), partition.borrow().leader_epoch());
    let cut_at = match realign {
        Realign::Truncate(end) => end,
        Realign::StartAt(_) => Offset::ZERO,
        Realign::FetchOn => return shard.ask_for_more(partition, None),
    };
    partition.borrow_mut().plan_cut(cut_at);
    shard.ask_for_more(partition, None);
    let shard = Rc::clone(shard);
    tokio::task::spawn_local(async move {
        while let Err(fault) = upkeep::write_checkpoints(&shard).await {
            tracing::error!("cannot write down that a log is to be cut: {fault}");
            tokio::time::sleep(backoff(&shard)).await;
        }
        let Some(partition) = shard.partition(id) else { return };
        partition.borrow_mut().cut(epoch, realign);
        shard.commits.push(&partition);
        shard.ask_for_more(&partition, None);
    });
}

/// Asks the leader where its log begins and ends, and acts on it; until then nothing is fetched, as
/// that would be refused again.
pub(super) fn ask(shard: &Rc<Shard>, partition: &SharedPartition, leader: BrokerId) {
    let (id, epoch) = (partition.borrow().id(), partition.borrow().leader_epoch());
    let name = partition.borrow().name().clone();
    partition.borrow_mut().begin_to_ask();
    shard.ask_for_more(partition, None);
    let shard = Rc::clone(shard);
    tokio::task::spawn_local(async move {
        let range = ask_range(&shard, &name, epoch, leader).await;
        let Some(partition) = shard.partition(id) else { return };
        partition.borrow_mut().end_asking(epoch);
        if partition.borrow().leader_epoch() != epoch {
            return;
        }
        match range {
            Ok(range) => {
                let realign = partition.borrow().out_of_range(range);
                if let Some(realign) = realign {
                    begin(&shard, &partition, realign);
                }
            }
            Err(why) => {
                tracing::warn!(partition = %name, "cannot tell the range of its leader: {why}");
                let until = clock::monotonic() + shard.shared.config.replication.backoff_ms;
                shard.ask_for_more(&partition, Some(until));
            }
        }
    });
}

async fn ask_range(
    shard: &Shard,
    name: &TopicPartition,
    epoch: LeaderEpoch,
    leader: BrokerId,
) -> Result<(Offset, Offset), String> {
    let mut connected: Connected = None;
    let link = fetching::link(shard, leader, &mut connected)?;
    let mut found = [Offset::ZERO; 2];
    for (found, timestamp) in found.iter_mut().zip([EARLIEST, LATEST]) {
        let partition = ListOffsetsPartition {
            partition_index: name.partition,
            current_leader_epoch: epoch.0,
            timestamp,
            ..Default::default()
        };
        let topic = ListOffsetsTopic {
            name: name.topic.to_string(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = ListOffsetsRequest {
            replica_id: shard.shared.config.node_id.0,
            topics: vec![topic],
            ..Default::default()
        };
        let answer = link.call(ApiKey::ListOffsets, move |_| request).await;
        let answer: ListOffsetsResponse = answer.map_err(|why| why.to_string())?;
        let told = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let told = told.ok_or("it says nothing of the partition")?;
        let code = ErrorCode::from_wire(told.error_code);
        *found = Offset::from_wire(told.offset)
            .filter(|_| code.is_none())
            .ok_or_else(|| format!("it answers {code}"))?;
    }
    Ok((found[0], found[1]))
}

fn backoff(shard: &Shard) -> Duration {
    let wait = shard.shared.config.replication.backoff_ms.get();
    Duration::from_millis(u64::try_from(wait).unwrap_or(0).max(1))
}
