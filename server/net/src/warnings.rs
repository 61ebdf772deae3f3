//! Warnings that a flood cannot turn into a flood of lines: one per kind and ten seconds.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two lines of one kind.
pub(crate) const QUIET: Duration = Duration::from_secs(10);

/// What is warned about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(usize)]
pub(crate) enum Kind {
    Exhausted,
    Refused,
    Limited,
    BadFrame,
    WrongProtocol,
    Slow,
    ByNode,
}

const KINDS: usize = Kind::ByNode as usize + 1;

/// When each kind was last written, and how many lines were swallowed since.
#[derive(Debug, Default)]
pub(crate) struct Warnings([Mutex<Last>; KINDS]);

#[derive(Debug, Default)]
struct Last {
    written_at: Option<Instant>,
    swallowed: u64,
}

impl Warnings {
    /// Writes the warning, or counts it when its kind was written just now.
    pub(crate) fn warn(&self, kind: Kind, text: impl FnOnce() -> String) {
        if !self.try_warn(kind, text) {
            self.swallow(kind);
        }
    }

    /// Writes the warning unless its kind was written just now; whether it did.
    pub(crate) fn try_warn(&self, kind: Kind, text: impl FnOnce() -> String) -> bool {
        let passed = self.pass(kind, Instant::now());
        if let Some(swallowed) = passed {
            let more = if swallowed == 0 { String::new() } else { format!(" (+{swallowed} more)") };
            tracing::warn!("{}{more}", text());
        }
        passed.is_some()
    }

    /// Counts a warning that nobody will write any more; the next one of its kind says so.
    pub(crate) fn swallow(&self, kind: Kind) {
        self.last(kind).swallowed += 1;
    }

    /// Whether a line may be written now: the number swallowed before it.
    fn pass(&self, kind: Kind, now: Instant) -> Option<u64> {
        let mut last = self.last(kind);
        if last.written_at.is_some_and(|at| now.duration_since(at) < QUIET) {
            return None;
        }
        last.written_at = Some(now);
        Some(std::mem::take(&mut last.swallowed))
    }

    #[cfg(test)]
    pub(crate) fn swallowed(&self, kind: Kind) -> u64 {
        self.last(kind).swallowed
    }

    fn last(&self, kind: Kind) -> MutexGuard<'_, Last> {
        self.0[kind as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_speaks_once_in_ten_seconds_and_then_tells_what_it_swallowed() {
        let (warnings, now) = (Warnings::default(), Instant::now());
        assert_eq!(warnings.pass(Kind::BadFrame, now), Some(0));
        assert_eq!(warnings.pass(Kind::BadFrame, now), None);
        warnings.warn(Kind::BadFrame, || unreachable!("it was written just now"));
        assert_eq!(warnings.pass(Kind::Refused, now), Some(0), "kinds are apart");
        assert_eq!(warnings.pass(Kind::BadFrame, now + QUIET), Some(1));
    }
}
