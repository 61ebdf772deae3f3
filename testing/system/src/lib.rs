//! Real processes and what is done to them: nodes as children, a small client of its own, load that
//! is checked record by record, hostile bytes.
//!
//! The client here speaks the wire with nothing but the codecs, so that the tests do not trust the
//! client library to tell what a node did. Not here: the tests themselves, which lie in `tests/`.

pub mod client;
pub mod cluster;
pub mod hostile;
pub mod keyed;
pub mod load;
pub mod memory_cap;
pub mod power;
pub mod process;
pub mod sandbox;
pub mod verdict;
pub mod volume;
pub mod wire;
