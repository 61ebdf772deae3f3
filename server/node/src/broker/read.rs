//! Reading partitions for a fetch: on the shards that own them, all at once.
//!
//! [`gather`] sends each shard its share of the partitions and puts the answers together in the
//! order of the request. Reads that need the device come back as plans and run on the blocking
//! pool of the asking shard, so that no shard waits for a disk. Where one other shard owns all
//! that is asked, that shard also waits for more, and what it waits for crosses once.
//!
//! What is read counts as in flight from that moment ([`InFlight`]), and no read takes more than
//! the node's budget has left: many readers at once must not cost more memory than the node has.

use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use log::{AbortedLookup, AbortedTxn, Batches, ColdRead, Learned, LogError, Read, ReadError};
use net::InFlight;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use types::{ErrorCode, LeaderEpoch, Offset};

use crate::broker::Context;
use crate::shard::{Call, Partition, PartitionId, Reply, Shard};
use crate::threads;

/// What a shard reads for a fetch even where nothing is left of the node's budget, so that
/// readers move on. One batch always comes, however large it is.
const LEAST_BYTES: usize = 64 << 10;

/// The most that one partition brings, unless one batch alone is longer: what consumers ask for by
/// default, and what is read into memory that is used again.
const PARTITION_BYTES_MAX: usize = 1 << 20;

/// One partition to read.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Place within the request.
    pub at: usize,
    /// The partition.
    pub partition: PartitionId,
    /// First offset wanted, as sent.
    pub offset: i64,
    /// Most bytes of this partition.
    pub bytes_max: usize,
    /// The leader epoch that the reader knows, -1 for none.
    pub current_leader_epoch: i32,
    /// The epoch of the last record that the reader has, -1 for none.
    pub last_fetched_epoch: i32,
}

/// What holds for all partitions of a fetch.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Only committed transactions.
    pub read_committed: bool,
    /// Most bytes in all.
    pub bytes_max: usize,
    /// With fewer bytes than this the reader waits.
    pub bytes_min: usize,
    /// The wait for more; `None` if the reader will not wait.
    pub wait: Option<Wait>,
}

/// How a reader waits for more.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Whom to wake.
    pub notify: Arc<Notify>,
    /// When the reader takes what there is.
    pub until: Instant,
}

/// What one partition answers.
#[derive(Debug)]
pub struct Answer {
    /// Why there is nothing, if so.
    pub error: ErrorCode,
    /// `None` where the error leaves it unknown.
    pub high_watermark: Option<Offset>,
    /// End of what is in no open transaction.
    pub last_stable: Option<Offset>,
    /// First offset of the log.
    pub log_start: Option<Offset>,
    /// Whole batches.
    pub records: Bytes,
    /// Whether the log has more behind the records: a limit or the end of a segment cut them, and
    /// waiting would not make them longer.
    pub is_cut: bool,
    /// Epoch and end offset where the reader's log and this one part.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Aborted transactions within the records, for a reader of committed ones.
    pub aborted: Vec<AbortedTxn>,
    /// What tells them, and the offset behind the records that are there already.
    unsettled: Option<(AbortedLookup, Offset)>,
    /// Counts the records until the connection has them; none without any in memory.
    pub held: Option<InFlight>,
}

impl Answer {
    /// Whether the reader must hear of it at once, however little it brings.
    pub fn is_urgent(&self) -> bool {
        !self.error.is_none() || self.diverging.is_some() || self.is_cut
    }

    /// Takes the records that the device gave, which were counted by their limit so far.
    fn hold(&mut self, records: Bytes, next: Offset, bounds: &Bounds) {
        let until = if bounds.read_committed { self.last_stable } else { self.high_watermark };
        self.is_cut = !records.is_empty() && until.is_some_and(|until| next < until);
        if let Some(held) = &mut self.held {
            held.set(records.len());
        }
        self.records = records;
        if let Some((_, behind)) = &mut self.unsettled {
            *behind = next;
        }
    }

    /// An answer that is only an error.
    pub fn refused(error: ErrorCode) -> Self {
        Self {
            error,
            high_watermark: None,
            last_stable: None,
            log_start: None,
            records: Bytes::new(),
            is_cut: false,
            diverging: None,
            aborted: vec![],
            unsettled: None,
            held: None,
        }
    }
}

/// An answer whose records may have to be read from the device still.
type Found = (Ask, Answer, Option<Box<ColdRead>>);

/// Reads all partitions; the answers come with their place within the request, in its order.
pub async fn gather(context: &Context, asks: Vec<Ask>, bounds: &Bounds) -> Vec<(usize, Answer)> {
    let mut answers = Vec::with_capacity(asks.len());
    let mut open = asks;
    while !open.is_empty() {
        let mut again = Vec::new();
        let found = read_everywhere(context, open, bounds).await;
        // All of them at once: one after the other, each would wait for the disk by itself.
        let found: Vec<_> = found
            .into_iter()
            .map(|(ask, answer, cold)| (ask, answer, cold.map(start_cold)))
            .collect();
        for (mut ask, mut answer, cold) in found {
            if let Some(cold) = cold {
                match end_cold(&context.shard, &ask, cold.await).await {
                    // Nothing in that stretch of the log: go on behind it.
                    Ok((records, next)) if records.is_empty() && next.get() > ask.offset => {
                        ask.offset = next.get();
                        again.push(ask);
                        continue;
                    }
                    Ok((records, next)) => answer.hold(records, next, bounds),
                    Err(error) => answer = Answer::refused(error),
                }
            }
            if let Some((lookup, behind)) = answer.unsettled.take()
                && !answer.records.is_empty()
            {
                match threads::blocking(move || lookup.run(behind)).await {
                    Ok(aborted) => answer.aborted = aborted,
                    Err(fault) => {
                        tracing::error!("cannot tell what was aborted: {fault}");
                        answer = Answer::refused(fault.code());
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

/// What a read of the device gave, and what it found out.
type ColdEnd = (Result<Batches, LogError>, Learned);

fn start_cold(cold: Box<ColdRead>) -> impl Future<Output = ColdEnd> {
    threads::blocking(move || cold.run())
}

/// Has the log learn what the read found out. The log is who knows whether damage is damage, or a
/// file that was dropped while it was read: then the reader asks again.
async fn end_cold(
    shard: &Rc<Shard>,
    ask: &Ask,
    (result, learned): ColdEnd,
) -> Result<(Bytes, Offset), ErrorCode> {
    let id = ask.partition;
    let holds = shard.call(id, move |shard| {
        let partition = shard.partition(id);
        partition.is_some_and(|partition| partition.borrow_mut().log_mut().learn(learned))
    });
    match result {
        Ok(batches) => Ok((batches.bytes, batches.next_offset)),
        Err(fault @ LogError::Damaged { .. }) if holds.await => Err(fault.read_code()),
        Err(LogError::Damaged { .. }) => Ok((Bytes::new(), Offset::new(ask.offset))),
        Err(fault) => {
            tracing::error!("cannot read: {fault}");
            Err(fault.read_code())
        }
    }
}

/// Each shard was given the whole byte limit; the first partitions keep what they have.
fn trim(answers: &mut [(usize, Answer)], bytes_max: usize) {
    let mut spent = 0;
    for (_, answer) in answers {
        if spent > 0 && spent + answer.records.len() > bytes_max {
            answer.records = Bytes::new();
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

/// Reads again whenever a partition has grown, until there is enough, the time is over or nobody
/// listens any more.
async fn wait_here(
    shard: Rc<Shard>,
    mut found: Vec<Found>,
    bounds: Bounds,
    wait: Wait,
    mut reply: Reply<Vec<Found>>,
) {
    while !is_enough(&found, &bounds) && !shard.is_draining() {
        tokio::select! {
            () = wait.notify.notified() => {}
            () = sleep_until(wait.until) => break,
            () = reply.closed() => return,
        }
        let asks = found.into_iter().map(|(ask, _, _)| ask).collect();
        found = read_here(&shard, asks, &bounds);
    }
    reply.send(found);
}

/// Whether the reader is to have this now. What the device holds counts: it must be read to know.
fn is_enough(found: &[Found], bounds: &Bounds) -> bool {
    let bytes: usize = found.iter().map(|(_, answer, _)| answer.records.len()).sum();
    bytes >= bounds.bytes_min
        || found.iter().any(|(_, answer, cold)| cold.is_some() || answer.is_urgent())
}

fn read_here(shard: &Rc<Shard>, asks: Vec<Ask>, bounds: &Bounds) -> Vec<Found> {
    let net = &shard.shared.net;
    let mut left = bounds.bytes_max;
    // Apart from `left`: a read of the device is counted by its limit, and may bring less.
    let mut budget_left = net.in_flight_bytes_left().max(LEAST_BYTES);
    let mut total = 0;
    let mut found = Vec::with_capacity(asks.len());
    for ask in asks {
        let partition = match shard.served_partition(ask.partition) {
            Ok(partition) => partition,
            Err(code) => {
                found.push((ask, Answer::refused(code), None));
                continue;
            }
        };
        let mut partition = partition.borrow_mut();
        let limits = ReadLimits {
            // No read takes more than the node's budget has left.
            bytes_max: ask.bytes_max.min(PARTITION_BYTES_MAX).min(left).min(budget_left),
            min_one: total == 0,
        };
        let (mut answer, cold) = read_one(&mut partition, &ask, limits, bounds);
        let bytes = answer.records.len();
        if bytes > 0 {
            shard.metrics.count_fetched(&partition, bytes as u64);
        }
        let held = if cold.is_some() { limits.bytes_max } else { bytes };
        answer.held = (held > 0).then(|| net.hold_in_flight(held));
        budget_left = budget_left.saturating_sub(held);
        left = left.saturating_sub(bytes);
        total += if cold.is_some() { limits.bytes_max.max(1) } else { bytes };
        found.push((ask, answer, cold));
    }
    // What the device will give is not known yet: it may be too little.
    let ready: usize = found.iter().map(|(_, answer, _)| answer.records.len()).sum();
    if ready < bounds.bytes_min
        && let Some(wait) = &bounds.wait
    {
        for (ask, _, _) in &found {
            if let Some(partition) = shard.partition(ask.partition) {
                partition.borrow_mut().watch(&wait.notify);
            }
        }
    }
    found
}

/// How much one partition may bring.
#[derive(Clone, Copy)]
struct ReadLimits {
    bytes_max: usize,
    /// One batch comes even if it is longer.
    min_one: bool,
}

fn read_one(
    partition: &mut Partition,
    ask: &Ask,
    limits: ReadLimits,
    bounds: &Bounds,
) -> (Answer, Option<Box<ColdRead>>) {
    if let Err(error) = partition.check_epoch(ask.current_leader_epoch) {
        return (Answer::refused(error), None);
    }
    let high_watermark = partition.high_watermark();
    let last_stable = partition.last_stable_offset();
    let mut answer = Answer {
        high_watermark: Some(high_watermark),
        last_stable: Some(last_stable),
        log_start: Some(partition.log().start_offset()),
        ..Answer::refused(ErrorCode::None)
    };
    let Some(from) = Offset::from_wire(ask.offset) else {
        return (Answer::refused(ErrorCode::OffsetOutOfRange), None);
    };
    answer.diverging = partition.divergence(from, ask.last_fetched_epoch);
    if answer.diverging.is_some() {
        return (answer, None);
    }
    let until = if bounds.read_committed { last_stable } else { high_watermark };
    if bounds.read_committed {
        answer.unsettled = partition.log().aborted_lookup(from).map(|lookup| (lookup, from));
    }
    match partition.log_mut().read(from, limits.bytes_max, until, limits.min_one) {
        Ok(Read::Ready(batches)) => {
            let next = batches.next_offset;
            let records = batches.bytes;
            answer.is_cut = !records.is_empty() && next < until;
            answer.records = records;
            if let Some((_, behind)) = &mut answer.unsettled {
                *behind = next;
            }
            (answer, None)
        }
        Ok(Read::Cold(cold)) => (answer, Some(cold)),
        Err(error) => {
            // Damage was told of when it was found.
            if let ReadError::Log(fault) = &error
                && !matches!(fault, LogError::Damaged { .. })
            {
                tracing::error!(partition = %partition.name(), "cannot read: {fault}");
            }
            (Answer::refused(error.code()), None)
        }
    }
}
