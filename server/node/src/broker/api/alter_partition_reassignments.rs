//! AlterPartitionReassignments: partitions move to other brokers, or stop moving (KIP-455).

use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};
use types::ErrorCode;

use crate::broker::Context;

/// Serves one request.
pub async fn handle(
    context: Context,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let controller = &context.shard.shared.controller;
    let altered = controller.decide(move |image, deciding| {
        ::metadata::controller::alter_partition_reassignments(image, &request, deciding)
    });
    altered.await.unwrap_or_else(|fault| AlterPartitionReassignmentsResponse {
        error_code: ErrorCode::NotController.to_wire(),
        error_message: Some(fault.to_string()),
        ..Default::default()
    })
}
