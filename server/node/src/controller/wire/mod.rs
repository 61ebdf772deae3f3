//! The quorum's requests and answers in the protocol's messages: APIs 1, 52, 53, 54 and 59, each
//! for the one topic with its one partition; and 80 to 82, by which voters change.
//!
//! `asked` turns what another node asks into the quorum's terms, or says why it is refused as a
//! whole; `answer` turns what the quorum says into the message. `send` does both for what this node
//! asks.

mod epochs;
mod fetch;
mod fetch_snapshot;
mod vote;
mod voters;

pub use epochs::{begin_answer, begin_asked, end_answer, end_asked};
pub use fetch::{fetch_answer, fetch_asked};
pub use fetch_snapshot::{fetch_snapshot_answer, fetch_snapshot_asked};
use protocol::ApiKey;
use raft::{Endpoint, ReplicaKey, Request, Response, VoterChange};
use types::{BrokerId, ErrorCode, LeaderEpoch, Uuid};
pub use vote::{vote_answer, vote_asked};

use super::readers::Reply;
use crate::peers::{Link, PeerError};

/// The name of the one topic that has a quorum.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

/// What this node says with each of its requests.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Id of the cluster.
    pub cluster_id: String,
    /// The listener of controllers that this node uses.
    pub listener: String,
    /// The most bytes of log that it takes at once.
    pub fetch_bytes_max: u32,
    /// The most bytes of a snapshot.
    pub snapshot_bytes_max: u32,
    /// How long a change of the voters may take, in milliseconds.
    pub timeout_ms: i32,
}

/// Sends a request; `answered` gets `None` for an answer that refuses it as a whole or is none.
pub fn send(
    link: &Link,
    terms: &Terms,
    request: Request,
    answered: impl FnOnce(Result<Option<Response>, PeerError>) + Send + 'static,
) {
    let listener = terms.listener.clone();
    let terms = terms.clone();
    match request {
        Request::Vote(vote) => {
            let request = move |version| vote::request(&vote, &terms, version);
            link.send(ApiKey::Vote, request, move |answer| {
                answered(answer.map(|answer| vote::response(&answer)));
            });
        }
        Request::BeginQuorumEpoch(begin) => {
            let request = move |version| epochs::begin_request(&begin, &terms, version);
            link.send(ApiKey::BeginQuorumEpoch, request, move |answer| {
                answered(answer.map(|answer| epochs::begin_response(&answer)));
            });
        }
        Request::EndQuorumEpoch(end) => {
            let request = move |version| epochs::end_request(&end, &terms, version);
            link.send(ApiKey::EndQuorumEpoch, request, move |answer| {
                answered(answer.map(|answer| epochs::end_response(&answer)));
            });
        }
        Request::Fetch(asked) => {
            let request = move |version| fetch::request(&asked, &terms, version);
            link.send(ApiKey::Fetch, request, move |answer| {
                answered(answer.map(|answer| fetch::response(answer, &listener)));
            });
        }
        Request::FetchSnapshot(asked) => {
            let request = move |version| fetch_snapshot::request(&asked, &terms, version);
            link.send(ApiKey::FetchSnapshot, request, move |answer| {
                answered(answer.map(fetch_snapshot::response));
            });
        }
        Request::ChangeVoters(change) => send_change(link, terms, change, answered),
    }
}

fn send_change(
    link: &Link,
    terms: Terms,
    change: VoterChange,
    answered: impl FnOnce(Result<Option<Response>, PeerError>) + Send + 'static,
) {
    match change {
        VoterChange::Add(voter) => {
            let request = move |version| voters::add_request(&voter, &terms, version);
            link.send(ApiKey::AddRaftVoter, request, move |answer| {
                answered(answer.map(|answer| voters::add_response(&answer)));
            });
        }
        VoterChange::Remove(key) => {
            let request = move |_| voters::remove_request(&key, &terms);
            link.send(ApiKey::RemoveRaftVoter, request, move |answer| {
                answered(answer.map(|answer| voters::remove_response(&answer)));
            });
        }
        VoterChange::Update { voter, epoch } => {
            let request = move |_| voters::update_request(&voter, epoch, &terms);
            link.send(ApiKey::UpdateRaftVoter, request, move |answer| {
                answered(answer.map(|answer| voters::update_response(&answer)));
            });
        }
    }
}

/// That a request means this cluster; one that names none does.
fn check_cluster(meant: Option<&str>, cluster_id: &str) -> Result<(), ErrorCode> {
    match meant {
        Some(meant) if meant != cluster_id => Err(ErrorCode::InconsistentClusterId),
        Some(_) | None => Ok(()),
    }
}

fn to_node(id: i32) -> Option<BrokerId> {
    (id >= 0).then_some(BrokerId(id))
}

fn from_node(id: Option<BrokerId>) -> i32 {
    id.map_or(-1, |id| id.0)
}

fn to_key(id: i32, directory: Uuid) -> ReplicaKey {
    ReplicaKey { id: BrokerId(id), directory: Some(directory).filter(|id| !id.is_zero()) }
}

fn from_directory(key: &ReplicaKey) -> Uuid {
    key.directory.unwrap_or(Uuid::ZERO)
}

fn to_epoch(epoch: i32) -> LeaderEpoch {
    LeaderEpoch(epoch)
}

/// Where the leader is reached by the listener that was asked.
fn endpoint_of<'a>(reply: &'a Reply, listener: &str) -> Option<&'a Endpoint> {
    reply.leader_endpoints.iter().find(|one| one.listener == listener)
}
