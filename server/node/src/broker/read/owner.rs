//! The part of a fetch that runs on the shard that owns the partitions: what memory and the page
//! cache hold is read at once, the rest comes back as plans.

use std::rc::Rc;

use log::{ColdRead, LogError, Read, ReadError};
use net::Net;
use tokio::time::sleep_until;
use types::{ErrorCode, Offset};

use super::Found;
use super::answer::{Answer, Ask, Bounds, Wait};
use super::copying::{self, Copying};
use super::records::Records;
use crate::shard::{Partition, Reply, Shard};
use crate::throttles::Way;

/// What a shard reads for a follower even where nothing is left of the node's budget: producers wait
/// for followers, and these are few. One batch always comes, however large it is.
const LEAST_BYTES: usize = 64 << 10;

/// The most that one partition brings, unless one batch alone is longer: what consumers ask for by
/// default, and what is read into memory that is used again.
const PARTITION_BYTES_MAX: usize = 1 << 20;

/// Reads again whenever a partition has grown, until there is enough, the time is over or nobody
/// listens any more.
pub(super) async fn wait_here(
    shard: Rc<Shard>,
    mut found: Vec<Found>,
    bounds: Bounds,
    mut wait: Wait,
    mut reply: Reply<Vec<Found>>,
) {
    while !is_enough(&found, &bounds) && !shard.is_draining() {
        if found.iter().any(|(_, answer, _)| answer.tells_more) {
            wait.hasten();
        }
        let mut is_again = false;
        for (_, answer, _) in &mut found {
            is_again |= answer.put_back();
        }
        let is_over = tokio::select! {
            () = wait.notify.notified() => false,
            () = sleep_until(wait.until) => true,
            () = reply.closed() => return,
        };
        if is_again || !is_over {
            let asks = found.into_iter().map(|(ask, _, _)| ask).collect();
            found = read_here(&shard, asks, &bounds);
        }
        if is_over {
            found.iter_mut().for_each(|(_, answer, _)| answer.is_due = answer.tells_more);
            break;
        }
    }
    reply.send(found);
}

/// Whether the reader is to have this now. What the device holds counts: it must be read to know.
/// Who waits for room does that where he asks.
pub(super) fn is_enough(found: &[Found], bounds: &Bounds) -> bool {
    let bytes: usize = found.iter().map(|(_, answer, _)| answer.records.len()).sum();
    let goes = |answer: &Answer| answer.is_urgent() || answer.is_starved;
    bytes >= bounds.bytes_min
        || found.iter().any(|(_, answer, cold)| cold.is_some() || goes(answer))
}

pub(super) fn read_here(shard: &Rc<Shard>, asks: Vec<Ask>, bounds: &Bounds) -> Vec<Found> {
    let net = &shard.shared.net;
    let mut left = bounds.bytes_max;
    let (mut total, mut throttled_bytes) = (0, 0);
    let mut found = Vec::with_capacity(asks.len());
    for mut ask in asks {
        let partition = match shard.kept_partition(ask.partition) {
            Ok(partition) => partition,
            Err(code) => {
                found.push((ask, Answer::refused(code), None));
                continue;
            }
        };
        let mut answer = Answer::refused(ErrorCode::None);
        if let Some(replica) = bounds.replica {
            match copying::note(shard, &partition, &mut ask, replica) {
                Copying::Goes { tells_more } => answer.tells_more = tells_more,
                Copying::Ends(answer) => {
                    found.push((ask, answer, None));
                    continue;
                }
            }
        }
        let mut partition = partition.borrow_mut();
        // Consumers are let in for what a partition brings, or not at all.
        let room = match bounds.replica {
            Some(_) => net.answer_bytes_left().max(LEAST_BYTES),
            None => usize::MAX,
        };
        let limits = ReadLimits {
            bytes_max: ask.bytes_max.min(PARTITION_BYTES_MAX).min(left).min(room),
            min_one: total == 0,
        };
        answer.copied = bounds.replica.map(|replica| partition.copied_to(replica.id));
        let copied = answer.copied;
        let rate_left = copied.and_then(|one| shard.shared.throttles.left(Way::Out, one));
        let may_read = rate_left.is_none_or(|left| left > throttled_bytes);
        let allowed = may_read.then_some(limits);
        let (mut answer, cold) = read_one(net, &mut partition, &ask, allowed, (bounds, answer));
        let bytes = answer.records.len();
        if bytes > 0 && copied.is_none() {
            shard.metrics.count_fetched(&partition, bytes as u64);
        }
        let expected = if cold.is_some() { limits.bytes_max } else { bytes };
        // What is read here is counted as it leaves.
        throttled_bytes += if rate_left.is_some() { expected as u64 } else { 0 };
        match &mut answer.held {
            // What the device will give is not known yet.
            Some(held) if cold.is_none() => held.set(bytes),
            Some(_) => {}
            None => answer.held = (expected > 0).then(|| net.hold_answer(expected)),
        }
        left = left.saturating_sub(bytes);
        total += if cold.is_some() { expected.max(1) } else { bytes };
        found.push((ask, answer, cold));
    }
    watch(shard, &found, bounds);
    found
}

/// Has the reader woken by what comes, where it may have to wait for that.
fn watch(shard: &Rc<Shard>, found: &[Found], bounds: &Bounds) {
    // What the device will give is not known yet: it may be too little.
    let ready: usize = found.iter().map(|(_, answer, _)| answer.records.len()).sum();
    let Some(wait) = bounds.wait.as_ref().filter(|_| ready < bounds.bytes_min) else { return };
    for (ask, _, _) in found {
        if let Some(partition) = shard.partition(ask.partition) {
            let mut partition = partition.borrow_mut();
            match bounds.replica {
                Some(_) => partition.watch_as_replica(&wait.notify),
                None => partition.watch(&wait.notify),
            }
        }
    }
}

/// How much one partition may bring.
#[derive(Clone, Copy)]
struct ReadLimits {
    bytes_max: usize,
    /// One batch comes even if it is longer.
    min_one: bool,
}

impl ReadLimits {
    /// The most that a read brings.
    fn most(self, batch_bytes_max: u32) -> usize {
        self.bytes_max.max(if self.min_one { batch_bytes_max as usize } else { 0 })
    }
}

fn read_one(
    net: &Net,
    partition: &mut Partition,
    ask: &Ask,
    limits: Option<ReadLimits>,
    (bounds, begun): (&Bounds, Answer),
) -> (Answer, Option<Box<ColdRead>>) {
    let known = ask.current_leader_epoch;
    if let Err(error) = partition.check_readable(known, bounds.followers.serve(known)) {
        return (Answer::refused(error), None);
    }
    let high_watermark = partition.high_watermark();
    let last_stable = partition.last_stable_offset();
    let until = match bounds.replica {
        // Followers may have what nobody else may read yet.
        Some(_) => partition.log().written_end(),
        None if bounds.read_committed => last_stable,
        None => high_watermark,
    };
    let mut answer = Answer {
        high_watermark: Some(high_watermark),
        last_stable: Some(last_stable),
        log_start: Some(partition.log().start_offset()),
        until: Some(until),
        ..begun
    };
    let Some(from) = Offset::from_wire(ask.offset) else {
        return (Answer::refused(ErrorCode::OffsetOutOfRange), None);
    };
    answer.preferred = partition.preferred_read_replica(from, &bounds.near);
    if answer.preferred.is_some() {
        return (answer, None);
    }
    // Of followers that was looked at before.
    let last_fetched_epoch = if ask.is_noted { -1 } else { ask.last_fetched_epoch };
    answer.diverging = partition.divergence(from, last_fetched_epoch);
    if answer.diverging.is_some() {
        return (answer, None);
    }
    // A follower whose rate is used up hears all but the records.
    let Some(limits) = limits else { return (answer, None) };
    let most = limits.most(partition.log().config().max_message_bytes);
    if bounds.replica.is_none() && from < until && most > 0 {
        // Counted before it is read: else all shards would find the same room at once.
        answer.held = net.hold_answer_within(most, bounds.client_reads, bounds.place);
        if answer.held.is_none() {
            answer.is_starved = true;
            return (answer, None);
        }
    }
    if bounds.read_committed {
        answer.unsettled = partition.log().aborted_lookup(from).map(|lookup| (lookup, from));
    }
    read_log(partition, (from, until), limits, answer)
}

/// Reads what the reader may have, or plans to where the device has it.
fn read_log(
    partition: &mut Partition,
    (from, until): (Offset, Offset),
    limits: ReadLimits,
    mut answer: Answer,
) -> (Answer, Option<Box<ColdRead>>) {
    let log = partition.log_mut();
    let read = match log.read_recent(from, limits.bytes_max, until) {
        Ok(Some(recent)) => {
            answer.take(Records::in_pieces(recent.pieces), recent.next_offset);
            return (answer, None);
        }
        Ok(None) => log.read(from, limits.bytes_max, until, limits.min_one),
        Err(error) => Err(error),
    };
    match read {
        Ok(Read::Ready(batches)) => {
            answer.take(batches.bytes.into(), batches.next_offset);
            (answer, None)
        }
        // There is nothing of it for now, and nothing is held for it.
        Ok(Read::Cold(cold)) if partition.dirs().calls_of(cold.dir()).is_hung() => {
            answer.held = None;
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
            (Answer::refused(partition.read_code(&error)), None)
        }
    }
}
