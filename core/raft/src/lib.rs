//! The metadata quorum: KRaft as a pure state machine (KIP-595, 630, 853, 996).
//!
//! [`Raft`] decides and never acts. Requests, responses and the time go in; out come answers and
//! [`Output`]s, which the driver carries out in their order before it sends an answer or tells
//! anything else: what must be on disk is then on disk. Whatever the state machine has to know of
//! the log it asks a [`LogView`] that the driver lends it.
//!
//! What each role knows is in `role`, what it does in a file of its own: `unattached`, `prospective`,
//! `candidate`, `leader`, `follower`, `resigned`; `quorum` holds what they share and the ways between
//! them. Not here: sockets, files, clocks, the meaning of metadata records (`core/metadata`).

mod candidate;
mod election;
mod fetch;
mod follower;
mod headroom;
mod history;
mod leader;
mod log_view;
mod membership;
mod message;
mod progress;
mod prospective;
mod quorum;
mod requests;
mod resigned;
mod role;
mod snapshot;
mod tally;
mod unattached;
mod vote;
mod voters;

pub use election::Election;
pub use history::VoterHistory;
pub use log_view::{LogPosition, LogView};
pub use message::{
    BeginQuorumEpoch, ControlRecord, EndQuorumEpoch, EpochAnswer, Fetch, FetchAnswer, FetchReply,
    FetchSnapshot, FetchSnapshotAnswer, Output, Request, Response, Vote, VoteAnswer, VoterChange,
};
pub use progress::{Leader, Progress};
pub use quorum::{Config, Raft};
pub use requests::RequestId;
pub use role::{Follower, Role};
pub use voters::{Endpoint, ReplicaKey, Voter, VoterSet, VoterSetError};
