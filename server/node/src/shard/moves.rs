//! Moves of logs from one directory of this node to another, while they are written and read.
//!
//! A copy grows in a `-future` folder of the new directory, slice by slice between the shard's
//! other work. When little is missing, one turn copies the rest, syncs it, and lets the copy take
//! the log's place: in that turn the shard waits for the disk. A move that a stop or crash
//! interrupts leaves the log where it was.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use log::{AppendError, Disk, FolderKind, Log, LogConfig, LogError, Opening, Read, ReadError};
use types::{Millis, Offset, TopicPartition, Uuid};

use super::partition::{Partition, PartitionId};
use super::{Shard, SharedPartition};
use crate::{clock, threads, upkeep};

/// Bytes that one turn copies at most.
const SLICE_BYTES: usize = 1 << 20;
/// Bytes after which the copy is synced.
const SYNC_BYTES: usize = 64 << 20;
/// Bytes that the last turn may find unsynced, so that its sync is short.
const LAST_SYNC_BYTES: usize = 256 << 10;
/// The longest nap of a copy whose rate is used up; another rate or a cancelled move waits for one.
const NAP: Millis = Millis(100);
/// Wait for the log's own sync to end before the copy takes its place.
const RETRY: Duration = Duration::from_millis(1);

/// One log in a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogSize {
    /// The directory.
    pub dir: PathBuf,
    /// Whose log it is.
    pub partition: TopicPartition,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Records that a copy still lacks.
    pub offset_lag: i64,
    /// Whether it is a copy that is to take the place of the partition's log.
    pub is_future: bool,
}

/// The moves of one shard, by partition.
#[derive(Default)]
pub struct Moves {
    running: RefCell<BTreeMap<(TopicPartition, usize), SharedCopy>>,
}

/// A copy as its move and those who ask for sizes hold it.
type SharedCopy = Rc<RefCell<Copying>>;

/// A log that is to be made in the new directory.
pub struct NewCopy {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    config: Arc<LogConfig>,
    start_offset: Offset,
    topic: Uuid,
}

/// A log that grows in the new directory.
struct Copying {
    future: Log,
    /// Offset from which to copy on.
    next: Offset,
    copied_bytes: usize,
    unsynced_bytes: usize,
    is_cancelled: bool,
}

/// Why a move ends early.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl Fault {
    fn of_disk(&self) -> Option<&LogError> {
        match self {
            Self::Log(fault) | Self::Append(AppendError::Log(fault)) => Some(fault),
            // A read that fails says nothing of the new directory, and little of the old one.
            Self::Read(_) | Self::Append(_) => None,
        }
    }
}

/// What a turn has done.
enum Step {
    Copied,
    /// Everything is copied, and more of it is to be synced than the last turn may wait for.
    Unsynced,
    Cold(Box<log::ColdRead>),
    /// Everything is copied and the log cannot be replaced at this moment.
    NotYet,
    Done,
}

impl Shard {
    /// Every log that this shard has, copies on the move among them; those that are closed must
    /// have been measured (`shard::measure_closed`).
    pub fn log_sizes(self: &Rc<Self>) -> Vec<LogSize> {
        let mut sizes = Vec::new();
        let mut ends = BTreeMap::new();
        for partition in self.partitions() {
            let partition = partition.borrow();
            ends.insert(partition.name().clone(), partition.log().end_offset());
            sizes.extend(size_of(partition.log(), partition.name(), 0, false));
        }
        sizes.extend(self.closed().into_iter().map(|closed| LogSize {
            dir: self.shared.dirs.data()[closed.dir].path().to_owned(),
            bytes: closed.size().unwrap_or_default().bytes,
            partition: closed.name,
            offset_lag: 0,
            is_future: false,
        }));
        for ((name, _), copy) in self.moves.running.borrow().iter() {
            let copy = copy.borrow();
            let Some(end) = ends.get(name) else { continue };
            let lag = end.get() - copy.future.end_offset().get();
            sizes.extend(size_of(&copy.future, name, lag, true));
        }
        sizes
    }

    /// What to make for a move of a partition's log to a directory, given by its position; `None`
    /// if the log is there or on its way. A move to another directory ends.
    ///
    /// # Errors
    /// If the directory is offline.
    pub fn plan_move(&self, id: PartitionId, to: usize) -> Result<Option<NewCopy>, LogError> {
        let dir = &self.shared.dirs.data()[to];
        if !dir.is_online() {
            return Err(LogError::Offline { dir: dir.path().to_owned() });
        }
        let Some(partition) = self.partition(id) else { return Ok(None) };
        let partition = partition.borrow();
        if !self.is_to_move(&partition, to) {
            return Ok(None);
        }
        let unique = self.unique();
        let folder = dir.log_dir.folder_of_kind(partition.name(), FolderKind::Future, unique);
        let disk = Arc::clone(&self.shared.dirs.disk);
        let config = Arc::new(partition.log().config().clone());
        let start_offset = partition.log().start_offset();
        Ok(Some(NewCopy { disk, folder, config, start_offset, topic: id.topic }))
    }

    /// Whether a log is still to be moved; ends its move to another directory.
    fn is_to_move(&self, partition: &Partition, to: usize) -> bool {
        let running = self.moves.running.borrow();
        for ((moving, target), copy) in running.iter() {
            if moving == partition.name() {
                copy.borrow_mut().is_cancelled = *target != to;
            }
        }
        let dir = self.shared.dirs.data()[to].path();
        let is_there = partition.log().dir().parent() == Some(dir);
        !is_there && !running.contains_key(&(partition.name().clone(), to))
    }

    /// Begins the move for which `future` was made.
    pub fn begin_move(self: &Rc<Self>, id: PartitionId, to: usize, future: Log) {
        let folder = future.dir().to_owned();
        let partition = self.partition(id);
        // Another request may have been quicker, or the topic is gone.
        let Some(partition) = partition.filter(|one| self.is_to_move(&one.borrow(), to)) else {
            self.remove_later(folder, Millis(0));
            return;
        };
        let key = (partition.borrow().name().clone(), to);
        let next = future.start_offset();
        let copy =
            Copying { future, next, copied_bytes: 0, unsynced_bytes: 0, is_cancelled: false };
        let copy = Rc::new(RefCell::new(copy));
        self.moves.running.borrow_mut().insert(key.clone(), Rc::clone(&copy));
        let shard = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let done = run(&shard, id, to, &copy).await;
            shard.moves.running.borrow_mut().remove(&key);
            match done {
                Ok(true) => {
                    let directory = shard.shared.dirs.data()[to].id;
                    shard.note_assigned((id, directory));
                    shard.tell_assigned();
                    // The new directory's checkpoints must know the log, should the node crash.
                    _ = upkeep::write_checkpoints(&shard).await;
                }
                Ok(false) => shard.remove_later(folder, Millis(0)),
                Err(fault) => {
                    tracing::error!(partition = %key.0, "cannot move: {fault}");
                    if let Some(fault) = fault.of_disk() {
                        shard.shared.dirs.report(fault);
                    }
                    shard.remove_later(folder, Millis(0));
                }
            }
        });
    }
}

impl NewCopy {
    /// Makes the log. Blocks.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn make(self) -> Result<Log, LogError> {
        let Self { disk, folder, config, start_offset, topic } = self;
        let opening = Opening { start_offset, ..Opening::NEW };
        let log = Log::open(Arc::clone(&disk), folder.clone(), config, opening, clock::earliest())?;
        log::write_topic_id(disk.as_ref(), &folder, topic)?;
        Ok(log)
    }
}

fn size_of(log: &Log, name: &TopicPartition, lag: i64, is_future: bool) -> Option<LogSize> {
    Some(LogSize {
        dir: log.dir().parent()?.to_owned(),
        partition: name.clone(),
        bytes: log.bytes(),
        offset_lag: lag.max(0),
        is_future,
    })
}

/// Copies until the copy has taken the log's place. `false` if the move was given up.
async fn run(
    shard: &Rc<Shard>,
    id: PartitionId,
    to: usize,
    copy: &SharedCopy,
) -> Result<bool, Fault> {
    let throttles = &shard.shared.throttles;
    loop {
        if copy.borrow().is_cancelled {
            return Ok(false);
        }
        let wait = throttles.wait_of_moves();
        if wait > Millis::ZERO {
            tokio::time::sleep(Duration::from_millis(wait.min(NAP).get().unsigned_abs())).await;
            continue;
        }
        let copied = copy.borrow().copied_bytes;
        // Looked up in every turn: the topic may be deleted, the node may stop.
        let Some(step) = turn(shard, id, to, copy)? else { return Ok(false) };
        let is_last = matches!(step, Step::Unsynced);
        match step {
            Step::Copied | Step::Unsynced => {}
            Step::Cold(cold) => {
                let (batches, learned) = threads::blocking(move || cold.run()).await;
                if let Some(partition) = shard.partition(id) {
                    partition.borrow_mut().log_mut().learn(learned);
                }
                copy.borrow_mut().append(&batches?)?;
            }
            Step::NotYet => tokio::time::sleep(RETRY).await,
            Step::Done => return Ok(true),
        }
        throttles.record_move(copy.borrow().copied_bytes - copied);
        write(copy).await?;
        sync_from(copy, if is_last { 1 } else { SYNC_BYTES }).await?;
        tokio::task::yield_now().await;
    }
}

/// One turn; `None` if the partition is gone.
fn turn(
    shard: &Rc<Shard>,
    id: PartitionId,
    to: usize,
    copy: &SharedCopy,
) -> Result<Option<Step>, Fault> {
    let Some(partition) = shard.partition(id) else { return Ok(None) };
    let step = copy.borrow_mut().step(&mut partition.borrow_mut())?;
    Ok(Some(match step {
        Some(step) => step,
        None if copy.borrow().unsynced_bytes > LAST_SYNC_BYTES => Step::Unsynced,
        None if swap(shard, &partition, to, copy)? => Step::Done,
        None => Step::NotYet,
    }))
}

impl Copying {
    /// Copies a slice; `None` if everything that is committed is copied.
    fn step(&mut self, partition: &mut Partition) -> Result<Option<Step>, Fault> {
        let until = partition.high_watermark();
        let log = partition.log_mut();
        // Retention may have overtaken the copy.
        self.next = self.next.max(log.start_offset());
        if self.next >= until {
            return Ok(None);
        }
        match log.read(self.next, SLICE_BYTES, until, true)? {
            Read::Cold(cold) => Ok(Some(Step::Cold(cold))),
            Read::Ready(batches) if batches.next_offset <= self.next => Ok(None),
            Read::Ready(batches) => {
                self.append(&batches)?;
                Ok(Some(Step::Copied))
            }
        }
    }

    fn append(&mut self, batches: &log::Batches) -> Result<(), Fault> {
        let now = clock::latest();
        if !batches.bytes.is_empty() {
            self.future.append_as_follower(&batches.bytes, now)?;
            self.copied_bytes += batches.bytes.len();
            self.unsynced_bytes += batches.bytes.len();
        }
        self.next = self.next.max(batches.next_offset);
        Ok(())
    }
}

/// Writes what was copied, once the segment for it is made.
async fn write(copy: &SharedCopy) -> Result<(), Fault> {
    let rolling = copy.borrow().future.rolling();
    if let Some(rolling) = rolling {
        let made = Arc::clone(&rolling);
        let outcome = threads::blocking(move || made.run()).await;
        copy.borrow_mut().future.end_roll(&rolling, outcome)?;
    }
    Ok(copy.borrow_mut().future.flush_writes()?)
}

/// Syncs the copy if at least so much of it is not.
async fn sync_from(copy: &SharedCopy, bytes_min: usize) -> Result<(), Fault> {
    if copy.borrow().unsynced_bytes < bytes_min {
        return Ok(());
    }
    let ticket = copy.borrow_mut().future.sync_ticket()?;
    if let Some(ticket) = ticket {
        let outcome = threads::blocking(move || ticket.sync()).await;
        copy.borrow_mut().future.synced(outcome)?;
    }
    copy.borrow_mut().unsynced_bytes = 0;
    Ok(())
}

/// Lets the copy take the log's place, all in one turn. `false` if it cannot yet.
fn swap(
    shard: &Rc<Shard>,
    shared: &SharedPartition,
    to: usize,
    copy: &SharedCopy,
) -> Result<bool, Fault> {
    let mut partition = shared.borrow_mut();
    let mut copy = copy.borrow_mut();
    if partition.is_offline() || partition.log().is_syncing() {
        return Ok(false);
    }
    let end = partition.log().end_offset();
    while copy.next < end {
        let from = copy.next;
        let batches = partition.log_mut().read_blocking(from, SLICE_BYTES, end, true)?;
        if batches.next_offset <= from {
            break;
        }
        copy.append(&batches)?;
    }
    let name = partition.name().clone();
    let (start, epoch) = (partition.log().start_offset(), partition.leader_epoch());
    let future = &mut copy.future;
    if future.end_offset() < end {
        // Retention has deleted all of it in the meantime.
        future.truncate_fully_and_start_at(end, clock::latest())?;
    }
    future.move_start(start);
    future.begin_leader_epoch(epoch);
    future.succeed(partition.log());
    future.set_config(Arc::new(partition.log().config().clone()));
    if let Some(ticket) = future.sync_ticket()? {
        let outcome = ticket.sync();
        future.synced(outcome)?;
    }
    let dirs = &shard.shared.dirs;
    // First the new folder, then the old: a crash in between leaves both, never none.
    let dir = &dirs.data()[to];
    future.rename(dir.log_dir.folder(&name))?;
    dir.count(true);
    std::mem::swap(partition.log_mut(), future);
    let delay = partition.log().config().file_delete_delay_ms;
    let former = future;
    let parent = former.dir().parent().map(ToOwned::to_owned);
    if let Some(dir) = dirs.data().iter().find(|dir| Some(dir.path()) == parent.as_deref()) {
        dir.count(false);
        let deleted = dir.log_dir.folder_of_kind(&name, FolderKind::Deleted, shard.unique());
        match former.rename(deleted.clone()) {
            Ok(()) => shard.remove_later(deleted, delay),
            Err(fault) => tracing::error!(partition = %name, "cannot delete: {fault}"),
        }
    }
    // What was synced with the move is committed now.
    drop(partition);
    shard.commits.push(shared);
    Ok(true)
}
