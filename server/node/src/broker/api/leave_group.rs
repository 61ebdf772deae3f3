//! LeaveGroup: members of a classic group go, or are sent away.

use coordinator::{Request, Response};
use protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse};

use crate::broker::Context;
use crate::broker::group_call::{ask, unasked};

/// Serves one request.
pub async fn handle(context: Context, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let group_id = request.group_id.clone();
    match ask(&context, &group_id, Request::Leave(request)).await {
        Ok(Response::Leave(response)) => response,
        Ok(other) => unasked(&other),
        Err(code) => LeaveGroupResponse { error_code: code.to_wire(), ..Default::default() },
    }
}
