//! What a node answers that is asked for a decision and does not lead the metadata quorum:
//! NOT_CONTROLLER for each thing asked for, in the shape of each answer.

use protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use protocol::messages::create_topics::{
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};
use protocol::messages::elect_leaders::ElectLeadersResponse;
use protocol::messages::incremental_alter_configs::{
    self, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use protocol::messages::unregister_broker::UnregisterBrokerResponse;
use protocol::messages::update_features::UpdateFeaturesResponse;
use types::ErrorCode;

fn code() -> i16 {
    ErrorCode::NotController.to_wire()
}

/// What the user reads.
fn message() -> Option<String> {
    Some(crate::controller::NotController.to_string())
}

/// To CreateTopics.
pub fn create_topics(request: &CreateTopicsRequest) -> CreateTopicsResponse {
    let refused = |name: &String| CreatableTopicResult {
        name: name.clone(),
        error_code: code(),
        error_message: message(),
        ..Default::default()
    };
    let topics = request.topics.iter().map(|topic| refused(&topic.name)).collect();
    CreateTopicsResponse { topics, ..Default::default() }
}

/// To DeleteTopics.
pub fn delete_topics(request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
    let named = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
    let old = request.topic_names.iter().map(|name| (Some(name.clone()), Default::default()));
    let responses = named.chain(old).map(|(name, topic_id)| DeletableTopicResult {
        name,
        topic_id,
        error_code: code(),
        error_message: message(),
        ..Default::default()
    });
    DeleteTopicsResponse { responses: responses.collect(), ..Default::default() }
}

/// To CreatePartitions.
pub fn create_partitions(request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
    let results = request.topics.iter().map(|topic| CreatePartitionsTopicResult {
        name: topic.name.clone(),
        error_code: code(),
        error_message: message(),
        ..Default::default()
    });
    CreatePartitionsResponse { results: results.collect(), ..Default::default() }
}

/// To AlterConfigs.
pub fn alter_configs(request: &AlterConfigsRequest) -> AlterConfigsResponse {
    let responses = request.resources.iter().map(|resource| AlterConfigsResourceResponse {
        error_code: code(),
        error_message: message(),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..Default::default()
    });
    AlterConfigsResponse { responses: responses.collect(), ..Default::default() }
}

/// To IncrementalAlterConfigs.
pub fn incremental_alter_configs(
    request: &IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let refused = |resource: &incremental_alter_configs::AlterConfigsResource| {
        incremental_alter_configs::AlterConfigsResourceResponse {
            error_code: code(),
            error_message: message(),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        }
    };
    let responses = request.resources.iter().map(refused).collect();
    IncrementalAlterConfigsResponse { responses, ..Default::default() }
}

/// To ElectLeaders.
pub fn elect_leaders() -> ElectLeadersResponse {
    ElectLeadersResponse { error_code: code(), ..Default::default() }
}

/// To UpdateFeatures.
pub fn update_features() -> UpdateFeaturesResponse {
    UpdateFeaturesResponse { error_code: code(), error_message: message(), ..Default::default() }
}

/// To UnregisterBroker.
pub fn unregister_broker() -> UnregisterBrokerResponse {
    UnregisterBrokerResponse { error_code: code(), error_message: message(), ..Default::default() }
}
