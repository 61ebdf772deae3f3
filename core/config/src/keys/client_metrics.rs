//! Keys.

use crate::key::{Check, ConfigKey, int, list};

pub(super) const KEYS: &[ConfigKey] = &[
    int("interval.ms", "300000", "").range(100, 3_600_000),
    list("match", "", "").check_as(Check::ClientMatch),
    list("metrics", "", ""),
];
