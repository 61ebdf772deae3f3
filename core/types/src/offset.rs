//! Positions in a partition log.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// Position of a record in a partition log, counted in records from 0; INT64 on the wire.
///
/// The "none" value -1 of the wire is `Option::None` here.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Offset(i64);

impl Offset {
    /// The first position of any log.
    pub const ZERO: Self = Self(0);
    /// The highest position that can exist; an upper bound, never a record.
    pub const MAX: Self = Self(i64::MAX);

    /// The offset for a wire value, or `None` where the value is negative.
    pub fn from_wire(value: i64) -> Option<Self> {
        (value >= 0).then_some(Self(value))
    }

    /// An offset that is known to be valid.
    ///
    /// # Panics
    /// If `value` is negative.
    pub const fn new(value: i64) -> Self {
        assert!(value >= 0, "offsets are never negative");
        Self(value)
    }

    /// The INT64 that goes on the wire or on disk.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The position after this one.
    pub fn next(self) -> Self {
        self + 1
    }
}

impl Add<i64> for Offset {
    type Output = Self;
    fn add(self, records: i64) -> Self {
        Self::new(self.0 + records)
    }
}

impl AddAssign<i64> for Offset {
    fn add_assign(&mut self, records: i64) {
        *self = *self + records;
    }
}

/// The distance in records; negative where the right side lies further.
impl Sub for Offset {
    type Output = i64;
    fn sub(self, other: Self) -> i64 {
        self.0 - other.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_wire_values_are_none() {
        assert_eq!(Offset::from_wire(-1), None);
        assert_eq!(Offset::from_wire(7), Some(Offset::new(7)));
    }

    #[test]
    fn distance_is_signed() {
        assert_eq!(Offset::new(3) - Offset::new(5), -2);
    }
}
