//! CreateTopics: the controller decides and writes, every shard has the logs before the answer.

use protocol::messages::create_topics::{CreateTopicsRequest, CreateTopicsResponse};

use crate::broker::Context;

/// Serves one request.
pub async fn handle(context: Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let controller = &context.shard.shared.controller;
    controller
        .decide(move |image, deciding| {
            ::metadata::controller::create_topics(image, &request, deciding)
        })
        .await
}
