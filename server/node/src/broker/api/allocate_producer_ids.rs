//! AllocateProducerIds: a block of ids for a broker to give to producers.

use protocol::messages::allocate_producer_ids::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse,
};
use types::ErrorCode;

use crate::broker::Context;

/// Serves one request.
pub async fn handle(
    context: Context,
    request: AllocateProducerIdsRequest,
) -> AllocateProducerIdsResponse {
    let controller = &context.shard.shared.controller;
    let allocated = controller
        .decide(move |image, _| ::metadata::controller::allocate_producer_ids(image, &request));
    allocated.await.unwrap_or_else(|_| AllocateProducerIdsResponse {
        error_code: ErrorCode::NotController.to_wire(),
        ..Default::default()
    })
}
