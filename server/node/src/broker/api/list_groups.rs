//! ListGroups: the groups of every coordinator on this node; a client asks all brokers.

use coordinator::{Request, Response};
use protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use types::ErrorCode;

use crate::broker::Context;
use crate::broker::group_call::{all_partitions, ask_partition, unasked};

/// Serves one request.
pub async fn handle(context: Context, request: ListGroupsRequest) -> ListGroupsResponse {
    let mut response = ListGroupsResponse::default();
    for partition in all_partitions(&context) {
        let asked = Request::ListGroups(request.clone());
        match ask_partition(&context, partition, asked).await {
            Ok(Response::ListGroups { error: ErrorCode::None, groups }) => {
                response.groups.extend(groups);
            }
            // Another broker leads that partition, and lists its groups.
            Ok(Response::ListGroups { error: ErrorCode::NotCoordinator, .. })
            | Err(ErrorCode::NotCoordinator) => {}
            Ok(Response::ListGroups { error, .. }) => response.error_code = error.to_wire(),
            Ok(other) => unasked(&other),
            Err(code) => response.error_code = code.to_wire(),
        }
    }
    response
}
