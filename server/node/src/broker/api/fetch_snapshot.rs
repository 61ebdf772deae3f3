//! FetchSnapshot: a replica of the metadata log that is too far behind takes a snapshot (KIP-630).

use protocol::messages::fetch_snapshot::{FetchSnapshotRequest, FetchSnapshotResponse};
use raft::{LogPosition, Request};
use types::{ErrorCode, Millis};

use super::quorum;
use crate::broker::Context;
use crate::controller::wire;

/// Serves one request.
pub async fn handle(context: Context, request: FetchSnapshotRequest) -> FetchSnapshotResponse {
    let mut at = LogPosition::default();
    let reply = match wire::fetch_snapshot_asked(&request, quorum::cluster_id(&context)) {
        Ok((asked, bytes_max)) => {
            if let Request::FetchSnapshot(fetch) = &asked {
                at = fetch.snapshot;
            }
            let controller = &context.shard.shared.controller;
            let reply = controller.ask(asked, bytes_max, Millis::ZERO).await;
            reply.map_err(|_| ErrorCode::NotLeaderOrFollower)
        }
        Err(code) => Err(code),
    };
    let reply = reply.as_ref().map_err(|code| *code);
    wire::fetch_snapshot_answer(reply, at, &context.peer.listener, context.version)
}
