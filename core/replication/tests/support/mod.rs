//! What the simulation and the model share: a log in memory, and a controller's decisions. Not here:
//! anything that decides for replicas, which is the real thing in both.

mod log;
mod partition;

pub use log::{Entry, Log, index};
pub use partition::PartitionState;
