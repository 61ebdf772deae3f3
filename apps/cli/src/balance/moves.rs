//! Carries out a plan: a few partitions at a time, within a throttle if one is given.
//!
//! What was not finished is in the cluster and nowhere else: who runs the command again gets a plan
//! for what is left. An interrupt takes the moves of the step back.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use balance::Move;
use client::{
    Admin, ClientError, ConfigChange, ConfigResource, Election, ResourceKind, TopicPartition,
};
use tokio::time::sleep;
use types::ErrorCode;

use crate::connect::all;

/// Partitions that move at the same time.
const STEP: usize = 10;
/// Directories of a broker that get no new replicas.
const CORDONED: &str = "cordoned.log.dirs";
/// Bytes per second for replicas that a reassignment adds.
const RATE: &str = "thalweg.reassignment.throttled.rate";
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// As long as a follower may lag by default before it counts as out of sync.
const ELECTION_PATIENCE: Duration = Duration::from_secs(30);
/// Shells take 128 and the signal's number for "ended by a signal".
const INTERRUPTED: u8 = 130;

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

/// Keeps new replicas away from a broker that is to be emptied, where the cluster evens out brokers
/// by itself and would fill it again.
pub(super) async fn cordon(admin: &Admin, id: i32) -> anyhow::Result<()> {
    let brokers = admin.describe_cluster().await?.brokers;
    if brokers.iter().all(|broker| broker.id != id) {
        // One that is down gets none.
        return Ok(());
    }
    let own = resource(ResourceKind::Broker, id.to_string());
    let known = admin.describe_configs(&own, false).await?;
    let is_on = known.iter().find(|entry| entry.name == "thalweg.balance.enable");
    if is_on.is_none_or(|entry| entry.value.as_deref() != Some("true")) {
        return Ok(());
    }
    let set = [(CORDONED.to_owned(), ConfigChange::Set("*".to_owned()))];
    admin.alter_configs(&own, &set, false).await?;
    eprintln!(
        "broker {id} gets no new replicas from now on; `thalweg config delete broker {id} {CORDONED}` \
         ends that"
    );
    Ok(())
}

/// Does all moves, or until Ctrl-C.
pub(super) async fn carry_out(
    admin: &Admin,
    moves: &[Move],
    throttle: Option<i64>,
) -> anyhow::Result<ExitCode> {
    if let Some(rate) = throttle {
        set_throttle(admin, rate).await?;
    }
    let mut done = 0;
    for step in moves.chunks(STEP) {
        let ended = tokio::select! {
            ended = carry_out_step(admin, step) => Some(ended),
            _ = tokio::signal::ctrl_c() => None,
        };
        if !matches!(ended, Some(Ok(()))) {
            take_back(admin, step).await?;
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
    elect(admin, moved).await
}

/// Has the replicas lead that come first now. One that was in sync when the move ended may be out of
/// it again, on a machine that has much to do: it gets [`ELECTION_PATIENCE`] to catch up.
async fn elect(admin: &Admin, mut left: Vec<TopicPartition>) -> anyhow::Result<()> {
    let until = Instant::now() + ELECTION_PATIENCE;
    while !left.is_empty() {
        let outcomes = admin.elect_leaders(Election::Preferred, &left).await?;
        let is_late = |outcome: &Result<(), ClientError>| {
            let code = outcome.as_ref().err().and_then(ClientError::code);
            code == Some(ErrorCode::PreferredLeaderNotAvailable) && Instant::now() < until
        };
        let (late, settled) = outcomes.into_iter().partition(|(_, outcome)| is_late(outcome));
        all(settled)?;
        left = Vec::from_iter(late).into_iter().map(|(partition, _)| partition).collect();
        if !left.is_empty() {
            sleep(LOOK_EVERY).await;
        }
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

/// Sets the rate of the cluster. It stays: it slows nothing but replicas that a move adds, so that
/// nobody has to take it away, however this command ends.
async fn set_throttle(admin: &Admin, rate: i64) -> anyhow::Result<()> {
    for broker in admin.describe_cluster().await?.brokers {
        let own = resource(ResourceKind::Broker, broker.id.to_string());
        let known = admin.describe_configs(&own, false).await?;
        if known.iter().all(|entry| entry.name != RATE) {
            bail!(
                "broker {} has no {RATE}: a broker of Apache Kafka takes a rate from \
                 kafka-reassign-partitions --throttle",
                broker.id
            );
        }
    }
    let set = [(RATE.to_owned(), ConfigChange::Set(rate.to_string()))];
    admin.alter_configs(&resource(ResourceKind::Broker, String::new()), &set, false).await?;
    eprintln!("{RATE} of all brokers is {rate} from now on");
    Ok(())
}

fn resource(kind: ResourceKind, name: String) -> ConfigResource {
    ConfigResource { kind, name }
}
