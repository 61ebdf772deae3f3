//! What the network warns of: each kind once in a while, however often it happens.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::quiet::Quiet;

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

/// What each kind has said lately.
#[derive(Debug, Default)]
pub(crate) struct Warnings([Mutex<Quiet>; KINDS]);

impl Warnings {
    /// Writes the warning, or counts it when its kind was written just now.
    pub(crate) fn warn(&self, kind: Kind, text: impl FnOnce() -> String) {
        let passed = self.of(kind).pass(Instant::now());
        if let Some(more) = passed {
            tracing::warn!("{}{more}", text());
        }
    }

    /// Writes the warning unless its kind was written just now; whether it did.
    pub(crate) fn try_warn(&self, kind: Kind, text: impl FnOnce() -> String) -> bool {
        let passed = self.of(kind).try_pass(Instant::now());
        if let Some(more) = &passed {
            tracing::warn!("{}{more}", text());
        }
        passed.is_some()
    }

    /// Counts a warning that nobody will write any more; the next one of its kind says so.
    pub(crate) fn swallow(&self, kind: Kind) {
        self.of(kind).swallow();
    }

    #[cfg(test)]
    pub(crate) fn swallowed(&self, kind: Kind) -> u64 {
        self.of(kind).swallowed()
    }

    fn of(&self, kind: Kind) -> MutexGuard<'_, Quiet> {
        self.0[kind as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_quiet_by_itself() {
        let warnings = Warnings::default();
        assert!(warnings.try_warn(Kind::BadFrame, String::new));
        warnings.warn(Kind::BadFrame, || unreachable!("it was written just now"));
        assert!(warnings.try_warn(Kind::Refused, String::new));
        let swallowed = [Kind::BadFrame, Kind::Refused].map(|kind| warnings.swallowed(kind));
        assert_eq!(swallowed, [1, 0]);
    }
}
