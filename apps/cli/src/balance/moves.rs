//! Carries out a plan: a few partitions at a time, within a throttle if one is given.
//!
//! What was not finished is in the cluster and nowhere else: who runs the command again gets a plan
//! for what is left. An interrupt takes the moves of the step back and the throttle away.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use client::{
    Admin, ClientError, ConfigChange, ConfigResource, Election, ResourceKind, TopicPartition,
};
use tokio::time::sleep;

use super::plan::Move;
use crate::connect::all;

/// Partitions that move at the same time.
const STEP: usize = 10;
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Shells take 128 and the signal's number for "ended by a signal".
const INTERRUPTED: u8 = 130;

/// Rates of a broker, then lists of a topic: who copies from, and who copies.
const RATES: [&str; 2] =
    ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
const THROTTLED: [&str; 2] =
    ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];

/// Waits for moves that somebody else has begun: a plan made meanwhile would be wrong.
pub(super) async fn wait_for_others(admin: &Admin) -> Result<(), ClientError> {
    let mut told = 0;
    loop {
        let left = admin.list_reassignments().await?.len();
        if left == 0 {
            return Ok(());
        }
        if told != left {
            eprintln!("{left} partitions move already; waiting for them");
            told = left;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Does all moves, or until Ctrl-C.
pub(super) async fn carry_out(
    admin: &Admin,
    moves: &[Move],
    throttle: Option<i64>,
) -> anyhow::Result<ExitCode> {
    let mut done = 0;
    for step in moves.chunks(STEP) {
        if let Some(rate) = throttle {
            set_throttle(admin, step, rate).await?;
        }
        let ended = tokio::select! {
            ended = carry_out_step(admin, step) => Some(ended),
            _ = tokio::signal::ctrl_c() => None,
        };
        if !matches!(ended, Some(Ok(()))) {
            take_back(admin, step).await?;
        }
        if throttle.is_some() {
            remove_throttle(admin, step).await?;
        }
        match ended {
            Some(ended) => ended?,
            None => {
                eprintln!("interrupted after {done} of {}; run it again to go on", moves.len());
                return Ok(ExitCode::from(INTERRUPTED));
            }
        }
        done += step.len();
        eprintln!("{done} of {} partitions are where they belong", moves.len());
    }
    Ok(ExitCode::SUCCESS)
}

async fn carry_out_step(admin: &Admin, step: &[Move]) -> anyhow::Result<()> {
    let wanted: Vec<_> =
        step.iter().map(|one| (one.partition.clone(), Some(one.to.clone()))).collect();
    all(admin.alter_reassignments(&wanted).await?)?;
    while !under_way(admin, step).await?.is_empty() {
        sleep(LOOK_EVERY).await;
    }
    let moved = step.iter().filter(|one| one.from.first() != one.to.first());
    let moved: Vec<_> = moved.map(|one| one.partition.clone()).collect();
    if !moved.is_empty() {
        all(admin.elect_leaders(Election::Preferred, &moved).await?)?;
    }
    Ok(())
}

/// The partitions of a step that have not arrived.
async fn under_way(admin: &Admin, step: &[Move]) -> Result<Vec<TopicPartition>, ClientError> {
    let own: BTreeSet<_> = step.iter().map(|one| &one.partition).collect();
    let moving = admin.list_reassignments().await?.into_iter().map(|one| one.partition);
    Ok(moving.filter(|one| own.contains(one)).collect())
}

async fn take_back(admin: &Admin, step: &[Move]) -> anyhow::Result<()> {
    let left = under_way(admin, step).await?;
    let wanted: Vec<_> = left.into_iter().map(|partition| (partition, None)).collect();
    if !wanted.is_empty() {
        // One that has arrived meanwhile is no failure: there is nothing to take back.
        admin.alter_reassignments(&wanted).await?;
    }
    Ok(())
}

async fn set_throttle(admin: &Admin, step: &[Move], rate: i64) -> anyhow::Result<()> {
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

async fn remove_throttle(admin: &Admin, step: &[Move]) -> anyhow::Result<()> {
    for topic in throttled(step).into_keys() {
        let delete = THROTTLED.map(|key| (key.to_owned(), ConfigChange::Delete));
        admin.alter_configs(&resource(ResourceKind::Topic, topic), &delete, false).await?;
    }
    let delete = RATES.map(|key| (key.to_owned(), ConfigChange::Delete));
    change_brokers(admin, step, &delete).await
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
