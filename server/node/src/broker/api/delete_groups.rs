//! DeleteGroups: forgets groups without members, with their offsets.

use coordinator::{Request, Response};
use protocol::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};

use crate::broker::Context;
use crate::broker::group_call::{ask, unasked};

/// Serves one request.
pub async fn handle(context: Context, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in request.groups_names {
        let asked = Request::DeleteGroups(vec![group_id.clone()]);
        match ask(&context, &group_id, asked).await {
            Ok(Response::DeleteGroups(deleted)) => results.extend(deleted),
            Ok(other) => unasked(&other),
            Err(code) => {
                let error_code = code.to_wire();
                results.push(DeletableGroupResult { group_id, error_code, ..Default::default() });
            }
        }
    }
    DeleteGroupsResponse { results, ..Default::default() }
}
