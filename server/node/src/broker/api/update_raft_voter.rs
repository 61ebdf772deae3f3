//! UpdateRaftVoter: a voter tells the leader where it listens now (KIP-853).

use protocol::messages::update_raft_voter::{
    CurrentLeader, UpdateRaftVoterRequest, UpdateRaftVoterResponse,
};
use raft::{Endpoint, Voter};
use types::{ErrorCode, LeaderEpoch};

use super::add_raft_voter::named;
use crate::broker::Context;
use crate::controller::{Change, NotController};

/// Serves one request.
pub async fn handle(context: Context, request: UpdateRaftVoterRequest) -> UpdateRaftVoterResponse {
    let controller = &context.shard.shared.controller;
    let code = match read(&request, &context.shard.shared.dirs.cluster_id) {
        Ok(voter) => {
            let epoch = LeaderEpoch(request.current_leader_epoch);
            match controller.change_voters(Change::Update(voter, epoch)).await {
                Ok(Ok(())) => ErrorCode::None,
                Ok(Err(unchanged)) => unchanged.code,
                Err(NotController) => ErrorCode::NotLeaderOrFollower,
            }
        }
        Err(code) => code,
    };
    let active = controller.active().borrow().clone();
    let endpoint = active.endpoints.iter().find(|(name, _)| **name == *context.peer.listener);
    let (host, port) =
        endpoint.map_or((String::new(), -1), |(_, at)| (at.host.clone(), i32::from(at.port)));
    UpdateRaftVoterResponse {
        error_code: code.to_wire(),
        current_leader: CurrentLeader {
            leader_id: active.leader.map_or(-1, |leader| leader.0),
            leader_epoch: active.epoch.0,
            host,
            port,
            ..Default::default()
        },
        ..Default::default()
    }
}

fn read(request: &UpdateRaftVoterRequest, cluster_id: &str) -> Result<Voter, ErrorCode> {
    let (id, directory) = (request.voter_id, request.voter_directory_id);
    let key = named(request.cluster_id.as_deref(), cluster_id, id, directory);
    let key = key.map_err(|refusal| refusal.code)?;
    let versions = &request.kraft_version_feature;
    let kraft_versions = (versions.min_supported_version, versions.max_supported_version);
    if request.listeners.is_empty() || kraft_versions.0 < 0 || kraft_versions.0 > kraft_versions.1 {
        return Err(ErrorCode::InvalidRequest);
    }
    let endpoints = request.listeners.iter().map(|given| Endpoint {
        listener: given.name.clone(),
        host: given.host.clone(),
        port: given.port,
    });
    Ok(Voter { key, endpoints: endpoints.collect(), kraft_versions })
}
