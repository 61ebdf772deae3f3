//! Limits on how fast brokers copy, by Kafka's settings: set before a step and removed after it.
//!
//! A command that is killed leaves them behind; the next one removes them.

use std::collections::{BTreeMap, BTreeSet};

use client::{Admin, ConfigChange, ConfigEntry, ConfigResource, ResourceKind};

use super::plan::Move;

/// Rates of a broker, then lists of a topic: who copies from, and who copies.
const RATES: [&str; 2] =
    ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
const THROTTLED: [&str; 2] =
    ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];

/// Removes what a command left that did not come to its end. Nothing moves any more, so whatever
/// is throttled here is of no use; lists that somebody has set for all replicas stay.
pub(super) async fn remove_leftovers(admin: &Admin) -> anyhow::Result<()> {
    let is_set = |entry: &ConfigEntry, keys: &[&str; 2]| {
        keys.contains(&entry.name.as_str()) && entry.value.as_deref() != Some("*")
    };
    let mut left = Vec::new();
    for broker in admin.describe_cluster().await?.brokers {
        let resource = resource(ResourceKind::Broker, broker.id.to_string());
        let entries = admin.describe_configs(&resource, false).await?;
        if entries.iter().any(|entry| is_set(entry, &RATES) && entry.source == "broker") {
            left.push(broker.id);
            admin.alter_configs(&resource, &deleted(RATES), false).await?;
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    for topic in admin.list_topics().await? {
        let resource = resource(ResourceKind::Topic, topic.name.to_string());
        let entries = admin.describe_configs(&resource, false).await?;
        if entries.iter().any(|entry| is_set(entry, &THROTTLED) && entry.source == "topic") {
            admin.alter_configs(&resource, &deleted(THROTTLED), false).await?;
        }
    }
    let brokers = crate::output::list(&left);
    eprintln!("removed the throttles that an interrupted command had left on brokers {brokers}");
    Ok(())
}

fn deleted(keys: [&str; 2]) -> [(String, ConfigChange); 2] {
    keys.map(|key| (key.to_owned(), ConfigChange::Delete))
}

pub(super) async fn set(admin: &Admin, step: &[Move], rate: i64) -> anyhow::Result<()> {
    for (topic, lists) in throttled(step) {
        let pairs = THROTTLED.iter().zip(lists);
        let changes = pairs.map(|(key, list)| ((*key).to_owned(), ConfigChange::Set(list)));
        admin
            .alter_configs(
                &resource(ResourceKind::Topic, topic),
                &changes.collect::<Vec<_>>(),
                false,
            )
            .await?;
    }
    let set = RATES.map(|key| (key.to_owned(), ConfigChange::Set(rate.to_string())));
    change_brokers(admin, step, &set).await
}

pub(super) async fn remove(admin: &Admin, step: &[Move]) -> anyhow::Result<()> {
    for topic in throttled(step).into_keys() {
        let resource = resource(ResourceKind::Topic, topic);
        admin.alter_configs(&resource, &deleted(THROTTLED), false).await?;
    }
    change_brokers(admin, step, &deleted(RATES)).await
}

/// Changes settings of all brokers that serve and take part in a step.
async fn change_brokers(
    admin: &Admin,
    step: &[Move],
    changes: &[(String, ConfigChange)],
) -> anyhow::Result<()> {
    let own: BTreeSet<i32> =
        step.iter().flat_map(|one| one.from.iter().chain(&one.to)).copied().collect();
    let serving = admin.describe_cluster().await?.brokers;
    for broker in serving.into_iter().filter(|broker| own.contains(&broker.id)) {
        let resource = resource(ResourceKind::Broker, broker.id.to_string());
        admin.alter_configs(&resource, changes, false).await?;
    }
    Ok(())
}

fn resource(kind: ResourceKind, name: String) -> ConfigResource {
    ConfigResource { kind, name }
}

/// By topic: the replicas that are copied from, and those that copy, as partition:broker.
fn throttled(step: &[Move]) -> BTreeMap<String, [String; 2]> {
    let mut lists: BTreeMap<String, [Vec<String>; 2]> = BTreeMap::new();
    for one in step {
        let [from, to] = lists.entry(one.partition.topic.to_string()).or_default();
        let named = |id: &i32| format!("{}:{id}", one.partition.partition);
        from.extend(one.from.iter().map(named));
        to.extend(one.to.iter().filter(|id| !one.from.contains(id)).map(named));
    }
    lists.into_iter().map(|(topic, lists)| (topic, lists.map(|list| list.join(",")))).collect()
}

#[cfg(test)]
mod tests {
    use client::TopicPartition;

    use super::*;

    #[test]
    fn who_copies_is_throttled_and_who_is_in_sync_already_is_not() {
        let step = |index, from: &[i32], to: &[i32]| Move {
            partition: TopicPartition::new("t", index),
            from: from.to_vec(),
            to: to.to_vec(),
            bytes: 1,
        };
        let lists = throttled(&[step(0, &[1, 2], &[3, 2]), step(4, &[2], &[1])]);
        assert_eq!(lists["t"], ["0:1,0:2,4:2".to_owned(), "0:3,4:1".to_owned()]);
    }
}
