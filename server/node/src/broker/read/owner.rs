//! The part of a fetch that runs on the shard that owns the partitions: what memory and the page
//! cache hold is read at once, the rest comes back as plans.

use std::rc::Rc;

use log::{ColdRead, LogError, Read, ReadError};
use tokio::time::sleep_until;
use types::{ErrorCode, Offset};

use super::Found;
use super::answer::{Answer, Ask, Bounds, Wait};
use super::copying::{self, Copying};
use super::records::Records;
use crate::shard::{Partition, Reply, Shard};
use crate::throttles::Way;

/// What a shard reads for a fetch even where nothing is left of the node's budget, so that
/// readers move on. One batch always comes, however large it is.
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
        tokio::select! {
            () = wait.notify.notified() => {}
            () = sleep_until(wait.until) => {
                found.iter_mut().for_each(|(_, answer, _)| answer.is_due = answer.tells_more);
                break;
            }
            () = reply.closed() => return,
        }
        let asks = found.into_iter().map(|(ask, _, _)| ask).collect();
        found = read_here(&shard, asks, &bounds);
    }
    reply.send(found);
}

/// Whether the reader is to have this now. What the device holds counts: it must be read to know.
pub(super) fn is_enough(found: &[Found], bounds: &Bounds) -> bool {
    let bytes: usize = found.iter().map(|(_, answer, _)| answer.records.len()).sum();
    bytes >= bounds.bytes_min
        || found.iter().any(|(_, answer, cold)| cold.is_some() || answer.is_urgent())
}

pub(super) fn read_here(shard: &Rc<Shard>, asks: Vec<Ask>, bounds: &Bounds) -> Vec<Found> {
    let net = &shard.shared.net;
    let mut left = bounds.bytes_max;
    // Apart from `left`: a read of the device is counted by its limit, and may bring less.
    let mut budget_left = net.in_flight_bytes_left().max(LEAST_BYTES);
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
        let limits = ReadLimits {
            // No read takes more than the node's budget has left.
            bytes_max: ask.bytes_max.min(PARTITION_BYTES_MAX).min(left).min(budget_left),
            min_one: total == 0,
        };
        answer.copied = bounds.replica.map(|replica| partition.copied_to(replica.id));
        let copied = answer.copied;
        let rate_left = copied.and_then(|one| shard.shared.throttles.left(Way::Out, one));
        let may_read = rate_left.is_none_or(|left| left > throttled_bytes);
        let allowed = may_read.then_some(limits);
        let (mut answer, cold) = read_one(&mut partition, &ask, allowed, (bounds, answer));
        let bytes = answer.records.len();
        if bytes > 0 && copied.is_none() {
            shard.metrics.count_fetched(&partition, bytes as u64);
        }
        let held = if cold.is_some() { limits.bytes_max } else { bytes };
        // What is read here is counted as it leaves.
        throttled_bytes += if rate_left.is_some() { held as u64 } else { 0 };
        answer.held = (held > 0).then(|| net.hold_in_flight(held));
        budget_left = budget_left.saturating_sub(held);
        left = left.saturating_sub(bytes);
        total += if cold.is_some() { held.max(1) } else { bytes };
        found.push((ask, answer, cold));
    }
    // What the device will give is not known yet: it may be too little.
    let ready: usize = found.iter().map(|(_, answer, _)| answer.records.len()).sum();
    if ready < bounds.bytes_min
        && let Some(wait) = &bounds.wait
    {
        for (ask, _, _) in &found {
            if let Some(partition) = shard.partition(ask.partition) {
                let mut partition = partition.borrow_mut();
                match bounds.replica {
                    Some(_) => partition.watch_as_replica(&wait.notify),
                    None => partition.watch(&wait.notify),
                }
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
    if bounds.read_committed {
        answer.unsettled = partition.log().aborted_lookup(from).map(|lookup| (lookup, from));
    }
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
