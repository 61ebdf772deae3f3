//! DescribeConfigs: every setting of a resource, where its value comes from and what it hides.

use ::metadata::Image;
use ::metadata::image::{ConfigResource, ResourceType};
use config::{Entry, FoundValue};
use protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use types::{ErrorCode, validate_topic_name};

use crate::broker::Context;
use crate::broker::excerpt::excerpt;
use crate::broker::once::first_of_each;
use crate::logging;
use crate::shared::Shared;

/// `DYNAMIC_BROKER_LOGGER_CONFIG` on the wire.
const LOGGER_SOURCE: i8 = config::Source::BrokerLogger as i8;

/// Serves one request.
pub async fn handle(
    context: Context,
    mut request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    first_of_each(&mut request.resources, |resource| {
        let DescribeConfigsResource { resource_type, resource_name, configuration_keys, .. } =
            resource.clone();
        (resource_type, resource_name, configuration_keys)
    });
    let image = context.shard.image();
    let describing = Describing {
        image: &image,
        shared: &context.shard.shared,
        synonyms: request.include_synonyms,
        documentation: request.include_documentation,
    };
    let results = request.resources.into_iter().map(|resource| describing.result(resource));
    DescribeConfigsResponse { results: results.collect(), ..Default::default() }
}

/// A code and what to tell a person.
type Refused = (ErrorCode, Option<String>);

struct Describing<'a> {
    image: &'a Image,
    shared: &'a Shared,
    synonyms: bool,
    documentation: bool,
}

impl Describing<'_> {
    fn result(&self, resource: DescribeConfigsResource) -> DescribeConfigsResult {
        let described = self.all(&resource);
        let wanted = resource.configuration_keys.unwrap_or_default();
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..Default::default()
        };
        match described {
            Ok(mut configs) => {
                configs.retain(|config| wanted.is_empty() || wanted.contains(&config.name));
                result.configs = configs;
            }
            Err((code, message)) => {
                result.error_code = code.to_wire();
                result.error_message = message;
            }
        }
        result
    }

    fn all(
        &self,
        resource: &DescribeConfigsResource,
    ) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
        let name = resource.resource_name.as_str();
        let Some(kind) = ResourceType::from_wire(resource.resource_type) else {
            return invalid(format!("Unsupported resource type: {}", resource.resource_type));
        };
        let own = self.shared.broker_resource();
        let layers = self.shared.layers(self.image, &own);
        let settings = self.image.settings(&ConfigResource::new(kind, name));
        let entries = match kind {
            ResourceType::Topic => {
                validate_topic_name(name).map_err(|error| {
                    (ErrorCode::InvalidTopicException, Some(excerpt(&error.to_string()).to_owned()))
                })?;
                if self.image.topic(name).is_none() {
                    return Err((ErrorCode::UnknownTopicOrPartition, None));
                }
                config::describe_topic(settings, &layers)
            }
            ResourceType::Broker if name.is_empty() => config::describe_cluster_default(&layers),
            ResourceType::Broker => {
                self.check_broker(name, " or empty string,")?;
                config::describe_broker(&layers)
            }
            ResourceType::BrokerLogger => return self.loggers(name),
            ResourceType::ClientMetrics if name.is_empty() => {
                return invalid("Client metrics subscription name must not be empty".to_owned());
            }
            ResourceType::ClientMetrics => config::describe_client_metrics(settings, &layers),
            ResourceType::Group if name.is_empty() => {
                return invalid("Group name must not be empty".to_owned());
            }
            ResourceType::Group => config::describe_group(settings, &layers),
        };
        Ok(entries.into_iter().map(|entry| self.config(entry)).collect())
    }

    /// Settings of a broker are its own to tell.
    fn check_broker(&self, name: &str, or: &str) -> Result<(), Refused> {
        let own = self.shared.config.node_id;
        let shown = excerpt(name);
        match name.parse::<i32>() {
            Ok(id) if id == own.0 => Ok(()),
            Ok(_) => {
                invalid(format!("Unexpected broker id, expected {own}{or} but received {shown}"))
            }
            Err(_) => invalid(format!("Broker id must be an integer, but it is: {shown}")),
        }
    }

    fn loggers(&self, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
        if name.is_empty() {
            return invalid("Broker id must not be empty".to_owned());
        }
        self.check_broker(name, "")?;
        let loggers = logging::levels().into_iter();
        let config = |(name, level): (String, logging::Level)| DescribeConfigsResourceResult {
            name,
            value: Some(level.name().to_owned()),
            config_source: LOGGER_SOURCE,
            ..Default::default()
        };
        Ok(loggers.map(config).collect())
    }

    fn config(&self, entry: Entry) -> DescribeConfigsResourceResult {
        let synonym = |found: FoundValue| DescribeConfigsSynonym {
            name: found.name,
            value: found.value,
            source: found.source.to_wire(),
            ..Default::default()
        };
        let synonyms = if self.synonyms { entry.synonyms.clone() } else { vec![] };
        let doc = entry.key.filter(|_| self.documentation).map(|key| key.doc.to_owned());
        DescribeConfigsResourceResult {
            config_type: entry.kind_to_wire(),
            config_source: entry.source.to_wire(),
            read_only: entry.read_only,
            is_sensitive: entry.sensitive,
            synonyms: synonyms.into_iter().map(synonym).collect(),
            documentation: doc,
            name: entry.name,
            value: entry.value,
            ..Default::default()
        }
    }
}

fn invalid<T>(message: String) -> Result<T, Refused> {
    Err((ErrorCode::InvalidRequest, Some(message)))
}
