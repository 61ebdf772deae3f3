//! IncrementalAlterConfigs: single settings of a resource change (KIP-339).
//!
//! What is in the metadata log is the controller's to decide. Log levels live in the process, so
//! they are set here.

use ::metadata::image::ResourceType;
use config::Operation;
use protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use types::{BrokerId, ErrorCode};

use crate::broker::excerpt::excerpt;
use crate::broker::{Context, forward, not_controller};
use crate::logging::{self, Level, ROOT};

/// Serves one request.
pub async fn handle(
    context: Context,
    mut request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let shared = &context.shard.shared;
    let is_logger = |resource: &mut AlterConfigsResource| {
        resource.resource_type == ResourceType::BrokerLogger.to_wire()
    };
    let loggers: Vec<_> = request.resources.extract_if(.., is_logger).collect();
    let validate_only = request.validate_only;
    let mut response = if request.resources.is_empty() {
        IncrementalAlterConfigsResponse::default()
    } else {
        let refused = not_controller::incremental_alter_configs(&request);
        let altered = if context.is_on_controller() || shared.to_controller.is_here() {
            let decided = shared.controller.decide(move |image, deciding| {
                ::metadata::controller::incremental_alter_configs(image, &request, deciding)
            });
            decided.await.ok()
        } else {
            forward::call(&context, context.api, context.version, &request).await
        };
        altered.unwrap_or(refused)
    };
    let own = shared.config.node_id;
    response.responses.extend(loggers.into_iter().map(|resource| {
        let result = alter_loggers(own, &resource, validate_only);
        let (code, error_message) = match result {
            Ok(()) => (ErrorCode::None, None),
            Err((code, message)) => (code, Some(message)),
        };
        AlterConfigsResourceResponse {
            error_code: code.to_wire(),
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..Default::default()
        }
    }));
    response
}

type Refused = (ErrorCode, String);

/// Sets levels of loggers: all of the resource or none.
fn alter_loggers(
    own: BrokerId,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refused> {
    let name = &resource.resource_name;
    let shown = excerpt(name);
    let invalid = |message: String| Err((ErrorCode::InvalidRequest, message));
    match name.parse::<i32>() {
        Ok(id) if id == own.0 => {}
        Ok(_) => {
            return invalid(format!("Unexpected broker id, expected {own}, but received {shown}"));
        }
        Err(_) => return invalid(format!("Node id must be an integer, but it is: {shown}")),
    }
    let known = logging::levels();
    let changes = resource.configs.iter().map(|config| {
        if !known.contains_key(&config.name) {
            let message = format!("Logger {} does not exist!", excerpt(&config.name));
            return Err((ErrorCode::InvalidConfig, message));
        }
        Ok((config.name.clone(), level(config)?))
    });
    let changes = changes.collect::<Result<Vec<_>, _>>()?;
    if validate_only {
        return Ok(());
    }
    logging::set(changes).map_err(|message| (ErrorCode::InvalidRequest, message))
}

/// The level that a change gives, `None` to take it from the parent again.
fn level(config: &AlterableConfig) -> Result<Option<Level>, Refused> {
    let invalid = |message: String| Err((ErrorCode::InvalidRequest, message));
    match Operation::from_wire(config.config_operation) {
        Some(Operation::Set) => {
            let value = config.value.as_deref().unwrap_or_default();
            let unknown = || {
                let names = Level::ALL.map(Level::name).join(", ");
                let message = format!(
                    "Cannot set the log level of {} to {} as it is not a supported log level. \
                     Valid log levels are {names}",
                    config.name,
                    excerpt(value)
                );
                (ErrorCode::InvalidConfig, message)
            };
            Level::read(value).map(Some).ok_or_else(unknown)
        }
        Some(Operation::Delete) if config.name == ROOT => {
            invalid(format!("Removing the log level of the {ROOT} logger is not allowed"))
        }
        Some(Operation::Delete) => Ok(None),
        Some(Operation::Append) => {
            invalid("APPEND operation is not allowed for the BROKER_LOGGER resource".to_owned())
        }
        Some(Operation::Subtract) => {
            invalid("SUBTRACT operation is not allowed for the BROKER_LOGGER resource".to_owned())
        }
        None => invalid(format!("Unknown operation type {}", config.config_operation)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, operation: i8, value: Option<&str>) -> AlterConfigsResource {
        let config = AlterableConfig {
            name: name.to_owned(),
            config_operation: operation,
            value: value.map(str::to_owned),
            ..Default::default()
        };
        let (resource_name, configs) = ("1".to_owned(), vec![config]);
        AlterConfigsResource { resource_type: 8, resource_name, configs, ..Default::default() }
    }

    #[test]
    fn changes_of_log_levels_are_checked() {
        let cases = [
            (change(ROOT, 0, Some("DEBUG")), None),
            (change(ROOT, 0, Some("LOUD")), Some(ErrorCode::InvalidConfig)),
            (change(ROOT, 1, None), Some(ErrorCode::InvalidRequest)),
            (change(ROOT, 2, Some("INFO")), Some(ErrorCode::InvalidRequest)),
            (change(ROOT, 9, Some("INFO")), Some(ErrorCode::InvalidRequest)),
            (change("nobody", 0, Some("INFO")), Some(ErrorCode::InvalidConfig)),
        ];
        for (resource, expected) in cases {
            let result = alter_loggers(BrokerId(1), &resource, true);
            assert_eq!(result.err().map(|(code, _)| code), expected, "{resource:?}");
        }
        let other = alter_loggers(BrokerId(2), &change(ROOT, 0, Some("INFO")), true);
        assert_eq!(other.unwrap_err().0, ErrorCode::InvalidRequest);
    }
}
