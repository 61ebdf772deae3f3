//! When the metadata log gets a checkpoint, and which of them go (KIP-630).
//!
//! One is due after so many bytes or so much time, as Kafka has it, and is written on a thread of
//! its own from an image that nobody changes any more. The oldest go by age, or while log and
//! checkpoints together are too large; one always stays. The log begins where the oldest ends.
//!
//! Not here: what a checkpoint holds (`snapshot`), the log itself (`metadata_log`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use ::metadata::Image;
use anyhow::Context;
use config::QuorumConfig;
use protocol::internal::raft::VotersRecord;
use raft::LogPosition;
use types::{Millis, Offset};

use super::snapshot;

/// How long the next try waits after one that failed.
const RETRY: Millis = Millis(60_000);
/// How long the next look waits where one is due and nothing is there that it could cover: what the
/// log has more may stay uncommitted while there is no majority.
const PUT_OFF: Millis = Millis(1000);
/// How often a thread that writes is looked after.
const WRITING: Millis = Millis(50);

/// The checkpoints in the folder, and the one that is being written.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    after_bytes: u64,
    after_ms: Millis,
    retention_bytes: Option<u64>,
    retention_ms: Option<Millis>,
    /// Oldest first.
    taken: Vec<Taken>,
    /// Bytes of the log that no checkpoint covers.
    uncovered_bytes: u64,
    /// When the last one was begun, by the monotonic clock.
    begun: Millis,
    not_before: Millis,
    writing: Option<Writing>,
}

#[derive(Debug)]
struct Taken {
    at: LogPosition,
    path: PathBuf,
    bytes: u64,
    /// Wall time of the newest record that it covers.
    timestamp: Millis,
}

#[derive(Debug)]
struct Writing {
    thread: JoinHandle<anyhow::Result<Taken>>,
    covers_bytes: u64,
}

impl Checkpoints {
    /// The checkpoints that the folder has.
    ///
    /// # Errors
    /// If the folder or the beginning of a checkpoint cannot be read.
    pub fn open(folder: PathBuf, quorum: &QuorumConfig, now: Millis) -> anyhow::Result<Self> {
        let mut taken = Vec::new();
        snapshot::remove_parts(&folder)?;
        for (at, path) in snapshot::list(&folder)? {
            taken.push(describe(at, path)?);
        }
        taken.sort_by_key(|one| (one.at.offset, one.at.epoch));
        Ok(Self {
            folder,
            after_bytes: u64::try_from(quorum.snapshot_after_bytes).unwrap_or(u64::MAX),
            after_ms: quorum.snapshot_after_ms,
            // Negative: without a limit.
            retention_bytes: u64::try_from(quorum.retention_bytes).ok(),
            retention_ms: Some(quorum.retention_ms).filter(|age| *age >= Millis::ZERO),
            taken,
            uncovered_bytes: 0,
            begun: now,
            not_before: now,
            writing: None,
        })
    }

    /// Where the newest one ends, and its file.
    pub fn newest(&self) -> Option<(LogPosition, &Path)> {
        self.taken.last().map(|newest| (newest.at, newest.path.as_path()))
    }

    /// Where the one before the newest ends: when that was complete, the log reached so far.
    pub fn settled_end(&self) -> Offset {
        let before = self.taken.len().checked_sub(2).map(|at| self.taken[at].at.offset);
        before.unwrap_or(Offset::ZERO)
    }

    /// The file of one, and its size.
    pub fn find(&self, at: LogPosition) -> Option<(&Path, u64)> {
        let found = self.taken.iter().find(|one| one.at == at)?;
        Some((&found.path, found.bytes))
    }

    /// Takes in one of another node that replaces the log, and gives the files of all others.
    ///
    /// # Errors
    /// If its beginning cannot be read.
    pub fn install(&mut self, at: LogPosition, path: PathBuf) -> anyhow::Result<Vec<PathBuf>> {
        let installed = describe(at, path)?;
        let former = std::mem::replace(&mut self.taken, vec![installed]);
        self.uncovered_bytes = 0;
        Ok(former.into_iter().filter(|one| one.at != at).map(|one| one.path).collect())
    }

    /// Notes that the log grew.
    pub fn note(&mut self, bytes: usize) {
        self.uncovered_bytes += bytes as u64;
    }

    /// How long there is nothing to do, unless the log grows; `None` for ever.
    pub fn wait(&self, now: Millis) -> Option<Millis> {
        if self.writing.is_some() {
            return Some(WRITING);
        }
        self.due_at().map(|at| (at - now).max(Millis::ZERO))
    }

    /// Whether one is to be begun.
    pub fn is_due(&self, now: Millis) -> bool {
        self.writing.is_none() && self.due_at().is_some_and(|at| at <= now)
    }

    /// Has one that is due wait for a while.
    pub fn put_off(&mut self, now: Millis) {
        self.not_before = now + PUT_OFF;
    }

    fn due_at(&self) -> Option<Millis> {
        let at = match self.uncovered_bytes {
            0 => return None,
            bytes if bytes >= self.after_bytes => self.not_before,
            _ if self.after_ms > Millis::ZERO => self.begun + self.after_ms,
            _ => return None,
        };
        Some(at.max(self.not_before))
    }

    /// Begins the checkpoint that ends at `at`, at `now` by the monotonic clock.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn begin(
        &mut self,
        at: LogPosition,
        voters: Option<VotersRecord>,
        image: Arc<Image>,
        (now, wall): (Millis, Millis),
    ) -> anyhow::Result<()> {
        let folder = self.folder.clone();
        let write =
            move || describe(at, snapshot::write(&folder, at, voters.as_ref(), &image, wall)?);
        let thread = thread::Builder::new().name("checkpoint".to_owned());
        // Should there be no thread, the next try waits, too.
        self.not_before = now + RETRY;
        let thread = thread.spawn(write).context("cannot start a thread")?;
        let covers_bytes = std::mem::take(&mut self.uncovered_bytes);
        self.writing = Some(Writing { thread, covers_bytes });
        self.begun = now;
        Ok(())
    }

    /// Takes in the one that was being written; `false` where none has ended.
    ///
    /// # Errors
    /// If it could not be written; it is tried again.
    pub fn finish(&mut self, may_wait: bool, now: Millis) -> anyhow::Result<bool> {
        let Some(writing) = self.writing.take_if(|one| may_wait || one.thread.is_finished()) else {
            return Ok(false);
        };
        let panicked = |_| Err(anyhow::anyhow!("the thread that writes it panicked"));
        let written = writing.thread.join().unwrap_or_else(panicked);
        match written {
            Ok(taken) => {
                // One of another node may have come in between, and cover more.
                if self.taken.last().is_none_or(|newest| newest.at.offset <= taken.at.offset) {
                    self.taken.push(taken);
                }
                self.not_before = now;
                Ok(true)
            }
            Err(fault) => {
                self.uncovered_bytes += writing.covers_bytes;
                self.not_before = now + RETRY;
                Err(fault)
            }
        }
    }

    /// Takes out the oldest ones that need not be kept beside a log of `log_bytes`, and gives
    /// their files. The log may begin at [`Checkpoints::oldest_end`] then.
    pub fn take_spent(&mut self, log_bytes: u64, wall: Millis) -> Vec<PathBuf> {
        let mut bytes = log_bytes + self.taken.iter().map(|one| one.bytes).sum::<u64>();
        let mut spent = 0;
        while spent + 1 < self.taken.len() {
            let oldest = &self.taken[spent];
            let is_old = self.retention_ms.is_some_and(|age| wall - oldest.timestamp > age);
            if !is_old && self.retention_bytes.is_none_or(|bytes_max| bytes <= bytes_max) {
                break;
            }
            bytes -= oldest.bytes;
            spent += 1;
        }
        self.taken.drain(..spent).map(|one| one.path).collect()
    }

    /// The one that ends at an offset. That is not always the oldest where the log begins: one that was
    /// taken over may have replaced the log while older ones are still there.
    pub fn ending_at(&self, offset: Offset) -> Option<LogPosition> {
        self.taken.iter().map(|one| one.at).find(|at| at.offset == offset)
    }

    /// Where the log may begin.
    pub fn oldest_end(&self) -> Offset {
        self.taken.first().map_or(Offset::ZERO, |oldest| oldest.at.offset)
    }
}

fn describe(at: LogPosition, path: PathBuf) -> anyhow::Result<Taken> {
    let bytes = fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let timestamp = snapshot::timestamp(&path)?;
    Ok(Taken { at, path, bytes: bytes.len(), timestamp })
}

#[cfg(test)]
mod tests;
