//! DeleteTopics: the controller decides and writes, no shard serves the topics after the answer.

use protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};

use crate::broker::{Context, not_controller};

/// Serves one request.
pub async fn handle(context: Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let version = context.version;
    let refused = not_controller::delete_topics(&request);
    let controller = &context.shard.shared.controller;
    controller
        .decide(move |image, deciding| {
            ::metadata::controller::delete_topics(image, &request, version, deciding)
        })
        .await
        .unwrap_or(refused)
}
