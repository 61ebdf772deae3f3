//! AlterConfigs and IncrementalAlterConfigs, and the settings of new topics.
//!
//! What a key may hold is `config`'s to say; here is which resource it may be set for, and what
//! goes into the log. All keys of a resource change or none; resources stand alone.
//!
//! Not here: log levels (BROKER_LOGGER), which live in the process; the caller takes them out.

use std::collections::BTreeMap;

use config::{Change, ConfigErrors, Entry, Operation, Scope};
use protocol::internal::metadata::{ClearElrRecord, ConfigRecord};
use protocol::messages::create_topics::{CreatableTopic, CreatableTopicConfigs};
use protocol::messages::{alter_configs as replacing, incremental_alter_configs as incremental};
use types::{BrokerId, ErrorCode, validate_topic_name};

use super::{Context, Decision, MIN_ISR, Refusal, split_duplicates, wire_result};
use crate::image::{ConfigResource, Image, ResourceType, Settings};
use crate::record::MetadataRecord;

/// The longest value, as Kafka bounds it.
const VALUE_BYTES_MAX: usize = i16::MAX as usize;
/// What the settings of one resource may take, names and values. Brokers take any name, so nothing
/// else bounds what the log and every image hold of them.
const SETTINGS_BYTES_MAX: usize = 1 << 20;
/// What each setting counts beside its name and value.
const SETTING_BYTES: usize = 64;

/// Decides IncrementalAlterConfigs.
pub fn incremental_alter_configs(
    image: &Image,
    request: &incremental::IncrementalAlterConfigsRequest,
    context: &Context<'_>,
) -> Decision<incremental::IncrementalAlterConfigsResponse> {
    let keys = request.resources.iter();
    let keys = keys.map(|resource| (resource.resource_type, resource.resource_name.as_str()));
    let (decided, records) = decide(image, keys, request.validate_only, |at, target| {
        let configs = &request.resources[at].configs;
        alter_one(image, target, configs, context)
    });
    let responses = decided.into_iter().map(|(kind, name, result)| {
        let (error_code, error_message) = wire_result(&result);
        incremental::AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: kind,
            resource_name: name.to_owned(),
            ..Default::default()
        }
    });
    let responses = responses.collect();
    let response = incremental::IncrementalAlterConfigsResponse { responses, ..Default::default() };
    Decision { records, response }
}

/// Decides AlterConfigs, which replaces all settings of a resource.
pub fn alter_configs(
    image: &Image,
    request: &replacing::AlterConfigsRequest,
    context: &Context<'_>,
) -> Decision<replacing::AlterConfigsResponse> {
    let keys = request.resources.iter();
    let keys = keys.map(|resource| (resource.resource_type, resource.resource_name.as_str()));
    let (decided, records) = decide(image, keys, request.validate_only, |at, target| {
        let configs = &request.resources[at].configs;
        replace_all(image, target, configs, context)
    });
    let responses = decided.into_iter().map(|(kind, name, result)| {
        let (error_code, error_message) = wire_result(&result);
        replacing::AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: kind,
            resource_name: name.to_owned(),
            ..Default::default()
        }
    });
    let responses = responses.collect();
    Decision {
        records,
        response: replacing::AlterConfigsResponse { responses, ..Default::default() },
    }
}

type Decided<'a> = Vec<(i8, &'a str, Result<(), Refusal>)>;

/// A resource whose settings change.
struct Target {
    resource: ConfigResource,
    scope: Scope,
}

/// Decides resource by resource; one that is named twice is refused and left alone.
fn decide<'a>(
    image: &Image,
    keys: impl Iterator<Item = (i8, &'a str)> + Clone,
    validate_only: bool,
    mut change: impl FnMut(usize, &Target) -> Result<Vec<MetadataRecord>, Refusal>,
) -> (Decided<'a>, Vec<MetadataRecord>) {
    let (twice, _) = split_duplicates(keys.clone());
    let mut records = Vec::new();
    let mut decided = Vec::new();
    for &(kind, name) in &twice {
        let refusal = Refusal::new(ErrorCode::InvalidRequest, "Duplicate resource.");
        decided.push((kind, name, Err(refusal)));
    }
    // Values are checked before existence, so that a client hears of its own mistake first.
    for (at, (kind, name)) in keys.enumerate() {
        if twice.contains(&(kind, name)) {
            continue;
        }
        let result = target(kind, name).and_then(|target| {
            let changes = change(at, &target)?;
            check_exists(image, &target.resource)?;
            check_min_isr(image, &changes)?;
            Ok(changes)
        });
        decided.push((kind, name, result.map(|changes| records.extend(changes))));
    }
    if validate_only {
        records.clear();
    }
    // After the settings they follow from, in the same batch.
    if image.elr_enabled() {
        let stale: Vec<_> = records.iter().filter_map(stale_elr).collect();
        records.extend(stale);
    }
    (decided, records)
}

fn alter_one(
    image: &Image,
    target: &Target,
    configs: &[incremental::AlterableConfig],
    context: &Context<'_>,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let invalid = |message: String| Refusal::new(ErrorCode::InvalidRequest, message);
    let changes = configs.iter().map(|config| {
        let operation = Operation::from_wire(config.config_operation).ok_or_else(|| {
            invalid(format!("Unknown config operation {}.", config.config_operation))
        })?;
        Ok(Change { name: &config.name, operation, value: config.value.as_deref() })
    });
    let changes = changes.collect::<Result<Vec<_>, _>>()?;
    let current = image.settings(&target.resource);
    let after = config::alter(target.scope, current, &changes, &context.layers(image));
    let after = after.map_err(|errors| refusal(target.scope, &errors))?;
    let touched = changes.iter().map(|change| change.name);
    records_between(&target.resource, current, &after, touched)
}

fn replace_all(
    image: &Image,
    target: &Target,
    configs: &[replacing::AlterableConfig],
    context: &Context<'_>,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let after = values(configs.iter().map(|config| (&config.name, &config.value)))
        .map_err(|names| null_values(ErrorCode::InvalidRequest, &names))?;
    config::replace(target.scope, &after, &context.layers(image))
        .map_err(|errors| refusal(target.scope, &errors))?;
    let current = image.settings(&target.resource);
    let touched = configs.iter().map(|config| config.name.as_str());
    records_between(&target.resource, current, &after, touched)
}

/// The settings that a new topic gets.
pub(super) fn settings_of_new_topic(
    image: &Image,
    topic: &CreatableTopic,
    context: &Context<'_>,
) -> Result<Settings, Refusal> {
    let settings = values(topic.configs.iter().map(|config| (&config.name, &config.value)))
        .map_err(|names| null_values(ErrorCode::InvalidConfig, &names))?;
    check_lengths(settings.values())?;
    config::replace(Scope::Topic, &settings, &context.layers(image))
        .map_err(|errors| refusal(Scope::Topic, &errors))?;
    Ok(settings)
}

/// The records that give a new topic its settings.
pub(super) fn topic_config_records(
    topic: &str,
    settings: &Settings,
) -> impl Iterator<Item = MetadataRecord> {
    let resource = ConfigResource::topic(topic);
    settings.iter().map(move |(name, value)| config_record(&resource, name, Some(value.as_str())))
}

/// All settings that hold for a topic with these own ones, for the response of its creation.
pub(super) fn effective_topic_configs(
    image: &Image,
    settings: &Settings,
    context: &Context<'_>,
) -> Vec<CreatableTopicConfigs> {
    let entries = config::describe_topic(settings, &context.layers(image)).into_iter();
    let config = |entry: Entry| CreatableTopicConfigs {
        name: entry.name,
        value: entry.value,
        read_only: entry.read_only,
        config_source: entry.source.to_wire(),
        is_sensitive: entry.sensitive,
        ..Default::default()
    };
    entries.map(config).collect()
}

/// The values by key, or the keys that came without one. The last of equal keys wins.
fn values<'a>(
    given: impl Iterator<Item = (&'a String, &'a Option<String>)>,
) -> Result<Settings, Vec<&'a str>> {
    let mut values = BTreeMap::new();
    let mut without = Vec::new();
    for (name, value) in given {
        match value {
            Some(value) => _ = values.insert(name.clone(), value.clone()),
            None => without.push(name.as_str()),
        }
    }
    if without.is_empty() { Ok(values) } else { Err(without) }
}

fn null_values(code: ErrorCode, names: &[&str]) -> Refusal {
    Refusal::new(code, format!("Null value not supported for configs: {}", names.join(",")))
}

fn refusal(scope: Scope, errors: &ConfigErrors) -> Refusal {
    let code = errors.0.first().map_or(ErrorCode::InvalidConfig, |error| scope.refusal_code(error));
    Refusal::new(code, errors.to_string())
}

/// What a resource of the request is, if it may have settings at all.
fn target(kind: i8, name: &str) -> Result<Target, Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    let Some(kind) = ResourceType::from_wire(kind) else {
        let message = format!("Unknown resource type {kind}.");
        return Err(Refusal::new(ErrorCode::UnsupportedVersion, message));
    };
    let scope = match (kind, name) {
        (ResourceType::Topic, "") => return invalid("Default topic resources are not allowed."),
        (ResourceType::Topic, name) => {
            validate_topic_name(name).map_err(|error| {
                Refusal::new(ErrorCode::InvalidTopicException, error.to_string())
            })?;
            Scope::Topic
        }
        (ResourceType::Broker, "") => Scope::ClusterDefault,
        // Any number that a node id can be; whether there is such a node is asked later.
        (ResourceType::Broker, name) => {
            if name.parse::<u32>().ok().and_then(|id| i32::try_from(id).ok()).is_none() {
                return invalid("Unable to parse broker name as a base 10 number.");
            }
            Scope::Broker
        }
        (ResourceType::Group, "") => return invalid("Default group resources are not allowed."),
        (ResourceType::Group, _) => Scope::Group,
        (ResourceType::ClientMetrics, "") => return invalid("Subscription name can't be empty"),
        (ResourceType::ClientMetrics, _) => Scope::ClientMetrics,
        (ResourceType::BrokerLogger, _) => return invalid("Unknown resource type BROKER_LOGGER"),
    };
    Ok(Target { resource: ConfigResource::new(kind, name), scope })
}

fn check_exists(image: &Image, resource: &ConfigResource) -> Result<(), Refusal> {
    let name = &resource.name;
    match resource.kind {
        ResourceType::Topic if image.topic(name).is_none() => {
            let message = format!("The topic '{name}' does not exist.");
            Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, message))
        }
        ResourceType::Broker if !name.is_empty() && !is_node(image, name) => {
            let message = format!("No node with id {name} found.");
            Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, message))
        }
        ResourceType::Topic
        | ResourceType::Broker
        | ResourceType::BrokerLogger
        | ResourceType::ClientMetrics
        | ResourceType::Group => Ok(()),
    }
}

fn is_node(image: &Image, name: &str) -> bool {
    let id = name.parse().map(BrokerId);
    id.is_ok_and(|id| {
        image.broker(id).is_some() || image.controllers().any(|controller| controller.id == id)
    })
}

/// With eligible leader replicas all brokers share one `min.insync.replicas`.
fn check_min_isr(image: &Image, changes: &[MetadataRecord]) -> Result<(), Refusal> {
    if !image.elr_enabled() {
        return Ok(());
    }
    let refuse = |message: &str| Err(Refusal::new(ErrorCode::InvalidConfig, message));
    let broker = ResourceType::Broker.to_wire();
    for change in changes {
        let MetadataRecord::Config(record) = change else { continue };
        if record.resource_type != broker || record.name != MIN_ISR {
            continue;
        }
        if !record.resource_name.is_empty() {
            return refuse(
                "Broker-level min.insync.replicas cannot be altered while ELR is enabled.",
            );
        }
        if record.value.is_none() {
            return refuse(
                "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.",
            );
        }
    }
    Ok(())
}

/// Eligible leader replicas were counted by the former `min.insync.replicas`.
fn stale_elr(record: &MetadataRecord) -> Option<MetadataRecord> {
    match record {
        MetadataRecord::Config(record) if record.name == MIN_ISR => {
            let topic = record.resource_type == ResourceType::Topic.to_wire();
            let topic_name = if topic { record.resource_name.clone() } else { String::new() };
            Some(ClearElrRecord { topic_name, ..Default::default() }.into())
        }
        _ => None,
    }
}

/// The records that turn `before` into `after`. A broker's keys are written even where they stay
/// the same, since setting one again makes the broker read a key store anew.
fn records_between<'a>(
    resource: &ConfigResource,
    before: &Settings,
    after: &Settings,
    touched: impl Iterator<Item = &'a str>,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let mut changes: BTreeMap<_, _> = config::differences(before, after).into_iter().collect();
    if resource.kind == ResourceType::Broker {
        for name in touched {
            changes.insert(name.to_owned(), after.get(name).cloned());
        }
    }
    check_lengths(changes.values().flatten())?;
    check_size(before, after)?;
    let record =
        |(name, value): (&String, &Option<String>)| config_record(resource, name, value.as_deref());
    Ok(changes.iter().map(record).collect())
}

fn check_lengths<'a>(mut values: impl Iterator<Item = &'a String>) -> Result<(), Refusal> {
    if values.any(|value| value.len() > VALUE_BYTES_MAX) {
        let message = format!(
            "The configuration value cannot be added because it exceeds the maximum value size of \
             {VALUE_BYTES_MAX} bytes."
        );
        return Err(Refusal::new(ErrorCode::InvalidConfig, message));
    }
    Ok(())
}

/// What another version has let in may stay and shrink.
fn check_size(before: &Settings, after: &Settings) -> Result<(), Refusal> {
    let bytes = |settings: &Settings| -> usize {
        settings.iter().map(|(name, value)| SETTING_BYTES + name.len() + value.len()).sum()
    };
    let wanted = bytes(after);
    if wanted > SETTINGS_BYTES_MAX && wanted > bytes(before) {
        let message = format!(
            "The configurations of the resource would take {wanted} bytes, which exceeds the \
             maximum of {SETTINGS_BYTES_MAX} bytes for all names and values of one resource."
        );
        return Err(Refusal::new(ErrorCode::InvalidConfig, message));
    }
    Ok(())
}

fn config_record(resource: &ConfigResource, name: &str, value: Option<&str>) -> MetadataRecord {
    ConfigRecord {
        resource_type: resource.kind.to_wire(),
        resource_name: resource.name.to_string(),
        name: name.to_owned(),
        value: value.map(str::to_owned),
        ..Default::default()
    }
    .into()
}
