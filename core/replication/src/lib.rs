//! What a partition leader decides: how far records are committed, who waits for that, and what a
//! fetch session remembers.
//!
//! Nothing here reads a log or a socket. The shard that owns a partition tells it what happened and
//! carries out what it answers. Not here: the log itself (`server/log`), leader election
//! (`core/metadata`).

mod fetch_session;
mod leader;
mod purgatory;

pub use fetch_session::{
    Answered, FetchPartition, FetchRefused, FetchSessions, FetchTarget, OpenFetch, PartitionKey,
    TopicKey,
};
pub use leader::Leader;
pub use purgatory::Purgatory;
