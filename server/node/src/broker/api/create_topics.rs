//! CreateTopics: the controller decides and writes, every shard has the logs before the answer.

use protocol::messages::create_topics::{CreateTopicsRequest, CreateTopicsResponse};

use crate::broker::{Context, not_controller};

/// Serves one request.
pub async fn handle(context: Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let refused = not_controller::create_topics(&request);
    let controller = &context.shard.shared.controller;
    controller
        .decide(move |image, deciding| {
            ::metadata::controller::create_topics(image, &request, deciding)
        })
        .await
        .unwrap_or(refused)
}
