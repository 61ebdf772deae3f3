//! Offsets by time, as ListOffsets asks for them.
//!
//! A look-up is planned by the log and runs on a thread that may block. Records are only taken
//! from batches that were checked, as a fetch takes them. An index of a closed segment only says
//! where to begin: the batch that an entry names must have the entry's timestamp, and none at the
//! end of the segment a greater one than the last entry; else the indexes are made anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use records::{Batch, BatchHeader, split_batches};
use types::{LeaderEpoch, Offset};

use crate::Log;
use crate::append::DECOMPRESS;
use crate::disk::{Disk, OpenMode, read_full_at};
use crate::error::LogError;
use crate::read::{ColdRead, Failure, Learned};
use crate::segment::{self, Newest, TIME_INDEX};
use crate::time_index::{self, ENTRY_BYTES, TimeEntry, TimeIndex};

/// A record by its place in the log and in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimestampedOffset {
    /// The record's timestamp.
    pub timestamp: i64,
    /// The record's offset.
    pub offset: Offset,
    /// Epoch of the leader that appended it; `None` where the batch names none.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Which record is looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TimeWanted {
    /// The first one with this timestamp or a later one.
    Since(i64),
    /// The first one with the greatest timestamp of all.
    Greatest,
}

/// A look-up, for a thread that may block.
#[derive(Debug)]
pub struct TimeLookup {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    wanted: TimeWanted,
    start: Offset,
    /// Oldest first.
    parts: Vec<Part>,
    learned: TimesLearned,
}

/// What a look-up found out, for [`Log::learn_times`].
#[derive(Debug, Default)]
pub struct TimesLearned {
    turn: u64,
    reads: Vec<Learned>,
    newest: Vec<(Offset, Option<Newest>)>,
}

/// A segment in which to look.
#[derive(Debug)]
struct Part {
    base: Offset,
    newest: Option<Option<Newest>>,
    times: Times,
    read: ColdRead,
    end: Offset,
}

/// The time index of a segment.
#[derive(Debug)]
enum Times {
    /// On disk, to be opened and to be doubted.
    File,
    /// In memory: where the time that is looked for cannot be before.
    Known(Offset),
    /// Made anew, or not written yet: in memory.
    Rebuilt(TimeIndex),
}

/// Where to begin in a segment, and the newest timestamp in it.
type Entry = (Offset, Option<Newest>);

impl Log {
    /// Plans a look-up by time. What is appended to a segment that is still to be made is not
    /// found yet.
    ///
    /// # Errors
    /// [`LogError::Io`] where staged batches cannot be written.
    pub fn time_lookup(&mut self, wanted: TimeWanted) -> Result<TimeLookup, LogError> {
        self.check_online()?;
        if self.rolling.is_none() {
            self.flush_for_read()?;
        }
        let count = self.closed.len() + usize::from(self.written_bytes() > 0);
        let parts = (0..count).map(|at| self.part(at, wanted)).collect();
        Ok(TimeLookup {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            wanted,
            start: self.start,
            parts,
            learned: TimesLearned { turn: self.hints.turn(), ..TimesLearned::default() },
        })
    }

    fn part(&self, at: usize, wanted: TimeWanted) -> Part {
        let (base, newest, times) = match self.closed.get(at) {
            Some(segment) => {
                let times = self.unmade_times(segment).map_or(Times::File, Times::Rebuilt);
                (segment.base, segment.known_newest(), times)
            }
            None => {
                let active = &self.active;
                let newest = active.newest.filter(|newest| newest.timestamp >= 0);
                let from = match (wanted, newest) {
                    (TimeWanted::Since(timestamp), _) => {
                        active.base + i64::from(active.time_index.lookup(timestamp))
                    }
                    (TimeWanted::Greatest, newest) => newest.map_or(active.base, |n| n.offset),
                };
                (active.base, Some(newest), Times::Known(from))
            }
        };
        let from = if let Times::Known(from) = times { from } else { base };
        let read = self.read_of_segment(at, from);
        Part { base, newest, times, read, end: self.end_of(at) }
    }

    /// Greatest timestamp of the segment at `at`, the active one counted last. Blocks.
    pub(crate) fn newest_of(&mut self, at: usize) -> Result<Option<Newest>, LogError> {
        match self.closed.get_mut(at) {
            Some(segment) => segment.newest(self.disk.as_ref(), &self.dir),
            None => Ok(self.active.newest.filter(|newest| newest.timestamp >= 0)),
        }
    }

    /// What [`Log::newest_of`] gives, if that is known.
    pub(crate) fn known_newest_of(&self, at: usize) -> Option<Option<Newest>> {
        match self.closed.get(at) {
            Some(segment) => segment.known_newest(),
            None => Some(self.active.newest.filter(|newest| newest.timestamp >= 0)),
        }
    }

    /// Takes note of what a look-up found out.
    pub fn learn_times(&mut self, learned: TimesLearned) {
        if learned.turn != self.hints.turn() {
            return;
        }
        for read in learned.reads {
            self.learn(read);
        }
        for (base, newest) in learned.newest {
            let at = self.segment_of(base);
            if let Some(segment) = self.closed.get_mut(at).filter(|segment| segment.base == base) {
                segment.note_newest(newest);
            }
        }
    }

    /// As [`Log::time_lookup`], run at once. Blocks.
    ///
    /// # Errors
    /// [`LogError`] where the files cannot be read.
    pub fn look_up_time(
        &mut self,
        wanted: TimeWanted,
    ) -> Result<Option<TimestampedOffset>, LogError> {
        self.flush_for_read()?;
        let (found, learned) = self.time_lookup(wanted)?.run();
        self.learn_times(learned);
        found
    }
}

impl TimeLookup {
    /// Looks. Blocks. Where files were dropped meanwhile, nothing is found in them.
    ///
    /// # Errors
    /// [`LogError`] where a file cannot be read or is damaged.
    pub fn run(mut self) -> (Result<Option<TimestampedOffset>, LogError>, TimesLearned) {
        let found = match self.wanted {
            TimeWanted::Since(timestamp) => self.first_since(timestamp),
            TimeWanted::Greatest => self.greatest(),
        };
        let reads = self.parts.into_iter().map(|part| part.read.into_learned());
        self.learned.reads = reads.filter(Learned::is_news).collect();
        (found, self.learned)
    }

    fn first_since(&mut self, timestamp: i64) -> Result<Option<TimestampedOffset>, LogError> {
        let start = self.start;
        for part in &mut self.parts {
            let (from, newest) = match part.begin(&*self.disk, &self.dir, timestamp) {
                Ok(entry) => entry,
                Err(Failure::Changed) => continue,
                Err(Failure::Error(error)) => return Err(error),
            };
            self.learned.newest.push((part.base, newest));
            if newest.is_none_or(|newest| newest.timestamp < timestamp) {
                continue;
            }
            let found = part.first_record(from, timestamp, start);
            if let Some(found) = unless_changed(found)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn greatest(&mut self) -> Result<Option<TimestampedOffset>, LogError> {
        let mut best: Option<(usize, Newest)> = None;
        for (at, part) in self.parts.iter_mut().enumerate() {
            let newest = match part.begin(&*self.disk, &self.dir, i64::MAX) {
                Ok((_, newest)) => newest,
                Err(Failure::Changed) => continue,
                Err(Failure::Error(error)) => return Err(error),
            };
            self.learned.newest.push((part.base, newest));
            if let Some(newest) = newest
                && best.is_none_or(|(_, best)| newest.timestamp > best.timestamp)
            {
                best = Some((at, newest));
            }
        }
        let Some((at, Newest { timestamp, offset })) = best else { return Ok(None) };
        unless_changed(self.parts[at].first_record(offset, timestamp, self.start))
    }
}

fn unless_changed<T>(found: Result<Option<T>, Failure>) -> Result<Option<T>, LogError> {
    match found {
        Ok(found) => Ok(found),
        Err(Failure::Changed) => Ok(None),
        Err(Failure::Error(error)) => Err(error),
    }
}

impl Part {
    /// Where to begin looking for the timestamp, and the greatest one of the segment.
    fn begin(&mut self, disk: &dyn Disk, dir: &Path, timestamp: i64) -> Result<Entry, Failure> {
        if let (Times::File, known) = (&self.times, self.newest) {
            // What this process has seen itself needs no file.
            if let Some(newest) = known
                && newest.is_none_or(|newest| newest.timestamp < timestamp)
            {
                return Ok((self.base, newest));
            }
            match self.entry_in_file(disk, dir, timestamp)? {
                Some(entry) => return Ok(entry),
                None => {
                    let times = self.read.rebuild("the time index is not the log's")?;
                    self.newest = Some(times.last().map(|last| self.newest_at(last)));
                    self.times = Times::Rebuilt(times);
                }
            }
        }
        let from = match &self.times {
            Times::Rebuilt(times) => self.base + i64::from(times.lookup(timestamp)),
            Times::Known(from) => *from,
            Times::File => self.base,
        };
        Ok((from, self.newest.flatten()))
    }

    /// What the file says; `None` where it is not there or cannot be right.
    fn entry_in_file(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        timestamp: i64,
    ) -> Result<Option<Entry>, Failure> {
        let path = segment::path(dir, self.base, TIME_INDEX);
        let read = |cause| LogError::Io { action: "read", path: path.clone(), cause };
        let file = match disk.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(read)?,
        };
        let bytes = file.len().map_err(read)?;
        if bytes % ENTRY_BYTES as u64 != 0 {
            return Ok(None);
        }
        let look_up = |wanted| {
            time_index::lookup_in_file(file.as_ref(), bytes, wanted, read_full_at).map_err(read)
        };
        let (found, last) = (look_up(timestamp)?, look_up(i64::MAX)?);
        for entry in found.iter().chain(&last) {
            if !self.agrees(*entry)? {
                return Ok(None);
            }
        }
        let newest = last.map(|last| self.newest_at(last));
        // An index that lost its end knows nothing of the newest batches.
        let tail = self.header_of(Offset::new(self.end.get() - 1))?;
        let greatest = newest.map_or(-1, |newest| newest.timestamp);
        if tail.is_some_and(|tail| tail.record_count > 0 && tail.max_timestamp > greatest) {
            return Ok(None);
        }
        let relative = found.map_or(0, |entry| entry.relative);
        Ok(Some((self.base + i64::from(relative), newest)))
    }

    /// Whether the batch that an entry names has the entry's timestamp.
    fn agrees(&mut self, entry: TimeEntry) -> Result<bool, Failure> {
        let offset = self.base + i64::from(entry.relative);
        let header = self.header_of(offset)?;
        Ok(header.is_some_and(|header| {
            header.base_offset() <= offset && header.max_timestamp == entry.timestamp
        }))
    }

    fn newest_at(&self, entry: TimeEntry) -> Newest {
        let TimeEntry { timestamp, relative } = entry;
        Newest { timestamp, offset: self.base + i64::from(relative) }
    }

    /// The batch that holds the offset, or the next one of the segment.
    fn header_of(&mut self, offset: Offset) -> Result<Option<BatchHeader>, Failure> {
        if offset >= self.end {
            return Ok(None);
        }
        self.read.aim(offset);
        let bytes = self.read.advance()?;
        Ok(BatchHeader::parse(&bytes).ok())
    }

    /// The first record from `from` on that is of `timestamp` or later and not before `start`.
    fn first_record(
        &mut self,
        from: Offset,
        timestamp: i64,
        start: Offset,
    ) -> Result<Option<TimestampedOffset>, Failure> {
        self.read.aim(from);
        loop {
            let bytes = self.read.advance()?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let found = first_in(&bytes, timestamp, start);
            match found {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => return Err(self.read.unreadable(&error).into()),
            }
        }
    }
}

fn first_in(
    batches: &Bytes,
    timestamp: i64,
    start: Offset,
) -> Result<Option<TimestampedOffset>, records::BatchError> {
    for cut in split_batches(batches) {
        let (range, header) = cut?;
        if header.max_timestamp < timestamp {
            continue;
        }
        let batch = Batch::open(&batches[range], DECOMPRESS)?;
        for record in batch.records() {
            let record = record?;
            let epoch = header.partition_leader_epoch;
            let found = TimestampedOffset {
                timestamp: record.timestamp,
                offset: record.offset,
                leader_epoch: (epoch >= 0).then_some(LeaderEpoch(epoch)),
            };
            if found.timestamp >= timestamp && found.offset >= start {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
