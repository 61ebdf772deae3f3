//! What `thalweg cluster balance` and `thalweg broker drain` share: the cluster is looked at, the
//! plan is printed, and carried out.

mod moves;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::bail;
use client::{Admin, TopicPartition};
use serde::Serialize;

use crate::output::{Format, Table, list, or_dash, print};
use plan::{Broker, Load, Move, Partition};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Prints the plan and does nothing
    #[arg(long)]
    dry_run: bool,
    /// Bytes per second that each broker copies at most
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(i64).range(1..))]
    throttle: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Plan {
    brokers: Vec<PlannedBroker>,
    moves: Vec<PlannedMove>,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct PlannedBroker {
    id: i32,
    rack: Option<String>,
    before: PlannedLoad,
    after: PlannedLoad,
}

#[derive(Debug, Serialize)]
struct PlannedLoad {
    replicas: u64,
    leaders: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct PlannedMove {
    topic: String,
    partition: i32,
    from: Vec<i32>,
    to: Vec<i32>,
    bytes: u64,
}

/// Empties one broker, or without one evens out all.
pub(crate) async fn run(
    admin: &Admin,
    output: Format,
    drained: Option<i32>,
    options: Options,
) -> anyhow::Result<ExitCode> {
    if !options.dry_run {
        moves::wait_for_others(admin).await?;
    }
    let (brokers, partitions) = look(admin, drained).await?;
    let moves = plan::plan(&brokers, &partitions, drained.is_some())?;
    let shown = describe(&brokers, &partitions, &moves);
    print(output, &shown, || text(&shown))?;
    if options.dry_run || moves.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    moves::carry_out(admin, &moves, options.throttle).await
}

/// The brokers that serve, and all partitions.
async fn look(
    admin: &Admin,
    drained: Option<i32>,
) -> anyhow::Result<(Vec<Broker>, Vec<Partition>)> {
    let cluster = admin.describe_cluster().await?;
    let mut bytes: BTreeMap<TopicPartition, u64> = BTreeMap::new();
    for dir in admin.describe_log_dirs().await? {
        for replica in dir.replicas.into_iter().filter(|replica| !replica.is_future) {
            let largest = bytes.entry(replica.partition).or_default();
            *largest = (*largest).max(u64::try_from(replica.bytes).unwrap_or(0));
        }
    }
    let mut partitions = Vec::new();
    for topic in admin.list_topics().await? {
        partitions.extend(topic.partitions.iter().map(|one| {
            let name = TopicPartition::new(&*topic.name, one.index);
            let bytes = bytes.get(&name).copied().unwrap_or(0);
            Partition { name, replicas: one.replicas.clone(), bytes }
        }));
    }
    partitions.sort_by(|a, b| a.name.cmp(&b.name));
    let serving = cluster.brokers.into_iter();
    let mut brokers: Vec<_> = serving
        .map(|one| Broker { id: one.id, rack: one.rack, is_drained: drained == Some(one.id) })
        .collect();
    if let Some(id) = drained.filter(|id| brokers.iter().all(|broker| broker.id != *id)) {
        if partitions.iter().all(|one| !one.replicas.contains(&id)) {
            bail!("no broker {id} serves, and no partition has a replica there");
        }
        brokers.push(Broker { id, rack: None, is_drained: true });
    }
    Ok((brokers, partitions))
}

fn describe(brokers: &[Broker], partitions: &[Partition], moves: &[Move]) -> Plan {
    let to: BTreeMap<_, _> = moves.iter().map(|one| (&one.partition, &one.to)).collect();
    let after = partitions.iter().map(|one| {
        let replicas = to.get(&one.name).map_or(&one.replicas, |to| to);
        Partition { replicas: replicas.clone(), ..one.clone() }
    });
    let after = plan::loads(brokers, &after.collect::<Vec<_>>());
    let before = plan::loads(brokers, partitions);
    let load = |loads: &BTreeMap<i32, Load>, id| {
        let Load { replicas, leaders, bytes } = loads.get(&id).copied().unwrap_or_default();
        PlannedLoad { replicas, leaders, bytes }
    };
    let ids: BTreeSet<i32> = brokers.iter().map(|broker| broker.id).collect();
    let rack = |id| brokers.iter().find(|one| one.id == id).and_then(|one| one.rack.clone());
    let brokers = ids.into_iter().map(|id| PlannedBroker {
        id,
        rack: rack(id),
        before: load(&before, id),
        after: load(&after, id),
    });
    let planned = moves.iter().map(|one| PlannedMove {
        topic: one.partition.topic.to_string(),
        partition: one.partition.partition,
        from: one.from.clone(),
        to: one.to.clone(),
        bytes: one.bytes,
    });
    let bytes = moves.iter().map(|one| one.bytes).sum();
    Plan { brokers: brokers.collect(), moves: planned.collect(), bytes }
}

fn text(plan: &Plan) -> String {
    let mut brokers = Table::new(["BROKER", "RACK", "REPLICAS", "LEADERS", "BYTES"]);
    for one in &plan.brokers {
        let (before, after) = (&one.before, &one.after);
        let change = |a: u64, b: u64| if a == b { a.to_string() } else { format!("{a} -> {b}") };
        brokers.row([
            one.id.to_string(),
            or_dash(one.rack.clone()),
            change(before.replicas, after.replicas),
            change(before.leaders, after.leaders),
            change(before.bytes, after.bytes),
        ]);
    }
    if plan.moves.is_empty() {
        return format!("{}nothing to move\n", brokers.text());
    }
    let mut moves = Table::new(["PARTITION", "FROM", "TO", "BYTES"]);
    for one in &plan.moves {
        let name = format!("{}:{}", one.topic, one.partition);
        moves.row([name, list(&one.from), list(&one.to), one.bytes.to_string()]);
    }
    let total = format!("{} partitions to change, {} bytes to copy", plan.moves.len(), plan.bytes);
    format!("{}\n{}{total}\n", brokers.text(), moves.text())
}
