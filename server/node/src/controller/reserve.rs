//! Room that is kept for the metadata on a disk that records may fill: a file of blocks that nobody
//! reads, given up step by step once there is none. Without it a node that is started on a full disk
//! could write neither its vote nor its registration, and so could not serve what would make room.
//!
//! Not here: who waits for room (`patience`), the blocks behind the end of the metadata log (`log`).

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

/// Kafka passes over a file of this name.
const FILE_NAME: &str = "reserved-room";
/// Some thousand votes and registrations.
const BYTES: u64 = 1 << 20;
/// Given up at once, so that those who write records do not take all of it.
const STEP_BYTES: u64 = 64 << 10;

/// The file.
#[derive(Clone)]
pub struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// The reserve in the folder of the metadata log, whatever is left of it.
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join(FILE_NAME) }
    }

    /// Brings it to its full size, if there is room for that.
    pub fn fill(&self) {
        // It is no fault to have none: whoever needs it waits, as without it.
        if let Err(error) = self.try_fill() {
            tracing::debug!("no room is kept in {}: {error}", self.path.display());
        }
    }

    fn try_fill(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&self.path)?;
        let kept = file.metadata()?.len();
        if kept < BYTES
            && let Err(error) = fallocate(&file, FallocateFlags::empty(), 0, BYTES)
        {
            // What it has got of it may lie behind the end.
            file.set_len(kept)?;
            return Err(error.into());
        }
        Ok(())
    }

    /// Gives some of it up; whether there was any.
    pub fn give_up_some(&self) -> bool {
        self.try_give_up().unwrap_or(false)
    }

    fn try_give_up(&self) -> io::Result<bool> {
        let file: File = OpenOptions::new().write(true).open(&self.path)?;
        let kept = file.metadata()?.len();
        if kept == 0 {
            return Ok(false);
        }
        file.set_len(kept.saturating_sub(STEP_BYTES))?;
        // The blocks are free once the file system has written down that they are.
        file.sync_all()?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn room_is_taken_given_up_in_steps_and_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(folder.path());
        assert!(!reserve.give_up_some(), "there is none yet");
        let taken = || {
            let file = fs::metadata(folder.path().join(FILE_NAME)).unwrap();
            (file.len(), file.blocks() * 512 >= file.len())
        };
        for _ in 0..2 {
            reserve.fill();
            assert_eq!(taken(), (BYTES, true), "blocks, and not only a length");
            assert!(reserve.give_up_some());
            assert_eq!(taken(), (BYTES - STEP_BYTES, true));
        }
        let steps = (0..).take_while(|_| reserve.give_up_some()).count() as u64;
        assert_eq!(steps, BYTES / STEP_BYTES - 1);
    }
}
