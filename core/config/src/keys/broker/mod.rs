//! Keys of a node, by area.

mod broker;

use crate::key::ConfigKey;

/// All areas, in the order of the reference.
pub(super) const AREAS: &[&[ConfigKey]] = &[broker::KEYS];
