//! The producer snapshots of a log: files that spare a restart the walk over all batches.
//!
//! One is written at each roll, for the offset at which the new segment begins, and one at a clean
//! stop. A segment's snapshot goes with the segment.

use std::path::PathBuf;

use types::{Millis, Offset};

use crate::Log;
use crate::disk::{read_file_if_exists, remove_if_exists, write_file};
use crate::error::{IoContext, LogError};
use crate::producer_snapshot::{decode, encode};
use crate::producer_state::is_expired;
use crate::segment::{self, SNAPSHOT};

impl Log {
    /// Writes the producer state as it is at the log's end, unless that is there already.
    pub(crate) fn take_snapshot(&mut self) -> Result<(), LogError> {
        let Some((path, content)) = self.note_snapshot() else { return Ok(()) };
        match write_file(self.disk.as_ref(), &path, &content) {
            Ok(file) => self.sync.files.push(file),
            Err(cause) => {
                self.snapshots.pop();
                return Err(LogError::Io { action: "write", path, cause });
            }
        }
        self.sync.dir_is_dirty = true;
        Ok(())
    }

    /// What [`Log::take_snapshot`] would write, for somebody else to write it: path and content.
    pub(crate) fn note_snapshot(&mut self) -> Option<(PathBuf, Vec<u8>)> {
        if self.snapshots.last() == Some(&self.end) {
            return None;
        }
        self.snapshots.push(self.end);
        Some((segment::path(&self.dir, self.end, SNAPSHOT), encode(&self.producers)))
    }

    /// Fills the producer state from the newest snapshot that can be read and says how far that
    /// reaches; the log's start where there is none. Broken ones are removed: they are a copy of
    /// what the log itself says.
    pub(crate) fn load_snapshot(&mut self, now: Millis) -> Result<Offset, LogError> {
        self.producers.clear();
        while let Some(&offset) = self.snapshots.last() {
            let path = segment::path(&self.dir, offset, SNAPSHOT);
            let content = read_file_if_exists(self.disk.as_ref(), &path).context("read", &path)?;
            match content.as_deref().map(decode) {
                Some(Ok(entries)) => {
                    let expiration = self.config.producer_id_expiration_ms;
                    for (producer, entry) in entries {
                        if !is_expired(&entry, now, expiration) {
                            self.producers.restore(producer, entry);
                        }
                    }
                    return Ok(offset);
                }
                Some(Err(reason)) => {
                    tracing::warn!(file = %path.display(), reason, "producer snapshot is unreadable");
                    remove_if_exists(self.disk.as_ref(), &path).context("remove", &path)?;
                }
                None => {}
            }
            self.snapshots.pop();
        }
        Ok(self.start)
    }

    /// Removes the snapshots for which `keep` does not hold.
    pub(crate) fn retain_snapshots(
        &mut self,
        keep: impl Fn(Offset) -> bool,
    ) -> Result<(), LogError> {
        for &offset in self.snapshots.iter().filter(|offset| !keep(**offset)) {
            let path = segment::path(&self.dir, offset, SNAPSHOT);
            remove_if_exists(self.disk.as_ref(), &path).context("remove", &path)?;
            // One that comes back may speak of what is no longer in the log.
            self.sync.dir_is_dirty = true;
        }
        self.snapshots.retain(|offset| keep(*offset));
        Ok(())
    }
}
