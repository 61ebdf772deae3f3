//! What of a segment is sound, and where it is sound again behind what is not.
//!
//! Not here: what is done about the rest (`mending`).

use std::io;

use records::{BatchHeader, check_crc};
use types::Offset;

use super::{Mending, PACE_BYTES, take};
use crate::compaction::{CompactionError, Pace};
use crate::scan::Scanner;

/// A batch that claims more is believed only if another one follows it: a flipped length must not
/// cost the memory that it claims.
const BELIEVED_BYTES: usize = 8 << 20;

/// Where a walk over the segment stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub at: u64,
    /// No batch behind has a smaller offset.
    pub next: Offset,
}

impl Place {
    pub fn after(self, header: &BatchHeader) -> Self {
        Self { at: self.at + header.batch_bytes() as u64, next: header.next_offset() }
    }
}

impl Mending {
    pub(super) fn front(&self) -> Place {
        Place { at: 0, next: self.source.base }
    }

    pub(super) fn is_end(&self, place: Place) -> bool {
        let has_all = place.next >= self.source.end || self.may_have_gap(place.next);
        has_all && place.at >= self.source.bytes
    }

    /// As recovery does.
    pub(super) fn may_have_gap(&self, next: Offset) -> bool {
        self.frame.config.compact || next < self.compacted_end
    }

    /// A broken batch whose header says where the next one is, and that place.
    pub(super) fn broken(
        &self,
        scanner: &mut Scanner<'_>,
        place: Place,
    ) -> Option<(BatchHeader, Place)> {
        scanner.go_to(place.at);
        let Ok(Some(Ok((_, header)))) = scanner.step() else { return None };
        let behind = place.after(&header);
        let is_plain = self.oddity(&header, place.next).is_none();
        let goes_on = is_plain && (self.is_end(behind) || self.look(scanner, behind).is_ok());
        goes_on.then_some((header, behind))
    }

    /// Where a hole ends that begins at a damaged place, if offsets may be missing there: where the
    /// next sound batch stands behind it, or the segment ends.
    pub(super) fn hole_end(
        &self,
        scanner: &mut Scanner<'_>,
        from: Place,
        pace: Pace<'_>,
    ) -> Result<Option<Place>, CompactionError> {
        if !self.may_have_gap(from.next) {
            return Ok(None);
        }
        // What the broken batch says itself comes first: records may hold what looks like batches.
        let told = self.broken(scanner, from).map(|(_, behind)| behind.at);
        let mut at = told.unwrap_or(from.at + 1);
        let is_like = |header: &BatchHeader| self.oddity(header, from.next).is_none();
        while at < self.source.bytes {
            let Some(found) = scanner.find(at..at + PACE_BYTES, is_like) else {
                at += PACE_BYTES;
                take(pace, PACE_BYTES)?;
                continue;
            };
            if let Ok(header) = self.look(scanner, Place { at: found, ..from }) {
                return Ok(Some(Place { at: found, next: header.base_offset() }));
            }
            at = found + 1;
        }
        Ok(Some(Place { at: self.source.bytes, next: self.source.end }))
    }

    /// The sound batch at a place, or what is wrong there.
    pub(super) fn look(
        &self,
        scanner: &mut Scanner<'_>,
        place: Place,
    ) -> Result<BatchHeader, String> {
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
    ) -> io::Result<Result<BatchHeader, String>> {
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
    pub(super) fn oddity(&self, header: &BatchHeader, next: Offset) -> Option<String> {
        let (first, last) = (header.base_offset(), header.last_offset());
        let epoch = header.partition_leader_epoch;
        let is_next = first == next || (first > next && self.may_have_gap(next));
        if !is_next || last >= self.source.end {
            return Some(format!("a batch of offsets {first} to {last} where {next} is due"));
        }
        (!self.epochs.contains(&epoch)).then(|| format!("no leader had epoch {epoch} there"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::ops::ControlFlow;
    use std::os::unix::fs::FileExt;

    use bytes::BytesMut;
    use records::{BatchBuilder, Compression};
    use types::{LeaderEpoch, Millis};

    use super::*;
    use crate::testing::{open_new, sync};
    use crate::{AppendOrigin, LogConfig, Mended};

    #[test]
    fn a_walk_over_a_hole_keeps_the_pace_and_ends_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig { compact: true, segment_bytes: 1_000_000, ..LogConfig::default() };
        let mut log = open_new(dir.path(), config);
        for n in 0..11 {
            let mut batch = BatchBuilder::new(Compression::None);
            batch.append(0, Some(b"k"), Some(&[n; 100_000]), &[]);
            let (batch, origin) = (BytesMut::from(batch.build()), AppendOrigin::Client);
            log.append_as_leader(batch, LeaderEpoch(0), origin, Millis(0)).unwrap();
        }
        log.finish_roll().unwrap();
        sync(&mut log);
        let path = crate::segment::path(&dir.path().join("t-0"), Offset::ZERO, crate::segment::LOG);
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[0; 600_000], 150_000).unwrap();

        let mending = log.plan_mending(Offset::ZERO, Millis(0)).unwrap();
        let mut told = 0;
        let mut nobody = |_| None;
        let mended = mending.run(&mut nobody, &mut |bytes| {
            told += bytes;
            ControlFlow::Continue(())
        });
        assert!(matches!(mended, Ok(Mended::Lacking)), "{mended:?}");
        assert!(told > 500_000, "{told}");
        let stopped = mending.run(&mut nobody, &mut |_| ControlFlow::Break(()));
        assert!(matches!(stopped, Err(CompactionError::Stopped)), "{stopped:?}");
    }
}
