//! Time as a value. Core code is handed the time; it never asks a clock.

use std::fmt;
use std::ops::{Add, Sub};

/// Milliseconds: a span, or an instant on the clock that the caller names (wall time since 1970
/// for record timestamps, a monotonic clock for timers).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Millis(pub i64);

impl Millis {
    /// No time at all, or the epoch.
    pub const ZERO: Self = Self(0);
    /// Later than any instant.
    pub const MAX: Self = Self(i64::MAX);

    /// The number of milliseconds.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// Saturates: a timer far in the future must not wrap into the past.
impl Add for Millis {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Millis {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate() {
        assert_eq!(Millis::MAX + Millis(1), Millis::MAX);
    }
}
