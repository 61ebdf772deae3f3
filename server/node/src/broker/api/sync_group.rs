//! SyncGroup: hands out the leader's assignment.

use coordinator::{Request, Response};
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use crate::broker::Context;
use crate::broker::group_call::{ask, unasked};

/// Serves one request.
pub async fn handle(context: Context, request: SyncGroupRequest) -> SyncGroupResponse {
    let group_id = request.group_id.clone();
    match ask(&context, &group_id, Request::Sync(request)).await {
        Ok(Response::Sync(response)) => response,
        Ok(other) => unasked(&other),
        Err(code) => SyncGroupResponse { error_code: code.to_wire(), ..Default::default() },
    }
}
