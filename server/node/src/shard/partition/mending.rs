//! What a partition does about damage to its log: what it tells readers, and when others are asked.

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

/// What has been tried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mending {
    not_before: Option<Millis>,
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

impl Partition {
    /// The segment to be mended now, if there is one and anybody to get it from.
    pub fn due_for_mending(&self) -> Option<Offset> {
        let is_early = self.mending.not_before.is_some_and(|at| clock::monotonic() < at);
        if is_early || self.offline || !self.is_replicated || self.cut_at.is_some() {
            return None;
        }
        self.log.damaged_segment()
    }

    /// What the others are asked for before a segment is looked through once more: where that begins
    /// which they did not have. None at the first time, or where it is not known.
    pub fn lost_still(&self, segment: Offset) -> Vec<Offset> {
        if self.mending.tries == 0 { Vec::new() } else { self.log.lost_of(segment) }
    }

    /// Takes note of what came of it.
    pub fn note_mended(&mut self, helped: Helped) {
        let Mending { in_vain, tries, .. } = self.mending;
        let again = |in_vain: u8| {
            let doubled = Millis(AGAIN_AFTER.get() << tries.min(DOUBLINGS_MAX));
            let is_hopeless = in_vain >= HOPELESS_TIMES;
            let wait = if is_hopeless { HOPELESS_AGAIN_AFTER } else { doubled };
            let not_before = Some(clock::monotonic() + wait);
            Mending { not_before, tries: tries.saturating_add(1), in_vain }
        };
        self.mending = match helped {
            Helped::All => Mending::default(),
            Helped::NotYet => again(in_vain),
            Helped::NotAll => again(in_vain.saturating_add(1)),
        };
    }

    /// What a reader hears of damage: that it comes back later, as long as others may have what is
    /// lost here. A storage error for good would have it ask for ever without a word.
    pub fn damage_code(&self) -> ErrorCode {
        match self.is_replicated && self.mending.in_vain < HOPELESS_TIMES {
            true => ErrorCode::KafkaStorageError,
            false => ErrorCode::CorruptMessage,
        }
    }

    /// What a reader hears of a fault.
    pub fn read_code(&self, fault: &ReadError) -> ErrorCode {
        match fault {
            ReadError::Log(LogError::Damaged { .. }) => self.damage_code(),
            other => other.code(),
        }
    }
}
