//! The node: broker and controller roles on shards, one file per API.
//!
//! [`Node::start`] brings everything up from checked settings; [`Node::stop`] takes it down in
//! order. Core crates decide, `log` and `net` act, and the loops here carry messages between them.

mod balancer;
mod broker;
mod cleaner;
mod clock;
mod controller;
mod dir_failures;
mod dirs;
mod dynamic;
mod group_memory;
mod groups;
mod http;
mod hung_disks;
mod leaders;
pub mod logging;
mod membership;
mod memory;
mod metrics;
mod node;
mod peers;
mod producer_ids;
mod recovery;
mod registration;
mod replicas;
mod runs;
mod sessions;
mod shard;
mod shared;
mod shares;
mod standing;
mod sync_threads;
mod threads;
mod throttles;
mod to_controller;
mod upkeep;

pub use membership::IdTaken;
pub use node::{Bound, Node, StartOptions};
pub use registration::own_host;
