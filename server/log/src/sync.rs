//! Durability: what was written becomes durable by a sync that another thread runs.
//!
//! The owner of the log takes a [`SyncTicket`], a thread that may block runs it, and the owner
//! tells the log the outcome. At most one ticket is out for a log, so that whatever is appended
//! meanwhile forms the next group. A failed sync is never tried again: the kernel may have dropped
//! what it could not write. What failed before a sync was tried, for want of room or descriptors,
//! comes with the next ticket.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::Offset;

use crate::Log;
use crate::checkpoint::epochs_text;
use crate::disk::{
    Disk, DiskFile, DiskVolume, OpenMode, with_suffix, write_file, write_file_atomically,
};
use crate::error::{LogError, is_passing, sync_fault};
use crate::leader_epochs::CHECKPOINT_NAME;
use crate::partition_metadata::FILE_NAME as METADATA_NAME;

/// What of a log is not known to be on stable storage.
#[derive(Debug, Default)]
pub(crate) struct SyncState {
    /// Files written since the last ticket, the active segment apart.
    pub files: Vec<Arc<dyn DiskFile>>,
    /// Whether the active segment was written to since the last ticket.
    pub active_is_dirty: bool,
    /// Whether files were created or renamed since the last ticket.
    pub dir_is_dirty: bool,
    /// Whether `partition.metadata` is, which is not held open: a partition that nobody writes to
    /// would take a descriptor more for it.
    pub topic_id_is_new: bool,
    /// Whether the folder itself is new to its directory.
    pub folder_is_new: bool,
    in_flight: bool,
    /// A truncation while a ticket was out: what it syncs behind this offset has been cut.
    cap: Option<Offset>,
}

impl SyncState {
    /// Whether nothing waits for a sync and none is under way.
    pub fn is_idle(&self) -> bool {
        self.files.is_empty() && !self.active_is_dirty && !self.dir_is_dirty && !self.in_flight
    }
}

/// Files to sync, and the offset up to which the log is durable then.
#[derive(Debug)]
#[must_use = "the log gives no other ticket until it hears of this one"]
pub struct SyncTicket {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    files: Vec<Arc<dyn DiskFile>>,
    dir_is_dirty: bool,
    topic_id_is_new: bool,
    folder_is_new: bool,
    epochs: Option<String>,
    end: Offset,
}

/// Why a ticket's files are not known to be on stable storage.
#[derive(Debug)]
pub struct SyncError {
    source: io::Error,
    /// What to do again where nothing was lost.
    undone: Option<Box<SyncTicket>>,
}

impl From<io::Error> for SyncError {
    fn from(source: io::Error) -> Self {
        Self { source, undone: None }
    }
}

/// Proof that a ticket's files are on stable storage.
#[derive(Debug)]
pub struct Synced {
    end: Offset,
}

impl SyncTicket {
    /// Forces everything onto stable storage. Blocks.
    ///
    /// # Errors
    /// The first one; hand it to [`Log::synced`], which takes the log offline.
    pub fn sync(self) -> Result<Synced, SyncError> {
        match self.run() {
            Ok(()) => Ok(Synced { end: self.end }),
            Err(source) => Err(self.undo(source)),
        }
    }

    fn undo(self, source: io::Error) -> SyncError {
        let undone = is_passing(&source).then(|| Box::new(self));
        SyncError { source, undone }
    }

    fn run(&self) -> io::Result<()> {
        for file in &self.files {
            file.sync_data().map_err(sync_fault)?;
        }
        if self.topic_id_is_new {
            let file = self.disk.open(&self.dir.join(METADATA_NAME), OpenMode::Read)?;
            file.sync_data().map_err(sync_fault)?;
        }
        match &self.epochs {
            // This syncs the directory, too.
            Some(text) => {
                let path = self.dir.join(CHECKPOINT_NAME);
                write_file_atomically(self.disk.as_ref(), &path, text.as_bytes())?;
            }
            None if self.dir_is_dirty => self.disk.sync_dir(&self.dir).map_err(sync_fault)?,
            None => {}
        }
        if self.folder_is_new {
            let parent = self.dir.parent().unwrap_or(Path::new("/"));
            self.disk.sync_dir(parent).map_err(sync_fault)?;
        }
        Ok(())
    }

    /// End of the log that the sync makes durable.
    pub fn end_offset(&self) -> Offset {
        self.end
    }

    /// Where the log lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes the checkpoint that is due, not yet under its name. Whether one is.
    fn prepare(&self) -> io::Result<bool> {
        let Some(text) = &self.epochs else { return Ok(false) };
        let path = with_suffix(&self.dir.join(CHECKPOINT_NAME), ".tmp");
        write_file(self.disk.as_ref(), &path, text.as_bytes())?;
        Ok(true)
    }

    /// Gives the checkpoint its name, now that its content is on stable storage.
    fn put_in_place(&self) -> io::Result<()> {
        let path = self.dir.join(CHECKPOINT_NAME);
        self.disk.rename(&with_suffix(&path, ".tmp"), &path)
    }
}

/// Runs the tickets of many logs on one volume by syncing all of it: that costs about as much as
/// two or three files do, however many there are, unless others write to the volume, too. Blocks.
pub fn sync_together(
    volume: &dyn DiskVolume,
    tickets: Vec<SyncTicket>,
) -> Vec<Result<Synced, SyncError>> {
    let mut prepared: Vec<io::Result<bool>> = tickets.iter().map(SyncTicket::prepare).collect();
    let mut synced = volume.sync().map_err(sync_fault);
    if synced.is_ok() && prepared.iter().any(|due| matches!(due, Ok(true))) {
        for (ticket, due) in tickets.iter().zip(&mut prepared) {
            if let Ok(true) = due {
                *due = ticket.put_in_place().map(|()| true);
            }
        }
        synced = volume.sync().map_err(sync_fault);
    }
    let outcome = |(ticket, due): (SyncTicket, io::Result<bool>)| match (&synced, due) {
        (Ok(()), Ok(_)) => Ok(Synced { end: ticket.end }),
        (Ok(()), Err(source)) => Err(ticket.undo(source)),
        // It may have been any of the files.
        (Err(error), _) => Err(SyncError::from(io::Error::new(error.kind(), error.to_string()))),
    };
    tickets.into_iter().zip(prepared).map(outcome).collect()
}

impl Log {
    /// Writes what is staged and says what to sync; `None` where everything is durable already or
    /// a ticket is out.
    ///
    /// # Errors
    /// [`LogError::Io`] where writing fails, which takes the log offline.
    pub fn sync_ticket(&mut self) -> Result<Option<SyncTicket>, LogError> {
        if self.sync.in_flight {
            return Ok(None);
        }
        self.flush_writes()?;
        Ok(self.take_ticket())
    }

    fn take_ticket(&mut self) -> Option<SyncTicket> {
        let epochs = self.epochs.take_dirty().map(epochs_text);
        let sync = &mut self.sync;
        if epochs.is_none() && sync.files.is_empty() && !sync.active_is_dirty && !sync.dir_is_dirty
        {
            return None;
        }
        let mut files = std::mem::take(&mut sync.files);
        if std::mem::take(&mut sync.active_is_dirty) {
            files.push(Arc::clone(&self.active.file));
        }
        sync.in_flight = true;
        sync.cap = None;
        Some(SyncTicket {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            files,
            dir_is_dirty: std::mem::take(&mut sync.dir_is_dirty),
            topic_id_is_new: std::mem::take(&mut sync.topic_id_is_new),
            folder_is_new: std::mem::take(&mut sync.folder_is_new),
            epochs,
            end: self.end,
        })
    }

    /// Takes note of a ticket's outcome and moves the durable end.
    ///
    /// # Errors
    /// The sync's own error; the log is offline from then on, unless it is passing.
    ///
    /// # Panics
    /// If no ticket is out.
    pub fn synced(&mut self, outcome: Result<Synced, SyncError>) -> Result<(), LogError> {
        assert!(self.sync.in_flight, "the outcome of a ticket is told once");
        self.sync.in_flight = false;
        match outcome {
            Ok(Synced { end }) => {
                let end = self.sync.cap.take().map_or(end, |cap| cap.min(end));
                self.durable_end = self.durable_end.max(end);
                Ok(())
            }
            Err(SyncError { source, undone }) => {
                match undone {
                    Some(ticket) => self.take_back(*ticket),
                    None => self.failed = true,
                }
                Err(LogError::Io { action: "sync", path: self.dir.clone(), cause: source })
            }
        }
    }

    /// What a ticket was for is still to be synced.
    fn take_back(&mut self, ticket: SyncTicket) {
        let sync = &mut self.sync;
        sync.files.extend(ticket.files);
        sync.dir_is_dirty |= ticket.dir_is_dirty;
        sync.topic_id_is_new |= ticket.topic_id_is_new;
        sync.folder_is_new |= ticket.folder_is_new;
        if ticket.epochs.is_some() {
            self.epochs.set_dirty();
        }
    }

    /// Syncs at once, on this thread.
    pub(crate) fn sync_now(&mut self) -> Result<(), LogError> {
        assert!(!self.sync.in_flight, "no ticket is out when a log is closed");
        match self.sync_ticket()? {
            Some(ticket) => {
                let outcome = ticket.sync();
                self.synced(outcome)
            }
            None => Ok(()),
        }
    }

    /// Whether a ticket is out.
    pub fn is_syncing(&self) -> bool {
        self.sync.in_flight
    }

    /// What lies behind `end` has been cut.
    pub(crate) fn cap_durable(&mut self, end: Offset) {
        self.durable_end = self.durable_end.min(end);
        if self.sync.in_flight {
            self.sync.cap = Some(self.sync.cap.map_or(end, |cap| cap.min(end)));
        }
    }
}

#[cfg(test)]
mod tests;
