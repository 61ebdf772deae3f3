//! UpdateFeatures: new levels for features, all of a request or none (KIP-584).

use ::metadata::controller::{Decision, update_features};
use protocol::messages::update_features::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use types::ErrorCode;

use crate::broker::{Context, not_controller};

/// Serves one request.
pub async fn handle(context: Context, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let version = context.version;
    let refused = not_controller::update_features();
    let controller = &context.shard.shared.controller;
    controller
        .decide_with_facts(move |image, quorum, deciding| {
            let decided = update_features(image, &request, version, quorum.kraft_version, deciding);
            match decided.response.kraft_version {
                None => Decision { records: decided.records, response: decided.response.response },
                Some(level) => Decision { records: vec![], response: refuse_kraft(level) },
            }
        })
        .await
        .unwrap_or(refused)
}

/// The level of `kraft.version` comes with a record of the voters, which the log of a quorum of
/// one gets at its first start or never.
fn refuse_kraft(level: i16) -> UpdateFeaturesResponse {
    let message = format!(
        "Invalid update version {level} for feature kraft.version. This quorum was started with \
         static voters (controller.quorum.voters)."
    );
    UpdateFeaturesResponse {
        error_code: ErrorCode::InvalidUpdateVersion.to_wire(),
        error_message: Some(message),
        ..Default::default()
    }
}
