//! Getting from other replicas what the disk has lost of this one.
//!
//! A damaged segment is written anew on a thread of its own, as compaction writes one, with the
//! batches of others in the place of those that are broken; then it takes the place of the former
//! one. Others are asked as a consumer asks, with the epoch in which this node leads or follows: so
//! they give what is committed and nothing else, and Apache Kafka's brokers do, too. The leader is
//! asked first, then whoever is in sync, then the rest: what they had committed once is theirs still.
//!
//! Not here: how damage is found (`log`), what readers hear of it meanwhile (`shard`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use bytes::Bytes;
use log::{CompactionError, Mended, Mending};
use protocol::ApiKey;
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use tokio::sync::mpsc;
use types::{BrokerId, ErrorCode, Offset};

use super::fetching::{self, Connected};
use crate::cleaner::{StopOnDrop, Throttle};
use crate::shard::{Helped, PartitionId, Shard, SharedPartition};
use crate::{cleaner, clock, threads, upkeep};

/// How often a shard looks for damage that was found.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long another replica may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long it may wait for the batch to be committed.
const WAIT_MS: i32 = 500;
/// Asked for at once.
const BYTES_MAX: i32 = 1 << 20;
/// This asks without a session.
const NO_SESSION: i32 = -1;

/// What a shard reads and writes to mend: clients go before it, and wait for nothing but a part of one
/// log meanwhile.
const BYTES_PER_SECOND_MAX: f64 = 128.0 * 1024.0 * 1024.0;

/// An offset to ask for, and who waits for the batches.
type Asked = (Offset, std_mpsc::SyncSender<Option<Bytes>>);

/// The other replicas, as far as they were asked for one segment.
#[derive(Default)]
struct Others {
    links: BTreeMap<BrokerId, Connected>,
    /// Who was waited for in vain: not for each batch again.
    silent: BTreeSet<BrokerId>,
}

/// Mends the logs of a shard, one at a time, until the shard ends.
pub async fn run(shard: Rc<Shard>) {
    let throttle = Arc::new(Throttle::default());
    throttle.set_rate(BYTES_PER_SECOND_MAX);
    let _stop = StopOnDrop(Arc::clone(&throttle));
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for partition in shard.partitions() {
            let due = partition.borrow().due_for_mending();
            if let Some(base) = due {
                mend(&shard, partition, base, &throttle).await;
            }
        }
    }
}

async fn mend(
    shard: &Rc<Shard>,
    partition: SharedPartition,
    base: Offset,
    throttle: &Arc<Throttle>,
) {
    let (id, name) = (partition.borrow().id(), partition.borrow().name().clone());
    let lost = partition.borrow().lost_still(base);
    // Nothing else is to wait for it to go.
    drop(partition);
    let mut others = Others::default();
    let helped = match still_lacking(shard, id, &lost, &mut others).await {
        Some(helped) => helped,
        None => {
            let Some(mending) = plan(shard, id, base).await else { return };
            match rewrite(shard, id, mending, others, throttle).await {
                Ok(helped) => helped,
                Err(CompactionError::Stopped | CompactionError::Overtaken) => return,
                Err(fault) => {
                    tracing::error!(partition = %name, %base, "cannot mend a segment: {fault}");
                    if let CompactionError::Log(fault) = &fault {
                        shard.shared.dirs.report(fault);
                    }
                    Helped::NotYet
                }
            }
        }
    };
    if let Some(partition) = shard.partition(id) {
        partition.borrow_mut().note_mended(base, helped);
    }
    match helped {
        Helped::All => tracing::info!(partition = %name, %base, "a segment is whole again"),
        Helped::NotYet => {
            tracing::warn!(partition = %name, %base, "not all replicas can be asked for what is damaged");
        }
        Helped::NotAll => {
            tracing::error!(partition = %name, %base, "no replica has all of what is damaged");
        }
    }
}

/// What there is to say where the others were asked before and still have nothing of what is lost:
/// to look through the segment again would tell nothing else.
async fn still_lacking(
    shard: &Rc<Shard>,
    id: PartitionId,
    lost: &[Offset],
    others: &mut Others,
) -> Option<Helped> {
    let mut helped = None;
    for offset in lost {
        let (given, has_asked_all) = ask_others(shard, id, *offset, others).await;
        helped = match (given, has_asked_all, helped) {
            (Some(_), _, _) => return None,
            (None, true, None | Some(Helped::NotAll)) => Some(Helped::NotAll),
            (None, _, _) => Some(Helped::NotYet),
        };
    }
    helped
}

/// Plans to mend a segment; `None` where it is gone, or compaction is at work.
async fn plan(shard: &Rc<Shard>, id: PartitionId, base: Offset) -> Option<Mending> {
    let partition = shard.partition(id)?;
    if partition.borrow().log().active_base() == base {
        // What takes appends cannot be replaced.
        let rolled = partition.borrow_mut().log_mut().roll(clock::latest());
        if let Err(fault) = rolled {
            partition.borrow_mut().take_fault(&fault);
            return None;
        }
        upkeep::make_roll(shard, &partition).await;
    }
    partition.borrow_mut().log_mut().plan_mending(base, clock::latest())
}

/// Writes the segment anew with what others have, and puts it in place.
async fn rewrite(
    shard: &Rc<Shard>,
    id: PartitionId,
    mending: Mending,
    mut others: Others,
    throttle: &Arc<Throttle>,
) -> Result<Helped, CompactionError> {
    let (ask, mut asked) = mpsc::channel::<Asked>(1);
    let throttle = Arc::clone(throttle);
    let work = move || {
        let mut donor = |offset| {
            let (give, given) = std_mpsc::sync_channel(1);
            ask.blocking_send((offset, give)).ok()?;
            given.recv().ok().flatten()
        };
        let mended = mending.run(&mut donor, &mut |bytes| throttle.take(bytes));
        // It comes back, since nobody else may rewrite the log until all is in place.
        (mending, mended)
    };
    let work = threads::in_background("mending", work);
    tokio::pin!(work);
    let mut has_asked_all = true;
    let (claim, mended) = loop {
        tokio::select! {
            Some((offset, give)) = asked.recv() => {
                let (given, all) = ask_others(shard, id, offset, &mut others).await;
                has_asked_all &= all;
                // A thread that is gone has its outcome told below.
                _ = give.send(given);
            }
            worked = &mut work => match worked {
                Ok(done) => break done,
                Err(panic) => std::panic::resume_unwind(panic),
            },
        }
    };
    let lacking = if has_asked_all { Helped::NotAll } else { Helped::NotYet };
    let helped = match mended? {
        Mended::Sound => {
            let partition = shard.partition(id).ok_or(CompactionError::Overtaken)?;
            partition.borrow_mut().log_mut().forget_damage();
            Helped::All
        }
        Mended::Lacking => lacking,
        Mended::Rewritten(rewritten, lost) => {
            cleaner::put_in_place(shard, shard.index, id, rewritten).await?;
            cleaner::remove_former(shard, id);
            if lost == 0 { Helped::All } else { lacking }
        }
    };
    drop(claim);
    Ok(helped)
}

/// The batches from an offset on, of the first replica that has them; and whether all others were
/// asked and answered.
async fn ask_others(
    shard: &Rc<Shard>,
    id: PartitionId,
    offset: Offset,
    others: &mut Others,
) -> (Option<Bytes>, bool) {
    let (image, here) = (shard.image(), shard.shared.config.node_id);
    let topic = image.topic_by_id(id.topic);
    let Some(replica) = topic.and_then(|topic| topic.partition(id.index)) else {
        return (None, false);
    };
    let mut order: Vec<BrokerId> = Vec::new();
    for other in replica.leader.iter().chain(&*replica.isr).chain(&*replica.replicas) {
        if *other != here && !order.contains(other) {
            order.push(*other);
        }
    }
    let mut has_asked_all = true;
    for other in order {
        if others.silent.contains(&other) {
            has_asked_all = false;
            continue;
        }
        let connected = others.links.entry(other).or_default();
        match tokio::time::timeout(ANSWER_MAX, ask(shard, id, offset, other, connected)).await {
            Ok(Ok(Some(batches))) => return (Some(batches), true),
            Ok(Ok(None)) => {}
            Ok(Err(why)) => {
                has_asked_all = false;
                tracing::debug!("broker {other} cannot help to mend: {why}");
            }
            Err(_) => {
                has_asked_all = false;
                // What comes late answers nothing any more.
                *connected = None;
                others.silent.insert(other);
            }
        }
    }
    (None, has_asked_all)
}

/// Asks one replica; `None` where it does not have the offset either.
async fn ask(
    shard: &Rc<Shard>,
    id: PartitionId,
    offset: Offset,
    other: BrokerId,
    connected: &mut Connected,
) -> Result<Option<Bytes>, String> {
    let link = fetching::link(shard, other, connected)?;
    let epoch = shard.partition(id).ok_or("it is gone")?.borrow().leader_epoch();
    let partition = FetchPartition {
        partition: id.index,
        current_leader_epoch: epoch.0,
        fetch_offset: offset.get(),
        partition_max_bytes: BYTES_MAX,
        ..Default::default()
    };
    let topic =
        FetchTopic { topic_id: id.topic, partitions: vec![partition], ..Default::default() };
    let request = FetchRequest {
        max_wait_ms: WAIT_MS,
        min_bytes: 1,
        max_bytes: BYTES_MAX,
        session_epoch: NO_SESSION,
        topics: vec![topic],
        ..Default::default()
    };
    let answer = link.call(ApiKey::Fetch, move |_| request).await;
    let answer: FetchResponse = answer.map_err(|why| why.to_string())?;
    let told = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
    let told = told.ok_or_else(|| ErrorCode::from_wire(answer.error_code).to_string())?;
    let batches = told.records.unwrap_or_default();
    match ErrorCode::from_wire(told.error_code) {
        ErrorCode::None if batches.is_empty() => Err("it is behind".to_owned()),
        ErrorCode::None => Ok(Some(batches)),
        ErrorCode::CorruptMessage | ErrorCode::KafkaStorageError | ErrorCode::OffsetOutOfRange => {
            Ok(None)
        }
        code => Err(code.to_string()),
    }
}
