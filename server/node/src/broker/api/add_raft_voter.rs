//! AddRaftVoter: a controller that reads the metadata log becomes a voter (KIP-853).

use protocol::messages::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};
use raft::{Endpoint, ReplicaKey, Voter};
use types::{BrokerId, ErrorCode, Uuid};

use crate::broker::Context;
use crate::controller::{Change, KRAFT_VERSIONS, NotController, Unchanged};

/// Why the set of voters stays as it is.
#[derive(Debug, Eq, PartialEq)]
pub struct Refusal {
    /// What the client sees.
    pub code: ErrorCode,
    /// What its user sees.
    pub message: String,
}

/// Serves one request.
pub async fn handle(context: Context, request: AddRaftVoterRequest) -> AddRaftVoterResponse {
    let shared = &context.shard.shared;
    let listener = shared.config.listeners.controller_names.first().map_or("", String::as_str);
    let change = match read(&request, &shared.dirs.cluster_id, listener) {
        // Version 0 does not know of another answer than the late one.
        Ok(voter) => {
            Change::Add { voter, waits: context.version == 0 || request.ack_when_committed }
        }
        Err(refusal) => return answer(Err(refusal)),
    };
    let changed = shared.controller.change_voters(change).await;
    answer(outcome(changed, request.voter_id, request.voter_directory_id))
}

fn answer(outcome: Result<(), Refusal>) -> AddRaftVoterResponse {
    match outcome {
        Ok(()) => AddRaftVoterResponse { error_message: None, ..Default::default() },
        Err(Refusal { code, message }) => AddRaftVoterResponse {
            error_code: code.to_wire(),
            error_message: Some(message),
            ..Default::default()
        },
    }
}

fn read(request: &AddRaftVoterRequest, cluster_id: &str, own: &str) -> Result<Voter, Refusal> {
    let directory = request.voter_directory_id;
    let key = named(request.cluster_id.as_deref(), cluster_id, request.voter_id, directory)?;
    if !request.listeners.iter().any(|given| given.name == own) {
        let message = format!("the new voter has no endpoint for the listener {own}");
        return Err(Refusal { code: ErrorCode::InvalidRequest, message });
    }
    let endpoints = request.listeners.iter().map(|given| Endpoint {
        listener: given.name.clone(),
        host: given.host.clone(),
        port: given.port,
    });
    Ok(Voter { key, endpoints: endpoints.collect(), kraft_versions: KRAFT_VERSIONS })
}

/// The voter that a request to change the quorum names.
///
/// # Errors
/// If the client means another cluster, or names no voter.
pub fn named(
    meant: Option<&str>,
    cluster_id: &str,
    id: i32,
    directory: Uuid,
) -> Result<ReplicaKey, Refusal> {
    if let Some(meant) = meant.filter(|meant| *meant != cluster_id) {
        let message = format!("this is cluster {cluster_id}, the request means {meant}");
        return Err(Refusal { code: ErrorCode::InconsistentClusterId, message });
    }
    if id < 0 || directory == Uuid::ZERO {
        let message = "a voter is named by its node id and directory id".to_owned();
        return Err(Refusal { code: ErrorCode::InvalidRequest, message });
    }
    Ok(ReplicaKey { id: BrokerId(id), directory: Some(directory) })
}

/// What became of a change of the voters.
///
/// # Errors
/// With what its user is to read.
pub fn outcome(
    changed: Result<Result<(), Unchanged>, NotController>,
    id: i32,
    directory: Uuid,
) -> Result<(), Refusal> {
    let Unchanged { code, voters } = match changed {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(unchanged)) => unchanged,
        Err(NotController) => {
            let message = "this node does not lead the metadata quorum".to_owned();
            return Err(Refusal { code: ErrorCode::NotLeaderOrFollower, message });
        }
    };
    let name = |key: &ReplicaKey| match key.directory {
        Some(directory) => format!("{} with directory {directory}", key.id),
        None => key.id.to_string(),
    };
    let voters = voters.iter().map(name).collect::<Vec<_>>().join(", ");
    let why = match code {
        ErrorCode::UnsupportedVersion => {
            "the voters are set by controller.quorum.voters (kraft.version is 0), so they cannot \
             change while the cluster runs"
        }
        ErrorCode::DuplicateVoter => "it is a voter already",
        ErrorCode::VoterNotFound => "it is no voter, or the last one",
        ErrorCode::RequestTimedOut => {
            "it has not the whole metadata log yet, or another change is not committed: try again"
        }
        _ => "the quorum refuses it",
    };
    let message = format!("node {id} with directory {directory}: {why}; the voters are {voters}");
    Err(Refusal { code, message })
}

#[cfg(test)]
mod tests {
    use protocol::messages::add_raft_voter::Listener;

    use super::*;

    #[test]
    fn each_mistake_has_its_own_code() {
        let sound = AddRaftVoterRequest {
            cluster_id: Some("this".to_owned()),
            voter_id: 2,
            voter_directory_id: Uuid::from_bytes([2; 16]),
            listeners: vec![Listener { name: "CONTROLLER".to_owned(), ..Default::default() }],
            ..Default::default()
        };
        let other_cluster = Some("other".to_owned());
        let cases = [
            (
                "another cluster",
                AddRaftVoterRequest { cluster_id: other_cluster, ..sound.clone() },
                Some(ErrorCode::InconsistentClusterId),
            ),
            (
                "no node",
                AddRaftVoterRequest { voter_id: -1, ..sound.clone() },
                Some(ErrorCode::InvalidRequest),
            ),
            (
                "no directory",
                AddRaftVoterRequest { voter_directory_id: Uuid::ZERO, ..sound.clone() },
                Some(ErrorCode::InvalidRequest),
            ),
            (
                "no endpoint",
                AddRaftVoterRequest { listeners: vec![], ..sound.clone() },
                Some(ErrorCode::InvalidRequest),
            ),
            ("any cluster", AddRaftVoterRequest { cluster_id: None, ..sound }, None),
        ];
        for (name, request, expected) in cases {
            let read = read(&request, "this", "CONTROLLER");
            assert_eq!(read.err().map(|refusal| refusal.code), expected, "{name}");
        }
    }
}
