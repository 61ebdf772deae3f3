//! Configuration of topics, brokers and groups.

use protocol::ApiKey;
use protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse,
};
use protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::Admin;
use crate::cluster::Lane;
use crate::error::ClientError;

/// What kind of thing is configured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResourceKind {
    /// A topic, by name.
    Topic,
    /// A broker by id, or with an empty name the default of all.
    Broker,
    /// A consumer, share or streams group.
    Group,
    /// A subscription to client metrics.
    ClientMetrics,
}

/// A thing that has configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigResource {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name, by kind.
    pub name: String,
}

/// One key with its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigEntry {
    /// The key.
    pub name: String,
    /// The value; `None` where it is secret or has none.
    pub value: Option<String>,
    /// Where the value comes from: `topic`, `broker`, `default-broker`, `static`, `default`,
    /// `group`, `client-metrics`, `logger` or `unknown`.
    pub source: &'static str,
    /// Whether it can only be set before the broker starts.
    pub is_read_only: bool,
    /// Whether the broker hides the value.
    pub is_sensitive: bool,
    /// Kafka's sentence about it, where the broker gives one.
    pub documentation: Option<String>,
}

/// A change to one key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigChange {
    /// Sets the value.
    Set(String),
    /// Back to the default.
    Delete,
    /// Adds elements to a list.
    Append(String),
    /// Takes elements out of a list.
    Subtract(String),
}

impl ResourceKind {
    fn to_wire(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::ClientMetrics => 16,
            Self::Group => 32,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Broker => "broker",
            Self::ClientMetrics => "client-metrics",
            Self::Group => "group",
        }
    }
}

impl ConfigResource {
    fn subject(&self) -> String {
        format!("{} {:?}", self.kind.noun(), self.name)
    }

    /// A broker answers for itself alone; all else any broker knows.
    fn broker(&self) -> Result<Option<i32>, ClientError> {
        if self.kind != ResourceKind::Broker || self.name.is_empty() {
            return Ok(None);
        }
        let not_an_id = || ClientError::Invalid(format!("{:?} is not a broker id", self.name));
        self.name.parse().map(Some).map_err(|_| not_an_id())
    }
}

impl Admin {
    /// All keys of a resource with the values in force.
    ///
    /// # Errors
    /// Where it does not exist, and whatever keeps the cluster away.
    pub async fn describe_configs(
        &self,
        resource: &ConfigResource,
        with_documentation: bool,
    ) -> Result<Vec<ConfigEntry>, ClientError> {
        let one = DescribeConfigsResource {
            resource_type: resource.kind.to_wire(),
            resource_name: resource.name.clone(),
            configuration_keys: None,
            ..DescribeConfigsResource::default()
        };
        let request = DescribeConfigsRequest {
            resources: vec![one],
            include_documentation: with_documentation,
            ..DescribeConfigsRequest::default()
        };
        let api = ApiKey::DescribeConfigs;
        let answer: DescribeConfigsResponse = match self.place(resource).await? {
            None => self.client.call_any(api, 1..=4, &request).await?,
            Some(id) => self.client.call_broker(id, Lane::General, api, 1..=4, &request).await?,
        };
        let mut entries = Vec::new();
        for result in answer.results {
            let (code, message) = (result.error_code, result.error_message.as_ref());
            ClientError::check(api, || resource.subject(), code, message)?;
            entries.extend(result.configs.into_iter().map(entry));
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Changes keys of a resource, all or none.
    ///
    /// # Errors
    /// `INVALID_CONFIG` names the key that is wrong; else as [`Admin::describe_configs`].
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[(String, ConfigChange)],
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let change = |(name, change): &(String, ConfigChange)| {
            let (config_operation, value) = match change {
                ConfigChange::Set(value) => (0, Some(value.clone())),
                ConfigChange::Delete => (1, None),
                ConfigChange::Append(value) => (2, Some(value.clone())),
                ConfigChange::Subtract(value) => (3, Some(value.clone())),
            };
            AlterableConfig {
                name: name.clone(),
                config_operation,
                value,
                ..AlterableConfig::default()
            }
        };
        let one = AlterConfigsResource {
            resource_type: resource.kind.to_wire(),
            resource_name: resource.name.clone(),
            configs: changes.iter().map(change).collect(),
            ..AlterConfigsResource::default()
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![one],
            validate_only,
            ..IncrementalAlterConfigsRequest::default()
        };
        let api = ApiKey::IncrementalAlterConfigs;
        let broker = self.place(resource).await?;
        let code =
            |answer: &IncrementalAlterConfigsResponse| Some(answer.responses.first()?.error_code);
        let answer = self.call_controller(broker, (api, 0..=1), &request, code).await?;
        for result in answer.responses {
            let (code, message) = (result.error_code, result.error_message.as_ref());
            ClientError::check(api, || resource.subject(), code, message)?;
        }
        Ok(())
    }

    /// The broker that has to be asked about a resource; `None` for any.
    async fn place(&self, resource: &ConfigResource) -> Result<Option<i32>, ClientError> {
        let Some(broker) = resource.broker()? else { return Ok(None) };
        // The address of the broker comes with any metadata.
        self.client.metadata(Some(&[]), false).await?;
        if self.client.brokers().iter().all(|known| known.id != broker) {
            return Err(ClientError::Invalid(format!("the cluster has no broker {broker}")));
        }
        Ok(Some(broker))
    }
}

fn entry(config: DescribeConfigsResourceResult) -> ConfigEntry {
    let source = match config.config_source {
        1 => "topic",
        2 => "broker",
        3 => "default-broker",
        4 => "static",
        5 => "default",
        6 => "logger",
        7 => "client-metrics",
        8 => "group",
        _ => "unknown",
    };
    ConfigEntry {
        name: config.name,
        value: config.value,
        source,
        is_read_only: config.read_only,
        is_sensitive: config.is_sensitive,
        documentation: config.documentation,
    }
}
