//! ListConfigResources: names of what has settings (KIP-714, KIP-1142).

use std::collections::BTreeSet;

use ::metadata::Image;
use ::metadata::image::ResourceType;
use protocol::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use types::ErrorCode;

use crate::broker::Context;

/// What can be listed, in the order of the answer.
const ALL: [ResourceType; 5] = [
    ResourceType::Group,
    ResourceType::ClientMetrics,
    ResourceType::BrokerLogger,
    ResourceType::Broker,
    ResourceType::Topic,
];

/// Serves one request.
pub async fn handle(
    context: Context,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let wanted: BTreeSet<i8> = request.resource_types.into_iter().collect();
    let is_known = |kind: &i8| ResourceType::from_wire(*kind).is_some();
    if !wanted.iter().all(is_known) {
        let error_code = ErrorCode::UnsupportedVersion.to_wire();
        return ListConfigResourcesResponse { error_code, ..Default::default() };
    }
    let image = context.shard.image();
    let kinds = ALL.into_iter().filter(|kind| match context.version {
        // The first version knows of one kind alone and has no field to ask for others.
        0 => *kind == ResourceType::ClientMetrics,
        _ => wanted.is_empty() || wanted.contains(&kind.to_wire()),
    });
    let resources = kinds.flat_map(|kind| {
        names(&image, kind).into_iter().map(move |resource_name| ConfigResource {
            resource_name,
            resource_type: kind.to_wire(),
            ..Default::default()
        })
    });
    ListConfigResourcesResponse { config_resources: resources.collect(), ..Default::default() }
}

fn names(image: &Image, kind: ResourceType) -> Vec<String> {
    match kind {
        ResourceType::Topic => image.topics().map(|topic| topic.name.to_string()).collect(),
        ResourceType::Broker | ResourceType::BrokerLogger => {
            image.brokers().map(|broker| broker.id.to_string()).collect()
        }
        ResourceType::ClientMetrics | ResourceType::Group => {
            let resources = image.config_resources().filter(|(one, _)| one.kind == kind);
            resources.map(|(resource, _)| resource.name.to_string()).collect()
        }
    }
}
