//! Compaction of the node's logs: which one is next, at what pace, on which threads.
//!
//! One loop on the first shard asks every shard for logs in need, takes the dirtiest ones, as many
//! as `log.cleaner.threads`, and leads each through its compaction: planned on the shard that owns
//! it, rewritten on the blocking pool, put in place on the shard. What fails is set aside, with
//! its name and cause, and the others go on.
//!
//! Not here: what compaction does (`log`), which keys are in force for a topic (`config`).

use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{CleanerBuffers, Compaction, CompactionError, CompactionNeed, LogError, Rewritten};
use tokio::task::JoinSet;
use types::TopicPartition;

use crate::clock;
use crate::shard::{PartitionId, Shard, SharedPartition};
use crate::threads::blocking;

/// The longest nap of a throttled compaction; a stop of the node waits at most for one.
const NAP: Duration = Duration::from_millis(100);
/// Bytes per second from which on nothing is counted.
const UNLIMITED: f64 = 1e15;

/// What the cleaner reads of the broker's settings, anew for each round.
#[derive(Clone, Copy, Debug)]
struct Settings {
    threads: usize,
    backoff: Duration,
    memory: CleanerBuffers,
    bytes_per_second_max: f64,
}

/// A log in need of compaction.
struct Candidate {
    shard: usize,
    id: PartitionId,
    name: TopicPartition,
    need: CompactionNeed,
}

/// One budget of bytes for all compactions.
struct Throttle {
    stopped: AtomicBool,
    /// Bytes per second, and when what was used so far is paid for.
    state: Mutex<(f64, Instant)>,
}

/// Ends the work on the blocking pool when the shard's tasks go.
struct StopOnDrop(Arc<Throttle>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

/// Compacts round after round until the shard ends. For the first shard.
pub async fn run(shard: Rc<Shard>) {
    let throttle = Arc::new(Throttle::default());
    let _stop = StopOnDrop(Arc::clone(&throttle));
    loop {
        let Some(settings) = Settings::read(&shard) else { return };
        throttle.set_rate(settings.bytes_per_second_max);
        if !run_round(&shard, settings, &throttle).await {
            tokio::time::sleep(settings.backoff).await;
        }
    }
}

/// Compacts the dirtiest logs side by side. Whether any was.
async fn run_round(shard: &Rc<Shard>, settings: Settings, throttle: &Arc<Throttle>) -> bool {
    let mut candidates = Vec::new();
    for index in 0..shard.shared.mailboxes.shards() {
        candidates.extend(call(shard, index, candidates_of).await);
    }
    candidates.sort_by(|a: &Candidate, b| b.need.dirty_ratio.total_cmp(&a.need.dirty_ratio));
    candidates.truncate(settings.threads);
    let mut running = JoinSet::new();
    for candidate in candidates {
        let (shard, throttle) = (Rc::clone(shard), Arc::clone(throttle));
        running.spawn_local(async move {
            let outcome = compact(&shard, &candidate, settings.memory, &throttle).await;
            settle(&shard, candidate, outcome).await
        });
    }
    let mut has_worked = false;
    while let Some(ended) = running.join_next().await {
        has_worked |= ended.expect("a compaction does not panic");
    }
    has_worked
}

fn candidates_of(shard: &Rc<Shard>) -> Vec<Candidate> {
    let now = clock::wall();
    let mut candidates = Vec::new();
    for partition in shard.partitions() {
        let mut partition = partition.borrow_mut();
        if partition.is_offline() {
            continue;
        }
        let (id, name) = (partition.id(), partition.name().clone());
        let high_watermark = partition.high_watermark();
        match partition.log_mut().compaction_need(high_watermark, now) {
            Ok(Some(need)) if need.is_due => {
                candidates.push(Candidate { shard: shard.index, id, name, need })
            }
            Ok(_) => {}
            Err(fault) => {
                tracing::error!(partition = %name, "not compacted until restart: {fault}");
                partition.log_mut().set_uncleanable();
            }
        }
    }
    candidates
}

/// Leads one log through its compaction. Gives the bytes before and after.
async fn compact(
    shard: &Rc<Shard>,
    candidate: &Candidate,
    memory: CleanerBuffers,
    throttle: &Arc<Throttle>,
) -> Result<(u64, u64), CompactionError> {
    let (owner, id) = (candidate.shard, candidate.id);
    let planned = call(shard, owner, move |shard| plan(shard, id)).await?;
    let mut compaction = planned.ok_or(CompactionError::Overtaken)?;
    let (mut before, mut after) = (0, 0);
    loop {
        let throttle = Arc::clone(throttle);
        let (left, rewritten) = blocking(move || {
            let rewritten = compaction.rewrite_next(memory, &mut |bytes| throttle.take(bytes));
            (compaction, rewritten)
        })
        .await;
        compaction = left;
        let Some(rewritten) = rewritten? else { break };
        let (old, new) = rewritten.bytes();
        swap(shard, owner, id, rewritten).await?;
        before += old;
        after += new;
    }
    call(shard, owner, move |shard| {
        if let Some(partition) = shard.partition(id) {
            partition.borrow_mut().log_mut().end_compaction(&compaction);
        }
    })
    .await;
    Ok((before, after))
}

fn plan(shard: &Rc<Shard>, id: PartitionId) -> Result<Option<Compaction>, LogError> {
    let Some(partition) = online(shard, id) else { return Ok(None) };
    let mut partition = partition.borrow_mut();
    let high_watermark = partition.high_watermark();
    partition.log_mut().plan_compaction(high_watermark, clock::wall())
}

async fn swap(
    shard: &Rc<Shard>,
    owner: usize,
    id: PartitionId,
    rewritten: Rewritten,
) -> Result<(), CompactionError> {
    let (rewritten, ticket) = call(shard, owner, move |shard| {
        let ticket = match online(shard, id) {
            Some(partition) => partition.borrow_mut().log_mut().begin_swap(&rewritten),
            None => Ok(None),
        };
        (rewritten, ticket)
    })
    .await;
    let Some(ticket) = ticket? else {
        blocking(move || rewritten.discard()).await?;
        return Err(CompactionError::Overtaken);
    };
    let synced = blocking(move || ticket.sync()).await;
    let is_in_place = call(shard, owner, move |shard| match online(shard, id) {
        Some(partition) => {
            partition.borrow_mut().log_mut().finish_swap(rewritten, synced, clock::wall())
        }
        None => Ok(false),
    })
    .await?;
    if is_in_place { Ok(()) } else { Err(CompactionError::Overtaken) }
}

/// Says how a compaction ended and sets aside what failed. Whether the log was compacted.
async fn settle(
    shard: &Rc<Shard>,
    candidate: Candidate,
    outcome: Result<(u64, u64), CompactionError>,
) -> bool {
    let Candidate { shard: owner, id, name, .. } = candidate;
    match outcome {
        Ok((before, after)) => {
            tracing::info!(partition = %name, before, after, "compacted");
            true
        }
        Err(CompactionError::Stopped | CompactionError::Overtaken) => false,
        Err(fault @ (CompactionError::Log(_) | CompactionError::TooManyKeys { .. })) => {
            let set_aside = call(shard, owner, move |shard| {
                let partition = shard.partition(id)?;
                partition.borrow_mut().log_mut().set_uncleanable();
                Some(())
            });
            // A partition that was deleted meanwhile has lost its files for good reason.
            if set_aside.await.is_some() {
                tracing::error!(partition = %name, "not compacted until restart: {fault}");
            }
            false
        }
    }
}

fn online(shard: &Rc<Shard>, id: PartitionId) -> Option<SharedPartition> {
    shard.partition(id).filter(|partition| !partition.borrow().is_offline())
}

/// Runs `work` on a shard, at once if that is this one.
async fn call<T: Send + Unpin + 'static>(
    shard: &Rc<Shard>,
    index: usize,
    work: impl FnOnce(&Rc<Shard>) -> T + Send + 'static,
) -> T {
    if index == shard.index { work(shard) } else { shard.shared.mailboxes.call(index, work).await }
}

impl Settings {
    /// `None` where nothing is to be compacted until the next start.
    fn read(shard: &Shard) -> Option<Self> {
        let image = shard.image();
        let own = shard.shared.broker_resource();
        let layers = shard.shared.layers(&image, &own);
        if !layers.boolean("log.cleaner.enable") {
            return None;
        }
        let count = |number: i64| usize::try_from(number).unwrap_or(0);
        let threads = count(layers.int("log.cleaner.threads").into());
        let memory = CleanerBuffers {
            io_bytes: count(layers.int("log.cleaner.io.buffer.size").into()) / threads.max(1),
            dedupe_bytes: count(layers.long("log.cleaner.dedupe.buffer.size")) / threads.max(1),
            load_factor: layers.double("log.cleaner.io.buffer.load.factor"),
        };
        let backoff = u64::try_from(layers.long("log.cleaner.backoff.ms")).unwrap_or(0);
        Some(Self {
            threads,
            // A pause of none would let the loop turn without end.
            backoff: Duration::from_millis(backoff.max(1)),
            memory,
            bytes_per_second_max: layers.double("log.cleaner.io.max.bytes.per.second"),
        })
    }
}

impl Default for Throttle {
    fn default() -> Self {
        let stopped = AtomicBool::new(false);
        Self { stopped, state: Mutex::new((UNLIMITED, Instant::now())) }
    }
}

impl Throttle {
    fn set_rate(&self, bytes_per_second: f64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 = bytes_per_second.max(1.0);
    }

    /// Waits until `bytes` are within the budget. Blocks.
    fn take(&self, bytes: u64) -> ControlFlow<()> {
        let until = self.reserve(bytes, Instant::now());
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return ControlFlow::Continue(());
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    /// When what was taken so far, `bytes` included, is paid for.
    fn reserve(&self, bytes: u64, now: Instant) -> Instant {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 >= UNLIMITED {
            return now;
        }
        let cost = Duration::try_from_secs_f64(bytes as f64 / state.0).unwrap_or(Duration::MAX);
        // Time that was not used does not add up.
        state.1 = state.1.max(now).checked_add(cost).unwrap_or(now + NAP);
        state.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_takers_share_one_budget() {
        let throttle = Throttle::default();
        let begin = Instant::now();
        assert_eq!(throttle.reserve(1 << 40, begin), begin, "no limit, no wait");
        throttle.set_rate(1000.0);
        let second = Duration::from_secs(1);
        assert_eq!(throttle.reserve(1000, begin), begin + second);
        assert_eq!(throttle.reserve(500, begin), begin + second + second / 2);
        let later = begin + 10 * second;
        assert_eq!(throttle.reserve(1000, later), later + second);
    }

    #[test]
    fn stopped_work_ends_at_once() {
        let throttle = Arc::new(Throttle::default());
        drop(StopOnDrop(Arc::clone(&throttle)));
        throttle.set_rate(1.0);
        assert_eq!(throttle.take(1 << 40), ControlFlow::Break(()));
    }
}
