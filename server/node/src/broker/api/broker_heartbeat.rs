//! BrokerHeartbeat: a broker lives, and asks to be let in, kept out or released.

use std::sync::Arc;

use protocol::messages::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use types::{BrokerId, ErrorCode};

use crate::broker::Context;
use crate::sessions;

/// Serves one request.
pub async fn handle(context: Context, request: BrokerHeartbeatRequest) -> BrokerHeartbeatResponse {
    let (shared, peer) = (&context.shard.shared, &context.peer);
    let id = BrokerId(request.broker_id);
    let answer = sessions::beat(shared, request).await;
    let answer = answer.unwrap_or_else(|_| BrokerHeartbeatResponse {
        error_code: ErrorCode::NotController.to_wire(),
        ..Default::default()
    });
    if ErrorCode::from_wire(answer.error_code).is_none() {
        let (sessions, connection) = (Arc::clone(&shared.sessions), peer.id);
        sessions.heard_on(id, connection);
        peer.when_closed_by_client(Box::new(move || sessions.closed(id, connection)));
    }
    answer
}
