//! `thalweg topic reassign`: other brokers for partitions, without a plan in JSON.

use std::process::ExitCode;

use anyhow::bail;
use client::Admin;
use serde::Serialize;

use crate::balance::{self, Goal, Place};
use crate::connect::all;
use crate::output::{Format, Table, counted, list, print};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Topics, or single partitions as TOPIC:PARTITION
    #[arg(value_name = "TOPIC", value_parser = partition)]
    partitions: Vec<(String, Option<i32>)>,
    /// Brokers that are to have the replicas, such as 1,2,3; what lies there already stays
    #[arg(long, value_name = "BROKERS", value_delimiter = ',', conflicts_with_all = ["status", "cancel"])]
    to: Vec<i32>,
    /// Replicas of each partition [default: as many as it has]
    #[arg(short, long, requires = "to", value_parser = count)]
    replicas: Option<usize>,
    #[command(flatten)]
    options: balance::Options,
    /// Lists what moves, of these topics or of all
    #[arg(long)]
    status: bool,
    /// Takes back what moves, of these topics
    #[arg(long, conflicts_with = "status")]
    cancel: bool,
}

#[derive(Debug, Serialize)]
struct Moving {
    topic: String,
    partition: i32,
    replicas: Vec<i32>,
    adding: Vec<i32>,
    removing: Vec<i32>,
}

pub(crate) async fn run(
    admin: &Admin,
    arguments: Arguments,
    output: Format,
) -> anyhow::Result<ExitCode> {
    let Arguments { partitions, to: brokers, replicas, options, status, cancel } = arguments;
    if status {
        show(&moving(admin, &partitions).await?, output)?;
        return Ok(ExitCode::SUCCESS);
    }
    if partitions.is_empty() {
        bail!("name the topics, or partitions as TOPIC:PARTITION");
    }
    if cancel {
        let moving = moving(admin, &partitions).await?;
        let places = moving
            .iter()
            .map(|one| (client::TopicPartition::new(one.topic.as_str(), one.partition), None));
        all(admin.alter_reassignments(&places.collect::<Vec<_>>()).await?)?;
        eprintln!("{} of {} taken back", counted(moving.len(), "move"), names(&partitions));
        return Ok(ExitCode::SUCCESS);
    }
    if brokers.is_empty() {
        bail!("say where to: --to 1,2,3 names the brokers");
    }
    let goal = Goal::Placed(Place { partitions, brokers, replicas });
    balance::run(admin, output, goal, options).await
}

async fn moving(
    admin: &Admin,
    partitions: &[(String, Option<i32>)],
) -> anyhow::Result<Vec<Moving>> {
    let all = admin.list_reassignments().await?.into_iter().map(|one| Moving {
        topic: one.partition.topic.to_string(),
        partition: one.partition.partition,
        replicas: one.replicas,
        adding: one.adding,
        removing: one.removing,
    });
    let is_named = |one: &Moving| {
        let names = |(topic, index): &(String, Option<i32>)| {
            *topic == one.topic && index.is_none_or(|index| index == one.partition)
        };
        partitions.is_empty() || partitions.iter().any(names)
    };
    Ok(all.filter(is_named).collect())
}

fn show(moving: &Vec<Moving>, output: Format) -> anyhow::Result<()> {
    print(output, moving, || {
        if moving.is_empty() {
            return "nothing moves\n".to_owned();
        }
        let mut table = Table::new(["PARTITION", "REPLICAS", "ADDING", "REMOVING"]);
        for one in moving {
            let name = format!("{}:{}", one.topic, one.partition);
            table.row([name, list(&one.replicas), list(&one.adding), list(&one.removing)]);
        }
        table.text()
    })
}

fn names(partitions: &[(String, Option<i32>)]) -> String {
    let name = |(topic, index): &(String, Option<i32>)| match index {
        Some(index) => format!("{topic}:{index}"),
        None => topic.clone(),
    };
    partitions.iter().map(name).collect::<Vec<_>>().join(" ")
}

/// `TOPIC` or `TOPIC:PARTITION`.
fn partition(text: &str) -> Result<(String, Option<i32>), String> {
    let Some((topic, index)) = text.split_once(':') else { return Ok((text.to_owned(), None)) };
    match index.parse() {
        Ok(index) if index >= 0 => Ok((topic.to_owned(), Some(index))),
        _ => Err("TOPIC or TOPIC:PARTITION is expected".to_owned()),
    }
}

fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "a number of at least 1 is expected".to_owned())
}
