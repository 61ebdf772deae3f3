//! AddRaftVoter: a controller that reads the metadata log becomes a voter (KIP-853).

use std::time::Duration;

use ::metadata::features::KRAFT_VERSION;
use config::SecurityProtocol;
use protocol::ApiKey;
use protocol::messages::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};
use protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use raft::{Endpoint, ReplicaKey, Voter};
use types::{BrokerId, ErrorCode, Uuid};

use crate::broker::Context;
use crate::controller::{Change, KRAFT_VERSIONS, NotController, Unchanged};
use crate::peers::{self, LinkOptions};
use crate::shared::Shared;

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
    let voter = match read(&request, &shared.dirs.cluster_id, listener) {
        Ok(voter) => voter,
        Err(refusal) => return answer(Err(refusal)),
    };
    // Version 0 does not know of another answer than the late one.
    let waits = context.version == 0 || request.ack_when_committed;
    answer(add(shared, voter, waits, request.timeout_ms).await)
}

async fn add(
    shared: &Shared,
    mut voter: Voter,
    waits: bool,
    timeout_ms: i32,
) -> Result<(), Refusal> {
    let (id, directory) = (voter.key.id.0, voter.key.directory.unwrap_or_default());
    // Who is not to be added at all is not asked either.
    let checked = shared.controller.change_voters(Change::Check(voter.clone())).await;
    outcome(checked, id, directory)?;
    voter.kraft_versions = ask_versions(shared, &voter, timeout_ms).await?;
    let changed = shared.controller.change_voters(Change::Add { voter, waits }).await;
    outcome(changed, id, directory)
}

/// The least and the greatest `kraft.version` of the new voter, by its own word.
async fn ask_versions(
    shared: &Shared,
    voter: &Voter,
    timeout_ms: i32,
) -> Result<(i16, i16), Refusal> {
    let config = &shared.config;
    let own = config.listeners.controller_names.first();
    let endpoint = voter.endpoints.iter().find(|one| Some(&one.listener) == own);
    let Some(endpoint) = endpoint else {
        let message = "the new voter has no endpoint for this listener".to_owned();
        return Err(Refusal { code: ErrorCode::InvalidRequest, message });
    };
    let protocol = config.listeners.protocols.get(&endpoint.listener).copied();
    let (host, port) = (endpoint.host.clone(), endpoint.port);
    let protocol = protocol.unwrap_or(SecurityProtocol::Plaintext);
    let at = peers::Endpoint { host, port, protocol };
    let timeout = config.quorum.request_timeout_ms.get().min(timeout_ms.into());
    let options = LinkOptions {
        client_id: format!("raft-client-{}", config.node_id),
        request_timeout: Duration::from_millis(timeout.max(0).unsigned_abs()),
        response_bytes_max: 1 << 20,
    };
    let unreached = |cause: String| {
        let message = format!("the new voter cannot be asked for its versions: {cause}");
        Refusal { code: ErrorCode::RequestTimedOut, message }
    };
    let link = shared.peers.link(&at, &options).map_err(|fault| unreached(fault.to_string()))?;
    let ask = |_| ApiVersionsRequest {
        client_software_name: "thalweg".to_owned(),
        client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    };
    let told: Result<ApiVersionsResponse, _> = link.call(ApiKey::ApiVersions, ask).await;
    let told = told.map_err(|fault| unreached(fault.to_string()))?;
    let mut features = told.supported_features.iter();
    let offered = features.find(|feature| feature.name == KRAFT_VERSION);
    let offered = offered.map_or((0, 0), |feature| (feature.min_version, feature.max_version));
    // Voters are added at this level alone.
    if !(offered.0..=offered.1).contains(&1) {
        let (min, max) = offered;
        let message = format!("the new voter supports kraft.version {min} to {max}, and not 1");
        return Err(Refusal { code: ErrorCode::InvalidRequest, message });
    }
    Ok(offered)
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
