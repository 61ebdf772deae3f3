//! What has to be done again and again, and at the end: retention, compaction, checkpoints, expiry of
//! producers, the clean stop. Here are the timers; each of the works has a file of its own.

mod checkpoints;
mod closing;
mod retention;
mod stop;

use std::rc::Rc;
use std::time::Duration;

use types::Millis;

use crate::shard::{Shard, run_flush_timer};
use crate::{cleaner, clock, threads};

pub use checkpoints::{CheckpointOrder, write_checkpoints};
pub use retention::{make_roll, remove_due};
pub use stop::{close_shards, drain_shards, hold_producers, mark_clean};

/// How often upkeep looks for logs that nobody uses.
const REST_INTERVAL: Duration = Duration::from_secs(60);
/// Rounds without use after which a log is closed.
const REST_ROUNDS: u8 = 5;

/// Begins a shard's upkeep. What is done for the whole node falls to shard 0, whose call runs on.
pub async fn run(shard: Rc<Shard>) {
    let upkeep = &shard.shared.config.upkeep;
    tokio::task::spawn_local(retention::run(Rc::clone(&shard)));
    tokio::task::spawn_local(run_flush(Rc::clone(&shard)));
    tokio::task::spawn_local(run_flush_timer(Rc::clone(&shard)));
    tokio::task::spawn_local(run_rest(Rc::clone(&shard)));
    tokio::task::spawn_local(run_expiry(Rc::clone(&shard)));
    if shard.index != 0 {
        return;
    }
    tokio::task::spawn_local(cleaner::run(Rc::clone(&shard)));
    // They are gathered together, so the shortest of the intervals holds for all.
    let intervals = [
        upkeep.recovery_point_interval_ms,
        upkeep.start_offset_interval_ms,
        upkeep.high_watermark_interval_ms,
    ];
    let Some(every) = shortest(intervals) else { return };
    loop {
        // So that a step of the wall clock is seen soon.
        _ = clock::steady();
        tokio::time::sleep(every).await;
        // What is wrong with a directory has been told where it was found.
        _ = write_checkpoints(&shard).await;
    }
}

/// Syncs what nobody waited for (`thalweg.durability=async`), so that a crash has little to
/// recover: with the recovery points, or as often as `log.flush.scheduler.interval.ms` says.
async fn run_flush(shard: Rc<Shard>) {
    let upkeep = &shard.shared.config.upkeep;
    let check = upkeep.flush_check_interval_ms.unwrap_or(Millis::MAX);
    let Some(every) = shortest([check, upkeep.recovery_point_interval_ms]) else { return };
    let mut wait = span(upkeep.initial_delay_ms);
    loop {
        tokio::time::sleep(std::mem::replace(&mut wait, every)).await;
        // By id, so that a stop does not have to wait for the whole round.
        let ids: Vec<_> = shard.partitions().iter().map(|one| one.borrow().id()).collect();
        for id in ids {
            let Some(partition) = shard.partition(id) else { continue };
            let ticket = partition.borrow_mut().begin_sync();
            let Some(ticket) = ticket else { continue };
            let outcome = threads::blocking(move || ticket.sync()).await;
            partition.borrow_mut().end_sync(outcome);
            // Appends that came meanwhile found a sync under way and wait for the next one.
            shard.commits.push(&partition);
        }
    }
}

/// Forgets producers that were silent for `producer.id.expiration.ms`. What a closed log knows of
/// them is looked at when it is opened.
async fn run_expiry(shard: Rc<Shard>) {
    let every = span(shard.shared.config.upkeep.producer_id_check_interval_ms);
    loop {
        tokio::time::sleep(every).await;
        for partition in shard.partitions() {
            partition.borrow_mut().log_mut().remove_expired_producers(clock::earliest());
        }
    }
}

/// Closes logs that nobody has used for a while.
async fn run_rest(shard: Rc<Shard>) {
    loop {
        tokio::time::sleep(REST_INTERVAL).await;
        for partition in shard.partitions() {
            let (id, rounds) = {
                let mut partition = partition.borrow_mut();
                (partition.id(), partition.age())
            };
            drop(partition);
            if rounds >= REST_ROUNDS {
                shard.put_to_rest(id);
            }
        }
    }
}

/// The shortest of the intervals at which something is due again and again. One that is not above 0
/// is none: Kafka's scheduler does such work once, at the start, when nothing is due yet.
fn shortest<const N: usize>(intervals: [Millis; N]) -> Option<Duration> {
    intervals.into_iter().filter(|interval| *interval > Millis::ZERO).min().map(span)
}

fn span(millis: Millis) -> Duration {
    Duration::from_millis(u64::try_from(millis.get()).unwrap_or(0).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_of_nothing_makes_no_round() {
        let cases = [
            ([60_000, 60_000, 5000], Some(5000)),
            ([60_000, 0, 5000], Some(5000)),
            ([0, 0, -1], None),
        ];
        for (intervals, expected) in cases {
            let expected = expected.map(Duration::from_millis);
            assert_eq!(shortest(intervals.map(Millis)), expected, "{intervals:?}");
        }
    }
}
