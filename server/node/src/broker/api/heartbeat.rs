//! Heartbeat: a member of a classic group is alive.

use coordinator::{Request, Response};
use protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use crate::broker::Context;
use crate::broker::group_call::{ask, unasked};

/// Serves one request.
pub async fn handle(context: Context, request: HeartbeatRequest) -> HeartbeatResponse {
    let group_id = request.group_id.clone();
    match ask(&context, &group_id, Request::Heartbeat(request)).await {
        Ok(Response::Heartbeat(response)) => response,
        Ok(other) => unasked(&other),
        Err(code) => HeartbeatResponse { error_code: code.to_wire(), ..Default::default() },
    }
}
