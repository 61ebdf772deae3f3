//! OffsetDelete: forgets committed offsets of a group.

use coordinator::{Request, Response};
use protocol::messages::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::broker::Context;
use crate::broker::group_call::{ask, unasked};

/// Serves one request.
pub async fn handle(context: Context, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let group_id = request.group_id.clone();
    match ask(&context, &group_id, Request::OffsetDelete(request)).await {
        Ok(Response::OffsetDelete(response)) => response,
        Ok(other) => unasked(&other),
        Err(code) => OffsetDeleteResponse { error_code: code.to_wire(), ..Default::default() },
    }
}
