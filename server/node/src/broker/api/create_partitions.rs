//! CreatePartitions: more partitions for topics that exist.

use protocol::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};

use crate::broker::{Context, not_controller};

/// Serves one request.
pub async fn handle(
    context: Context,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let refused = not_controller::create_partitions(&request);
    let controller = &context.shard.shared.controller;
    controller
        .decide(move |image, deciding| {
            ::metadata::controller::create_partitions(image, &request, deciding)
        })
        .await
        .unwrap_or(refused)
}
