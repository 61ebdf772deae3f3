//! The snapshots of the metadata log: those that are written here, the one that is taken over from
//! the leader in place of the log, and the pieces that others read (KIP-630).
//!
//! Not here: when one is due and which go (`checkpoints`), what one holds (`snapshot`).

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ::metadata::{Image, Loader};
use anyhow::Context;
use bytes::Bytes;
use protocol::internal::raft::VotersRecord;
use raft::{LogPosition, LogView, VoterHistory, VoterSet};
use types::{Millis, Offset};

use super::images::Images;
use super::metadata_log::{MetadataLog, apply, newest_voters};
use super::snapshot;
use crate::clock;

impl MetadataLog {
    /// A piece of a snapshot, and the size of the whole; `None` where there is no such snapshot.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read_snapshot(
        &self,
        at: LogPosition,
        position: u64,
        bytes_max: usize,
    ) -> anyhow::Result<Option<(Bytes, u64)>> {
        let Some((path, size)) = self.checkpoints.find(at) else { return Ok(None) };
        let left = usize::try_from(size.saturating_sub(position)).unwrap_or(usize::MAX);
        let mut piece = vec![0; left.min(bytes_max)];
        let mut read = || fs::File::open(path)?.read_exact_at(&mut piece, position);
        read().with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some((piece.into(), size)))
    }

    /// Takes a piece of the leader's snapshot; one that has failed may be tried again.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn take_piece(
        &mut self,
        at: LogPosition,
        position: u64,
        bytes: &[u8],
    ) -> anyhow::Result<()> {
        if position == 0 || self.taking.as_ref().is_none_or(|taking| taking.at() != at) {
            self.taking = Some(snapshot::Taking::begin(&self.folder, at)?);
        }
        self.taking.as_ref().map_or(Ok(()), |taking| taking.write(position, bytes))
    }

    /// Replaces the log by the snapshot whose pieces are here, and gives its state and voters.
    /// `None` where it is damaged: the log is as it was.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn install_snapshot(
        &mut self,
        now: Millis,
    ) -> anyhow::Result<Option<(Images, Option<VoterSet>)>> {
        let Some(taking) = self.taking.take() else { return Ok(None) };
        let mut loader = Loader::default();
        let read = taking.contents();
        let contents = match read.and_then(|read| apply(&mut loader, &read).map(|()| read)) {
            Ok(contents) => contents,
            Err(fault) => {
                tracing::error!("the leader's snapshot is not taken: {fault:#}");
                taking.give_up();
                return Ok(None);
            }
        };
        let at = taking.at();
        let path = taking.finish(&self.folder)?;
        // The start of the node sees to the rest, should it end here.
        self.log.truncate_fully_and_start_at(at.offset, now)?;
        for spent in self.checkpoints.install(at, path)? {
            fs::remove_file(&spent).with_context(|| format!("remove {}", spent.display()))?;
        }
        Ok(Some((Images::new(loader, at.offset), newest_voters(&contents))))
    }

    /// How long [`MetadataLog::keep_checkpoints`] has nothing to do, unless something is appended.
    pub fn checkpoint_wait(&self) -> Option<Duration> {
        let wait = self.checkpoints.wait(clock::monotonic())?;
        Some(Duration::from_millis(u64::try_from(wait.get()).unwrap_or(0)))
    }

    /// Begins the checkpoint of what is committed up to `end` if one is due and the image is whole,
    /// and lets go of what is covered by one that was written; whether the log may begin later now.
    /// What takes long is done on other threads.
    ///
    /// # Errors
    /// If the log fails. A checkpoint that fails is tried again.
    pub fn keep_checkpoints(
        &mut self,
        image: &Arc<Image>,
        end: Offset,
        is_whole: bool,
        voters: &VoterHistory,
    ) -> anyhow::Result<bool> {
        let now = (clock::monotonic(), clock::wall());
        let mut was_written = false;
        match self.checkpoints.finish(false, now.0) {
            Ok(false) => {}
            Ok(true) => {
                self.let_go(end, clock::earliest())?;
                was_written = true;
            }
            Err(fault) => tracing::error!("no checkpoint of the metadata log: {fault:#}"),
        }
        if self.checkpoints.is_due(now.0) && (!is_whole || self.newest_snapshot() >= end) {
            self.checkpoints.put_off(now.0);
        }
        if self.checkpoints.is_due(now.0) {
            let voters = voters.before(end).map(VoterSet::to_record);
            let at = self.position_of(end);
            if let Err(fault) = self.checkpoints.begin(at, voters, Arc::clone(image), now) {
                tracing::error!("no checkpoint of the metadata log: {fault:#}");
            }
        }
        Ok(was_written)
    }

    fn newest_snapshot(&self) -> Offset {
        self.checkpoints.newest().map_or(Offset::ZERO, |(at, _)| at.offset)
    }

    /// An end within the log with the epoch of the record before it.
    pub(super) fn position_of(&self, end: Offset) -> LogPosition {
        let last = Offset::new((end.get() - 1).max(0));
        let epoch = self.log.leader_epochs().epoch_of(last).unwrap_or(self.end().epoch);
        LogPosition { offset: end, epoch }
    }

    /// Deletes the oldest checkpoints and what of the log lies before those that are kept.
    fn let_go(&mut self, committed: Offset, wall: Millis) -> anyhow::Result<()> {
        let spent = self.checkpoints.take_spent(self.log.bytes(), wall);
        if spent.is_empty() {
            return Ok(());
        }
        self.log.move_start(self.checkpoints.oldest_end());
        self.log.delete_old_segments(committed, wall)?;
        let removal = self.log.take_removal(clock::monotonic());
        let remove = move || {
            let removed = removal.map_or(Ok(()), |removal| removal.run());
            let removed = removed.map_err(anyhow::Error::from);
            removed.and_then(|()| Ok(spent.iter().try_for_each(fs::remove_file)?))
        };
        let report = move || {
            if let Err(fault) = remove() {
                tracing::warn!("cannot remove old files of the metadata log: {fault:#}");
            }
        };
        let thread = thread::Builder::new().name("checkpoint".to_owned());
        thread.spawn(report).map(|_| ()).context("cannot start a thread")
    }

    /// Leaves a checkpoint of what is committed up to `end`, so that the next start replays little,
    /// and closes the log.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn close(
        mut self,
        image: &Image,
        end: Offset,
        voters: &VoterHistory,
    ) -> anyhow::Result<()> {
        if let Err(fault) = self.checkpoints.finish(true, clock::monotonic()) {
            tracing::error!("no checkpoint of the metadata log: {fault:#}");
        }
        if end > self.newest_snapshot() {
            let voters: Option<VotersRecord> = voters.before(end).map(VoterSet::to_record);
            let at = self.position_of(end);
            snapshot::write(&self.folder, at, voters.as_ref(), image, clock::wall())?;
        }
        self.log.close()?;
        Ok(())
    }
}
