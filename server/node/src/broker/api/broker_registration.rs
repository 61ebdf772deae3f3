//! BrokerRegistration: a broker enters the cluster, or corrects what it said of itself.

use protocol::messages::broker_registration::{
    BrokerRegistrationRequest, BrokerRegistrationResponse,
};
use types::ErrorCode;

use crate::broker::Context;
use crate::sessions;

/// Serves one request.
pub async fn handle(
    context: Context,
    request: BrokerRegistrationRequest,
) -> BrokerRegistrationResponse {
    let registered = sessions::register(&context.shard.shared, request).await;
    registered.unwrap_or_else(|_| BrokerRegistrationResponse {
        error_code: ErrorCode::NotController.to_wire(),
        ..Default::default()
    })
}
