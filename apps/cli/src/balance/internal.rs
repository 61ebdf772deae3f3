//! Kafka's own topics: how many replicas they should have.
//!
//! A cluster that grows node by node makes them when the first client needs them, with as many
//! replicas as there are brokers then.

use std::collections::BTreeMap;

use client::{Admin, ConfigResource, ResourceKind, TopicDescription};
use config::{INTERNAL_TOPICS, InternalTopic};

/// By internal topic that there is, the replicas that a broker says it should have.
pub(super) async fn factors(
    admin: &Admin,
    topics: &[TopicDescription],
    broker: Option<i32>,
) -> anyhow::Result<BTreeMap<&'static str, usize>> {
    let is_there = |one: &&InternalTopic| topics.iter().any(|topic| &*topic.name == one.name);
    let there: Vec<_> = INTERNAL_TOPICS.iter().filter(is_there).collect();
    let Some(broker) = broker.filter(|_| !there.is_empty()) else {
        return Ok(BTreeMap::new());
    };
    let resource = ConfigResource { kind: ResourceKind::Broker, name: broker.to_string() };
    let entries = admin.describe_configs(&resource, false).await?;
    let value = |key: &str| {
        let entry = entries.iter().find(|entry| entry.name == key)?;
        entry.value.as_deref()?.parse().ok()
    };
    Ok(there.iter().filter_map(|one| Some((one.name, value(one.replicas)?))).collect())
}

/// The internal topics with fewer replicas than they should have and `serving` brokers allow.
pub(crate) async fn short_topics(
    admin: &Admin,
    topics: &[TopicDescription],
    serving: &[i32],
) -> anyhow::Result<Vec<String>> {
    let factors = factors(admin, topics, serving.first().copied()).await?;
    let is_short = |topic: &&TopicDescription| {
        let wanted = factors.get(&*topic.name).copied().unwrap_or(0).min(serving.len());
        topic.partitions.iter().any(|partition| partition.replicas.len() < wanted)
    };
    Ok(topics.iter().filter(is_short).map(|topic| topic.name.to_string()).collect())
}
