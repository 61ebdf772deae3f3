//! What `thalweg cluster balance`, `thalweg broker drain` and `thalweg topic reassign` share: the
//! cluster is looked at, the plan is printed, and carried out. Not here: which moves these are
//! (`core/balance`).

mod internal;
mod moves;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use balance::{Broker, Growth, Intake, Load, Move, Partition, bytes_copied, loads, plan};
use client::{Admin, TopicDescription, TopicPartition};
use serde::Serialize;
use types::Millis;

use crate::output::{Format, Table, list, or_dash, print};
pub(crate) use internal::short_topics;

/// Part of the average by which two brokers may differ.
const TOLERANCE: f64 = 0.1;
/// Time between two looks at the sizes of partitions, which tell how fast they grow.
const GROWTH_OVER: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Prints the plan and does nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Bytes per second that each broker gives, and takes, at most for replicas that are added; the
    /// rate stays in force for later moves
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
    bytes_per_second: u64,
}

#[derive(Debug, Serialize)]
struct PlannedMove {
    topic: String,
    partition: i32,
    from: Vec<i32>,
    to: Vec<i32>,
    bytes: u64,
}

/// What the cluster is to look like.
#[derive(Debug)]
pub(crate) enum Goal {
    /// All brokers have alike, and internal topics the replicas that they should have.
    Even,
    /// One broker has nothing.
    Drained(i32),
    /// Some partitions lie on these brokers alone.
    Placed(Place),
}

/// Where partitions are to lie.
#[derive(Debug)]
pub(crate) struct Place {
    /// The topics, with one partition or all.
    pub(crate) partitions: Vec<(String, Option<i32>)>,
    pub(crate) brokers: Vec<i32>,
    /// How many replicas each is to have; as before if none is given.
    pub(crate) replicas: Option<usize>,
}

/// Brings the cluster to where it should be.
pub(crate) async fn run(
    admin: &Admin,
    output: Format,
    goal: Goal,
    options: Options,
) -> anyhow::Result<ExitCode> {
    if !options.dry_run {
        moves::wait_for_others(admin).await?;
        if let Goal::Drained(id) = goal {
            // A broker that cannot be emptied stays as it is. What the cluster moves there before it
            // is cordoned is in the plan that counts, which is made afterwards.
            planned(admin, &goal).await?;
            moves::cordon(admin, id).await?;
            moves::wait_for_others(admin).await?;
        }
    }
    let (brokers, partitions, moves) = planned(admin, &goal).await?;
    let shown = describe(&brokers, &partitions, &moves);
    print(output, &shown, || text(&shown))?;
    if options.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    if !moves.is_empty() {
        let ended = moves::carry_out(admin, &moves, options.throttle).await?;
        if ended != ExitCode::SUCCESS {
            return Ok(ended);
        }
    }
    if matches!(goal, Goal::Even) {
        internal::raise_min_isr(admin, brokers.first().map(|one| one.id)).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What there is now, and what is to move.
async fn planned(
    admin: &Admin,
    goal: &Goal,
) -> anyhow::Result<(Vec<Broker>, Vec<Partition>, Vec<Move>)> {
    let (brokers, partitions) = look(admin, goal).await?;
    let moves = plan(&brokers, &partitions, goal.for_planner())?;
    Ok((brokers, partitions, moves))
}

/// The brokers that serve, and the partitions that the goal is about.
async fn look(admin: &Admin, goal: &Goal) -> anyhow::Result<(Vec<Broker>, Vec<Partition>)> {
    let cluster = admin.describe_cluster().await?;
    let topics = admin.list_topics().await?;
    let mut brokers: Vec<_> = cluster
        .brokers
        .into_iter()
        .map(|one| Broker { intake: goal.intake(one.id), id: one.id, rack: one.rack })
        .collect();
    let mut partitions = partitions(&topics, &growth(admin, goal).await?);
    match goal {
        Goal::Even => {
            let serving = brokers.len();
            let factors = internal::factors(admin, &topics, brokers.first().map(|one| one.id));
            let factors = factors.await?;
            for one in &mut partitions {
                let factor = factors.get(&*one.name.topic).copied().unwrap_or(0);
                one.wanted = one.wanted.max(factor.min(serving));
            }
        }
        Goal::Drained(id) => add_drained(*id, &mut brokers, &partitions)?,
        Goal::Placed(place) => place.choose(&mut brokers, &mut partitions)?,
    }
    Ok((brokers, partitions))
}

/// Sizes, and where loads are to be evened out, how fast they grow.
async fn growth(admin: &Admin, goal: &Goal) -> anyhow::Result<Growth> {
    let began = Instant::now();
    let now = || Millis(i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX));
    let mut growth = Growth::default();
    growth.look(sizes(admin).await?, now());
    if matches!(goal, Goal::Even) {
        tokio::time::sleep(GROWTH_OVER).await;
        growth.look(sizes(admin).await?, now());
    }
    Ok(growth)
}

/// Bytes of each partition: those of its largest replica.
async fn sizes(admin: &Admin) -> anyhow::Result<BTreeMap<TopicPartition, u64>> {
    let mut bytes: BTreeMap<TopicPartition, u64> = BTreeMap::new();
    for dir in admin.describe_log_dirs().await? {
        for replica in dir.replicas.into_iter().filter(|replica| !replica.is_future) {
            let largest = bytes.entry(replica.partition).or_default();
            *largest = (*largest).max(u64::try_from(replica.bytes).unwrap_or(0));
        }
    }
    Ok(bytes)
}

fn partitions(topics: &[TopicDescription], growth: &Growth) -> Vec<Partition> {
    let mut partitions = Vec::new();
    for topic in topics {
        partitions.extend(topic.partitions.iter().map(|one| {
            let name = TopicPartition::new(&*topic.name, one.index);
            let (bytes, rate) = growth.of(&name);
            let (replicas, wanted) = (one.replicas.clone(), one.replicas.len());
            Partition { name, replicas, bytes, rate, wanted }
        }));
    }
    partitions.sort_by(|a, b| a.name.cmp(&b.name));
    partitions
}

/// A broker that is drained may be down.
fn add_drained(id: i32, brokers: &mut Vec<Broker>, partitions: &[Partition]) -> anyhow::Result<()> {
    if brokers.iter().all(|broker| broker.id != id) {
        if partitions.iter().all(|one| !one.replicas.contains(&id)) {
            bail!("no broker {id} serves, and no partition has a replica there");
        }
        brokers.push(Broker { id, rack: None, intake: Intake::Drained });
    }
    Ok(())
}

impl Goal {
    fn intake(&self, id: i32) -> Intake {
        let is_emptied = match self {
            Self::Even => false,
            Self::Drained(drained) => *drained == id,
            Self::Placed(place) => !place.brokers.contains(&id),
        };
        if is_emptied { Intake::Drained } else { Intake::Open }
    }

    fn for_planner(&self) -> balance::Goal {
        match self {
            Self::Even => balance::Goal::Even { tolerance: TOLERANCE, moves_max: usize::MAX },
            Self::Drained(_) | Self::Placed(_) => balance::Goal::Drain,
        }
    }
}

impl Place {
    /// Leaves the partitions that are named, and sees that they can lie where they are to.
    fn choose(
        &self,
        brokers: &mut Vec<Broker>,
        partitions: &mut Vec<Partition>,
    ) -> anyhow::Result<()> {
        if let Some(id) = self.brokers.iter().find(|id| brokers.iter().all(|one| one.id != **id)) {
            bail!("no broker {id} serves");
        }
        let names = |(topic, index): &(String, Option<i32>), one: &Partition| {
            *topic == *one.name.topic && index.is_none_or(|index| index == one.name.partition)
        };
        let is_there = |named| partitions.iter().any(|one| names(named, one));
        if let Some((topic, index)) = self.partitions.iter().find(|named| !is_there(named)) {
            let index = index.map(|index| format!(":{index}")).unwrap_or_default();
            bail!("there is no {topic}{index}");
        }
        partitions.retain(|one| self.partitions.iter().any(|named| names(named, one)));
        for one in partitions.iter_mut() {
            one.wanted = self.replicas.unwrap_or(one.wanted);
            if one.wanted > self.brokers.len() {
                let (name, wanted, count) = (&one.name, one.wanted, self.brokers.len());
                bail!("{name} is to have {wanted} replicas, and {count} brokers are named");
            }
        }
        // Replicas may be on brokers that are down.
        let holders: BTreeSet<i32> =
            partitions.iter().flat_map(|one| one.replicas.iter().copied()).collect();
        for id in holders {
            if brokers.iter().all(|broker| broker.id != id) {
                brokers.push(Broker { id, rack: None, intake: Intake::Drained });
            }
        }
        Ok(())
    }
}

fn describe(brokers: &[Broker], partitions: &[Partition], moves: &[Move]) -> Plan {
    let to: BTreeMap<_, _> = moves.iter().map(|one| (&one.partition, &one.to)).collect();
    let after = partitions.iter().map(|one| {
        let replicas = to.get(&one.name).map_or(&one.replicas, |to| to);
        Partition { replicas: replicas.clone(), ..one.clone() }
    });
    let after = loads(brokers, &after.collect::<Vec<_>>());
    let before = loads(brokers, partitions);
    let load = |loads: &BTreeMap<i32, Load>, id| {
        let load = loads.get(&id).copied().unwrap_or_default();
        let Load { replicas, leaders, bytes, rate: bytes_per_second, .. } = load;
        PlannedLoad { replicas, leaders, bytes, bytes_per_second }
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
    let bytes = bytes_copied(moves);
    Plan { brokers: brokers.collect(), moves: planned.collect(), bytes }
}

fn text(plan: &Plan) -> String {
    let mut brokers = Table::new(["BROKER", "RACK", "REPLICAS", "LEADERS", "BYTES", "BYTES/S"]);
    for one in &plan.brokers {
        let (before, after) = (&one.before, &one.after);
        let change = |a: u64, b: u64| if a == b { a.to_string() } else { format!("{a} -> {b}") };
        brokers.row([
            one.id.to_string(),
            or_dash(one.rack.clone()),
            change(before.replicas, after.replicas),
            change(before.leaders, after.leaders),
            change(before.bytes, after.bytes),
            change(before.bytes_per_second, after.bytes_per_second),
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
