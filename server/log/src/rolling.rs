//! Rolling: the active segment is closed and the next one begins, without waiting for the disk.
//!
//! The log goes on at once. Its owner has a thread that may block make the files
//! ([`Log::rolling`], [`Rolling::run`], [`Log::end_roll`]); until they are there, what is appended
//! stays staged and the indexes of the former segment are read from memory. Whatever needs the
//! files (a write, a sync, a cut) makes them itself if nobody has, and waits if somebody is at it.

use std::path::PathBuf;
use std::sync::Arc;

use types::{Millis, Offset};

use crate::Log;
use crate::disk::{Disk, DiskFile, MemoryFile, write_file};
use crate::errand::Errand;
use crate::error::{IoContext, LogError};
use crate::segment::{self, ActiveSegment, LOG, OFFSET_INDEX, Segment, TIME_INDEX};
use crate::time_index::TimeIndex;

/// The files of one roll: indexes, end and producer snapshot of the former segment, and the next
/// segment. They are made once, by whichever thread comes first.
#[derive(Debug)]
pub struct Rolling {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    former: Offset,
    offset_index: Vec<u8>,
    time_index: Vec<u8>,
    /// The former segment's file and the end of its data, where more may stand behind that.
    cut: Option<(Arc<dyn DiskFile>, u64)>,
    snapshot: Option<(PathBuf, Vec<u8>)>,
    next: Offset,
    made: Errand<Made>,
}

/// What a roll has made.
#[derive(Debug)]
struct Made {
    to_sync: Vec<Arc<dyn DiskFile>>,
    next: Arc<dyn DiskFile>,
}

impl Rolling {
    /// Makes the files. Blocks; who comes while another thread is at it waits for it.
    ///
    /// # Errors
    /// [`LogError::Io`]; a further call does it anew. Hand it to [`Log::end_roll`].
    pub fn run(&self) -> Result<(), LogError> {
        self.made.run(|| self.make())
    }

    fn make(&self) -> Result<Made, LogError> {
        let disk = self.disk.as_ref();
        let mut to_sync = Vec::new();
        let indexes = [(OFFSET_INDEX, &self.offset_index), (TIME_INDEX, &self.time_index)];
        let indexes = indexes.map(|(kind, content)| {
            let path = segment::path(&self.dir, self.former, kind);
            (path, content)
        });
        let snapshot = self.snapshot.as_ref().map(|(path, content)| (path.clone(), content));
        for (path, content) in indexes.into_iter().chain(snapshot) {
            to_sync.push(write_file(disk, &path, content).context("write", &path)?);
        }
        if let Some((file, bytes)) = &self.cut {
            let path = segment::path(&self.dir, self.former, LOG);
            file.set_len(*bytes).context("truncate", &path)?;
            to_sync.push(Arc::clone(file));
        }
        // Last: what came before may be done again, or not at all, where this finds no room.
        let next = segment::create(disk, &self.dir, self.next)?;
        Ok(Made { to_sync, next })
    }
}

impl Log {
    /// Closes the active segment and begins the next one at the log's end. An empty one stays.
    ///
    /// # Errors
    /// [`LogError::Io`] where what is staged cannot be written.
    pub fn roll(&mut self, now: Millis) -> Result<(), LogError> {
        if self.active.bytes == 0 {
            return Ok(());
        }
        self.roll_to(self.end, now)
    }

    /// As [`Log::roll`], with the next segment at `base`, which is not before the log's end. Where
    /// the files of the roll before are not made yet, this waits for them.
    pub(crate) fn roll_to(&mut self, base: Offset, now: Millis) -> Result<(), LogError> {
        self.flush_writes()?;
        self.active.push_newest();
        let next = ActiveSegment::empty(base, Arc::new(MemoryFile::default()), now);
        let former = std::mem::replace(&mut self.active, next);
        let rolling = Rolling {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            former: former.base,
            offset_index: former.offset_index.to_bytes(),
            time_index: former.time_index.to_bytes(),
            cut: former.exceeds().then(|| (Arc::clone(&former.file), former.bytes)),
            snapshot: self.note_snapshot(),
            next: base,
            made: Errand::default(),
        };
        if std::mem::take(&mut self.sync.active_is_dirty) {
            self.sync.files.push(Arc::clone(&former.file));
        }
        let mut closed = former.into_closed(now);
        let memory = |content: &[u8]| -> (Arc<dyn DiskFile>, u64) {
            (Arc::new(MemoryFile(content.to_vec())), content.len() as u64)
        };
        closed.hold_indexes(memory(&rolling.offset_index), memory(&rolling.time_index));
        self.closed.push(closed);
        self.rolling = Some(Arc::new(rolling));
        Ok(())
    }

    /// The files that a roll still has to make, for a thread that may block.
    pub fn rolling(&self) -> Option<Arc<Rolling>> {
        self.rolling.clone()
    }

    /// Takes note that a thread has made the files of a roll, or could not.
    ///
    /// # Errors
    /// The thread's own. Where it is passing the log takes no appends until the files are made;
    /// else it is offline.
    pub fn end_roll(
        &mut self,
        rolling: &Arc<Rolling>,
        outcome: Result<(), LogError>,
    ) -> Result<(), LogError> {
        // Somebody could not wait and has made them meanwhile.
        if !self.rolling.as_ref().is_some_and(|pending| Arc::ptr_eq(pending, rolling)) {
            return Ok(());
        }
        if let Err(fault) = outcome {
            self.stalled |= fault.is_passing();
            self.failed |= !fault.is_passing();
            return Err(fault);
        }
        let Made { to_sync, next } = rolling.made.take();
        self.rolling = None;
        self.stalled = false;
        self.active.file = next;
        self.sync.files.extend(to_sync);
        // The new file's own length must become durable, too, however little is written to it.
        self.sync.active_is_dirty = true;
        self.sync.dir_is_dirty = true;
        if let Some(former) = self.closed.iter_mut().rfind(|one| one.base == rolling.former) {
            former.forget_indexes();
        }
        Ok(())
    }

    /// Sees to it that no roll waits for its files. Blocks if one does.
    pub(crate) fn finish_roll(&mut self) -> Result<(), LogError> {
        let Some(rolling) = self.rolling() else { return Ok(()) };
        let outcome = rolling.run();
        self.end_roll(&rolling, outcome)
    }

    /// The time index of a closed segment whose file is still to be made.
    pub(crate) fn unmade_times(&self, closed: &Segment) -> Option<TimeIndex> {
        let rolling = self.rolling.as_ref().filter(|rolling| rolling.former == closed.base)?;
        TimeIndex::from_bytes(&rolling.time_index)
    }
}

#[cfg(test)]
mod tests;
