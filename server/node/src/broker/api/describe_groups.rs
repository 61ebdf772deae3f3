//! DescribeGroups: state, members and assignments of classic groups.

use coordinator::{Request, Response};
use protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup,
};

use crate::broker::Context;
use crate::broker::group_call::{ask, unasked};
use crate::broker::once::first_of_each;
use crate::broker::operations;

/// Serves one request.
pub async fn handle(
    context: Context,
    mut request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    first_of_each(&mut request.groups, String::clone);
    let mut groups = Vec::with_capacity(request.groups.len());
    for group_id in request.groups {
        let asked = Request::DescribeGroups(vec![group_id.clone()]);
        let described = match ask(&context, &group_id, asked).await {
            Ok(Response::DescribeGroups(described)) => described,
            Ok(other) => unasked(&other),
            Err(code) => {
                let error_code = code.to_wire();
                vec![DescribedGroup { error_code, group_id, ..Default::default() }]
            }
        };
        groups.extend(described);
    }
    for group in &mut groups {
        let wanted = request.include_authorized_operations && group.error_code == 0;
        group.authorized_operations =
            if wanted { operations::GROUP } else { operations::NOT_ASKED };
    }
    DescribeGroupsResponse { groups, ..Default::default() }
}
