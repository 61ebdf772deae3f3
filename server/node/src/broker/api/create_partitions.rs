//! CreatePartitions: more partitions for topics that exist.

use protocol::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};

use crate::broker::Context;

/// Serves one request.
pub async fn handle(
    context: Context,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let controller = &context.shard.shared.controller;
    controller
        .decide(move |image, deciding| {
            ::metadata::controller::create_partitions(image, &request, deciding)
        })
        .await
}
