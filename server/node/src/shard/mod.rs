//! A shard: one thread that owns partitions, connections and coordinators without locks.
//!
//! A partition belongs to the shard that [`owner_of`] names. A request that arrives elsewhere
//! sends its work there ([`Shard::call`]); on the own shard the work runs at once. State lies in
//! cells that are borrowed within one call and never across an `.await`.

mod assign;
mod call;
mod closed;
mod flush;
mod moves;
mod openings;
mod partition;
mod partitions;
mod roles;
mod settings;
mod strays;
mod sync;
mod watchers;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use ::metadata::Image;
use bytes::BytesMut;
use net::{Handler, Peer, Served};
use replication::FetchSessions;
use rustc_hash::FxHashMap;
use tokio::sync::{Semaphore, oneshot};
use types::{ErrorCode, Rng, Uuid};

use openings::Openings;
use settings::TopicSettings;

pub use call::{Call, Inward, Mailboxes, Reply, Sleep, call_shard};
pub use closed::{Closed, OpenJob, measure_closed};
pub use flush::{FlushTimer, run as run_flush_timer};
pub use moves::{LogSize, Moves};
pub use partition::{AppendRefused, AppendReply, Appended, Helped, Partition, PartitionId};
pub use partitions::LeftLog;
pub use settings::log_config;
pub use sync::{CommitQueue, SharedPartition};

use crate::broker::{self, Answers, HandOver};
use crate::groups::Groups;
use crate::metrics::ShardMetrics;
use crate::producer_ids::ProducerIds;
use crate::replicas::Replicas;
use crate::shared::Shared;

/// Reads of one disk at once for the fetches of one shard. What is read past the page cache is not read
/// ahead, so that it takes some to keep a device busy; more threads would only take the cores from those
/// who serve the newest.
const COLD_READS_MAX: usize = 4;
/// About what a fetch session takes to remember a partition.
const SESSION_PARTITION_BYTES: usize = 512;
/// All sessions of the node may take as much as requests in flight, and this at least.
const SESSION_BYTES_MAX_AT_LEAST: usize = 16 << 20;

/// Everything that one shard thread owns.
pub struct Shard {
    /// Which shard this is, from 0.
    pub index: usize,
    /// What all shards share.
    pub shared: Arc<Shared>,
    /// Fetch sessions of this shard's connections.
    pub sessions: RefCell<FetchSessions>,
    /// Answers that clients ask for again and again.
    pub answers: Answers,
    /// What producers send for partitions whose leaderships this node gives away.
    pub hand_over: HandOver,
    /// Partitions whose appends are to be committed.
    pub commits: CommitQueue,
    /// When partitions are to be synced that nobody waits for.
    pub flushes: FlushTimer,
    /// Group coordinators of this shard's partitions of `__consumer_offsets`.
    pub groups: Groups,
    /// Ids for idempotent producers.
    pub producer_ids: ProducerIds,
    /// Counters of this shard.
    pub metrics: ShardMetrics,
    /// Logs that are moving to other directories.
    pub moves: Moves,
    /// Reads of the disk of each log directory that fetches of this shard have under way; the others
    /// take turns.
    cold_reads: RefCell<FxHashMap<PathBuf, Arc<Semaphore>>>,
    /// What is copied from other nodes, and changes of who is in sync.
    pub replicas: Replicas,
    image: RefCell<Arc<Image>>,
    partitions: RefCell<FxHashMap<PartitionId, SharedPartition>>,
    /// Partitions whose logs are closed until somebody needs them.
    closed: RefCell<FxHashMap<PartitionId, Closed>>,
    openings: Openings,
    /// Partitions whose logs cannot be opened.
    unopened: RefCell<FxHashMap<PartitionId, Closed>>,
    settings: RefCell<FxHashMap<Uuid, TopicSettings>>,
    /// Where partitions lie that the cluster is to be told of.
    assigned: RefCell<assign::Untold>,
    rng: RefCell<Rng>,
    /// Whether folders of replicas that are not here any more have been cleared away in this run.
    has_cleared: Cell<bool>,
    draining: Cell<bool>,
    stopping: Cell<bool>,
}

/// The shard, of `shards`, that owns a partition: consecutive indexes go round.
pub fn owner_of(partition: PartitionId, shards: usize) -> usize {
    let [a, b, c, d, e, f, g, h, ..] = *partition.topic.as_bytes();
    let topic = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let place = topic.wrapping_add(u64::from(partition.index.unsigned_abs()));
    (place % shards as u64) as usize
}

impl Shard {
    /// A shard without partitions.
    pub fn new(index: usize, shared: Arc<Shared>, image: Arc<Image>, rng: Rng) -> Rc<Self> {
        let slots = shared.config.fetch.sessions_max as usize;
        let slots = slots.div_ceil(shared.mailboxes.shards());
        let session_bytes = shared.net.in_flight_bytes_max().max(SESSION_BYTES_MAX_AT_LEAST);
        let partitions = session_bytes / SESSION_PARTITION_BYTES / shared.mailboxes.shards();
        Rc::new(Self {
            index,
            shared,
            sessions: RefCell::new(FetchSessions::new(slots, partitions)),
            answers: Answers::default(),
            hand_over: HandOver::default(),
            commits: CommitQueue::default(),
            flushes: FlushTimer::default(),
            groups: Groups::default(),
            producer_ids: ProducerIds::default(),
            metrics: ShardMetrics::default(),
            moves: Moves::default(),
            cold_reads: RefCell::default(),
            replicas: Replicas::default(),
            image: RefCell::new(image),
            partitions: RefCell::default(),
            closed: RefCell::default(),
            openings: Openings::default(),
            unopened: RefCell::default(),
            settings: RefCell::default(),
            assigned: RefCell::default(),
            rng: RefCell::new(rng),
            has_cleared: Cell::default(),
            draining: Cell::new(false),
            stopping: Cell::new(false),
        })
    }

    /// The newest state of the cluster that this shard has seen.
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image.borrow())
    }

    /// A partition of this shard, led here or followed, if its log is open.
    pub fn partition(&self, id: PartitionId) -> Option<SharedPartition> {
        self.partitions.borrow().get(&id).cloned()
    }

    /// A partition that a client wants to write or read, for work that [`Shard::when_open`] runs.
    ///
    /// # Errors
    /// `KAFKA_STORAGE_ERROR` if its log could not be opened, `NOT_LEADER_OR_FOLLOWER` if this
    /// shard does not have it, or follows another node.
    pub fn served_partition(&self, id: PartitionId) -> Result<SharedPartition, ErrorCode> {
        let partition = self.kept_partition(id)?;
        if !partition.borrow().leads() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        Ok(partition)
    }

    /// As [`Shard::served_partition`], whether this node leads or follows.
    ///
    /// # Errors
    /// Those of [`Shard::served_partition`].
    pub fn kept_partition(&self, id: PartitionId) -> Result<SharedPartition, ErrorCode> {
        let partition = self.partition(id).ok_or_else(|| match self.has(id) {
            true => ErrorCode::KafkaStorageError,
            false => ErrorCode::NotLeaderOrFollower,
        })?;
        partition.borrow_mut().touch();
        Ok(partition)
    }

    /// The partitions whose logs cannot be opened.
    pub fn unopened(&self) -> Vec<Closed> {
        self.unopened.borrow().values().cloned().collect()
    }

    /// The partitions whose logs are closed, those included that are about to be opened.
    pub fn closed(&self) -> Vec<Closed> {
        let mut closed = self.openings.closed();
        closed.extend(self.closed.borrow().values().cloned());
        closed
    }

    /// All partitions of this shard whose logs are open.
    pub fn partitions(&self) -> Vec<SharedPartition> {
        self.partitions.borrow().values().cloned().collect()
    }

    /// The turns to read from the disk of a log: one that hangs keeps nobody from another one.
    pub fn cold_reads(&self, log: &Path) -> Arc<Semaphore> {
        let dir = log.parent().unwrap_or(log).to_owned();
        let mut cold_reads = self.cold_reads.borrow_mut();
        let turns =
            cold_reads.entry(dir).or_insert_with(|| Arc::new(Semaphore::new(COLD_READS_MAX)));
        Arc::clone(turns)
    }

    /// The shard that owns a partition.
    pub fn owner_of(&self, partition: PartitionId) -> usize {
        owner_of(partition, self.shared.mailboxes.shards())
    }

    /// Runs `work` on the shard that owns `partition`, when its log is open: at once if it is and
    /// that shard is this one.
    pub fn call<T: Send + 'static>(
        self: &Rc<Self>,
        partition: PartitionId,
        work: impl FnOnce(&Rc<Shard>) -> T + Send + 'static,
    ) -> Call<T> {
        let owner = self.owner_of(partition);
        if owner == self.index && self.is_at_hand(partition) {
            return Call::Done(Some(work(self)));
        }
        let (reply, answer) = self.reply_from(owner);
        let work = move |shard: &Rc<Self>| reply.send(work(shard));
        if owner == self.index {
            self.when_open(partition, work);
        } else {
            let open = move |shard: &Rc<Self>| shard.when_open(partition, work);
            self.shared.mailboxes.post(owner, open);
        }
        Call::Posted(answer)
    }

    /// A reply that the shard `owner` will send to this one.
    pub fn reply_from<T: Send + 'static>(&self, owner: usize) -> (Reply<T>, oneshot::Receiver<T>) {
        let is_other = owner != self.index;
        Reply::new(is_other.then(|| (self.shared.mailboxes.clone(), self.index)))
    }

    /// From now on nothing is waited for that may never come: who waits for other members of a
    /// group hears that this node is no coordinator.
    pub fn drain(&self) {
        self.draining.set(true);
        self.groups.close_all();
    }

    /// Whether the node stops and a request takes what there is.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Wakes everyone who waits for records.
    pub fn wake_readers(&self) {
        for partition in self.partitions() {
            partition.borrow_mut().wake_readers();
        }
    }

    /// Ends [`Shard::run`] after the work that runs now.
    pub fn stop(&self) {
        self.stopping.set(true);
        // It looks only when work has come in.
        self.shared.mailboxes.post(self.index, |_| {});
    }

    /// A random id.
    pub fn random_uuid(&self) -> Uuid {
        Uuid::from_random(self.rng.borrow_mut().bytes16())
    }

    /// A random number above 0, for ids that must not be guessed in a row.
    pub fn random_id(&self) -> i32 {
        (self.rng.borrow_mut().next_u64() >> 33) as i32 | 1
    }

    /// Runs the shard's loops until its mailbox closes. Must run on a local runtime.
    pub async fn run(self: Rc<Self>, mut mailbox: Inward) {
        tokio::task::spawn_local(sync::run(Rc::clone(&self)));
        while let Some(work) = mailbox.next().await {
            work(&self);
            if self.stopping.get() {
                break;
            }
        }
    }
}

impl Handler for Shard {
    fn serve(self: &Rc<Self>, peer: &Rc<Peer>, frame: BytesMut) -> Served {
        self.shared.mailboxes.look(self.index);
        broker::serve(self, peer, frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_partitions_go_round_the_shards() {
        let topic = Uuid::from_bytes([7; 16]);
        let owners: Vec<_> =
            (0..8).map(|index| owner_of(PartitionId { topic, index }, 4)).collect();
        let first = owners[0];
        assert!(owners.iter().enumerate().all(|(at, owner)| *owner == (first + at) % 4));
    }
}
