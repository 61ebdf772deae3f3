//! Reads that may block: what the device must give, and what must be looked into.
//!
//! A [`ColdRead`] carries all it needs, so that any thread can run it. What it finds out beside
//! the batches comes back as [`Learned`], for the log to know from then on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use records::BatchError;
use types::Offset;

use super::plan::{Fault, Found, Plan, Start};
use super::repair::{self, Unindexed};
use super::{Batches, Damage, Place, STRETCH_BYTES};
use crate::disk::{Disk, DiskFile, LARGE_BYTES, OpenMode, read_full_at, read_full_direct_at};
use crate::error::{IoContext, LogError};
use crate::offset_index::OffsetIndex;
use crate::segment::{self, LOG, OFFSET_INDEX};
use crate::time_index::TimeIndex;

/// The page that a byte lies in, and a part of the next one.
const LOOK_BYTES: u64 = 8 << 10;

/// A read that needs the device, for a thread that may wait for it.
#[derive(Debug)]
pub struct ColdRead {
    pub(super) plan: Plan,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) index_interval_bytes: u32,
    /// The offset index of a closed segment, once it is open.
    pub(super) index: Option<Arc<dyn DiskFile>>,
    /// Whether the segment to read is the active one.
    pub(super) is_active: bool,
    /// The segments behind the one to read, the next one last.
    pub(super) behind: Vec<Behind>,
    /// Up to where its reader goes on past the page cache, if it came so.
    pub(super) cold_until: Option<u64>,
    /// What memory holds of it, if nobody has tried to read it from there.
    pub(super) look: Option<Look>,
    /// Whether the last batch of all has been passed.
    pub(super) at_end: bool,
    pub(super) learned: Learned,
}

/// A look at the page with which a read begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    position: u64,
    is_cached: bool,
}

/// A segment to go on with where the one before holds nothing any more.
#[derive(Debug)]
pub(super) struct Behind {
    pub base: Offset,
    /// Where its offsets end.
    pub end: Offset,
    /// Where it is open: its name may still be that of what it has replaced.
    pub file: Option<Arc<dyn DiskFile>>,
    /// Length of the active segment. A closed one is read to its end, whatever that is by then:
    /// compaction may put another in its place.
    pub bytes: Option<u64>,
}

/// What a read found out, for [`crate::Log::learn`].
#[derive(Debug)]
pub struct Learned {
    pub(super) turn: u64,
    pub(super) from: Offset,
    pub(super) segment: Offset,
    pub(super) file: Option<Arc<dyn DiskFile>>,
    pub(super) index: Option<Arc<dyn DiskFile>>,
    pub(super) place: Option<Place>,
    pub(super) rebuilt: Option<Rebuilt>,
    pub(super) damage: Option<Damage>,
    /// A segment of which the device cannot read a part.
    pub(super) suspect: Option<Offset>,
}

impl Learned {
    /// Whether the log does not know it yet.
    pub(crate) fn is_news(&self) -> bool {
        self.file.is_some()
            || self.index.is_some()
            || self.rebuilt.is_some()
            || self.damage.is_some()
            || self.suspect.is_some()
    }
}

/// The index of a segment, made from its first `limit` bytes.
#[derive(Debug)]
pub(super) struct Rebuilt {
    pub index: OffsetIndex,
    pub limit: u64,
}

/// Why there are no batches.
pub(crate) enum Failure {
    /// The files are others by now: the reader asks again.
    Changed,
    Error(LogError),
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::Error(error)
    }
}

impl ColdRead {
    /// The folder of the log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads. Blocks. The log must hear of the second part.
    ///
    /// # Errors
    /// [`LogError::Io`], and [`LogError::Damaged`] where the file does not hold what it held: that
    /// counts only if the log agrees, since the file may be one that was dropped meanwhile.
    pub fn run(mut self) -> (Result<Batches, LogError>, Learned) {
        let nothing = Batches { bytes: Bytes::new(), next_offset: self.plan.from };
        let result = match self.try_run() {
            Err(Failure::Error(error)) => Err(error),
            done => Ok(done.unwrap_or(nothing)),
        };
        self.forget_look();
        (result, self.learned)
    }

    /// Reads, and stands behind what it read for the next call; nothing where nothing is left.
    pub(crate) fn advance(&mut self) -> Result<Bytes, Failure> {
        if self.plan.from >= self.plan.until {
            return Ok(Bytes::new());
        }
        let Batches { bytes, next_offset } = match self.try_run() {
            Err(Failure::Changed) if self.at_end => return Ok(Bytes::new()),
            other => other?,
        };
        if let Some(place) = &self.learned.place
            && !bytes.is_empty()
        {
            self.plan.start = Start::Stopped(place.position);
        }
        self.plan.from = next_offset;
        Ok(bytes)
    }

    /// Has the next call begin with the batch that holds the offset. Not for the active segment,
    /// whose index the log has: there a read goes on from where it was made for.
    pub(crate) fn aim(&mut self, from: Offset) {
        if self.plan.from != from {
            self.plan.start = Start::Search(self.index.clone());
        }
        self.plan.from = from;
        self.at_end = false;
    }

    /// Makes the indexes of the segment anew; gives the one of times.
    pub(crate) fn rebuild(&mut self, why: &str) -> Result<TimeIndex, Failure> {
        self.open()?;
        self.repair(why)
    }

    /// What is told of a batch that is sound and still cannot be read.
    pub(crate) fn unreadable(&self, error: &BatchError) -> LogError {
        let file = segment::path(&self.dir, self.plan.segment, LOG);
        let position = self.learned.place.map_or(0, |place| place.position);
        LogError::Damaged { file, position, reason: format!("in the batches before: {error}") }
    }

    /// What was found out; see [`ColdRead::run`].
    pub(crate) fn into_learned(self) -> Learned {
        Learned { place: None, ..self.learned }
    }

    /// What a reader looked at to learn that the rest is not in memory goes again: it would tell the next
    /// one that it is.
    fn forget_look(&self) {
        let at = match (&self.plan.start, self.look) {
            (Start::Stopped(at), _) if self.cold_until.is_some() => *at,
            (_, Some(Look { position, is_cached: false })) => position,
            _ => return,
        };
        if let Some(file) = &self.plan.file {
            file.drop_cached(at..at + LOOK_BYTES);
        }
    }

    fn try_run(&mut self) -> Result<Batches, Failure> {
        let was_open = self.plan.is_open();
        self.open()?;
        if !was_open && self.plan.bytes_max >= LARGE_BYTES {
            let begin = self.plan.look();
            self.look = begin.map(|(position, is_cached)| Look { position, is_cached });
        }
        let mut repaired = false;
        loop {
            let is_cached = self.look.is_some_and(|look| look.is_cached);
            // An append to the file would wait for a read past the page cache.
            let is_direct = self.cold_until.is_some() || !self.is_active && !is_cached;
            match self.plan.find(if is_direct { read_full_direct_at } else { read_full_at }) {
                Ok(Found::Batches { batches, position }) => {
                    if !batches.bytes.is_empty() {
                        let (offset, segment) = (batches.next_offset, self.plan.segment);
                        let is_cold = !is_cached && batches.bytes.len() >= LARGE_BYTES;
                        let until = self.cold_until.unwrap_or(position + STRETCH_BYTES);
                        let cold_until = is_cold.then_some(until);
                        let limit = self.plan.limit;
                        let place = Place { offset, segment, position, cold_until, limit };
                        self.learned.place = Some(place);
                    }
                    return Ok(batches);
                }
                // Compaction may have emptied the end of a segment.
                Ok(Found::Exhausted) => self.go_on()?,
                Err(Fault::Io(source)) => {
                    let path = segment::path(&self.dir, self.plan.segment, LOG);
                    let fault = LogError::Io { action: "read", path, cause: source };
                    self.learned.suspect = fault.damaged_segment();
                    return Err(fault.into());
                }
                Err(Fault::Index(why)) if !repaired => {
                    self.repair(&why)?;
                    repaired = true;
                }
                Err(Fault::Index(why)) => {
                    return Err(self.damage(0, self.plan.segment, why).into());
                }
                Err(Fault::Batch { position, floor, reason }) => {
                    if !repaired && !self.leads_right()? {
                        self.repair(&reason)?;
                        repaired = true;
                        continue;
                    }
                    return Err(self.damage(position, floor, reason).into());
                }
            }
        }
    }

    /// Opens what the log has not opened yet.
    fn open(&mut self) -> Result<(), Failure> {
        let plan = &mut self.plan;
        if plan.file.is_none() {
            let path = segment::path(&self.dir, plan.segment, LOG);
            let file = open_if_exists(self.disk.as_ref(), &path)?.ok_or(Failure::Changed)?;
            self.learned.file = Some(Arc::clone(&file));
            plan.file = Some(file);
        }
        if let Start::Search(index @ None) = &mut plan.start {
            let path = segment::path(&self.dir, plan.segment, OFFSET_INDEX);
            match open_if_exists(self.disk.as_ref(), &path)? {
                Some(file) => {
                    self.learned.index = Some(Arc::clone(&file));
                    self.index = Some(Arc::clone(&file));
                    *index = Some(file);
                }
                None if self.is_replaced(&path)? => return Err(Failure::Changed),
                None => _ = self.repair("there is no index")?,
            }
        }
        Ok(())
    }

    /// Whether a compaction is putting another segment in the place of the one that was opened, or has:
    /// it takes the log away before the index, and brings it behind the new one. An index made from
    /// the former log would stand beside the new one.
    fn is_replaced(&self, index: &Path) -> Result<bool, Failure> {
        let log = segment::path(&self.dir, self.plan.segment, LOG);
        Ok(open_if_exists(self.disk.as_ref(), &log)?.is_none()
            || open_if_exists(self.disk.as_ref(), index)?.is_some())
    }

    /// Goes on with the segment behind.
    fn go_on(&mut self) -> Result<(), Failure> {
        let Some(Behind { base, end, file, bytes }) = self.behind.pop() else {
            self.at_end = true;
            return Err(Failure::Changed);
        };
        let path = segment::path(&self.dir, base, LOG);
        let file = match file {
            Some(file) => file,
            // It may be compacted into another one or deleted.
            None => open_if_exists(self.disk.as_ref(), &path)?.ok_or(Failure::Changed)?,
        };
        let written = file.len().context("read", &path)?;
        self.plan.limit = bytes.map_or(written, |bytes| bytes.min(written));
        self.plan.file = Some(file);
        self.plan.segment = base;
        self.plan.behind = end;
        self.plan.start = Start::Front;
        // What was opened belongs to the segment before.
        self.learned.file = None;
        (self.cold_until, self.look) = (None, None);
        (self.index, self.learned.index) = (None, None);
        self.learned.segment = base;
        self.is_active = bytes.is_some();
        Ok(())
    }

    fn leads_right(&self) -> Result<bool, Failure> {
        match self.plan.is_entry_sound(read_full_at) {
            Ok(is_sound) => Ok(is_sound),
            Err(Fault::Io(source)) => {
                let path = segment::path(&self.dir, self.plan.segment, LOG);
                Err(LogError::Io { action: "read", path, cause: source }.into())
            }
            Err(Fault::Index(_) | Fault::Batch { .. }) => Ok(false),
        }
    }

    /// Makes the index anew and begins once more with what it says.
    fn repair(&mut self, why: &str) -> Result<TimeIndex, Failure> {
        let plan = &mut self.plan;
        let file = plan.file.as_ref().expect("it was opened");
        let unindexed = Unindexed {
            file,
            segment: plan.segment,
            limit: plan.limit,
            behind: plan.behind,
            index_interval_bytes: self.index_interval_bytes,
        };
        let path = segment::path(&self.dir, plan.segment, LOG);
        let mut rebuilt = match unindexed.scan().context("read", &path)? {
            Ok(rebuilt) => rebuilt,
            Err(broken) => {
                return Err(self.damage(broken.position, broken.floor, broken.reason).into());
            }
        };
        let relative = u32::try_from(plan.from - plan.segment).unwrap_or(0);
        plan.start = Start::Entry(rebuilt.offset_index.lookup_entry(relative));
        plan.skip_max = u64::MAX;
        if !self.is_active {
            repair::replace(&mut rebuilt, self.disk.as_ref(), &self.dir, why)?;
        }
        (self.index, self.learned.index) = (None, None);
        self.learned.rebuilt = Some(Rebuilt { index: rebuilt.offset_index, limit: plan.limit });
        Ok(rebuilt.time_index)
    }

    /// Notes what cannot be read: from the end of what is sound to the offset asked for.
    fn damage(&mut self, position: u64, floor: Offset, reason: String) -> LogError {
        let file = segment::path(&self.dir, self.plan.segment, LOG);
        let (segment, last) = (self.plan.segment, self.plan.from);
        let (first, reason_of) = (floor.min(last), reason.clone());
        let damage = Damage { segment, position, first, last, reason: reason_of };
        self.learned.damage = Some(damage);
        LogError::Damaged { file, position, reason }
    }
}

fn open_if_exists(disk: &dyn Disk, path: &Path) -> Result<Option<Arc<dyn DiskFile>>, LogError> {
    match disk.open(path, OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => Ok(Some(opened.context("open", path)?)),
    }
}
