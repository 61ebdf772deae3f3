//! Compaction of the node's logs: which one is next, at what pace, on which threads.
//!
//! One loop on the first shard asks every shard for logs in need and leads the dirtiest ones
//! through their compaction, as many side by side as `log.cleaner.threads`. The work is done in the
//! background (`pass`) within one budget of bytes (`throttle`). What fails is set aside, with its
//! name and cause, and the others go on.
//!
//! Not here: what compaction does (`log`), which keys are in force for a topic (`config`).

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{AgesLearned, AgesRead, CleanerBuffers, CompactionNeed, LogError};
use rustc_hash::FxHashMap;
use tokio::task::JoinSet;
use types::{Millis, Offset, TopicPartition};

use crate::clock;
use crate::shard::{Partition, PartitionId, Shard, call_shard};
use crate::threads::blocking;

mod pass;
mod status;
mod throttle;

pub use pass::{put_in_place, remove_former};
pub use status::{CleanerFacts, CleanerStatus};
pub use throttle::{StopOnDrop, Throttle};

/// How often settings are looked at while something is compacted.
const LOOK: Duration = Duration::from_secs(1);
/// Logs that a shard looks at in one go, before it does other work.
const LOGS_AT_ONCE: usize = 64;
/// Logs remembered to have been looked at while closed; beyond that, all are looked at anew.
const AT_REST_MAX: usize = 1 << 20;

/// What the cleaner reads of the broker's settings, again and again.
#[derive(Clone, Copy, Debug)]
struct Settings {
    threads: usize,
    backoff: Duration,
    buffers: CleanerBuffers,
    bytes_per_second_max: f64,
}

/// A log in need of compaction.
struct Candidate {
    shard: usize,
    id: PartitionId,
    name: TopicPartition,
    need: CompactionNeed,
}

/// What is under way and what is next.
struct Cleaner {
    shard: Rc<Shard>,
    throttle: Arc<Throttle>,
    /// Compactions under way; each gives its partition and whether it was compacted.
    running: JoinSet<(TopicPartition, bool)>,
    /// Their partitions. By name, as a topic that is made anew has the former one's folders.
    busy: BTreeSet<TopicPartition>,
    /// The dirtiest first.
    queue: VecDeque<Candidate>,
    looked_at: Option<Instant>,
    /// Whether a log was compacted since, which may be in need again.
    has_worked: bool,
    /// The ends of logs that were found closed and have been looked at.
    at_rest: FxHashMap<PartitionId, Offset>,
}

/// Compacts log after log until the shard ends. For the first shard.
pub async fn run(shard: Rc<Shard>) {
    let throttle = Arc::new(Throttle::default());
    let _stop = StopOnDrop(Arc::clone(&throttle));
    let mut cleaner = Cleaner::new(Rc::clone(&shard), Arc::clone(&throttle));
    let mut former = None;
    loop {
        let Some(settings) = Settings::read(&shard) else { return };
        throttle.set_rate(settings.bytes_per_second_max);
        if former.replace(settings.buffers).is_some_and(|former| former != settings.buffers) {
            // What was set aside for want of memory may have enough now.
            cleaner.retry_all().await;
        }
        cleaner.begin(settings).await;
        cleaner.wait(settings).await;
    }
}

impl Cleaner {
    fn new(shard: Rc<Shard>, throttle: Arc<Throttle>) -> Self {
        Self {
            shard,
            throttle,
            running: JoinSet::new(),
            busy: BTreeSet::new(),
            queue: VecDeque::new(),
            looked_at: None,
            has_worked: false,
            at_rest: FxHashMap::default(),
        }
    }

    /// Begins as many compactions as there are threads free and logs in need.
    async fn begin(&mut self, settings: Settings) {
        if self.running.len() >= settings.threads {
            return;
        }
        let is_old = self.looked_at.is_none_or(|at| at.elapsed() >= settings.backoff);
        if is_old || (self.queue.is_empty() && self.has_worked) {
            self.look().await;
        }
        while self.running.len() < settings.threads {
            let Some(candidate) = self.queue.pop_front() else { break };
            if !self.busy.insert(candidate.name.clone()) {
                continue;
            }
            let (shard, throttle) = (Rc::clone(&self.shard), Arc::clone(&self.throttle));
            self.running.spawn_local(async move {
                let name = candidate.name.clone();
                (name, pass::run(&shard, candidate, settings, &throttle).await)
            });
        }
    }

    /// Until something has ended or it is time to look again.
    async fn wait(&mut self, settings: Settings) {
        let is_idle = self.running.is_empty();
        let pause = if is_idle { settings.backoff } else { settings.backoff.min(LOOK) };
        tokio::select! {
            Some(ended) = self.running.join_next() => {
                // Nobody aborts one, and its work runs where a panic becomes the outcome.
                let (name, has_worked) = ended.expect("a compaction is led to its end");
                self.busy.remove(&name);
                self.has_worked |= has_worked;
            }
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Asks all shards for logs in need.
    async fn look(&mut self) {
        let mut found = Vec::new();
        for index in 0..self.shard.shared.mailboxes.shards() {
            self.wake(index).await;
            let ids = call_shard(&self.shard, index, compacted_ids).await;
            for ids in ids.chunks(LOGS_AT_ONCE) {
                self.learn_ages(index, ids).await;
                let ids = ids.to_vec();
                let some = call_shard(&self.shard, index, move |shard| candidates_of(shard, &ids));
                found.extend(some.await);
                // Other work of this shard goes on, too.
                tokio::task::yield_now().await;
            }
        }
        let ratio = found.iter().map(|one| one.need.dirty_ratio).fold(0.0, f64::max);
        let delay = found.iter().map(|one| one.need.delay).max().unwrap_or(Millis::ZERO);
        self.shard.shared.cleaner.note_look(ratio, delay);
        found.retain(|one| one.need.is_due && !self.busy.contains(&one.name));
        found.sort_by(|a, b| b.need.dirty_ratio.total_cmp(&a.need.dirty_ratio));
        self.queue = found.into();
        self.looked_at = Some(Instant::now());
        self.has_worked = false;
    }

    /// Has read, off the shard, what only files tell of the age of segments.
    async fn learn_ages(&self, index: usize, ids: &[PartitionId]) {
        let mut ids = ids.to_vec();
        while !ids.is_empty() {
            let asked = ids.clone();
            let reads = call_shard(&self.shard, index, move |shard| ages_of(shard, &asked)).await;
            if reads.is_empty() {
                return;
            }
            let learned: Vec<_> =
                blocking(move || reads.into_iter().map(|(id, read)| (id, read.run())).collect())
                    .await;
            // Some may have more segments than one read looks at.
            let note = move |shard: &Rc<Shard>| note_ages(shard, learned);
            ids = call_shard(&self.shard, index, note).await;
        }
    }

    /// Has some closed logs of a shard opened that hold more than was compacted: what nobody uses
    /// after a restart is compacted, too. The names of their files tell.
    async fn wake(&mut self, index: usize) {
        let mut closed = call_shard(&self.shard, index, |shard| shard.closed_compacted()).await;
        closed.retain(|(id, _, one)| self.at_rest.get(id) != Some(&one.recovery_point()));
        closed.truncate(LOGS_AT_ONCE);
        if closed.is_empty() {
            return;
        }
        if self.at_rest.len() > AT_REST_MAX {
            self.at_rest.clear();
        }
        // One that is not due when it is open need not be opened again before it has grown.
        self.at_rest.extend(closed.iter().map(|(id, _, one)| (*id, one.recovery_point())));
        let disk = Arc::clone(&self.shard.shared.dirs.disk);
        let dirty: Vec<PartitionId> = blocking(move || {
            closed.retain(|(_, folder, one)| {
                // Who opens a log says what is wrong with it.
                let size = log::measure(disk.as_ref(), folder);
                size.is_ok_and(|size| size.active_base > one.compacted_end())
            });
            closed.into_iter().map(|(id, _, _)| id).collect()
        })
        .await;
        call_shard(&self.shard, index, move |shard| {
            dirty.into_iter().for_each(|id| shard.when_open(id, |_| {}));
        })
        .await;
    }

    /// Lets compaction try again what it had set aside.
    async fn retry_all(&mut self) {
        for index in 0..self.shard.shared.mailboxes.shards() {
            call_shard(&self.shard, index, |shard| {
                for partition in shard.partitions() {
                    partition.borrow_mut().log_mut().clear_uncleanable();
                }
            })
            .await;
        }
        self.looked_at = None;
    }
}

fn compacted_ids(shard: &Rc<Shard>) -> Vec<PartitionId> {
    let partitions = shard.partitions();
    let partitions = partitions.iter().map(|partition| partition.borrow());
    let compacted = partitions.filter(|one| {
        one.log().config().compact && !one.is_offline() && !shard.groups.is_loading(one.id())
    });
    compacted.map(|one| one.id()).collect()
}

fn ages_of(shard: &Rc<Shard>, ids: &[PartitionId]) -> Vec<(PartitionId, AgesRead)> {
    let read = |id: &PartitionId| {
        let partition = shard.partition(*id)?;
        let read = partition.borrow().log().ages_for_compaction()?;
        Some((*id, read))
    };
    ids.iter().filter_map(read).collect()
}

/// Lets the logs know; gives those that were read without a fault.
fn note_ages(shard: &Rc<Shard>, learned: Vec<(PartitionId, AgesLearned)>) -> Vec<PartitionId> {
    let mut sound = Vec::new();
    for (id, learned) in learned {
        let Some(partition) = shard.partition(id) else { continue };
        let mut partition = partition.borrow_mut();
        match partition.log_mut().learn_ages(learned) {
            Ok(()) => sound.push(id),
            Err(fault) => set_aside(&mut partition, &fault),
        }
    }
    sound
}

/// A log cannot be compacted, for now or until somebody has looked after it.
fn set_aside(partition: &mut Partition, fault: &LogError) {
    if fault.is_passing() {
        tracing::warn!(partition = %partition.name(), "cannot compact for now: {fault}");
    } else {
        partition.log_mut().set_uncleanable();
        pass::report(partition.name(), &fault.to_string(), pass::ADVICE_DAMAGE);
    }
}

fn candidates_of(shard: &Rc<Shard>, ids: &[PartitionId]) -> Vec<Candidate> {
    let now = clock::earliest();
    let mut candidates = Vec::new();
    for id in ids {
        let Some(partition) = shard.partition(*id) else { continue };
        let mut partition = partition.borrow_mut();
        let high_watermark = partition.high_watermark();
        match partition.log_mut().compaction_need(high_watermark, now) {
            Ok(Some(need)) => {
                let (id, name) = (*id, partition.name().clone());
                candidates.push(Candidate { shard: shard.index, id, name, need });
            }
            Ok(None) => {}
            Err(fault) => set_aside(&mut partition, &fault),
        }
    }
    candidates
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
        let buffers = CleanerBuffers {
            dedupe_bytes: count(layers.long("log.cleaner.dedupe.buffer.size")) / threads.max(1),
            load_factor: layers.double("log.cleaner.io.buffer.load.factor"),
            io_bytes: count(layers.int("log.cleaner.io.buffer.size").into()) / threads.max(1),
        };
        let backoff = u64::try_from(layers.long("log.cleaner.backoff.ms")).unwrap_or(0);
        Some(Self {
            threads,
            // A pause of none would let the loop turn without end.
            backoff: Duration::from_millis(backoff.max(1)),
            buffers,
            bytes_per_second_max: layers.double("log.cleaner.io.max.bytes.per.second"),
        })
    }
}
