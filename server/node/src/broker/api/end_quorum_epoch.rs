//! EndQuorumEpoch: the leader of the metadata quorum goes (KIP-595).

use protocol::messages::end_quorum_epoch::{EndQuorumEpochRequest, EndQuorumEpochResponse};

use super::quorum;
use crate::broker::Context;
use crate::controller::wire;

/// Serves one request.
pub async fn handle(context: Context, request: EndQuorumEpochRequest) -> EndQuorumEpochResponse {
    let asked = wire::end_asked(&request, quorum::cluster_id(&context));
    let reply = quorum::ask(&context, asked).await;
    wire::end_answer(reply.as_ref().map_err(|code| *code), &context.peer.listener, context.version)
}
