//! What a partition does about damage to its log: what it tells readers, and when others are asked.

use std::collections::BTreeMap;

use log::{LogError, ReadError};
use types::{ErrorCode, Millis, Offset};

use super::Partition;
use crate::clock;

/// How soon the others are asked again: they may be mending the same, or be away. Each time costs a
/// walk over the whole segment, so the wait doubles.
const AGAIN_AFTER: Millis = Millis(2_000);
/// So many times, up to about a minute: somebody may be away for hours.
const DOUBLINGS_MAX: u8 = 5;
/// How soon once they have said often enough that they do not have it.
const HOPELESS_AGAIN_AFTER: Millis = Millis(600_000);
/// So many times every other replica must have been asked in vain before readers hear that nobody
/// has it.
const HOPELESS_TIMES: u8 = 2;

/// What has been tried for each segment that could not be mended, by where it begins. Whoever is
/// forgotten is due at once: so it lasts as long as the segment, also while no read has found the
/// damage again after the files became others.
#[derive(Debug, Default)]
pub(super) struct Mending(BTreeMap<Offset, Tried>);

/// What has been tried for one segment.
#[derive(Clone, Copy, Debug)]
struct Tried {
    not_before: Millis,
    tries: u8,
    /// How often all others were asked, and nobody had it.
    in_vain: u8,
}

/// What came of asking the others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Helped {
    /// What was damaged is whole.
    All,
    /// Somebody was away or behind.
    NotYet,
    /// Everybody was asked, and something is left that nobody has.
    NotAll,
}

impl Mending {
    /// The first of the damaged segments for which it is time.
    fn due(&self, damaged: impl IntoIterator<Item = Offset>, now: Millis) -> Option<Offset> {
        let is_due = |base: &Offset| self.0.get(base).is_none_or(|tried| tried.not_before <= now);
        damaged.into_iter().find(is_due)
    }

    fn note(&mut self, base: Offset, helped: Helped, now: Millis) {
        let before = self.0.remove(&base);
        let (tries, in_vain) = before.map_or((0, 0), |tried| (tried.tries, tried.in_vain));
        let in_vain = match helped {
            Helped::All => return,
            Helped::NotYet => in_vain,
            Helped::NotAll => in_vain.saturating_add(1),
        };
        let doubled = Millis(AGAIN_AFTER.get() << tries.min(DOUBLINGS_MAX));
        let wait = if in_vain >= HOPELESS_TIMES { HOPELESS_AGAIN_AFTER } else { doubled };
        let tried = Tried { not_before: now + wait, tries: tries.saturating_add(1), in_vain };
        self.0.insert(base, tried);
    }

    /// Forgets what has been tried for segments that are gone.
    fn retain(&mut self, is_there: impl Fn(Offset) -> bool) {
        self.0.retain(|base, _| is_there(*base));
    }

    fn is_hopeless(&self, base: Offset) -> bool {
        self.0.get(&base).is_some_and(|tried| tried.in_vain >= HOPELESS_TIMES)
    }
}

impl Partition {
    /// The segment to be mended now, if there is one and anybody to get it from.
    pub fn due_for_mending(&self) -> Option<Offset> {
        if self.offline || !self.is_replicated || self.cut_at.is_some() {
            return None;
        }
        self.mending.due(self.log.damaged_segments(), clock::monotonic())
    }

    /// What the others are asked for before a segment is looked through once more: where that begins
    /// which they did not have. None at the first time, or where it is not known.
    pub fn lost_still(&self, segment: Offset) -> Vec<Offset> {
        match self.mending.0.contains_key(&segment) {
            true => self.log.lost_of(segment),
            false => Vec::new(),
        }
    }

    /// Takes note of what came of it.
    pub fn note_mended(&mut self, segment: Offset, helped: Helped) {
        self.mending.note(segment, helped, clock::monotonic());
        self.mending.retain(|base| self.log.has_segment(base));
    }

    /// What a reader hears of damage to a segment: that it comes back later, as long as others may
    /// have what is lost here. A storage error for good would have it ask for ever without a word.
    pub fn damage_code(&self, segment: Option<Offset>) -> ErrorCode {
        match segment {
            Some(base) if self.is_replicated && !self.mending.is_hopeless(base) => {
                ErrorCode::KafkaStorageError
            }
            _ => ErrorCode::CorruptMessage,
        }
    }

    /// What a reader hears of a fault.
    pub fn read_code(&self, fault: &ReadError) -> ErrorCode {
        match fault {
            ReadError::Log(fault @ LogError::Damaged { .. }) => {
                self.damage_code(fault.damaged_segment())
            }
            other => other.code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Offset = Offset::ZERO;
    const SECOND: Offset = Offset::new(100);

    #[test]
    fn a_segment_that_nobody_can_mend_keeps_no_other_one_waiting() {
        let mut mending = Mending::default();
        let mut now = Millis(5);
        assert_eq!(mending.due([FIRST, SECOND], now), Some(FIRST));
        mending.note(FIRST, Helped::NotAll, now);
        assert_eq!(mending.due([FIRST, SECOND], now), Some(SECOND));
        mending.note(SECOND, Helped::NotYet, now);
        assert_eq!(mending.due([FIRST, SECOND], now), None);
        now = now + AGAIN_AFTER;
        assert_eq!(mending.due([FIRST, SECOND], now), Some(FIRST));
        mending.note(FIRST, Helped::NotAll, now);
        assert_eq!([FIRST, SECOND].map(|base| mending.is_hopeless(base)), [true, false]);
        // What became of another one changes nothing of that.
        mending.note(SECOND, Helped::All, now);
        assert!(mending.is_hopeless(FIRST));
        now = now + AGAIN_AFTER;
        assert_eq!(mending.due([FIRST, SECOND], now), Some(SECOND), "damaged anew");
    }

    #[test]
    fn who_may_be_away_for_long_is_asked_less_and_less_often() {
        let mut mending = Mending::default();
        let now = Millis::ZERO;
        let waits = (0..7).map(|_| {
            mending.note(FIRST, Helped::NotYet, now);
            mending.0[&FIRST].not_before.get()
        });
        let expected = [2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 64_000];
        assert_eq!(waits.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_of_many_damaged_segments_is_tried() {
        let mut mending = Mending::default();
        let damaged = || (0..200).map(Offset::new);
        for base in damaged() {
            assert_eq!(mending.due(damaged(), Millis::ZERO), Some(base));
            mending.note(base, Helped::NotAll, Millis::ZERO);
        }
        assert_eq!(mending.due(damaged(), Millis::ZERO), None);
    }

    #[test]
    fn what_was_tried_is_remembered_as_long_as_there_is_the_segment() {
        let mut mending = Mending::default();
        for base in [FIRST, SECOND] {
            mending.note(base, Helped::NotAll, Millis::ZERO);
        }
        mending.retain(|base| base == SECOND);
        assert_eq!(mending.due([SECOND], Millis::ZERO), None);
        assert_eq!(mending.0.len(), 1);
    }
}
