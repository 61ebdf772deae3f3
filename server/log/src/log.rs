//! One partition's log: its state, and the small questions about it.
//!
//! The large ones have files of their own: `append`, `compaction`, `read`, `recovery`, `retention`,
//! `rolling`, `sync`, `timestamps`, `truncate`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use records::BatchHeader;
use types::{LeaderEpoch, Millis, Offset};

use crate::compaction::PendingSwap;
use crate::config::LogConfig;
use crate::disk::{Disk, remove_if_exists};
use crate::error::{IoContext, LogError};
use crate::leader_epochs::LeaderEpochs;
use crate::producer_state::ProducerStates;
use crate::read::ReadHints;
use crate::rest::Size;
use crate::retention::{Deleted, Deletion};
use crate::rolling::Rolling;
use crate::segment::{self, ActiveSegment, LOG, Segment};
use crate::sync::SyncState;
use crate::txn_index::AbortedTxn;

/// What the checkpoints of the directory say of a log that is to be opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Opening {
    /// `log-start-offset-checkpoint`; 0 where it says nothing.
    pub start_offset: Offset,
    /// `recovery-point-offset-checkpoint`; 0 where it says nothing. Everything before it was synced.
    pub recovery_point: Offset,
    /// `cleaner-offset-checkpoint`; 0 where it says nothing. Before it, offsets may be missing.
    pub compacted_end: Offset,
    /// Whether the directory was stopped cleanly: then no data is read.
    pub is_clean: bool,
    /// Whether the log ends where it is damaged, with all that is behind: others have it, and
    /// nobody counts on this replica.
    pub cuts_damage: bool,
}

impl Opening {
    /// A log that is made now, or of which nothing is known.
    pub const NEW: Self = Self {
        start_offset: Offset::ZERO,
        recovery_point: Offset::ZERO,
        compacted_end: Offset::ZERO,
        is_clean: false,
        cuts_damage: false,
    };
}

/// One partition's log. Whoever owns it is the only one to use its folder.
#[derive(Debug)]
pub struct Log {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) config: Arc<LogConfig>,
    /// Oldest first; the active segment comes behind them.
    pub(crate) closed: Vec<Segment>,
    pub(crate) active: ActiveSegment,
    /// Appended but not yet written, in order.
    pub(crate) staged: Vec<Bytes>,
    pub(crate) staged_bytes: u64,
    /// Transactions that markers among them abort, not yet in the transaction index.
    pub(crate) staged_aborted: VecDeque<AbortedTxn>,
    /// The last write found no room: what is staged waits for the next one, nothing joins it.
    pub(crate) stalled: bool,
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    pub(crate) durable_end: Offset,
    pub(crate) sync: SyncState,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) producers: ProducerStates,
    /// Offsets of the producer snapshots on disk, rising.
    pub(crate) snapshots: Vec<Offset>,
    /// Bases of the segments that have a transaction index, rising.
    pub(crate) txn_indexes: Vec<Offset>,
    /// Counts segments that were dropped or replaced: what was learnt of their indexes is void.
    pub(crate) txn_indexes_replaced: u64,
    /// A roll whose files are still to be made.
    pub(crate) rolling: Option<Arc<Rolling>>,
    /// Dropped segments whose files are still to be renamed.
    pub(crate) deletion: Option<Arc<Deletion>>,
    pub(crate) deleted: Vec<Deleted>,
    pub(crate) hints: ReadHints,
    /// Counts cuts of the log: what was planned before one is void.
    pub(crate) generation: u64,
    pub(crate) pending_swap: Option<PendingSwap>,
    /// Held by whoever rewrites segments.
    pub(crate) rewriting: Weak<()>,
    pub(crate) compacted_end: Offset,
    pub(crate) is_uncleanable: bool,
    /// A write or sync failed: what the files hold is unknown until they are read again.
    pub(crate) failed: bool,
    /// What was read and checked when the log was opened.
    pub(crate) scanned: Size,
}

impl Log {
    /// Offset of the first record that may be read.
    pub fn start_offset(&self) -> Offset {
        self.start
    }

    /// Offset that the next record gets.
    pub fn end_offset(&self) -> Offset {
        self.end
    }

    /// Everything before this offset is on stable storage; also the recovery point to checkpoint.
    pub fn durable_end(&self) -> Offset {
        self.durable_end
    }

    /// The folder of the log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings in force.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Puts other settings in force. They may be what a failed compaction lacked.
    pub fn set_config(&mut self, config: Arc<LogConfig>) {
        self.config = config;
        self.clear_uncleanable();
    }

    /// Bytes of all segments, staged batches included, indexes apart; what DescribeLogDirs reports.
    pub fn bytes(&self) -> u64 {
        self.closed.iter().map(|segment| segment.bytes).sum::<u64>() + self.active.bytes
    }

    /// Number of segments.
    pub fn segment_count(&self) -> usize {
        self.closed.len() + 1
    }

    /// Which leader epoch wrote what.
    pub fn leader_epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// Notes that this node leads from here on in `epoch`, before it has appended anything.
    pub fn begin_leader_epoch(&mut self, epoch: LeaderEpoch) {
        self.epochs.assign(epoch, self.end);
    }

    /// What is known of idempotent and transactional producers.
    pub fn producers(&self) -> &ProducerStates {
        &self.producers
    }

    /// Forgets producers that were silent for `producer.id.expiration.ms`.
    pub fn remove_expired_producers(&mut self, now: Millis) {
        self.producers.remove_expired(now, self.config.producer_id_expiration_ms);
    }

    /// Consumers of committed records may read up to here: the high watermark, or the first
    /// transaction before it whose outcome is open or whose marker is not below it.
    pub fn last_stable_offset(&mut self, high_watermark: Offset) -> Offset {
        let unstable = self.producers.first_unstable_offset(high_watermark);
        unstable.map_or(high_watermark, |unstable| unstable.min(high_watermark))
    }

    /// Goes on for `former`, whose records it holds: what was compacted there is compacted here,
    /// and a compaction that was planned there is of no use any more.
    pub fn succeed(&mut self, former: &Self) {
        self.generation = self.generation.max(former.generation) + 1;
        self.set_compacted_end(former.compacted_end());
    }

    /// Whether a write or sync failed, so that nothing may be appended or read any more.
    pub fn is_offline(&self) -> bool {
        self.failed
    }

    /// Whether appends are refused until there is room for what is staged.
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// End of what has been written, if not synced: the log's end, unless it waits for room.
    pub fn written_end(&self) -> Offset {
        let first = self.staged.first().and_then(|batch| BatchHeader::parse(batch).ok());
        first.map_or(self.end, |header| header.base_offset())
    }

    /// Bytes of the active segment's file.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.active.bytes - self.staged_bytes
    }

    pub(crate) fn check_online(&self) -> Result<(), LogError> {
        if self.failed {
            return Err(LogError::Offline { dir: self.dir.clone() });
        }
        Ok(())
    }

    /// As [`Log::check_online`], for appends.
    pub(crate) fn check_writable(&self) -> Result<(), LogError> {
        self.check_online()?;
        if self.stalled {
            return Err(LogError::Stalled { dir: self.dir.clone() });
        }
        Ok(())
    }

    /// As [`Log::flush_writes`], for a reader: what waits for room keeps nobody from what is
    /// written.
    pub(crate) fn flush_for_read(&mut self) -> Result<(), LogError> {
        match self.flush_writes() {
            Err(fault) if fault.is_passing() => Ok(()),
            flushed => flushed,
        }
    }

    /// Writes everything that appends have staged, in one vectored write. Blocks only where the
    /// segment for it is still to be made ([`Log::rolling`]).
    ///
    /// # Errors
    /// [`LogError::Io`]. Where there is no room the same bytes wait for the next call, which
    /// writes them to the same place; else the log is offline, since an unknown part may be on
    /// disk.
    pub fn flush_writes(&mut self) -> Result<(), LogError> {
        self.check_online()?;
        self.finish_roll()?;
        if self.staged.is_empty() {
            return Ok(());
        }
        if let Err(fault) = self.write_staged() {
            self.stalled = fault.is_passing();
            self.failed = !self.stalled;
            return Err(fault);
        }
        self.staged.clear();
        self.hints.recent.written();
        self.staged_bytes = 0;
        self.stalled = false;
        self.sync.active_is_dirty = true;
        Ok(())
    }

    fn write_staged(&mut self) -> Result<(), LogError> {
        // Neither counts before both are there: who reads a marker asks the index what it aborts.
        self.write_aborted()?;
        let at = self.written_bytes();
        let is_synced = self.config.sync_before_ack;
        let bounds = (self.config.reserve_from_bytes, self.segment_bytes_max() as u64);
        let written = self.active.write(&self.staged, at, is_synced, bounds);
        written.map_err(|cause| {
            let path = segment::path(&self.dir, self.active.base, LOG);
            LogError::Io { action: "write", path, cause }
        })
    }

    /// Leaves nothing behind the data of the active segment.
    pub(crate) fn trim_active(&mut self) -> Result<(), LogError> {
        let path = segment::path(&self.dir, self.active.base, LOG);
        self.sync.active_is_dirty |= self.active.trim().context("truncate", &path)?;
        Ok(())
    }

    /// Puts a segment at `base` in the place of an active one that holds nothing yet.
    pub(crate) fn replace_empty_active(
        &mut self,
        base: Offset,
        now: Millis,
    ) -> Result<(), LogError> {
        assert!(self.active.bytes == 0, "a segment with data is rolled");
        self.finish_roll()?;
        let former = segment::path(&self.dir, self.active.base, LOG);
        self.active = ActiveSegment::create(self.disk.as_ref(), &self.dir, base, now)?;
        self.sync.dir_is_dirty = true;
        remove_if_exists(self.disk.as_ref(), &former).context("remove", &former)
    }

    /// Makes everything durable and leaves the files as a clean stop does: indexes written, a
    /// producer snapshot at the end. Blocks. The recovery point to checkpoint is the result.
    ///
    /// # Errors
    /// [`LogError::Io`]; the directory must not be marked as cleanly stopped then.
    ///
    /// # Panics
    /// If a sync ticket is out.
    pub fn close(mut self) -> Result<Offset, LogError> {
        self.prepare_close()?;
        self.sync_now()?;
        self.end_close()
    }

    /// Writes what [`Log::close`] leaves. [`Log::end_close`] follows once what [`Log::sync_ticket`]
    /// gives next is synced, be it with those of other logs. Blocks.
    ///
    /// # Errors
    /// As [`Log::close`].
    pub fn prepare_close(&mut self) -> Result<(), LogError> {
        self.flush_writes()?;
        self.finish_deletion()?;
        self.end_pending_swap()?;
        let indexes = self.active.write_indexes(self.disk.as_ref(), &self.dir)?;
        self.trim_active()?;
        self.sync.files.extend(indexes);
        self.sync.dir_is_dirty = true;
        self.take_snapshot()
    }

    /// The rest of [`Log::close`]. Blocks.
    ///
    /// # Errors
    /// As [`Log::close`].
    ///
    /// # Panics
    /// If not everything is durable.
    pub fn end_close(self) -> Result<Offset, LogError> {
        assert!(self.sync.is_idle() && self.durable_end == self.end, "closed before it is synced");
        // Nothing can hold a deleted segment open any more.
        for removal in self.deleted {
            removal.into_removal(Arc::clone(&self.disk)).run()?;
        }
        Ok(self.durable_end)
    }

    /// Gives the folder another name in the same directory, for good: a future log takes its
    /// partition's place. Blocks.
    ///
    /// # Errors
    /// [`LogError::Io`]; where the name could not be given, the log keeps its former one.
    pub fn rename(&mut self, dir: PathBuf) -> Result<(), LogError> {
        self.set_aside(dir)?;
        let parent = self.dir.parent().unwrap_or(Path::new("/"));
        self.disk.sync_dir(parent).of_sync(parent)
    }

    /// As [`Log::rename`], for a folder that is to go: whoever removes it syncs the directory
    /// before ([`LogDir::sync`](crate::LogDir::sync)).
    ///
    /// # Errors
    /// [`LogError::Io`]; the log keeps its former name then.
    pub fn set_aside(&mut self, dir: PathBuf) -> Result<(), LogError> {
        self.finish_roll()?;
        self.finish_deletion()?;
        self.end_pending_swap()?;
        self.generation += 1;
        self.disk.rename(&self.dir, &dir).context("rename", &self.dir)?;
        for removal in &mut self.deleted {
            removal.moved_to(&dir);
        }
        self.dir = dir;
        Ok(())
    }
}
