//! ApiVersions: what is served, at which versions, and which features are on (KIP-511, KIP-584).

use bytes::BytesMut;
use net::{ClientSoftware, Served};
use protocol::ApiKey;
use protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use types::ErrorCode;

use crate::broker::Context;
use crate::broker::request::decode;

/// Serves one request; any version is answered.
pub fn serve(context: Context, body: BytesMut) -> Served {
    if !ApiKey::ApiVersions.versions().contains(&context.version) {
        // A client from the future reads version 0 and asks again with what that says.
        let context = Context { version: 0, ..context };
        let response = ApiVersionsResponse {
            error_code: ErrorCode::UnsupportedVersion.to_wire(),
            api_keys: vec![version_of(ApiKey::ApiVersions)],
            ..Default::default()
        };
        return Served::Now(context.respond(&response));
    }
    let request = match decode::<ApiVersionsRequest>(body, context.version) {
        Ok(request) => request,
        Err(error) => return Served::Close(format!("ApiVersions: {error}").into()),
    };
    if context.version >= 3 {
        let (name, version) = (request.client_software_name, request.client_software_version);
        if !is_software(&name) || !is_software(&version) {
            let error_code = ErrorCode::InvalidRequest.to_wire();
            let response = ApiVersionsResponse { error_code, ..Default::default() };
            return Served::Now(context.respond(&response));
        }
        context.peer.software.replace(Some(ClientSoftware { name, version }));
    }
    let image = context.shard.image();
    let supported = ::metadata::features::supported().map(|(name, min, max)| SupportedFeatureKey {
        name: name.to_owned(),
        min_version: min,
        max_version: max,
        ..Default::default()
    });
    let controller = &context.shard.shared.controller;
    let kraft_version = controller.active().borrow().kraft_version;
    let finalized = ::metadata::features::finalized(image.features(), kraft_version);
    let finalized = finalized.into_iter().map(|(name, level)| FinalizedFeatureKey {
        name,
        max_version_level: level,
        min_version_level: level,
        ..Default::default()
    });
    let on_controller = context.is_on_controller();
    let served = super::SERVED.iter().copied();
    let served = served.filter(|api| super::is_served_on(on_controller, *api));
    let response = ApiVersionsResponse {
        api_keys: served.map(version_of).collect(),
        supported_features: supported.collect(),
        // As far as the image goes that says so: clients believe whoever knows more.
        finalized_features_epoch: controller.applied(),
        finalized_features: finalized.collect(),
        ..Default::default()
    };
    Served::Now(context.respond(&response))
}

fn version_of(api: ApiKey) -> ApiVersion {
    let versions = api.advertised_versions();
    ApiVersion {
        api_key: api.to_wire(),
        min_version: *versions.start(),
        max_version: *versions.end(),
        ..Default::default()
    }
}

/// Letters, digits, dots and dashes, the first and last of them a letter or digit.
fn is_software(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last())
}
