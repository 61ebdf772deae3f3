//! Reading partitions for a fetch: on the shards that own them, all at once.
//!
//! [`gather`] sends each shard its share of the partitions and puts the answers together in the
//! order of the request. Reads that need the device come back as plans and run on the blocking
//! pool of the asking shard, so that no shard waits for a disk. Where one other shard owns all
//! that is asked, that shard also waits for more, and what it waits for crosses once.
//!
//! What is read counts as in flight from that moment ([`InFlight`]), and where the node's budget has
//! nothing left, consumers get nothing and wait: many readers at once must not cost more memory
//! than the node has (ADR 28). Nor does anybody hold memory while he waits for a disk that hangs.

mod answer;
mod copying;
mod device;
mod owner;
mod records;

use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use log::{AbortedLookup, AbortedTxn, Batches, ColdRead, Learned, LogError};
use net::{InFlight, Turn};
use types::{ErrorCode, Offset};

pub use self::answer::{Answer, Ask, Bounds, Followers, Replica, Wait};
use self::owner::{is_enough, read_here, wait_here};
use self::records::Records;
pub use self::records::put_in;
use crate::broker::Context;
use crate::shard::{Call, PartitionId, Shard};
use crate::threads;

/// How long one reader may keep those waiting who found no room.
const TURN_MAX: Duration = Duration::from_secs(1);

/// An answer whose records may have to be read from the device still.
type Found = (Ask, Answer, Option<Box<ColdRead>>);

/// Reads all partitions; the answers come with their place within the request, in its order. Who has
/// waited for room gives up the turn once that is counted.
pub async fn gather(
    context: &Context,
    asks: Vec<Ask>,
    bounds: &Bounds,
    mut turn: Option<Turn<'_>>,
) -> Vec<(usize, Answer)> {
    let mut answers = Vec::with_capacity(asks.len());
    let mut open = asks;
    while !open.is_empty() {
        let mut again = Vec::new();
        let mut found = Vec::new();
        // Several at once: one after the other, each would wait for the disk by itself.
        let planning = read_everywhere(context, open, bounds);
        let planned = match turn.take() {
            Some(turn) => in_turn(planning, turn).await,
            None => planning.await,
        };
        for (ask, mut answer, cold) in planned {
            let cold = match cold {
                Some(cold) => Some(start_cold(&context.shard, cold, answer.held.take()).await),
                None => None,
            };
            found.push((ask, answer, cold));
        }
        for (mut ask, mut answer, cold) in found {
            if let Some(cold) = cold {
                let end = match cold {
                    Some(reading) => reading.await,
                    None => None,
                };
                let Some((end, held)) = end else {
                    // The disk hangs: as if there was nothing of it for now.
                    answers.push((ask.at, answer));
                    continue;
                };
                answer.held = held;
                match end_cold(&context.shard, &ask, end).await {
                    // Nothing in that stretch of the log: go on behind it.
                    Ok((records, next)) if records.is_empty() && next.get() > ask.offset => {
                        ask.offset = next.get();
                        again.push(ask);
                        continue;
                    }
                    Ok((records, next)) => answer.hold(records.into(), next),
                    Err(error) => answer = Answer::refused(error),
                }
            }
            if let Some((lookup, behind)) = answer.unsettled.take()
                && !answer.records.is_empty()
            {
                match find_aborted(&context.shard, ask.partition, lookup, behind).await {
                    Some(Ok(aborted)) => answer.aborted = aborted,
                    Some(Err(error)) => answer = Answer::refused(error),
                    // Its records may be others now, too.
                    None => {
                        again.push(ask);
                        continue;
                    }
                }
            }
            answers.push((ask.at, answer));
        }
        open = again;
    }
    answers.sort_unstable_by_key(|(at, _)| *at);
    trim(&mut answers, bounds.bytes_max);
    answers
}

/// Others wait for the turn: it is given up where a log must be opened first and that takes long.
async fn in_turn<T>(planning: impl Future<Output = T>, turn: Turn<'_>) -> T {
    let mut planning = std::pin::pin!(planning);
    if let Ok(planned) = tokio::time::timeout(TURN_MAX, &mut planning).await {
        return planned;
    }
    drop(turn);
    planning.await
}

/// What a read of the device gave, and what it found out.
type ColdEnd = (Result<Batches, LogError>, Learned);

/// Starts a read once it is its turn; what comes of it, with what counts it. `None` where the disk hangs.
async fn start_cold(
    shard: &Rc<Shard>,
    cold: Box<ColdRead>,
    held: Option<InFlight>,
) -> Option<impl Future<Output = Option<(ColdEnd, Option<InFlight>)>> + use<>> {
    let calls = shard.shared.dirs.calls_of(cold.dir());
    device::start(shard.cold_reads(cold.dir()), calls, move || (cold.run(), held)).await
}

/// Has the log learn what the read found out. The log is who knows whether damage is damage, or a
/// file that was dropped while it was read: then the reader asks again.
async fn end_cold(
    shard: &Rc<Shard>,
    ask: &Ask,
    (result, learned): ColdEnd,
) -> Result<(Bytes, Offset), ErrorCode> {
    let id = ask.partition;
    let segment = result.as_ref().err().and_then(LogError::damaged_segment);
    let holds = shard.call(id, move |shard| {
        let partition = shard.partition(id)?;
        let mut partition = partition.borrow_mut();
        partition.log_mut().learn(learned).then(|| partition.damage_code(segment))
    });
    match result {
        Ok(batches) => Ok((batches.bytes, batches.next_offset)),
        Err(LogError::Damaged { .. }) => match holds.await {
            Some(code) => Err(code),
            None => Ok((Bytes::new(), Offset::new(ask.offset))),
        },
        Err(fault) => {
            tracing::error!("cannot read: {fault}");
            Err(fault.read_code())
        }
    }
}

/// The aborted transactions up to an offset; `None` where segments were replaced or dropped while it
/// looked.
async fn find_aborted(
    shard: &Rc<Shard>,
    id: PartitionId,
    lookup: AbortedLookup,
    behind: Offset,
) -> Option<Result<Vec<AbortedTxn>, ErrorCode>> {
    let (lookup, found) = threads::blocking(move || {
        let found = lookup.run(behind);
        (lookup, found)
    })
    .await;
    let is_current = shard.call(id, move |shard| {
        let partition = shard.partition(id);
        partition.is_none_or(|partition| partition.borrow().log().is_current(&lookup))
    });
    is_current.await.then(|| {
        found.map_err(|fault| {
            tracing::error!("cannot tell what was aborted: {fault}");
            fault.code()
        })
    })
}

/// Each shard was given the whole byte limit; the first partitions keep what they have.
fn trim(answers: &mut [(usize, Answer)], bytes_max: usize) {
    let mut spent = 0;
    for (_, answer) in answers {
        if spent > 0 && spent + answer.records.len() > bytes_max {
            answer.records = Records::default();
            answer.aborted.clear();
            answer.held = None;
        }
        spent += answer.records.len();
    }
}

async fn read_everywhere(context: &Context, asks: Vec<Ask>, bounds: &Bounds) -> Vec<Found> {
    let shard = &context.shard;
    let mut by_owner: BTreeMap<usize, Vec<Ask>> = BTreeMap::new();
    for ask in asks {
        by_owner.entry(shard.owner_of(ask.partition)).or_default().push(ask);
    }
    if by_owner.len() == 1
        && let Some(wait) = &bounds.wait
        && let Some(entry) = by_owner.first_entry().filter(|entry| *entry.key() != shard.index)
    {
        let (owner, asks) = entry.remove_entry();
        return read_there(context, owner, asks, bounds, wait).await;
    }
    if by_owner.keys().all(|owner| *owner == shard.index) {
        context.peer.served_at_home();
    }
    let mut calls = Vec::with_capacity(by_owner.len());
    for (owner, asks) in by_owner {
        if owner == shard.index && asks.iter().all(|ask| shard.is_at_hand(ask.partition)) {
            calls.push(Call::Done(Some(read_here(shard, asks, bounds))));
            continue;
        }
        let (reply, answer) = shard.reply_from(owner);
        let bounds = bounds.clone();
        let read = move |shard: &Rc<Shard>| {
            when_open(shard, asks, move |shard, asks| {
                reply.send(read_here(shard, asks, &bounds));
            });
        };
        if owner == shard.index {
            read(shard);
        } else {
            shard.shared.mailboxes.post(owner, read);
        }
        calls.push(Call::Posted(answer));
    }
    let mut found = Vec::new();
    for call in calls {
        found.extend(call.await);
    }
    found
}

/// Runs `read` when the logs of all partitions are open.
fn when_open(shard: &Rc<Shard>, asks: Vec<Ask>, read: impl FnOnce(&Rc<Shard>, Vec<Ask>) + 'static) {
    let ids = asks.iter().map(|ask| ask.partition);
    let closed = ids.filter(|id| !shard.is_at_hand(*id)).collect();
    shard.when_all_open(closed, move |shard| read(shard, asks));
}

/// Reads on the shard that owns everything asked; it answers once there is enough.
async fn read_there(
    context: &Context,
    owner: usize,
    asks: Vec<Ask>,
    bounds: &Bounds,
    wait: &Wait,
) -> Vec<Found> {
    let (reply, answer) = context.shard.reply_from(owner);
    let (bounds, wait) = (bounds.clone(), wait.clone());
    let woke = context.shard.shared.mailboxes.post(owner, move |shard| {
        when_open(shard, asks, move |shard, asks| {
            let found = read_here(shard, asks, &bounds);
            if is_enough(&found, &bounds) {
                reply.send(found);
            } else {
                tokio::task::spawn_local(wait_here(Rc::clone(shard), found, bounds, wait, reply));
            }
        });
    });
    if woke {
        context.peer.woke(owner);
    }
    match answer.await {
        Ok(found) => found,
        // The owner has stopped; the node is going down and the connection with it.
        Err(_) => std::future::pending().await,
    }
}
