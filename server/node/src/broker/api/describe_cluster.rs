//! DescribeCluster: the nodes that the asked listener leads to, brokers or controllers (KIP-919).

use ::metadata::Image;
use protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use types::ErrorCode;

use crate::broker::{Context, operations};

/// `EndpointType` on the wire.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Serves one request.
pub async fn handle(context: Context, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let served = if context.is_on_controller() { CONTROLLERS } else { BROKERS };
    if request.endpoint_type != served {
        return refuse(&context, request.endpoint_type, served);
    }
    let image = context.shard.image();
    let listener = &context.peer.listener;
    let brokers = match served {
        CONTROLLERS => controllers(&image, listener),
        _ => brokers(&image, listener, request.include_fenced_brokers),
    };
    let shared = &context.shard.shared;
    let controller = match served {
        CONTROLLERS => shared.controller.active().borrow().leader.map_or(-1, |leader| leader.0),
        // Brokers hand on what is the controller's: any of them will do.
        _ => shared.config.node_id.0,
    };
    let is_listed = brokers.iter().any(|node| node.broker_id == controller);
    DescribeClusterResponse {
        endpoint_type: served,
        cluster_id: shared.dirs.cluster_id.clone(),
        controller_id: if is_listed { controller } else { -1 },
        brokers,
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => operations::CLUSTER,
            false => operations::NOT_ASKED,
        },
        ..Default::default()
    }
}

fn refuse(context: &Context, wanted: i8, served: i8) -> DescribeClusterResponse {
    let (code, message) = match wanted {
        BROKERS | CONTROLLERS => (
            ErrorCode::MismatchedEndpointType,
            format!(
                "The request was sent to an endpoint of type {}, but we wanted an endpoint of \
                 type {}",
                name(served),
                name(wanted)
            ),
        ),
        other => (ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}")),
    };
    // Version 0 is older than both codes.
    let code = if context.version == 0 { ErrorCode::InvalidRequest } else { code };
    DescribeClusterResponse {
        error_code: code.to_wire(),
        error_message: Some(message),
        controller_id: -1,
        ..Default::default()
    }
}

fn name(endpoint_type: i8) -> &'static str {
    if endpoint_type == CONTROLLERS { "CONTROLLER" } else { "BROKER" }
}

fn brokers(image: &Image, listener: &str, fenced_too: bool) -> Vec<DescribeClusterBroker> {
    let wanted = image.brokers().filter(|broker| fenced_too || !broker.fenced);
    let reachable = wanted.filter_map(|broker| {
        let endpoint = broker.endpoint(listener)?;
        Some(DescribeClusterBroker {
            broker_id: broker.id.0,
            host: endpoint.host.clone(),
            port: i32::from(endpoint.port),
            rack: broker.rack.clone(),
            is_fenced: broker.fenced,
            ..Default::default()
        })
    });
    reachable.collect()
}

fn controllers(image: &Image, listener: &str) -> Vec<DescribeClusterBroker> {
    let reachable = image.controllers().filter_map(|controller| {
        let endpoint = controller.endpoints.iter().find(|one| one.listener == listener)?;
        Some(DescribeClusterBroker {
            broker_id: controller.id.0,
            host: endpoint.host.clone(),
            port: i32::from(endpoint.port),
            ..Default::default()
        })
    });
    reachable.collect()
}
