//! AllocateProducerIds: brokers get blocks of ids, so that no id is ever given twice.

use protocol::internal::metadata::ProducerIdsRecord;
use protocol::messages::allocate_producer_ids::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse,
};
use types::ErrorCode;

use super::registered;
use super::{Decision, Refusal};
use crate::image::Image;

/// How many ids a broker gets at once.
pub const PRODUCER_ID_BLOCK: i32 = 1000;

/// Decides AllocateProducerIds.
pub fn allocate_producer_ids(
    image: &Image,
    request: &AllocateProducerIdsRequest,
) -> Decision<AllocateProducerIdsResponse> {
    let producer_id_start = image.next_producer_id();
    let next = producer_id_start.checked_add(i64::from(PRODUCER_ID_BLOCK)).ok_or_else(|| {
        Refusal::new(ErrorCode::UnknownServerError, "all 2^63 producer ids are given away")
    });
    let checked = registered(image, request.broker_id, request.broker_epoch);
    match checked.and(next) {
        Ok(next_producer_id) => Decision {
            records: vec![
                ProducerIdsRecord {
                    broker_id: request.broker_id,
                    broker_epoch: request.broker_epoch,
                    next_producer_id,
                    ..Default::default()
                }
                .into(),
            ],
            response: AllocateProducerIdsResponse {
                producer_id_start,
                producer_id_len: PRODUCER_ID_BLOCK,
                ..Default::default()
            },
        },
        Err(refusal) => Decision::unchanged(AllocateProducerIdsResponse {
            error_code: refusal.code.to_wire(),
            ..Default::default()
        }),
    }
}
