//! RemoveRaftVoter: a controller leaves the quorum (KIP-853).
//!
//! Every request is refused, all as Kafka does: the last voter of a quorum cannot leave it.

use protocol::messages::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use types::ErrorCode;

use super::add_raft_voter::{NamedVoter, Refusal, check_dynamic, list};
use crate::broker::Context;
use crate::controller::QuorumFacts;

/// Serves one request.
pub async fn handle(context: Context, request: RemoveRaftVoterRequest) -> RemoveRaftVoterResponse {
    let shared = &context.shard.shared;
    let Ok(quorum) = shared.controller.facts().await else {
        let error_code = ErrorCode::NotLeaderOrFollower.to_wire();
        return RemoveRaftVoterResponse { error_code, ..Default::default() };
    };
    let refusal = refuse(&request, &shared.dirs.cluster_id, &quorum);
    RemoveRaftVoterResponse {
        error_code: refusal.code.to_wire(),
        error_message: Some(refusal.message),
        ..Default::default()
    }
}

fn refuse(request: &RemoveRaftVoterRequest, cluster_id: &str, quorum: &QuorumFacts) -> Refusal {
    let (id, directory_id) = (request.voter_id, request.voter_directory_id);
    let cluster_meant = request.cluster_id.as_deref();
    let voter = NamedVoter { cluster_id: cluster_meant, id, directory_id };
    if let Err(refusal) = voter.check(cluster_id).and_then(|()| check_dynamic(quorum)) {
        return refusal;
    }
    let message = format!(
        "node {id} with directory {directory_id} cannot leave the voters, which are {}: it is \
         none of them or the last",
        list(quorum)
    );
    Refusal { code: ErrorCode::VoterNotFound, message }
}

#[cfg(test)]
mod tests {
    use types::Uuid;

    use super::super::add_raft_voter::tests::quorum;
    use super::*;

    #[test]
    fn nobody_leaves_a_quorum_of_one() {
        let of = |id, directory, cluster: &str| RemoveRaftVoterRequest {
            cluster_id: Some(cluster.to_owned()),
            voter_id: id,
            voter_directory_id: Uuid::from_bytes([directory; 16]),
            ..Default::default()
        };
        let cases = [
            ("another cluster", 1, of(1, 1, "other"), ErrorCode::InconsistentClusterId),
            ("no directory", 1, of(1, 0, "this"), ErrorCode::InvalidRequest),
            ("static voters", 0, of(1, 1, "this"), ErrorCode::UnsupportedVersion),
            ("another node", 1, of(2, 2, "this"), ErrorCode::VoterNotFound),
            ("an earlier disk of the voter", 1, of(1, 2, "this"), ErrorCode::VoterNotFound),
            ("the last voter", 1, of(1, 1, "this"), ErrorCode::VoterNotFound),
        ];
        for (name, kraft_version, request, expected) in cases {
            let refusal = refuse(&request, "this", &quorum(kraft_version));
            assert_eq!(refusal.code, expected, "{name}");
        }
    }
}
