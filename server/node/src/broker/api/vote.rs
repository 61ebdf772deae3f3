//! Vote: a controller wants to lead the metadata quorum, or asks whether it could (KIP-595, 996).

use protocol::messages::vote::{VoteRequest, VoteResponse};

use super::quorum;
use crate::broker::Context;
use crate::controller::wire;

/// Serves one request.
pub async fn handle(context: Context, request: VoteRequest) -> VoteResponse {
    let asked = wire::vote_asked(&request, quorum::cluster_id(&context));
    let reply = quorum::ask(&context, asked).await;
    wire::vote_answer(reply.as_ref().map_err(|code| *code), &context.peer.listener, context.version)
}
