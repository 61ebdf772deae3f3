//! How old closed segments are, as their files tell: what retention and compaction go by.
//!
//! A segment that this process has rolled is known. Of the others the index of times, or the first
//! batch, must be read, on a thread that may block.

use std::path::PathBuf;
use std::sync::Arc;

use types::{Millis, Offset};

use crate::Log;
use crate::disk::Disk;
use crate::error::LogError;
use crate::segment::{Newest, Segment};

/// Segments that one read looks at.
const SEGMENTS_MAX: usize = 64;

/// A look at the files of segments, for a thread that may block.
#[derive(Debug)]
pub struct AgesRead {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segments: Vec<Segment>,
    with_first: bool,
}

/// What such a look has found out, for [`Log::learn_ages`].
#[derive(Debug)]
pub struct AgesLearned {
    known: Vec<(Offset, Option<Newest>, Option<Option<i64>>)>,
    /// The segment that could not be read.
    fault: Option<(Offset, LogError)>,
}

impl AgesRead {
    /// Reads. Blocks.
    pub fn run(self) -> AgesLearned {
        let mut learned = AgesLearned { known: Vec::new(), fault: None };
        for mut segment in self.segments {
            let newest = segment.newest(self.disk.as_ref(), &self.dir);
            let read = newest.and_then(|newest| {
                let first = self.with_first;
                let first = first.then(|| segment.first_timestamp(self.disk.as_ref(), &self.dir));
                Ok((segment.base, newest, first.transpose()?))
            });
            match read {
                Ok(known) => learned.known.push(known),
                Err(fault) => {
                    learned.fault = Some((segment.base, fault));
                    break;
                }
            }
        }
        learned
    }
}

impl Log {
    /// What [`Log::drop_old_segments`] has to know and does not; `None` where it knows all. To be
    /// asked again after each read.
    pub fn ages_for_retention(&self, high_watermark: Offset, now: Millis) -> Option<AgesRead> {
        if !self.config.delete {
            return None;
        }
        let from = self.expired_segments(high_watermark, now);
        let next = self.closed.get(from)?;
        let is_asked = self.config.retention_ms.is_some() && self.end_of(from) <= high_watermark;
        (is_asked && next.known_newest().is_none()).then(|| self.ages_read(from, false))
    }

    /// As [`Log::ages_for_retention`], for [`Log::compaction_need`] and [`Log::plan_compaction`].
    pub fn ages_for_compaction(&self) -> Option<AgesRead> {
        if !self.config.compact || self.is_uncleanable() {
            return None;
        }
        let with_first = self.config.max_compaction_lag_ms < Millis::MAX;
        if !with_first && self.config.min_compaction_lag_ms <= Millis::ZERO {
            return None;
        }
        let is_unknown = |at: &usize| {
            let segment = &self.closed[*at];
            self.end_of(*at) > self.compacted_end
                && (segment.known_newest().is_none()
                    || with_first && segment.known_first_timestamp().is_none())
        };
        let from = (0..self.closed.len()).find(is_unknown)?;
        Some(self.ages_read(from, with_first))
    }

    fn ages_read(&self, from: usize, with_first: bool) -> AgesRead {
        let segments = self.closed[from..].iter().take(SEGMENTS_MAX);
        let segments = segments.map(|one| Segment::new(one.base, one.bytes, one.modified));
        AgesRead {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            segments: segments.collect(),
            with_first,
        }
    }

    /// Takes note of what a look has found out.
    ///
    /// # Errors
    /// [`LogError`] where the files of a segment that is still there could not be read.
    pub fn learn_ages(&mut self, learned: AgesLearned) -> Result<(), LogError> {
        for (base, newest, first) in learned.known {
            if let Ok(at) = self.closed.binary_search_by_key(&base, |segment| segment.base) {
                self.closed[at].note_ages(newest, first);
            }
        }
        match learned.fault {
            Some((base, fault)) if self.closed.iter().any(|one| one.base == base) => Err(fault),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use types::LeaderEpoch;

    use super::*;
    use crate::testing::{batch, clean, open, open_new};
    use crate::{AppendOrigin, LogConfig};

    /// Three segments of two records each, the last one active, opened anew: of the closed ones,
    /// which end at 2 and 4, nothing is known but their files.
    fn reopened(dir: &Path, config: LogConfig) -> Log {
        let mut log = open_new(dir, config.clone());
        for seed in 0..3 {
            let (epoch, origin) = (LeaderEpoch(0), AppendOrigin::Client);
            log.append_as_leader(batch(2, seed), epoch, origin, Millis(0)).unwrap();
            if seed < 2 {
                log.roll(Millis(0)).unwrap();
            }
        }
        let recovery_point = log.close().unwrap();
        open(dir, config, clean(recovery_point)).unwrap()
    }

    fn by_time() -> LogConfig {
        LogConfig { retention_ms: Some(Millis(1000)), ..LogConfig::default() }
    }

    #[test]
    fn nothing_expires_before_its_age_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = reopened(dir.path(), by_time());
        let (end, now) = (Offset::new(4), Millis(9999));
        assert_eq!(log.drop_old_segments(end, now).unwrap(), 0);
        let read = log.ages_for_retention(end, now).unwrap();
        log.learn_ages(read.run()).unwrap();
        assert!(log.ages_for_retention(end, now).is_none(), "it knows all");
        assert_eq!(log.drop_old_segments(end, now).unwrap(), 2);
    }

    #[test]
    fn compaction_asks_for_ages_where_its_settings_go_by_them() {
        let compact = LogConfig { compact: true, delete: false, ..LogConfig::default() };
        let min_lag = LogConfig { min_compaction_lag_ms: Millis(1), ..compact.clone() };
        let max_lag = LogConfig { max_compaction_lag_ms: Millis(1), ..compact.clone() };
        let cases =
            [("no lag", compact, false), ("least lag", min_lag, true), ("most lag", max_lag, true)];
        for (name, config, asks) in cases {
            let dir = tempfile::tempdir().unwrap();
            let mut log = reopened(dir.path(), config);
            let read = log.ages_for_compaction();
            assert_eq!(read.is_some(), asks, "{name}");
            if let Some(read) = read {
                log.learn_ages(read.run()).unwrap();
            }
            assert!(log.ages_for_compaction().is_none(), "{name}: it knows all");
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error_while_the_segment_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = reopened(dir.path(), by_time());
        let (end, now) = (Offset::new(4), Millis(9999));
        let read = |log: &Log| log.ages_for_retention(end, now).unwrap();
        let (early, late) = (read(&log), read(&log));
        std::fs::remove_file(log.dir().join("00000000000000000000.timeindex")).unwrap();
        log.learn_ages(early.run()).unwrap_err();
        log.truncate_fully_and_start_at(Offset::new(9), now).unwrap();
        log.learn_ages(late.run()).unwrap();
    }
}
