//! Mending: a segment is read whole, and what of it is damaged is taken from elsewhere.
//!
//! The result is a new segment, written and put in place as one of a compaction is
//! ([`Log::begin_swap`] and on): a crash at any point leaves the former segment or the new one.
//!
//! Not here: how damage is found (`read`), who has the batches (`node`).

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
use crate::scan::Scanner;
use crate::txn_index::read_entries;

/// Written at once.
const CHUNK_BYTES: usize = 256 << 10;
/// The pace is told of so many bytes at once.
const PACE_BYTES: u64 = 256 << 10;
/// A batch that claims more is believed only if another one follows it: a flipped length must not
/// cost the memory that it claims.
const BELIEVED_BYTES: usize = 8 << 20;

/// Gives whole batches from the one that holds an offset on; `None` where nobody has them.
pub type Donor<'a> = &'a mut dyn FnMut(Offset) -> Option<Bytes>;

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

/// Where a walk over the segment stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u64,
    /// No batch behind has a smaller offset.
    next: Offset,
}

impl Place {
    fn after(self, header: &BatchHeader) -> Self {
        Self { at: self.at + header.batch_bytes() as u64, next: header.next_offset() }
    }
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
        Some(Mending { frame, source, compacted_end: self.compacted_end, epochs })
    }

    /// Where the segment begins that takes the appends: to be mended, it must be rolled.
    pub fn active_base(&self) -> Offset {
        self.active.base
    }
}

impl Mending {
    /// Whether the whole segment is sound. Blocks.
    ///
    /// # Errors
    /// [`CompactionError`], where the file is gone or the pace says so.
    pub fn is_sound(&self, pace: Pace<'_>) -> Result<bool, CompactionError> {
        let file = self.frame.open(self.source.base)?;
        let mut scanner = Scanner::once(file.as_ref(), self.source.bytes, CHUNK_BYTES);
        let (mut place, mut told) = (self.front(), 0);
        while !self.is_end(place) {
            let Ok(header) = self.look(&mut scanner, place) else { return Ok(false) };
            place = place.after(&header);
            if place.at - told >= PACE_BYTES {
                if pace(place.at - told).is_break() {
                    return Err(CompactionError::Stopped);
                }
                told = place.at;
            }
        }
        Ok(true)
    }

    /// Looks the segment through, and writes it anew where it is damaged, with what `donor` gives.
    /// Blocks.
    ///
    /// # Errors
    /// [`CompactionError`]; the log is as it was.
    pub fn run(&self, donor: Donor<'_>, pace: Pace<'_>) -> Result<Mended, CompactionError> {
        if self.is_sound(pace)? {
            return Ok(Mended::Sound);
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

    /// Writes all of the segment; says how many batches are as broken as they were.
    fn write(
        &self,
        writer: &mut Writer<'_>,
        donor: Donor<'_>,
        pace: Pace<'_>,
    ) -> Result<usize, Failure> {
        let file = self.frame.open(self.source.base)?;
        let mut scanner = Scanner::once(file.as_ref(), self.source.bytes, CHUNK_BYTES);
        let (mut place, mut kept, mut filled) = (self.front(), 0, 0);
        while !self.is_end(place) {
            if let Ok(header) = self.look(&mut scanner, place) {
                let batch = scanner.batch(place.at, &header).map_err(|cause| self.fault(cause))?;
                writer.push(&header, batch, pace)?;
                place = place.after(&header);
                continue;
            }
            let begin = place;
            match self.fill(&mut scanner, &mut place, (&mut *writer, &mut *donor, &mut *pace)) {
                Ok(()) => filled += 1,
                // Others may be mended; this one stays named and is not served.
                Err(Failure::Lacking) if place.at == begin.at => {
                    self.keep(&mut scanner, &mut place, writer, pace)?;
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

    /// Takes batches of others from the place on, until the file is sound where they end.
    fn fill(
        &self,
        scanner: &mut Scanner<'_>,
        place: &mut Place,
        (writer, donor, pace): (&mut Writer<'_>, Donor<'_>, Pace<'_>),
    ) -> Result<(), Failure> {
        loop {
            let begin = place.next;
            let batches = donor(begin).ok_or(Failure::Lacking)?;
            for cut in split_batches(&batches) {
                let Ok((range, header)) = cut else { break };
                if header.last_offset() < place.next {
                    continue;
                }
                if self.goes_on(scanner, place, &header) {
                    return Ok(());
                }
                let batch = &batches[range];
                if self.oddity(&header, place.next).is_some() || check_crc(batch, &header).is_err()
                {
                    return Err(Failure::Lacking);
                }
                writer.push(&header, batch, pace)?;
                *place = place.after(&header);
                if place.next >= self.source.end {
                    place.at = place.at.max(self.source.bytes);
                    return Ok(());
                }
                if !self.may_have_gap(place.next) && self.look(scanner, *place).is_ok() {
                    return Ok(());
                }
            }
            if place.next == begin {
                return Err(Failure::Lacking);
            }
        }
    }

    /// Whether the rest is to come from the file again, by the batch that somebody else has next
    /// where offsets may be missing. Others may have compacted more, or less: a sound batch at the
    /// place tells nothing, unless it is that one.
    fn goes_on(&self, scanner: &mut Scanner<'_>, place: &mut Place, theirs: &BatchHeader) -> bool {
        if !self.may_have_gap(place.next) {
            return false;
        }
        if theirs.base_offset() >= self.source.end {
            place.at = place.at.max(self.source.bytes);
            return true;
        }
        self.look(scanner, *place).is_ok_and(|own| own.base_offset() == theirs.base_offset())
    }

    /// Copies a broken batch as it is, if its header says where the next one is.
    fn keep(
        &self,
        scanner: &mut Scanner<'_>,
        place: &mut Place,
        writer: &mut Writer<'_>,
        pace: Pace<'_>,
    ) -> Result<(), Failure> {
        scanner.go_to(place.at);
        let Ok(Some(Ok((at, header)))) = scanner.step() else { return Err(Failure::Lacking) };
        let behind = place.after(&header);
        let is_plain = self.oddity(&header, place.next).is_none();
        if !is_plain || !(self.is_end(behind) || self.look(scanner, behind).is_ok()) {
            return Err(Failure::Lacking);
        }
        let Ok(batch) = scanner.batch(at, &header) else { return Err(Failure::Lacking) };
        writer.push(&header, batch, pace)?;
        *place = behind;
        Ok(())
    }

    fn front(&self) -> Place {
        Place { at: 0, next: self.source.base }
    }

    fn is_end(&self, place: Place) -> bool {
        let has_all = place.next >= self.source.end || self.may_have_gap(place.next);
        has_all && place.at >= self.source.bytes
    }

    /// As recovery does.
    fn may_have_gap(&self, next: Offset) -> bool {
        self.frame.config.compact || next < self.compacted_end
    }

    /// The sound batch at a place, or what is wrong there.
    fn look(&self, scanner: &mut Scanner<'_>, place: Place) -> Result<BatchHeader, String> {
        let looked = self.try_look(scanner, place);
        let looked = looked.or_else(|_| {
            // What cannot be read may lie behind it.
            scanner.set_exact(true);
            let again = self.try_look(scanner, place);
            scanner.set_exact(false);
            again
        });
        looked.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn try_look(
        &self,
        scanner: &mut Scanner<'_>,
        place: Place,
    ) -> std::io::Result<Result<BatchHeader, String>> {
        scanner.go_to(place.at);
        let header = match scanner.step()? {
            Some(Ok((_, header))) => header,
            Some(Err(error)) => return Ok(Err(error.to_string())),
            None => return Ok(Err("the segment ends here".to_owned())),
        };
        if let Some(reason) = self.oddity(&header, place.next) {
            return Ok(Err(reason));
        }
        if header.batch_bytes() > BELIEVED_BYTES || header.base_offset() > place.next {
            let next = header.next_offset();
            let behind = scanner.step()?;
            let fits = |header: &BatchHeader| self.oddity(header, next).is_none();
            if behind.is_some_and(|step| !step.is_ok_and(|(_, header)| fits(&header))) {
                return Ok(Err("what follows the batch does not fit to it".to_owned()));
            }
        }
        let batch = scanner.batch(place.at, &header)?;
        Ok(check_crc(batch, &header).map(|()| header).map_err(|error| error.to_string()))
    }

    /// What no CRC tells: why a batch cannot be the next one.
    fn oddity(&self, header: &BatchHeader, next: Offset) -> Option<String> {
        let (first, last) = (header.base_offset(), header.last_offset());
        let epoch = header.partition_leader_epoch;
        let is_next = first == next || (first > next && self.may_have_gap(next));
        if !is_next || last >= self.source.end {
            return Some(format!("a batch of offsets {first} to {last} where {next} is due"));
        }
        (!self.epochs.contains(&epoch)).then(|| format!("no leader had epoch {epoch} there"))
    }

    fn fault(&self, cause: std::io::Error) -> LogError {
        LogError::Io { action: "read", path: self.frame.path(self.source.base), cause }
    }
}
