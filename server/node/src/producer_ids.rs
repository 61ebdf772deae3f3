//! Ids for idempotent producers, taken from the controller in blocks.
//!
//! Each shard keeps the rest of its own blocks. Ids of a block that nobody asked for before the
//! stop are never given out: there are 2^63.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use ::metadata::controller::allocate_producer_ids;
use protocol::ApiKey;
use protocol::messages::allocate_producer_ids::AllocateProducerIdsRequest;
use types::{ErrorCode, ProducerId};

use crate::shard::Shard;

/// Ids that were allocated and not given out yet.
#[derive(Default)]
pub struct ProducerIds {
    blocks: RefCell<Vec<Range<i64>>>,
}

impl ProducerIds {
    /// An id that no other producer has had.
    ///
    /// # Errors
    /// The controller's code where it gives no block.
    pub async fn next(&self, shard: &Rc<Shard>) -> Result<ProducerId, ErrorCode> {
        loop {
            if let Some(id) = self.take() {
                return Ok(ProducerId(id));
            }
            let block = allocate(shard).await?;
            // Others may have brought a block in the meantime; none is lost.
            self.blocks.borrow_mut().insert(0, block);
        }
    }

    fn take(&self) -> Option<i64> {
        let mut blocks = self.blocks.borrow_mut();
        loop {
            match blocks.last_mut()?.next() {
                Some(id) => return Some(id),
                None => _ = blocks.pop(),
            }
        }
    }
}

async fn allocate(shard: &Rc<Shard>) -> Result<Range<i64>, ErrorCode> {
    let shared = &shard.shared;
    let request = AllocateProducerIdsRequest {
        broker_id: shared.config.node_id.0,
        broker_epoch: shared.membership.epoch(),
        ..Default::default()
    };
    let here = |request: AllocateProducerIdsRequest| {
        shared.controller.decide(move |image, _| allocate_producer_ids(image, &request))
    };
    let asked = shared.to_controller.ask(ApiKey::AllocateProducerIds, move |_| request, here);
    // Kafka's answer while no block of ids is to be had.
    let response = asked.await.map_err(|why| {
        tracing::warn!("no producer ids: {why}");
        ErrorCode::CoordinatorLoadInProgress
    })?;
    match ErrorCode::from_wire(response.error_code) {
        ErrorCode::None => {
            let start = response.producer_id_start;
            Ok(start..start + i64::from(response.producer_id_len))
        }
        ErrorCode::NotController => Err(ErrorCode::CoordinatorLoadInProgress),
        code => Err(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_used_up_in_the_order_they_came() {
        let ids = ProducerIds::default();
        assert_eq!(ids.take(), None);
        ids.blocks.borrow_mut().insert(0, 0..2);
        ids.blocks.borrow_mut().insert(0, 5..6);
        let taken: Vec<_> = std::iter::from_fn(|| ids.take()).collect();
        assert_eq!(taken, [0, 1, 5]);
    }
}
