//! Mending: a segment is read whole, and what of it is damaged is taken from elsewhere.
//!
//! Nothing is written before somebody has something of it. The result is a new segment, written
//! and put in place as one of a compaction is ([`Log::begin_swap`] and on): a crash at any point
//! leaves the former segment or the new one.
//!
//! Where offsets may be missing, others may have compacted more or less. A record that is gone here
//! may need a tombstone or a marker that is gone, too, and what was here may have hidden what still
//! is. So a hole is filled there only by batches that have as many bytes as it: those it had.
//!
//! Not here: what of a segment is sound (`soundness`), how damage is found (`read`), who has the
//! batches (`node`).

mod soundness;

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use records::{BatchHeader, check_crc, split_batches};
use types::{Millis, Offset};

use super::rewrite::LastBatches;
use super::writer::Writer;
use super::{Compaction, CompactionError, Pace, Rewritten, Source};
use crate::Log;
use crate::error::LogError;
use crate::leader_epochs::LeaderEpochs;
use crate::scan::Scanner;
use crate::txn_index::read_entries;
use soundness::Place;

/// Written at once.
const CHUNK_BYTES: usize = 256 << 10;
/// The pace is told of so many bytes at once.
const PACE_BYTES: u64 = 256 << 10;

/// Gives whole batches from the one that holds an offset on; `None` where nobody has them.
pub type Donor<'a> = &'a mut dyn FnMut(Offset) -> Option<Bytes>;

/// Gets each batch of somebody else that is taken.
type Take<'a> = &'a mut dyn FnMut(&BatchHeader, &[u8]) -> Result<(), CompactionError>;

/// A segment that is to be looked through and mended; see the head of this module.
#[derive(Debug)]
pub struct Mending {
    /// What a writer needs to know, and that nobody else rewrites the log meanwhile.
    frame: Compaction,
    source: Source,
    /// Before this offset, and anywhere in a compacted topic, offsets may be missing.
    compacted_end: Offset,
    /// The leader epochs that the batches can have. No CRC covers them.
    epochs: RangeInclusive<i32>,
    /// Which of them each batch of somebody else must have: it is of this log's history then,
    /// whoever gives it.
    history: LeaderEpochs,
}

/// What became of a segment.
#[derive(Debug)]
pub enum Mended {
    /// Nothing is wrong with it.
    Sound,
    /// One to take its place; so many batches that nobody has are in it as they were.
    Rewritten(Rewritten, usize),
    /// It is damaged, and nobody has what is missing.
    Lacking,
}

/// What a first look at the segment tells.
enum Survey {
    Sound,
    /// Somebody has a part of what is damaged.
    Helpful,
    Lacking,
}

/// Why there is nothing to put in place.
enum Failure {
    Lacking,
    Error(CompactionError),
}

impl<E: Into<CompactionError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl Log {
    /// Plans to mend the closed segment that begins at `base`; `None` where there is none, or
    /// where the log is being rewritten already.
    pub fn plan_mending(&mut self, base: Offset, now: Millis) -> Option<Mending> {
        let at = self.closed.iter().position(|segment| segment.base == base)?;
        let segment = &self.closed[at];
        let (bytes, modified) = (segment.bytes, segment.modified);
        let source = Source { base, end: self.end_of(at), bytes, modified };
        let epochs = self.epochs_from(base);
        let frame = Compaction {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            config: Arc::clone(&self.config),
            generation: self.generation,
            now,
            sources: vec![source],
            first_dirty: base,
            until: source.end,
            last_batches: LastBatches::default(),
            txn_indexes: self.txn_indexes.clone(),
            chunk_bytes: CHUNK_BYTES,
            started: None,
            tally: Cell::default(),
            _claim: self.claim_rewriting()?,
        };
        let history = self.epochs.clone();
        Some(Mending { frame, source, compacted_end: self.compacted_end, epochs, history })
    }

    /// Where the segment begins that takes the appends: to be mended, it must be rolled.
    pub fn active_base(&self) -> Offset {
        self.active.base
    }
}

impl Mending {
    /// Looks the segment through, and writes it anew where it is damaged and `donor` has something
    /// of what is lost. Blocks.
    ///
    /// # Errors
    /// [`CompactionError`]; the log is as it was.
    pub fn run(&self, donor: Donor<'_>, pace: Pace<'_>) -> Result<Mended, CompactionError> {
        match self.survey(donor, pace)? {
            Survey::Sound => return Ok(Mended::Sound),
            Survey::Lacking => return Ok(Mended::Lacking),
            Survey::Helpful => {}
        }
        let group = [self.source];
        let mut writer = Writer::create(&self.frame, &group)?;
        match self.write(&mut writer, donor, pace) {
            Ok(lacking) => Ok(Mended::Rewritten(writer.finish(pace)?, lacking)),
            Err(failure) => {
                writer.discard()?;
                match failure {
                    Failure::Lacking => Ok(Mended::Lacking),
                    Failure::Error(error) => Err(error),
                }
            }
        }
    }

    /// Looks the segment through, and asks for what is damaged until somebody has some of it.
    fn survey(&self, donor: Donor<'_>, pace: Pace<'_>) -> Result<Survey, CompactionError> {
        let file = self.frame.open(self.source.base)?;
        let mut scanner = Scanner::once(file.as_ref(), self.source.bytes, CHUNK_BYTES);
        let (mut place, mut told, mut found) = (self.front(), 0, Survey::Sound);
        while !self.is_end(place) {
            if let Ok(header) = self.look(&mut scanner, place) {
                place = place.after(&header);
            } else {
                let hole_end = self.hole_end(&mut scanner, place, pace)?;
                let mut take = |_: &BatchHeader, _: &[u8]| Ok(());
                if self.fill(&mut scanner, (place, hole_end), donor, &mut take).is_ok() {
                    return Ok(Survey::Helpful);
                }
                let Some((_, behind)) = self.broken(&mut scanner, place) else {
                    return Ok(Survey::Lacking);
                };
                (place, found) = (behind, Survey::Lacking);
            }
            told = tell(pace, told, place)?;
        }
        Ok(found)
    }

    /// Writes all of the segment; says how many batches are as broken as they were.
    fn write(
        &self,
        writer: &mut Writer<'_>,
        donor: Donor<'_>,
        pace: Pace<'_>,
    ) -> Result<usize, Failure> {
        let file = self.frame.open(self.source.base)?;
        let mut scanner = Scanner::once(file.as_ref(), self.source.bytes, CHUNK_BYTES);
        let (mut place, mut told, mut kept, mut filled) = (self.front(), 0, 0, 0);
        while !self.is_end(place) {
            told = tell(pace, told, place)?;
            if let Ok(header) = self.look(&mut scanner, place) {
                let batch = scanner.batch(place.at, &header).map_err(|cause| self.fault(cause))?;
                writer.push(&header, batch, pace)?;
                place = place.after(&header);
                continue;
            }
            let hole = (place, self.hole_end(&mut scanner, place, pace)?);
            // Whether it is of use is known at its end.
            match self.fill(&mut scanner, hole, donor, &mut |_, _| Ok(())) {
                Ok(_) => {
                    let mut take =
                        |header: &BatchHeader, batch: &[u8]| writer.push(header, batch, &mut *pace);
                    place = self.fill(&mut scanner, hole, donor, &mut take)?;
                    filled += 1;
                }
                // Others may be mended; this one stays named and is not served.
                Err(Failure::Lacking) => {
                    place = self.keep(&mut scanner, place, writer, pace)?;
                    kept += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
        if filled == 0 {
            return Err(Failure::Lacking);
        }
        for txn in read_entries(self.frame.disk.as_ref(), &self.frame.dir, self.source.base)? {
            writer.push_aborted(txn);
        }
        Ok(kept)
    }

    /// Gives `take` batches of others from the place on that stand for what is damaged there, and
    /// says where the file goes on behind them.
    fn fill(
        &self,
        scanner: &mut Scanner<'_>,
        (from, hole_end): (Place, Option<Place>),
        donor: Donor<'_>,
        take: Take<'_>,
    ) -> Result<Place, Failure> {
        let mut place = from;
        loop {
            let begin = place.next;
            let batches = donor(begin).ok_or(Failure::Lacking)?;
            for cut in split_batches(&batches) {
                let Ok((range, header)) = cut else { break };
                if header.last_offset() < place.next {
                    continue;
                }
                match hole_end {
                    // The donor has nothing more of it.
                    Some(end) if header.base_offset() >= end.next => place.next = end.next,
                    Some(_) | None => {
                        self.check_given(&header, &batches[range.clone()], place.next)?;
                        take(&header, &batches[range])?;
                        place = place.after(&header);
                    }
                }
                if let Some(behind) = self.behind(scanner, place, hole_end)? {
                    return Ok(behind);
                }
            }
            if place.next == begin {
                return Err(Failure::Lacking);
            }
        }
    }

    /// Where the file goes on once the batches of others have come to a place; `None` where more of
    /// them are needed.
    fn behind(
        &self,
        scanner: &mut Scanner<'_>,
        place: Place,
        hole_end: Option<Place>,
    ) -> Result<Option<Place>, Failure> {
        let Some(end) = hole_end else {
            if place.next >= self.source.end {
                return Ok(Some(Place { at: place.at.max(self.source.bytes), ..place }));
            }
            return Ok(self.look(scanner, place).is_ok().then_some(place));
        };
        let fits = place.at <= end.at && place.next <= end.next;
        if fits && place.next < end.next {
            return Ok(None);
        }
        if fits && place.at == end.at { Ok(Some(end)) } else { Err(Failure::Lacking) }
    }

    /// Whether somebody else's batch may be taken for the next one.
    fn check_given(&self, header: &BatchHeader, batch: &[u8], next: Offset) -> Result<(), Failure> {
        let epoch = self.history.epoch_of(header.base_offset()).map_or(-1, |epoch| epoch.0);
        let is_ours = header.partition_leader_epoch == epoch;
        let fits = is_ours && self.oddity(header, next).is_none();
        if fits && check_crc(batch, header).is_ok() { Ok(()) } else { Err(Failure::Lacking) }
    }

    /// Copies a broken batch as it is, if its header says where the next one is.
    fn keep(
        &self,
        scanner: &mut Scanner<'_>,
        place: Place,
        writer: &mut Writer<'_>,
        pace: Pace<'_>,
    ) -> Result<Place, Failure> {
        let (header, behind) = self.broken(scanner, place).ok_or(Failure::Lacking)?;
        let batch = scanner.batch(place.at, &header).map_err(|_| Failure::Lacking)?;
        writer.push(&header, batch, pace)?;
        Ok(behind)
    }

    fn fault(&self, cause: std::io::Error) -> LogError {
        LogError::Io { action: "read", path: self.frame.path(self.source.base), cause }
    }
}

/// Tells the pace how far a walk has come, if that is much more than was told; gives what it knows.
fn tell(pace: Pace<'_>, told: u64, place: Place) -> Result<u64, CompactionError> {
    if place.at < told + PACE_BYTES {
        return Ok(told);
    }
    take(pace, place.at - told)?;
    Ok(place.at)
}

fn take(pace: Pace<'_>, bytes: u64) -> Result<(), CompactionError> {
    if pace(bytes).is_break() { Err(CompactionError::Stopped) } else { Ok(()) }
}
