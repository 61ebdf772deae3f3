//! AddRaftVoter, RemoveRaftVoter and UpdateRaftVoter, APIs 80, 81 and 82, as this node asks them on
//! its own behalf. Not here: how they are served (`broker/api`), who decides to ask (`core/raft`).

use protocol::messages::add_raft_voter::{self as add, AddRaftVoterRequest, AddRaftVoterResponse};
use protocol::messages::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use protocol::messages::update_raft_voter::{
    self as update, UpdateRaftVoterRequest, UpdateRaftVoterResponse,
};
use raft::{ReplicaKey, Response, Voter};
use types::{ErrorCode, LeaderEpoch};

use super::{Terms, from_directory};

pub(super) fn add_request(voter: &Voter, terms: &Terms, version: i16) -> AddRaftVoterRequest {
    let listeners = voter.endpoints.iter().map(|one| add::Listener {
        name: one.listener.clone(),
        host: one.host.clone(),
        port: one.port,
        ..Default::default()
    });
    AddRaftVoterRequest {
        cluster_id: Some(terms.cluster_id.clone()),
        timeout_ms: terms.timeout_ms,
        voter_id: voter.key.id.0,
        voter_directory_id: from_directory(&voter.key),
        listeners: listeners.collect(),
        // The majority may need this node, which reads nothing until it has the answer.
        ack_when_committed: version == 0,
        ..Default::default()
    }
}

pub(super) fn add_response(answer: &AddRaftVoterResponse) -> Option<Response> {
    let message = answer.error_message.as_deref();
    response("become a voter", answer.error_code, message)
}

pub(super) fn remove_request(key: &ReplicaKey, terms: &Terms) -> RemoveRaftVoterRequest {
    RemoveRaftVoterRequest {
        cluster_id: Some(terms.cluster_id.clone()),
        voter_id: key.id.0,
        voter_directory_id: from_directory(key),
        ..Default::default()
    }
}

pub(super) fn remove_response(answer: &RemoveRaftVoterResponse) -> Option<Response> {
    let message = answer.error_message.as_deref();
    response("take this node's former directory out of the voters", answer.error_code, message)
}

pub(super) fn update_request(
    voter: &Voter,
    epoch: LeaderEpoch,
    terms: &Terms,
) -> UpdateRaftVoterRequest {
    let listeners = voter.endpoints.iter().map(|one| update::Listener {
        name: one.listener.clone(),
        host: one.host.clone(),
        port: one.port,
        ..Default::default()
    });
    UpdateRaftVoterRequest {
        cluster_id: Some(terms.cluster_id.clone()),
        current_leader_epoch: epoch.0,
        voter_id: voter.key.id.0,
        voter_directory_id: from_directory(&voter.key),
        listeners: listeners.collect(),
        kraft_version_feature: update::KRaftVersionFeature {
            min_supported_version: voter.kraft_versions.0,
            max_supported_version: voter.kraft_versions.1,
            ..Default::default()
        },
        ..Default::default()
    }
}

pub(super) fn update_response(answer: &UpdateRaftVoterResponse) -> Option<Response> {
    response("tell the leader where this voter listens", answer.error_code, None)
}

fn response(what: &str, code: i16, message: Option<&str>) -> Option<Response> {
    let code = ErrorCode::from_wire(code);
    let why = message.unwrap_or_default();
    match code {
        ErrorCode::None => tracing::debug!("done: {what}"),
        code => tracing::warn!("cannot {what} yet: {code:?} {why}"),
    }
    Some(Response::ChangeVoters(code))
}
