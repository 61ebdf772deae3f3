//! UnregisterBroker: the cluster forgets a broker that will not come back (KIP-500).
//!
//! As in Kafka, one that is alive may be forgotten too, this node included: what it led has no
//! leader until it starts anew.

use ::metadata::controller::{Decision, unregister_broker};
use protocol::messages::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use types::{BrokerId, ErrorCode};

use crate::broker::{Context, not_controller};

/// Serves one request.
pub async fn handle(
    context: Context,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    let id = BrokerId(request.broker_id);
    let refused = not_controller::unregister_broker();
    let controller = &context.shard.shared.controller;
    controller
        .decide(move |image, deciding| match unregister_broker(image, id, deciding) {
            Ok(records) => {
                let response =
                    UnregisterBrokerResponse { error_message: None, ..Default::default() };
                Decision { records, response }
            }
            Err(code) => Decision { records: vec![], response: refuse(id, code) },
        })
        .await
        .unwrap_or(refused)
}

fn refuse(id: BrokerId, code: ErrorCode) -> UnregisterBrokerResponse {
    UnregisterBrokerResponse {
        error_code: code.to_wire(),
        error_message: Some(format!("Broker ID {id} is not currently registered")),
        ..Default::default()
    }
}
