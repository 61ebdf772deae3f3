//! BeginQuorumEpoch: a new leader of the metadata quorum makes itself known (KIP-595).

use protocol::messages::begin_quorum_epoch::{BeginQuorumEpochRequest, BeginQuorumEpochResponse};

use super::quorum;
use crate::broker::Context;
use crate::controller::wire;

/// Serves one request.
pub async fn handle(
    context: Context,
    request: BeginQuorumEpochRequest,
) -> BeginQuorumEpochResponse {
    let asked = wire::begin_asked(&request, quorum::cluster_id(&context));
    let reply = quorum::ask(&context, asked).await;
    let reply = reply.as_ref().map_err(|code| *code);
    wire::begin_answer(reply, &context.peer.listener, context.version)
}
