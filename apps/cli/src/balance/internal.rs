//! Kafka's own topics: how many replicas they should have.
//!
//! A cluster that grows node by node makes them when the first client needs them, with as many
//! replicas as there are brokers then.

use std::collections::BTreeMap;

use client::{Admin, ConfigResource, ResourceKind, TopicDescription};

/// By topic, the broker's setting that says how many replicas it gets.
const FACTORS: [(&str, &str); 3] = [
    ("__consumer_offsets", "offsets.topic.replication.factor"),
    ("__transaction_state", "transaction.state.log.replication.factor"),
    ("__share_group_state", "share.coordinator.state.topic.replication.factor"),
];

/// By internal topic that there is, the replicas that a broker says it should have.
pub(super) async fn factors(
    admin: &Admin,
    topics: &[TopicDescription],
    broker: Option<i32>,
) -> anyhow::Result<BTreeMap<&'static str, usize>> {
    let is_there = |name: &str| topics.iter().any(|topic| &*topic.name == name);
    let Some(broker) = broker.filter(|_| FACTORS.iter().any(|(name, _)| is_there(name))) else {
        return Ok(BTreeMap::new());
    };
    let resource = ConfigResource { kind: ResourceKind::Broker, name: broker.to_string() };
    let entries = admin.describe_configs(&resource, false).await?;
    let value = |key: &str| {
        let entry = entries.iter().find(|entry| entry.name == key)?;
        entry.value.as_deref()?.parse().ok()
    };
    let of = |(name, key): &(&'static str, &str)| Some((*name, value(key)?));
    Ok(FACTORS.iter().filter(|(name, _)| is_there(name)).filter_map(of).collect())
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
