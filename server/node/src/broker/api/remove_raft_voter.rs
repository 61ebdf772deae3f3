//! RemoveRaftVoter: a controller leaves the voters (KIP-853).

use protocol::messages::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};

use super::add_raft_voter::{Refusal, named, outcome};
use crate::broker::Context;
use crate::controller::Change;

/// Serves one request.
pub async fn handle(context: Context, request: RemoveRaftVoterRequest) -> RemoveRaftVoterResponse {
    let shared = &context.shard.shared;
    let (id, directory) = (request.voter_id, request.voter_directory_id);
    let changed = match named(request.cluster_id.as_deref(), &shared.dirs.cluster_id, id, directory)
    {
        Ok(key) => {
            let changed = shared.controller.change_voters(Change::Remove(key)).await;
            outcome(changed, id, directory)
        }
        Err(refusal) => Err(refusal),
    };
    match changed {
        Ok(()) => RemoveRaftVoterResponse { error_message: None, ..Default::default() },
        Err(Refusal { code, message }) => RemoveRaftVoterResponse {
            error_code: code.to_wire(),
            error_message: Some(message),
            ..Default::default()
        },
    }
}
