//! What replicas of the metadata log ask of each other, on the listeners of controllers: what all
//! of it shares, and Fetch.

use protocol::messages::fetch::{FetchRequest, FetchResponse};
use raft::Request;
use types::{ErrorCode, Millis};

use crate::broker::Context;
use crate::controller::{Reply, wire};

/// Id of the cluster that a request must mean.
pub fn cluster_id(context: &Context) -> &str {
    &context.shard.shared.dirs.cluster_id
}

/// Asks the controller's thread.
///
/// # Errors
/// The code of the whole answer.
pub async fn ask(context: &Context, asked: Result<Request, ErrorCode>) -> Result<Reply, ErrorCode> {
    let reply = context.shard.shared.controller.ask(asked?, 0, Millis::ZERO).await;
    reply.map_err(|_| ErrorCode::NotLeaderOrFollower)
}

/// Serves a Fetch of the metadata log.
pub async fn fetch(context: Context, request: FetchRequest) -> FetchResponse {
    let reply = match wire::fetch_asked(&request, cluster_id(&context), context.version) {
        Ok((asked, bytes_max, wait)) => {
            let reply = context.shard.shared.controller.ask(asked, bytes_max, wait).await;
            reply.map_err(|_| ErrorCode::NotLeaderOrFollower)
        }
        Err(code) => Err(code),
    };
    let reply = reply.as_ref().map_err(|code| *code);
    wire::fetch_answer(reply, &context.peer.listener, context.version)
}
