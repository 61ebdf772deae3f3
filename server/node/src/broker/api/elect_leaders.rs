//! ElectLeaders: partitions go back to their preferred leader, or to any that is left (KIP-183).

use protocol::messages::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse};

use crate::broker::{Context, not_controller};

/// Serves one request.
pub async fn handle(context: Context, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let refused = not_controller::elect_leaders();
    let controller = &context.shard.shared.controller;
    controller
        .decide(move |image, deciding| {
            ::metadata::controller::elect_leaders(image, &request, deciding)
        })
        .await
        .unwrap_or(refused)
}
