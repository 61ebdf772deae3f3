//! ControllerRegistration: a controller says where it is reached and what it can do.

use ::metadata::controller::register_controller;
use protocol::messages::controller_registration::{
    ControllerRegistrationRequest, ControllerRegistrationResponse,
};
use types::ErrorCode;

use crate::broker::Context;

/// Serves one request.
pub async fn handle(
    context: Context,
    request: ControllerRegistrationRequest,
) -> ControllerRegistrationResponse {
    let controller = &context.shard.shared.controller;
    let registered = controller.decide(move |_, _| register_controller(&request)).await;
    registered.unwrap_or_else(|_| ControllerRegistrationResponse {
        error_code: ErrorCode::NotController.to_wire(),
        ..Default::default()
    })
}
