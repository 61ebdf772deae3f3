//! Reading whole batches by offset.
//!
//! A read is planned on the owner's thread and tried there with what the page cache holds. Where
//! the device is needed, a file must be opened or something looks wrong, the plan is handed out as
//! a [`ColdRead`] for a thread that may block. What that finds out, the log learns.
//!
//! Not here: what is checked of the bytes (`plan`), the newest batches in memory (`recent`).

mod buffer;
mod cold;
mod plan;
mod recent;
pub(crate) mod repair;

use std::collections::BTreeSet;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use types::{LeaderEpoch, Offset};

pub(crate) use self::cold::Failure;
use self::cold::{Behind, Rebuilt};
pub use self::cold::{ColdRead, Learned};
use self::plan::{Fault, Found, Plan, Start};
pub(crate) use self::recent::Recent;
pub use self::recent::{Received, RecentBatches};
use crate::Log;
use crate::disk::{LARGE_BYTES, read_full_cached_at};
use crate::error::{LogError, ReadError};
use crate::segment::{self, LOG};

/// Places remembered of each log: where its consumers read last.
const HINTS: usize = 4;
/// Read at once where a look-up goes through a segment.
const LOOK_UP_BYTES: usize = 64 << 10;
/// How far a reader goes on past the page cache before it looks what that holds. At the end of a segment
/// it does so anyway: what was appended last is in memory.
const STRETCH_BYTES: u64 = 16 << 20;
/// Damaged places remembered of each log. What is beyond is found anew by each read.
const DAMAGES_MAX: usize = 64;

/// Whole batches as they are in the log.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Batches {
    /// The batches one behind the other. The first may begin before the offset asked for.
    pub bytes: Bytes,
    /// Offset behind the last batch: where a reader goes on.
    pub next_offset: Offset,
}

/// The outcome of a read.
#[derive(Debug)]
pub enum Read {
    /// The batches; none where none is below the bound or within the size.
    Ready(Batches),
    /// A thread that may block must read; see [`ColdRead::run`].
    Cold(Box<ColdRead>),
}

/// What reads have found out about a log.
#[derive(Debug, Default)]
pub(crate) struct ReadHints {
    /// Where consumers stopped reading, so that going on needs no search.
    places: [Option<Place>; HINTS],
    oldest: usize,
    /// Counts how often the files became others: what was planned before is void.
    turn: u64,
    damages: Vec<Damage>,
    /// Segments of which others than reads have found a part lost, or that the device cannot read.
    suspects: BTreeSet<Offset>,
    pub recent: Recent,
}

/// Where a batch begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub offset: Offset,
    pub segment: Offset,
    pub position: u64,
    /// Where its reader looks next what is in memory, if what is before had to be read from the device.
    pub cold_until: Option<u64>,
    /// How long the segment was then.
    pub limit: u64,
}

/// Offsets that cannot be read since the file does not hold them any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Damage {
    pub segment: Offset,
    pub position: u64,
    pub first: Offset,
    /// The last one that was asked for in vain; those behind it may be lost, too.
    pub last: Offset,
    pub reason: String,
}

impl ReadHints {
    pub fn find(&self, offset: Offset, segment: Offset) -> Option<Place> {
        let mut places = self.places.iter().flatten();
        places.find(|p| p.offset == offset && p.segment == segment).copied()
    }

    /// Replaces the place from which the same reader came, else the oldest one.
    pub fn note(&mut self, from: Offset, place: Place) {
        let same = |known: &Option<Place>| {
            known.is_some_and(|p| p.offset == from || p.offset == place.offset)
        };
        let slot = self.places.iter().position(same).unwrap_or_else(|| {
            self.oldest = (self.oldest + 1) % HINTS;
            self.oldest
        });
        self.places[slot] = Some(place);
    }

    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// Forgets everything, since the files are others now.
    pub fn clear(&mut self) {
        self.recent.clear();
        let recent = std::mem::take(&mut self.recent);
        *self = Self { turn: self.turn + 1, recent, ..Self::default() };
    }
}

impl Log {
    /// As [`Log::read`], where the newest batches are in memory and one of them is to be given;
    /// else `None`. A reader that finds nothing new has them kept from then on.
    ///
    /// # Errors
    /// Those of [`Log::read`].
    pub fn read_recent(
        &mut self,
        from: Offset,
        bytes_max: usize,
        until: Offset,
    ) -> Result<Option<RecentBatches>, ReadError> {
        self.check_online()?;
        let until = until.min(self.written_end());
        if from < self.start || from > self.end {
            return Ok(None);
        }
        if from >= until {
            self.hints.recent.want();
            return Ok(None);
        }
        self.check_damage(from)?;
        Ok(self.hints.recent.find(from, bytes_max, until))
    }

    /// Gives back the memory of the newest batches if none came since the last call.
    pub fn age_recent(&mut self) {
        self.hints.recent.age();
    }

    /// The batches from the one that holds `from` on, as many as fit into `bytes_max`, all before
    /// `until`. With `min_one` the first one comes whatever its size. Staged batches are written
    /// first, if they are to be read. Waits for no device: what is not in memory comes back as [`Read::Cold`].
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] where `from` is not between the log's start and end;
    /// [`LogError::Damaged`] where a read has found before that the offset is lost.
    pub fn read(
        &mut self,
        from: Offset,
        bytes_max: usize,
        until: Offset,
        min_one: bool,
    ) -> Result<Read, ReadError> {
        self.check_online()?;
        if until > self.written_end() {
            self.flush_for_read()?;
        }
        let (start, end) = (self.start, self.end);
        if from < start || from > end {
            return Err(ReadError::OutOfRange { offset: from, start, end });
        }
        let nothing = Batches { bytes: Bytes::new(), next_offset: from };
        if from >= until.min(self.written_end()) {
            return Ok(Read::Ready(nothing));
        }
        self.check_damage(from)?;
        for at in self.segment_of(from)..=self.closed.len() {
            let plan = Plan { until, bytes_max, min_one, ..self.place_in(at, from) };
            if let cold_until @ Some(_) = self.cold_until(&plan) {
                let read = ColdRead { cold_until, ..self.hand_out(plan, at) };
                return Ok(Read::Cold(Box::new(read)));
            }
            match plan.find(read_full_cached_at) {
                Ok(Found::Batches { batches, position }) => {
                    if !batches.bytes.is_empty() {
                        let offset = batches.next_offset;
                        let segment = plan.segment;
                        let place = Place {
                            offset,
                            segment,
                            position,
                            cold_until: None,
                            limit: plan.limit,
                        };
                        self.hints.note(from, place);
                    }
                    return Ok(Read::Ready(batches));
                }
                // Compaction may have emptied the end of a segment.
                Ok(Found::Exhausted) => {}
                Err(Fault::Io(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                    let path = segment::path(&self.dir, plan.segment, LOG);
                    let fault = LogError::Io { action: "read", path, cause: error };
                    self.note_suspect(&fault);
                    return Err(fault.into());
                }
                Err(Fault::Io(_) | Fault::Index(_) | Fault::Batch { .. }) => {
                    return Ok(Read::Cold(Box::new(self.hand_out(plan, at))));
                }
            }
        }
        Ok(Read::Ready(nothing))
    }

    /// As [`Log::read`], waiting for the device where needed.
    ///
    /// # Errors
    /// Those of [`Log::read`].
    pub fn read_blocking(
        &mut self,
        from: Offset,
        bytes_max: usize,
        until: Offset,
        min_one: bool,
    ) -> Result<Batches, ReadError> {
        match self.read(from, bytes_max, until, min_one)? {
            Read::Ready(batches) => Ok(batches),
            Read::Cold(read) => {
                let (result, learned) = read.run();
                self.learn(learned);
                Ok(result?)
            }
        }
    }

    /// Takes note of what a cold read found out. Whether it still holds: the files may have become
    /// others since, and then what it failed at does not count.
    pub fn learn(&mut self, learned: Learned) -> bool {
        let Learned { turn, from, segment, file, index, place, rebuilt, damage, suspect } = learned;
        let at = self.segment_of(segment);
        let base = self.closed.get(at).map_or(self.active.base, |segment| segment.base);
        if turn != self.hints.turn || base != segment {
            return false;
        }
        match (self.closed.get_mut(at), rebuilt) {
            (Some(closed), rebuilt) => closed.adopt(file, index, rebuilt.is_some()),
            (None, Some(Rebuilt { index, limit })) => {
                self.active.offset_index.replace_before(limit, index);
            }
            (None, None) => {}
        }
        if let Some(place) = place {
            self.hints.note(from, place);
        }
        if let Some(damage) = damage {
            self.note_damage(damage);
        }
        self.hints.suspects.extend(suspect);
        true
    }

    /// Notes that a part of a segment is lost, if that is what the fault says: to be mended.
    pub fn note_suspect(&mut self, fault: &LogError) {
        self.hints.suspects.extend(fault.damaged_segment());
    }

    /// The segments of which a part is known to be lost, in order. What was found in one stays known
    /// after retention has taken it away.
    pub fn damaged_segments(&self) -> BTreeSet<Offset> {
        let damaged = self.hints.damages.iter().map(|damage| damage.segment);
        let damaged = damaged.chain(self.hints.suspects.iter().copied());
        damaged.filter(|base| self.has_segment(*base)).collect()
    }

    /// Whether a segment begins there.
    pub fn has_segment(&self, base: Offset) -> bool {
        let closed = self.closed.binary_search_by_key(&base, |segment| segment.base);
        closed.is_ok() || self.active.base == base
    }

    /// Where what is lost of a segment begins, place by place; none where more may be lost than reads
    /// have found.
    pub fn lost_of(&self, segment: Offset) -> Vec<Offset> {
        let damages = self.hints.damages.iter().filter(|damage| damage.segment == segment);
        match self.hints.suspects.contains(&segment) {
            true => Vec::new(),
            false => damages.map(|damage| damage.first).collect(),
        }
    }

    /// Whatever was found damaged is to be looked at anew.
    pub fn forget_damage(&mut self) {
        self.hints.clear();
    }

    /// Places that were found damaged.
    pub fn damage_count(&self) -> usize {
        self.hints.damages.len()
    }

    fn note_damage(&mut self, damage: Damage) {
        let damages = &mut self.hints.damages;
        let same = |known: &&mut Damage| {
            known.segment == damage.segment && known.position == damage.position
        };
        if let Some(known) = damages.iter_mut().find(same) {
            known.first = known.first.min(damage.first);
            known.last = known.last.max(damage.last);
            return;
        }
        let Damage { segment, position, first, ref reason, .. } = damage;
        let file = segment::path(&self.dir, segment, LOG);
        tracing::error!(
            file = %file.display(), position, %first, reason,
            "a log file is damaged; what cannot be read from this offset on is not served, the rest \
             is: it is taken from another replica, where there is one; else stop the node and bring \
             the file back from a backup, or seek the readers past it"
        );
        if damages.len() < DAMAGES_MAX {
            damages.push(damage);
        }
    }

    fn check_damage(&self, from: Offset) -> Result<(), LogError> {
        let holds = |damage: &&Damage| (damage.first..=damage.last).contains(&from);
        let Some(damage) = self.hints.damages.iter().find(holds) else { return Ok(()) };
        let Damage { segment, position, ref reason, .. } = *damage;
        let file = segment::path(&self.dir, segment, LOG);
        Err(LogError::Damaged { file, position, reason: reason.clone() })
    }

    /// A read of all of one segment from the offset on, as it is run for a look-up.
    pub(crate) fn read_of_segment(&self, at: usize, from: Offset) -> ColdRead {
        let until = self.end_of(at);
        let place = self.place_in(at, from);
        let plan = Plan { until, bytes_max: LOOK_UP_BYTES, min_one: true, ..place };
        ColdRead { behind: Vec::new(), ..self.hand_out(plan, at) }
    }

    /// Where the reader looks next what is in memory, if it comes from what had to be read from the device
    /// and is to go on past that. To try would have the kernel read ahead, into memory. Not where somebody
    /// appends: he would wait for such a read, which holds the file's lock.
    fn cold_until(&self, plan: &Plan) -> Option<u64> {
        let Place { position, cold_until, limit, .. } = self.hints.find(plan.from, plan.segment)?;
        let is_near = plan.limit < position + STRETCH_BYTES;
        if is_near || plan.bytes_max < LARGE_BYTES || plan.limit != limit {
            return None;
        }
        if position < cold_until? {
            return cold_until;
        }
        // Others may have what comes in memory. One page tells, and nothing is read ahead for that.
        let is_cold = plan.file.as_ref()?.read_cached_at(&mut [0], position).is_err();
        is_cold.then_some(position + STRETCH_BYTES)
    }

    /// A plan as another thread can run it.
    fn hand_out(&self, plan: Plan, at: usize) -> ColdRead {
        let mut behind = Vec::new();
        if at < self.closed.len() {
            let (base, bytes) = (self.active.base, Some(self.written_bytes()));
            let file = Some(Arc::clone(&self.active.file));
            behind.push(Behind { base, end: self.end, file, bytes });
        }
        for next in (at + 1..self.closed.len()).rev() {
            let (segment, end) = (&self.closed[next], self.end_of(next));
            let file = segment.open_file().cloned();
            behind.push(Behind { base: segment.base, end, file, bytes: None });
        }
        let learned = Learned {
            turn: self.hints.turn,
            from: plan.from,
            segment: plan.segment,
            file: None,
            index: None,
            place: None,
            rebuilt: None,
            damage: None,
            suspect: None,
        };
        ColdRead {
            plan,
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            index_interval_bytes: self.config.index_interval_bytes,
            index: self.closed.get(at).and_then(|segment| segment.open_offset_index().cloned()),
            is_active: at == self.closed.len(),
            behind,
            cold_until: None,
            look: None,
            at_end: false,
            learned,
        }
    }

    /// Which segment holds the offset, the active one counted last.
    pub(crate) fn segment_of(&self, offset: Offset) -> usize {
        if offset >= self.active.base {
            return self.closed.len();
        }
        self.closed.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }

    /// The leader epochs that batches from the offset on can have, as far as it is known.
    pub(crate) fn epochs_from(&self, base: Offset) -> RangeInclusive<i32> {
        let epoch_or = |epoch: Option<LeaderEpoch>, other| epoch.map_or(other, |epoch| epoch.0);
        let first = epoch_or(self.epochs.epoch_of(base), i32::MIN);
        first..=epoch_or(self.epochs.latest(), i32::MAX)
    }

    /// Where to begin looking for the offset in a segment.
    fn place_in(&self, at: usize, from: Offset) -> Plan {
        let base = self.closed.get(at).map_or(self.active.base, |segment| segment.base);
        let known = self.hints.find(from, base).map(|place| Start::Stopped(place.position));
        let (file, limit, start) = match self.closed.get(at) {
            Some(segment) => {
                let search = || Start::Search(segment.open_offset_index().cloned());
                (segment.open_file().cloned(), segment.bytes, known.unwrap_or_else(search))
            }
            None => {
                let relative = u32::try_from(from - base).unwrap_or(0);
                let search = || Start::Entry(self.active.offset_index.lookup_entry(relative));
                let file = Some(Arc::clone(&self.active.file));
                (file, self.written_bytes(), known.unwrap_or_else(search))
            }
        };
        Plan {
            file,
            segment: base,
            limit,
            behind: self.end_of(at),
            start,
            skip_max: plan::skip_max(self.config.index_interval_bytes),
            epochs: self.epochs_from(base),
            from,
            until: from,
            bytes_max: 0,
            min_one: false,
        }
    }
}

#[cfg(test)]
mod tests;
