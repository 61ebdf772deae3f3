//! What replicas decide: how far records are committed, who is in sync, where logs part, what to fetch
//! next, who waits, and what a fetch session remembers.
//!
//! Nothing here reads a log or a socket. The shard that owns a partition tells it what happened and
//! carries out what it answers. Not here: the log itself (`server/log`), leader election and the
//! controller's side of the ISR (`core/metadata`).

mod divergence;
mod epoch;
mod fetch_session;
mod fetcher;
mod follower;
mod leader;
mod news;
mod purgatory;
mod quota;

pub use divergence::{EpochEnd, divergence};
pub use epoch::check_epoch;
pub use fetch_session::{
    Answered, FetchPartition, FetchRefused, FetchSessions, FetchTarget, OpenFetch, PartitionKey,
    TopicKey,
};
pub use fetcher::{FetchPlan, Fetcher, TopicIdPartition, Want};
pub use follower::{Follower, LeaderAnswer, Learned, OwnLog, Realign, Step};
pub use leader::{AlterAnswer, AlterPartition, FetchVerdict, Leader, Poll, ReplicaFetch, Term};
pub use news::Readable;
pub use purgatory::Purgatory;
pub use quota::{Quota, QuotaWindows};
