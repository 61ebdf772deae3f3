//! UpdateFeatures: new levels for features, all of a request or none (KIP-584).

use ::metadata::controller::{Decision, update_features};
use protocol::messages::update_features::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use types::ErrorCode;

use crate::broker::{Context, not_controller};
use crate::controller::{Change, Controller, NotController};

/// Serves one request.
pub async fn handle(context: Context, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let controller = &context.shard.shared.controller;
    let served = serve(controller, request, context.version).await;
    served.unwrap_or_else(|NotController| not_controller::update_features())
}

async fn serve(
    controller: &Controller,
    request: UpdateFeaturesRequest,
    version: i16,
) -> Result<UpdateFeaturesResponse, NotController> {
    match decide(controller, request.clone(), version).await? {
        Ok(response) => return Ok(response),
        Err(level) => {
            // The quorum's own level comes with a record of the voters, before all others.
            if let Err(unchanged) = controller.change_voters(Change::MakeDynamic).await? {
                return Ok(refuse_kraft(level, unchanged.code));
            }
        }
    }
    let decided = decide(controller, request, version).await?;
    Ok(decided.unwrap_or_else(|level| refuse_kraft(level, ErrorCode::RequestTimedOut)))
}

/// Decides, or gives the level of `kraft.version` that the quorum has to write first.
async fn decide(
    controller: &Controller,
    request: UpdateFeaturesRequest,
    version: i16,
) -> Result<Result<UpdateFeaturesResponse, i16>, NotController> {
    controller
        .decide_with_facts(move |image, quorum, deciding| {
            let decided = update_features(image, &request, version, quorum.kraft_version, deciding);
            match decided.response.kraft_version {
                None => {
                    Decision { records: decided.records, response: Ok(decided.response.response) }
                }
                Some(level) => Decision { records: vec![], response: Err(level) },
            }
        })
        .await
}

fn refuse_kraft(level: i16, code: ErrorCode) -> UpdateFeaturesResponse {
    let why = match code {
        ErrorCode::InvalidUpdateVersion => {
            "not every voter has told the leader of this epoch which directory it has, and that it \
             supports the level"
        }
        _ => "the quorum is about to change: try again",
    };
    let message = format!("Invalid update version {level} for feature kraft.version: {why}.");
    UpdateFeaturesResponse {
        error_code: ErrorCode::InvalidUpdateVersion.to_wire(),
        error_message: Some(message),
        ..Default::default()
    }
}
