//! AlterConfigs: all settings of a resource are replaced.

use protocol::messages::alter_configs::{AlterConfigsRequest, AlterConfigsResponse};

use crate::broker::{Context, not_controller};

/// Serves one request.
pub async fn handle(context: Context, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let refused = not_controller::alter_configs(&request);
    let controller = &context.shard.shared.controller;
    controller
        .decide(move |image, deciding| {
            ::metadata::controller::alter_configs(image, &request, deciding)
        })
        .await
        .unwrap_or(refused)
}
