//! The front of a segment that was synced before a crash.
//!
//! Everything before the recovery point was forced onto the disk, so that it is not checked again:
//! from header to header a walk leads to the place where checking begins, and builds the indexes
//! on its way. The index files are of no use: one of the two may be older than the other.

use std::sync::Arc;

use types::{Millis, Offset};

use crate::Log;
use crate::disk::DiskFile;
use crate::error::{IoContext, LogError};
use crate::log::Opening;
use crate::scan::{Scanner, order_fault};
use crate::segment::{self, ActiveSegment, LOG, Segment};

impl Log {
    /// The batches of a segment before `point`, noted but not checked, and the offset behind them.
    /// They end early where a header cannot be right: who checks from there finds out why.
    pub(super) fn synced_front(
        &mut self,
        segment: &Segment,
        file: &Arc<dyn DiskFile>,
        opening: Opening,
        now: Millis,
    ) -> Result<(ActiveSegment, Offset), LogError> {
        let point = opening.recovery_point;
        let path = segment::path(&self.dir, segment.base, LOG);
        let mut front = ActiveSegment::empty(segment.base, Arc::clone(file), now);
        let mut next = segment.base;
        if point <= segment.base {
            return Ok((front, next));
        }
        let mut scanner = Scanner::headers(file.as_ref(), segment.bytes);
        while let Some(Ok((_, header))) = scanner.step().context("read", &path)? {
            let is_odd = order_fault(&header, next, segment.base).is_some()
                || (opening.cuts_damage && scanner.is_denied(&header).context("read", &path)?);
            if is_odd || header.base_offset() >= point {
                break;
            }
            front.note(&header, self.config.index_interval_bytes);
            self.note_epoch(&header);
            next = header.next_offset();
        }
        Ok((front, next))
    }
}

#[cfg(test)]
mod tests {
    use types::LeaderEpoch;

    use super::*;
    use crate::rest::Size;
    use crate::testing::{batch, clean, crashed, open, open_new, sync};
    use crate::{AppendOrigin, LogConfig};

    fn config() -> LogConfig {
        LogConfig { index_interval_bytes: 200, ..LogConfig::default() }
    }

    fn append(log: &mut Log, batches: u32) {
        for seed in 0..batches {
            let epoch = LeaderEpoch(i32::try_from(log.end_offset().get()).unwrap());
            let origin = AppendOrigin::Client;
            log.append_as_leader(batch(2, seed), epoch, origin, Millis(0)).unwrap();
        }
        log.flush_writes().unwrap();
    }

    #[test]
    fn what_was_synced_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_new(dir.path(), config());
        append(&mut log, 20);
        sync(&mut log);
        let (point, synced_bytes) = (log.durable_end(), log.bytes());
        append(&mut log, 3);
        let (end, bytes) = (log.end_offset(), log.bytes());
        let epochs = log.leader_epochs().entries().to_vec();
        drop(log);

        let log = open(dir.path(), config(), crashed(point)).unwrap();
        assert_eq!((log.scanned().bytes, log.scanned().segments), (bytes - synced_bytes, 1));
        assert_eq!((log.end_offset(), log.bytes()), (end, bytes));
        assert_eq!(log.leader_epochs().entries(), epochs);
        drop(log);
        let log = open(dir.path(), config(), crashed(end)).unwrap();
        assert_eq!(log.scanned(), Size::default(), "all of it was synced");
        assert_eq!(log.end_offset(), end);
    }

    #[test]
    fn indexes_of_the_front_are_those_of_a_whole_scan() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_new(dir.path(), config());
        append(&mut log, 20);
        let half = log.end_offset();
        // Leaves index files that reach up to here.
        log.close().unwrap();
        let mut log = open(dir.path(), config(), clean(half)).unwrap();
        append(&mut log, 20);
        drop(log);

        let whole = open(dir.path(), config(), crashed(Offset::ZERO)).unwrap();
        let (offsets, times) = (whole.active.offset_index, whole.active.time_index);
        assert!(offsets.len() > 2);
        for point in [half.get() - 7, half.get(), half.get() + 5] {
            let log = open(dir.path(), config(), crashed(Offset::new(point))).unwrap();
            assert_eq!(log.active.offset_index, offsets, "{point}");
            assert_eq!(log.active.time_index, times, "{point}");
            assert_eq!(log.active.first_timestamp, Some(1000), "{point}");
        }
    }
}
