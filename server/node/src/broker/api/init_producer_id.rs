//! InitProducerId: an id for an idempotent producer.

use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use types::ErrorCode;

use crate::broker::Context;

/// Serves one request.
pub async fn handle(context: Context, request: InitProducerIdRequest) -> InitProducerIdResponse {
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return refused(ErrorCode::InvalidRequest);
    }
    match request.transactional_id.as_deref() {
        Some("") => return refused(ErrorCode::InvalidRequest),
        // No partition of the transaction log has a coordinator here.
        Some(_) => return refused(ErrorCode::CoordinatorNotAvailable),
        None => {}
    }
    match context.shard.producer_ids.next(&context.shard).await {
        Ok(id) => {
            InitProducerIdResponse { producer_id: id.0, producer_epoch: 0, ..Default::default() }
        }
        Err(code) => refused(code),
    }
}

fn refused(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code: code.to_wire(),
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    }
}
