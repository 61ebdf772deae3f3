//! What replicas of the metadata log ask of each other, on the listeners of controllers: what all
//! of it shares, and Fetch.

use std::sync::Once;

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
    let asked = asked.inspect_err(|code| tell_of_strangers(context, *code))?;
    let reply = context.shard.shared.controller.ask(asked, 0, Millis::ZERO).await;
    reply.map_err(|_| ErrorCode::NotLeaderOrFollower)
}

/// Says once that nodes of another cluster take this one for one of theirs. Most often that is what
/// it was, before it lost its disk and began a cluster of its own.
fn tell_of_strangers(context: &Context, code: ErrorCode) {
    static TOLD: Once = Once::new();
    if code == ErrorCode::InconsistentClusterId {
        TOLD.call_once(|| {
            tracing::error!(
                "{} takes this node for a controller of another cluster than {}. If it was one and \
                 has lost its disk, stop it, empty its directories and start it with --join and the \
                 address of one of that cluster's brokers",
                context.peer.address,
                cluster_id(context)
            );
        });
    }
}

/// Serves a Fetch of the metadata log.
pub async fn fetch(context: Context, request: FetchRequest) -> FetchResponse {
    let reply = match wire::fetch_asked(&request, cluster_id(&context), context.version) {
        Ok((asked, bytes_max, wait)) => {
            let reply = context.shard.shared.controller.ask(asked, bytes_max, wait).await;
            reply.map_err(|_| ErrorCode::NotLeaderOrFollower)
        }
        Err(code) => {
            tell_of_strangers(&context, code);
            Err(code)
        }
    };
    let reply = reply.as_ref().map_err(|code| *code);
    wire::fetch_answer(reply, &context.peer.listener, context.version)
}
