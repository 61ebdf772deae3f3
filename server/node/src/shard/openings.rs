//! Opening logs when somebody needs them, off the shard's thread.
//!
//! What a request does with a partition is handed to [`Shard::when_open`]: it runs at once where
//! the log is open, and else, in the order in which it came, when the blocking pool has opened it.
//! Logs that are wanted at the same time are opened in groups by a few threads.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use log::{Log, LogError, Rested};
use rustc_hash::FxHashMap;
use types::LeaderEpoch;

use super::closed::{Closed, OpenJob};
use super::partition::PartitionId;
use super::{Call, Shard, SharedPartition};
use crate::threads;

/// Threads that open logs for one shard at once.
const OPENERS_MAX: usize = 4;
/// Logs that one of them opens before the shard hears of it.
const GROUP_MAX: usize = 32;

/// What runs on the shard once a log is open, or cannot be opened.
pub(super) type Work = Box<dyn FnOnce(&Rc<Shard>)>;
/// A log that a thread is to be found for, and where to say what became of it.
type Queued = (PartitionId, Job, SyncSender<Ended>);

/// What a thread that may block has to do with a log.
enum Job {
    Open(OpenJob),
    Rest(Box<Log>),
}

/// What became of it.
enum Ended {
    Opened(Result<Log, LogError>),
    Rested(Result<Rested, LogError>),
}

impl Job {
    fn run(self) -> Ended {
        match self {
            Self::Open(job) => Ended::Opened(job.run()),
            Self::Rest(log) => Ended::Rested(log.rest()),
        }
    }
}

/// Logs of a shard that are being opened, or put to rest.
#[derive(Default)]
pub struct Openings {
    under_way: RefCell<FxHashMap<PartitionId, UnderWay>>,
    queue: RefCell<VecDeque<Queued>>,
    openers: Cell<usize>,
}

struct UnderWay {
    closed: Closed,
    outcome: Receiver<Ended>,
    waiting: Vec<Work>,
}

impl Openings {
    /// What is known of the logs until they are open.
    pub fn closed(&self) -> Vec<Closed> {
        self.under_way.borrow().values().map(|one| one.closed.clone()).collect()
    }

    fn has(&self, id: PartitionId) -> bool {
        self.under_way.borrow().contains_key(&id)
    }

    /// Takes what nobody has begun with.
    fn take_queued(&self, id: PartitionId) -> Option<Queued> {
        let mut queue = self.queue.borrow_mut();
        let at = queue.iter().position(|(queued, _, _)| *queued == id)?;
        queue.remove(at)
    }
}

impl Shard {
    /// Whether this shard has the partition, in whatever state.
    pub(super) fn has(&self, id: PartitionId) -> bool {
        self.partitions.borrow().contains_key(&id)
            || self.closed.borrow().contains_key(&id)
            || self.openings.has(id)
            || self.unopened.borrow().contains_key(&id)
    }

    /// Whether work for the partition may run now.
    pub fn is_at_hand(&self, id: PartitionId) -> bool {
        self.partitions.borrow().contains_key(&id)
            || !(self.closed.borrow().contains_key(&id) || self.openings.has(id))
    }

    /// Runs `work` when the partition's log is open: at once if it is, or if this shard does not
    /// have the partition.
    pub fn when_open(self: &Rc<Self>, id: PartitionId, work: impl FnOnce(&Rc<Shard>) + 'static) {
        if self.is_at_hand(id) {
            return work(self);
        }
        self.begin_to_open(id);
        if let Some(opening) = self.openings.under_way.borrow_mut().get_mut(&id) {
            opening.waiting.push(Box::new(work));
        }
    }

    /// As [`Shard::call`], but gives what `empty` makes of the leader's epoch where the log is closed
    /// and nothing was ever appended to it: whoever only asks needs no files.
    pub fn call_unless_empty<T: Send + 'static>(
        self: &Rc<Self>,
        id: PartitionId,
        empty: impl FnOnce(LeaderEpoch) -> T + Send + 'static,
        work: impl FnOnce(&Rc<Shard>) -> T + Send + 'static,
    ) -> Call<T> {
        let owner = self.owner_of(id);
        if owner == self.index {
            return match self.epoch_if_empty(id) {
                Some(epoch) => Call::Done(Some(empty(epoch))),
                None => self.call(id, work),
            };
        }
        let (reply, answer) = self.reply_from(owner);
        self.shared.mailboxes.post(owner, move |shard| match shard.epoch_if_empty(id) {
            Some(epoch) => reply.send(empty(epoch)),
            None => shard.when_open(id, move |shard| reply.send(work(shard))),
        });
        Call::Posted(answer)
    }

    fn epoch_if_empty(&self, id: PartitionId) -> Option<LeaderEpoch> {
        let closed = self.closed.borrow();
        let is_empty = closed.get(&id).is_some_and(|closed| !closed.may_have_folder());
        let image = self.image.borrow();
        let partition = image.topic_by_id(id.topic)?.partition(id.index)?;
        is_empty.then_some(partition.leader_epoch)
    }

    /// Runs `work` when the logs of all the partitions are open.
    pub fn when_all_open(
        self: &Rc<Self>,
        mut ids: Vec<PartitionId>,
        work: impl FnOnce(&Rc<Shard>) + 'static,
    ) {
        ids.retain(|id| !self.is_at_hand(*id));
        ids.iter().for_each(|id| self.begin_to_open(*id));
        // They are opened side by side; whichever is waited for, the others come, too.
        match ids.pop() {
            None => work(self),
            Some(id) => self.when_open(id, move |shard| shard.when_all_open(ids, work)),
        }
    }

    fn begin_to_open(self: &Rc<Self>, id: PartitionId) {
        let Some(closed) = self.closed.borrow_mut().remove(&id) else { return };
        let settings = self.settings_of(id, &closed.name.topic);
        let dirs = Arc::clone(&self.shared.dirs);
        let job = OpenJob::new(dirs, id, closed.clone(), settings.log);
        self.begin(id, closed, Job::Open(job));
    }

    /// Closes the log of a partition that nobody uses. Who comes meanwhile waits for it to be
    /// opened again.
    pub fn put_to_rest(self: &Rc<Self>, id: PartitionId) {
        let mut partitions = self.partitions.borrow_mut();
        let may_rest = |one: &SharedPartition| Rc::strong_count(one) == 1 && one.borrow().is_idle();
        if !partitions.get(&id).is_some_and(may_rest) {
            return;
        }
        let Some(partition) = partitions.remove(&id).and_then(Rc::into_inner) else { return };
        drop(partitions);
        let partition = partition.into_inner();
        let name = partition.name().clone();
        let log = partition.into_log();
        let dirs = self.shared.dirs.data();
        let parent = log.dir().parent();
        let dir = dirs.iter().position(|dir| Some(dir.path()) == parent);
        let dir = dir.expect("a log lies in a directory for partitions");
        let opening = log::Opening {
            start_offset: log.start_offset(),
            recovery_point: log.end_offset(),
            compacted_end: log.compacted_end(),
            is_clean: false,
            cuts_damage: false,
        };
        // What holds if the log cannot be closed in order.
        let closed = Closed::found(name, dir, opening);
        self.begin(id, closed, Job::Rest(Box::new(log)));
    }

    fn begin(self: &Rc<Self>, id: PartitionId, closed: Closed, job: Job) {
        let (sender, outcome) = sync_channel(1);
        self.openings.queue.borrow_mut().push_back((id, job, sender));
        let begun = UnderWay { closed, outcome, waiting: Vec::new() };
        self.openings.under_way.borrow_mut().insert(id, begun);
        if self.openings.openers.get() < OPENERS_MAX {
            self.openings.openers.update(|openers| openers + 1);
            tokio::task::spawn_local(run(Rc::clone(self)));
        }
    }

    /// Takes back that a log is to be opened or closed where nobody has begun with it, and gives what
    /// waits for that; else waits for it. Blocks.
    pub(super) fn end_opening(self: &Rc<Self>, id: PartitionId) -> Vec<Work> {
        if self.openings.take_queued(id).is_none() {
            self.finish_opening(id);
            return Vec::new();
        }
        let Some(begun) = self.openings.under_way.borrow_mut().remove(&id) else {
            return Vec::new();
        };
        self.closed.borrow_mut().insert(id, begun.closed);
        begun.waiting
    }

    /// Waits until the partition is open, if it is about to be. Blocks.
    pub(super) fn finish_opening(self: &Rc<Self>, id: PartitionId) {
        if let Some((_, job, sender)) = self.openings.take_queued(id) {
            // Nobody has begun: the channel has room for the one outcome.
            _ = sender.send(job.run());
        }
        let Some(opening) = self.openings.under_way.borrow_mut().remove(&id) else { return };
        let UnderWay { closed, outcome, waiting } = opening;
        // Without an outcome the thread that was to open it is gone: the node is going down.
        match outcome.recv() {
            Ok(Ended::Opened(opened)) => {
                self.settle_opening(id, closed, opened);
                waiting.into_iter().for_each(|work| work(self));
            }
            Ok(Ended::Rested(rested)) => {
                let closed = match rested {
                    Ok(rested) => Closed::rested(closed.name, closed.dir, rested),
                    Err(fault) => {
                        self.shared.dirs.report(&fault);
                        closed
                    }
                };
                self.closed.borrow_mut().insert(id, closed);
                waiting.into_iter().for_each(|work| self.when_open(id, work));
            }
            Err(_) => waiting.into_iter().for_each(|work| work(self)),
        }
    }

    /// Waits for all partitions that are about to be opened. Blocks.
    pub(super) fn finish_all_openings(self: &Rc<Self>) {
        let ids: Vec<_> = self.openings.under_way.borrow().keys().copied().collect();
        ids.into_iter().for_each(|id| self.finish_opening(id));
    }
}

/// Opens group after group until none is left.
async fn run(shard: Rc<Shard>) {
    loop {
        let group: Vec<_> = {
            let mut queue = shard.openings.queue.borrow_mut();
            let count = queue.len().min(GROUP_MAX);
            queue.drain(..count).collect()
        };
        if group.is_empty() {
            break;
        }
        let ids: Vec<_> = group.iter().map(|(id, _, _)| *id).collect();
        threads::blocking(move || {
            for (_, job, sender) in group {
                // Nobody listens any more when the shard is going down.
                _ = sender.send(job.run());
            }
        })
        .await;
        ids.into_iter().for_each(|id| shard.finish_opening(id));
    }
    shard.openings.openers.update(|openers| openers - 1);
}
