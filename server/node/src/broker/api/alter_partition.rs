//! AlterPartition: a leader changes who is in sync (KIP-497).

use protocol::messages::alter_partition::{AlterPartitionRequest, AlterPartitionResponse};
use types::ErrorCode;

use crate::broker::Context;

/// Serves one request.
pub async fn handle(context: Context, request: AlterPartitionRequest) -> AlterPartitionResponse {
    let version = context.version;
    let controller = &context.shard.shared.controller;
    let altered = controller.decide(move |image, deciding| {
        ::metadata::controller::alter_partition(image, &request, version, deciding)
    });
    altered.await.unwrap_or_else(|_| AlterPartitionResponse {
        error_code: ErrorCode::NotController.to_wire(),
        ..Default::default()
    })
}
