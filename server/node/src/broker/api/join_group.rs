//! JoinGroup: a member enters a classic group, or comes back for the next generation.

use coordinator::{Request, Response};
use protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};

use crate::broker::Context;
use crate::broker::group_call::{ask, unasked};

/// Serves one request.
pub async fn handle(context: Context, request: JoinGroupRequest) -> JoinGroupResponse {
    let group_id = request.group_id.clone();
    let member_id = request.member_id.clone();
    let fresh_id = context.shard.random_uuid();
    let version = context.version;
    match ask(&context, &group_id, Request::Join { request, fresh_id }).await {
        Ok(Response::Join(response)) => response,
        Ok(other) => unasked(&other),
        Err(code) => JoinGroupResponse {
            error_code: code.to_wire(),
            generation_id: -1,
            protocol_name: (version < 7).then(String::new),
            member_id,
            ..Default::default()
        },
    }
}
