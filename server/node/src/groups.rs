//! The group coordinators of a shard: one for each partition of `__consumer_offsets` it owns.
//!
//! The machine in `core/coordinator` decides; here its records are appended, its replies sent once
//! the log is committed up to them, and its timers kept by one task for the whole shard.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use config::GROUP_METADATA_TOPIC;
use coordinator::{
    Caller, Coordinator, Logged, Now, Outcome, Record, ReplyToken, Request, Response, Settings,
};
use log::{AppendOrigin, Batches, Read};
use net::Quiet;
use records::{Batch, BatchBuilder, Compression, DecompressLimits, split_batches};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use types::{ErrorCode, Millis, Offset, Uuid};

use crate::group_memory::{GroupMemory, GroupShare};
use crate::shard::{PartitionId, Shard, SharedPartition};
use crate::{clock, threads};

/// How long a coordinator rests whose log could not be read.
const LOAD_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// Bytes read at once while a partition is loaded.
const LOAD_BYTES: usize = 4 << 20;
/// Records of one batch: well below the default `max.message.bytes`, overhead included.
const BATCH_BYTES: usize = 256 << 10;
/// The coordinator writes small batches; this bounds what somebody else wrote.
const LIMITS: DecompressLimits = DecompressLimits { bytes_max: 256 << 20 };

/// Who asks, in a form that crosses shards.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Version of the request.
    pub api_version: i16,
    /// Client id of the request's header.
    pub client_id: String,
    /// The address as Kafka's tools show it, such as `/127.0.0.1`.
    pub client_host: String,
}

/// The answer to a group request, on its way.
pub type GroupReply = oneshot::Receiver<Response>;

/// The coordinators of one shard.
#[derive(Default)]
pub struct Groups {
    /// Partitions whose coordinators are being loaded.
    loading: RefCell<FxHashMap<PartitionId, Loading>>,
    loaded: RefCell<FxHashMap<PartitionId, Rc<Loaded>>>,
    next_token: Cell<u64>,
    /// Wakes the timer task: some deadline may have come closer.
    rearm: Notify,
    /// Lines about members that were turned away.
    full: Cell<Quiet>,
}

/// What has come while a coordinator is being loaded.
#[derive(Default)]
struct Loading {
    /// Tells it from an earlier one of the same partition, which this node has led before.
    turn: u64,
    requests: Vec<(Request, Asker, oneshot::Sender<Response>)>,
    /// Names and ids of deleted topics.
    deleted: Vec<(String, Uuid)>,
}

/// One coordinator with its partition and those who wait for it.
struct Loaded {
    machine: RefCell<Coordinator>,
    partition: SharedPartition,
    waiting: RefCell<FxHashMap<u64, oneshot::Sender<Response>>>,
    memory: GroupShare,
}

impl Groups {
    /// Begins to load a coordinator if the partition is one of `__consumer_offsets`. Who asks
    /// meanwhile waits.
    pub fn partition_opened(&self, shard: &Rc<Shard>, partition: &SharedPartition) {
        if &*partition.borrow().name().topic != GROUP_METADATA_TOPIC {
            return;
        }
        let turn = self.next_token.get();
        self.next_token.set(turn + 1);
        let loading = Loading { turn, ..Loading::default() };
        self.loading.borrow_mut().insert(partition.borrow().id(), loading);
        let (shard, partition) = (Rc::clone(shard), Rc::clone(partition));
        tokio::task::spawn_local(async move {
            let logged = load(&partition).await;
            shard.groups.take_loaded(&shard, partition, (turn, logged));
        });
    }

    fn take_loaded(
        &self,
        shard: &Rc<Shard>,
        partition: SharedPartition,
        (turn, logged): (u64, Result<Logged, String>),
    ) {
        let id = partition.borrow().id();
        // Else the partition has gone away in the meantime, or another node has led it.
        let is_this = |_: &PartitionId, loading: &mut Loading| loading.turn == turn;
        let loading = self.loading.borrow_mut().extract_if(is_this).next();
        let Some((_, loading)) = loading else { return };
        let logged = match logged {
            Ok(logged) => logged,
            Err(reason) => {
                let name = partition.borrow().name().to_string();
                tracing::error!(partition = name, "cannot load groups and offsets: {reason}");
                let shard = Rc::clone(shard);
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(LOAD_AGAIN_AFTER).await;
                    shard.groups.load_again(&shard, id);
                });
                return;
            }
        };
        let machine = RefCell::new(Coordinator::new(settings(shard), logged, now()));
        let memory = GroupShare::new(Arc::clone(&shard.shared.group_memory));
        memory.set(machine.borrow().members().bytes);
        let loaded = Rc::new(Loaded { machine, partition, waiting: RefCell::default(), memory });
        self.loaded.borrow_mut().insert(id, Rc::clone(&loaded));
        for (topic, id) in &loading.deleted {
            let outcome = loaded.machine.borrow_mut().topics_deleted(&[(topic, *id)]);
            settle(shard, &loaded, outcome);
        }
        for (request, asker, reply) in loading.requests {
            self.serve(shard, &loaded, request, &asker, reply);
        }
        self.rearm.notify_one();
    }

    /// Tries again where a log could not be read: what is damaged is mended soon, or an operator has
    /// deleted the records up to behind it.
    fn load_again(&self, shard: &Rc<Shard>, id: PartitionId) {
        let is_served = self.is_loading(id) || self.loaded.borrow().contains_key(&id);
        let partition = shard.partition(id).filter(|one| !is_served && one.borrow().leads());
        if let Some(partition) = partition {
            self.partition_opened(shard, &partition);
        }
    }

    /// Whether a partition's records are being read, so that it must not be compacted.
    pub fn is_loading(&self, id: PartitionId) -> bool {
        self.loading.borrow().contains_key(&id)
    }

    /// Gives up a coordinator whose partition is going away.
    pub fn partition_closed(&self, partition: &SharedPartition) {
        let id = partition.borrow().id();
        // Who waits learns by it that this node is not the coordinator any more.
        self.loading.borrow_mut().remove(&id);
        if let Some(loaded) = self.loaded.borrow_mut().remove(&id) {
            loaded.waiting.borrow_mut().clear();
        }
    }

    /// How many coordinators are loaded.
    pub fn count(&self) -> usize {
        self.loaded.borrow().len()
    }

    /// Gives up all coordinators, for a stop.
    pub fn close_all(&self) {
        self.loading.borrow_mut().clear();
        self.loaded.borrow_mut().clear();
    }

    /// Forgets the offsets of a topic that was deleted.
    pub fn topic_deleted(&self, shard: &Rc<Shard>, name: &str, id: Uuid) {
        for loading in self.loading.borrow_mut().values_mut() {
            loading.deleted.push((name.to_owned(), id));
        }
        for loaded in self.all() {
            let outcome = loaded.machine.borrow_mut().topics_deleted(&[(name, id)]);
            settle(shard, &loaded, outcome);
        }
    }

    /// Serves one request for groups of one partition; `None` if this shard does not have it.
    pub fn handle(
        &self,
        shard: &Rc<Shard>,
        partition: PartitionId,
        request: Request,
        asker: &Asker,
    ) -> Option<GroupReply> {
        let (reply, answer) = oneshot::channel();
        if let Some(loading) = self.loading.borrow_mut().get_mut(&partition) {
            loading.requests.push((request, asker.clone(), reply));
            return Some(answer);
        }
        let loaded = self.loaded.borrow().get(&partition).cloned()?;
        self.serve(shard, &loaded, request, asker, reply);
        Some(answer)
    }

    fn serve(
        &self,
        shard: &Rc<Shard>,
        loaded: &Rc<Loaded>,
        request: Request,
        asker: &Asker,
        reply: oneshot::Sender<Response>,
    ) {
        if loaded.partition.borrow().is_offline() {
            // What is in memory may be more than the log has. Without a reply the asker learns that
            // this node is no coordinator.
            return;
        }
        let token = ReplyToken(self.next_token.get());
        self.next_token.set(token.0 + 1);
        loaded.waiting.borrow_mut().insert(token.0, reply);
        let caller = Caller {
            token,
            api_version: asker.api_version,
            client_id: &asker.client_id,
            client_host: &asker.client_host,
            member_bytes_left: shard.shared.group_memory.left(),
        };
        let before = loaded.machine.borrow().members();
        let outcome = loaded.machine.borrow_mut().handle(request, &caller, now());
        if loaded.machine.borrow().members().turned_away > before.turned_away {
            self.tell_of_full_memory(&shard.shared.group_memory);
        }
        settle(shard, loaded, outcome);
        self.rearm.notify_one();
    }

    fn tell_of_full_memory(&self, memory: &GroupMemory) {
        let mut full = self.full.get();
        if let Some(more) = full.pass(Instant::now()) {
            let mib = memory.bytes_max() >> 20;
            tracing::warn!(
                "members of groups are turned away: all of them together may take {mib} MiB of this \
                 node's memory (as much as queued.max.request.bytes, 16 MiB at least){more}"
            );
        }
        self.full.set(full);
    }

    fn all(&self) -> Vec<Rc<Loaded>> {
        self.loaded.borrow().values().cloned().collect()
    }

    fn next_deadline(&self) -> Option<Millis> {
        let loaded = self.loaded.borrow();
        loaded.values().filter_map(|one| one.machine.borrow().next_deadline()).min()
    }
}

/// Keeps the timers of all coordinators of a shard.
pub async fn run_timers(shard: Rc<Shard>) {
    loop {
        let rearmed = shard.groups.rearm.notified();
        let Some(deadline) = shard.groups.next_deadline() else {
            rearmed.await;
            continue;
        };
        // What is due is done at once: requests that keep coming must not put it off.
        let wait = u64::try_from((deadline - clock::monotonic()).get()).unwrap_or(0);
        if wait > 0 && tokio::time::timeout(Duration::from_millis(wait), rearmed).await.is_ok() {
            continue;
        }
        for loaded in shard.groups.all() {
            tick(&shard, &loaded);
        }
        tokio::task::yield_now().await;
    }
}

fn tick(shard: &Rc<Shard>, loaded: &Rc<Loaded>) {
    loop {
        let Some(outcome) =
            loaded.machine.borrow_mut().tick(Now { wall: clock::steady(), ..now() })
        else {
            return;
        };
        settle(shard, loaded, outcome);
    }
}

/// Appends what was decided, applies it, and sends the replies when it is committed.
fn settle(shard: &Rc<Shard>, loaded: &Rc<Loaded>, outcome: Outcome) {
    let mut outcome = outcome;
    while !outcome.records.is_empty() {
        let part = fitting(&outcome.records);
        match append(shard, loaded, &outcome.records[..part]) {
            Ok(()) => {
                let mut machine = loaded.machine.borrow_mut();
                for record in outcome.records.drain(..part) {
                    machine.replay(&record).expect("the coordinator reads what it has written");
                }
            }
            Err(code) => {
                outcome = loaded.machine.borrow_mut().append_failed(outcome, code, now());
            }
        }
    }
    loaded.memory.set(loaded.machine.borrow().members().bytes);
    if outcome.replies.is_empty() {
        return;
    }
    let end = loaded.partition.borrow().log().end_offset();
    if loaded.partition.borrow().high_watermark() >= end {
        send_all(loaded, outcome.replies);
    } else {
        send_when_committed(shard, loaded, end, outcome.replies);
    }
}

fn send_when_committed(
    shard: &Shard,
    loaded: &Rc<Loaded>,
    end: Offset,
    replies: Vec<(ReplyToken, Response)>,
) {
    let limit = shard.shared.config.groups.offset_commit_timeout_ms.get();
    let limit = Duration::from_millis(u64::try_from(limit).unwrap_or(0));
    let committed = loaded.partition.borrow_mut().when_committed(end);
    let loaded = Rc::clone(loaded);
    tokio::task::spawn_local(async move {
        let refusal = match tokio::time::timeout(limit, committed).await {
            Ok(Ok(Ok(_))) => None,
            // The partition is offline or gone, and this node no coordinator for it.
            Ok(Ok(Err(_)) | Err(_)) => Some(ErrorCode::NotCoordinator),
            // What is in the log may be committed yet; the client tries again.
            Err(_) => Some(ErrorCode::CoordinatorNotAvailable),
        };
        let replies = replies.into_iter().map(|(token, response)| match refusal {
            None => (token, response),
            Some(code) => (token, response.refused(code)),
        });
        send_all(&loaded, replies.collect());
    });
}

fn send_all(loaded: &Loaded, replies: Vec<(ReplyToken, Response)>) {
    let mut waiting = loaded.waiting.borrow_mut();
    for (token, response) in replies {
        send(&mut waiting, token, response);
    }
}

fn send(
    waiting: &mut FxHashMap<u64, oneshot::Sender<Response>>,
    token: ReplyToken,
    response: Response,
) {
    if let Some(reply) = waiting.remove(&token.0) {
        // A receiver that is gone means that the connection is.
        _ = reply.send(response);
    }
}

/// How many of the records go into the next batch: one at least, so that a record too large for
/// any batch is refused by the log and not here.
fn fitting(records: &[Record]) -> usize {
    let mut bytes = 0;
    let fits = records.iter().take_while(|record| {
        bytes += record.key.len() + record.value.as_ref().map_or(0, bytes::Bytes::len);
        bytes <= BATCH_BYTES
    });
    fits.count().max(1)
}

fn append(shard: &Rc<Shard>, loaded: &Loaded, records: &[Record]) -> Result<(), ErrorCode> {
    // A coordinator promises what `acks=all` does.
    loaded.partition.borrow().check_min_isr()?;
    let wall = clock::latest();
    let mut batch = BatchBuilder::new(Compression::None);
    for Record { key, value } in records {
        batch.append(wall.get(), Some(key), value.as_deref(), &[]);
    }
    let batch = BytesMut::from(&batch.build()[..]);
    let appended = loaded.partition.borrow_mut().append(batch, AppendOrigin::Coordinator, wall);
    appended.map_err(|refused| refused.code)?;
    shard.commits.push(&loaded.partition);
    Ok(())
}

/// Replays a whole partition.
async fn load(partition: &SharedPartition) -> Result<Logged, String> {
    let mut logged = Logged::default();
    let (mut next, end) = {
        let partition = partition.borrow();
        (partition.log().start_offset(), partition.log().end_offset())
    };
    while next < end {
        next = next.max(partition.borrow().log().start_offset());
        let read = partition.borrow_mut().log_mut().read(next, LOAD_BYTES, end, true);
        let batches = match read.map_err(|error| error.to_string())? {
            Read::Ready(batches) => batches,
            Read::Cold(cold) => {
                let (batches, learned) = threads::blocking(move || cold.run()).await;
                partition.borrow_mut().log_mut().learn(learned);
                batches.map_err(|error| error.to_string())?
            }
        };
        replay_all(&mut logged, &batches)?;
        if batches.bytes.is_empty() {
            // Compaction took the last records away, or a power cut without syncs did.
            break;
        }
        if batches.next_offset <= next {
            return Err(format!("the log cannot be read at offset {next}"));
        }
        next = batches.next_offset;
        tokio::task::yield_now().await;
    }
    Ok(logged)
}

fn replay_all(logged: &mut Logged, batches: &Batches) -> Result<(), String> {
    for cut in split_batches(&batches.bytes) {
        let (range, header) = cut.map_err(|error| error.to_string())?;
        if header.attributes.is_control() {
            continue;
        }
        let batch = batches.bytes.slice(range);
        let opened = Batch::open(&batch, LIMITS).map_err(|error| error.to_string())?;
        for record in opened.records() {
            let record = record.map_err(|error| error.to_string())?;
            replay(logged, record.key, record.value);
        }
    }
    Ok(())
}

/// Applies one record; one that makes no sense is reported and passed over, since the others must
/// not be lost for it.
fn replay(logged: &mut Logged, key: Option<&[u8]>, value: Option<&[u8]>) {
    let Some(key) = key else { return };
    let record = Record {
        key: bytes::Bytes::copy_from_slice(key),
        value: value.map(bytes::Bytes::copy_from_slice),
    };
    if let Err(error) = logged.replay(&record) {
        tracing::warn!("a record of {GROUP_METADATA_TOPIC} is passed over: {error}");
    }
}

fn settings(shard: &Shard) -> Settings {
    let groups = &shard.shared.config.groups;
    Settings {
        session_timeout_min: groups.session_timeout_ms_min,
        session_timeout_max: groups.session_timeout_ms_max,
        initial_rebalance_delay: groups.initial_rebalance_delay_ms,
        group_size_max: groups.size_max as usize,
        offset_metadata_size_max: groups.offset_metadata_bytes_max as usize,
        offsets_retention: groups.offsets_retention_ms,
        offsets_retention_check_interval: groups.offsets_retention_check_interval_ms,
    }
}

fn now() -> Now {
    Now { monotonic: clock::monotonic(), wall: clock::latest() }
}
