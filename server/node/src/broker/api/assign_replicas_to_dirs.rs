//! AssignReplicasToDirs: a broker says in which log directory its replicas lie (KIP-858).

use protocol::messages::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse,
};
use types::ErrorCode;

use crate::broker::Context;

/// Serves one request.
pub async fn handle(
    context: Context,
    request: AssignReplicasToDirsRequest,
) -> AssignReplicasToDirsResponse {
    let controller = &context.shard.shared.controller;
    let assigned = controller.decide(move |image, deciding| {
        ::metadata::controller::assign_replicas_to_dirs(image, &request, deciding)
    });
    assigned.await.unwrap_or_else(|_| AssignReplicasToDirsResponse {
        error_code: ErrorCode::NotController.to_wire(),
        ..Default::default()
    })
}
