//! Kafka's own topics: how many replicas they should have, and how many of these in sync.
//!
//! A cluster that grows node by node makes them when the first client needs them, with as many
//! replicas as there are brokers then.

use std::collections::BTreeMap;

use client::{Admin, ConfigChange, ConfigEntry, ConfigResource, ResourceKind, TopicDescription};
use config::{INTERNAL_TOPICS, InternalTopic};

const MIN_ISR: &str = "min.insync.replicas";

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
    let entries = settings_of(admin, ResourceKind::Broker, &broker.to_string()).await?;
    let factor = |one: &&InternalTopic| Some((one.name, count_of(&entries, one.replicas)?));
    Ok(there.iter().filter_map(factor).collect())
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

/// Has the internal topics ask for as many replicas in sync as a broker says, as far as they have one
/// more: those that fewer brokers made ask for fewer.
pub(super) async fn raise_min_isr(admin: &Admin, broker: Option<i32>) -> anyhow::Result<()> {
    let Some(broker) = broker else { return Ok(()) };
    let of_broker = settings_of(admin, ResourceKind::Broker, &broker.to_string()).await?;
    for topic in admin.list_topics().await? {
        let known = INTERNAL_TOPICS.iter().find(|one| *topic.name == *one.name);
        let Some(said) = known.and_then(|one| count_of(&of_broker, one.min_isr?)) else { continue };
        let replicas = topic.partitions.iter().map(|partition| partition.replicas.len()).min();
        // One replica less than there are, so that one may be away.
        let wanted = said.min(replicas.unwrap_or(0).saturating_sub(1));
        let own = settings_of(admin, ResourceKind::Topic, &topic.name).await?;
        if count_of(&own, MIN_ISR).is_some_and(|now| now < wanted) {
            let resource =
                ConfigResource { kind: ResourceKind::Topic, name: topic.name.to_string() };
            let change = [(MIN_ISR.to_owned(), ConfigChange::Set(wanted.to_string()))];
            admin.alter_configs(&resource, &change, false).await?;
            eprintln!("{MIN_ISR} of {} is {wanted} from now on", topic.name);
        }
    }
    Ok(())
}

async fn settings_of(
    admin: &Admin,
    kind: ResourceKind,
    name: &str,
) -> anyhow::Result<Vec<ConfigEntry>> {
    let resource = ConfigResource { kind, name: name.to_owned() };
    Ok(admin.describe_configs(&resource, false).await?)
}

fn count_of(entries: &[ConfigEntry], key: &str) -> Option<usize> {
    entries.iter().find(|entry| entry.name == key)?.value.as_deref()?.parse().ok()
}
