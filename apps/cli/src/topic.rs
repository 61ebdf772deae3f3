//! `thalweg topic`: create, list, describe, alter, reassign, delete.

mod reassign;

use std::process::ExitCode;

use clap::Subcommand;
use client::{
    Admin, ConfigChange, ConfigResource, ErrorCode, IsolationLevel, NewTopic, OffsetSpec,
    ResourceKind, TopicDescription, TopicPartition,
};
use serde::Serialize;

use crate::connect::{Common, all, pair};
use crate::output::{Format, Table, counted, list, or_dash, print};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Creates topics
    Create {
        /// Names of the topics
        #[arg(required = true)]
        names: Vec<String>,
        /// Number of partitions [default: the broker's num.partitions]
        #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// Replicas of each partition [default: the broker's default.replication.factor]
        #[arg(short, long, alias = "replication-factor", value_parser = clap::value_parser!(i16).range(1..))]
        replicas: Option<i16>,
        /// A setting of the topics, such as retention.ms=3600000; may be given many times
        #[arg(short, long = "config", value_name = "KEY=VALUE", value_parser = pair)]
        configs: Vec<(String, String)>,
        /// Succeeds where a topic exists already
        #[arg(long)]
        if_not_exists: bool,
    },
    /// Lists topics
    List {
        /// Kafka's own topics too
        #[arg(long)]
        internal: bool,
    },
    /// Tells about partitions, their leaders, replicas and offsets, and settings
    Describe {
        /// Names of the topics
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Adds partitions, changes settings
    Alter {
        /// Name of the topic
        name: String,
        /// New number of partitions, more than before
        #[arg(short, long)]
        partitions: Option<i32>,
        /// A setting to set; may be given many times
        #[arg(short, long = "config", value_name = "KEY=VALUE", value_parser = pair)]
        configs: Vec<(String, String)>,
        /// A setting that goes back to its default; may be given many times
        #[arg(short, long = "delete-config", value_name = "KEY")]
        deleted: Vec<String>,
    },
    /// Moves partitions to other brokers, or gives them more or fewer replicas
    ///
    /// Prints the plan, copies a few partitions at a time and shows how far it is. Ctrl-C takes
    /// back the moves that are under way.
    #[command(after_help = "Examples:\n  \
        thalweg topic reassign orders --to 1,2,3 --dry-run\n  \
        thalweg topic reassign orders:0 orders:7 --to 4,5\n  \
        thalweg topic reassign orders --to 1,2,3 --replicas 3\n  \
        thalweg topic reassign --status\n  \
        thalweg topic reassign orders --cancel")]
    Reassign(reassign::Arguments),
    /// Deletes topics with all their records
    Delete {
        /// Names of the topics
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    partitions: usize,
    replicas: usize,
    internal: bool,
    id: String,
}

#[derive(Debug, Serialize)]
struct Described {
    name: String,
    id: String,
    internal: bool,
    partitions: Vec<DescribedPartition>,
    /// Settings that differ from the default.
    configs: Vec<DescribedConfig>,
}

#[derive(Debug, Serialize)]
struct DescribedPartition {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    start_offset: Option<i64>,
    end_offset: Option<i64>,
}

#[derive(Debug, Serialize)]
struct DescribedConfig {
    name: String,
    value: Option<String>,
    source: &'static str,
}

/// A change that was made.
#[derive(Debug, Serialize)]
struct Changed {
    name: String,
    result: &'static str,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let admin = arguments.common.connect.client().admin();
    let output = arguments.common.output;
    let done = match arguments.action {
        Action::Reassign(arguments) => return reassign::run(&admin, arguments, output).await,
        Action::Create { names, partitions, replicas, configs, if_not_exists } => {
            let topic = |name: &String| NewTopic {
                name: name.clone(),
                partitions,
                replication_factor: replicas,
                configs: configs.clone(),
            };
            let topics: Vec<_> = names.iter().map(topic).collect();
            create(&admin, &topics, if_not_exists, output).await
        }
        Action::List { internal } => list_topics(&admin, internal, output).await,
        Action::Describe { names } => describe(&admin, &names, output).await,
        Action::Alter { name, partitions, configs, deleted } => {
            alter(&admin, &name, partitions, configs, deleted, output).await
        }
        Action::Delete { names } => {
            all(admin.delete_topics(&names).await?)?;
            changed(names.into_iter().map(|name| (name, "deleted")), output)
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

async fn create(
    admin: &Admin,
    topics: &[NewTopic],
    if_not_exists: bool,
    output: Format,
) -> anyhow::Result<()> {
    let mut results = Vec::new();
    for (name, created) in admin.create_topics(topics, false).await? {
        match created {
            Ok(_) => {
                // So that the next command finds it, whichever broker it asks.
                admin.await_topic(&name).await?;
                results.push((name, "created"));
            }
            Err(error) if if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) => {
                results.push((name, "exists"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    changed(results.into_iter(), output)
}

fn changed(
    results: impl Iterator<Item = (String, &'static str)>,
    output: Format,
) -> anyhow::Result<()> {
    let results: Vec<_> = results.map(|(name, result)| Changed { name, result }).collect();
    print(output, &results, || {
        let lines = results.iter().map(|one| format!("topic {} {}\n", one.name, one.result));
        lines.collect()
    })
}

async fn list_topics(admin: &Admin, internal: bool, output: Format) -> anyhow::Result<()> {
    let topics = admin.list_topics().await?;
    let listed: Vec<_> = topics
        .iter()
        .filter(|topic| internal || !topic.is_internal)
        .map(|topic| Listed {
            name: topic.name.to_string(),
            partitions: topic.partitions.len(),
            replicas: topic.partitions.first().map_or(0, |partition| partition.replicas.len()),
            internal: topic.is_internal,
            id: topic.id.to_string(),
        })
        .collect();
    print(output, &listed, || {
        let mut table = Table::new(["NAME", "PARTITIONS", "REPLICAS", "ID"]);
        for topic in &listed {
            let Listed { name, partitions, replicas, id, .. } = topic;
            table.row([name.clone(), partitions.to_string(), replicas.to_string(), id.clone()]);
        }
        table.text()
    })
}

async fn describe(admin: &Admin, names: &[String], output: Format) -> anyhow::Result<()> {
    let mut described = Vec::new();
    for (_, topic) in all(admin.describe_topics(names).await?)? {
        described.push(describe_one(admin, &topic).await?);
    }
    print(output, &described, || described.iter().map(text).collect::<Vec<_>>().join("\n"))
}

async fn describe_one(admin: &Admin, topic: &TopicDescription) -> anyhow::Result<Described> {
    let starts = offsets(admin, topic, OffsetSpec::Earliest).await?;
    let ends = offsets(admin, topic, OffsetSpec::Latest).await?;
    let resource = ConfigResource { kind: ResourceKind::Topic, name: topic.name.to_string() };
    let configs = admin.describe_configs(&resource, false).await?;
    let configs = configs.into_iter().filter(|entry| entry.source == "topic");
    let partitions = topic.partitions.iter().map(|partition| {
        let at = usize::try_from(partition.index).unwrap_or(usize::MAX);
        DescribedPartition {
            partition: partition.index,
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replicas.clone(),
            isr: partition.isr.clone(),
            start_offset: starts.get(at).copied().flatten(),
            end_offset: ends.get(at).copied().flatten(),
        }
    });
    Ok(Described {
        name: topic.name.to_string(),
        id: topic.id.to_string(),
        internal: topic.is_internal,
        partitions: partitions.collect(),
        configs: configs
            .map(|entry| DescribedConfig {
                name: entry.name,
                value: entry.value,
                source: entry.source,
            })
            .collect(),
    })
}

/// By partition; `None` where it has no leader that could tell.
async fn offsets(
    admin: &Admin,
    topic: &TopicDescription,
    spec: OffsetSpec,
) -> anyhow::Result<Vec<Option<i64>>> {
    let led = topic.partitions.iter().filter(|partition| partition.leader.is_some());
    let place = |index| (TopicPartition::new(topic.name.clone(), index), spec);
    let places: Vec<_> = led.map(|partition| place(partition.index)).collect();
    let found = admin.list_offsets(&places, IsolationLevel::ReadUncommitted).await?;
    let of = |index: i32| {
        let own = found.iter().find(|(key, _)| key.partition == index)?;
        own.1.as_ref().ok()?.offset
    };
    Ok(topic.partitions.iter().map(|partition| of(partition.index)).collect())
}

fn text(topic: &Described) -> String {
    let count = counted(topic.partitions.len(), "partition");
    let mut text = format!("{}  {count}  id {}\n", topic.name, topic.id);
    for config in &topic.configs {
        let value = config.value.as_deref().unwrap_or("(hidden)");
        text.push_str(&format!("{} = {value}\n", config.name));
    }
    let mut table = Table::new(["PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END"]);
    for partition in &topic.partitions {
        table.row([
            partition.partition.to_string(),
            or_dash(partition.leader),
            partition.leader_epoch.to_string(),
            list(&partition.replicas),
            list(&partition.isr),
            or_dash(partition.start_offset),
            or_dash(partition.end_offset),
        ]);
    }
    text + &table.text()
}

async fn alter(
    admin: &Admin,
    name: &str,
    partitions: Option<i32>,
    configs: Vec<(String, String)>,
    deleted: Vec<String>,
    output: Format,
) -> anyhow::Result<()> {
    let set = configs.into_iter().map(|(key, value)| (key, ConfigChange::Set(value)));
    let changes: Vec<_> =
        set.chain(deleted.into_iter().map(|key| (key, ConfigChange::Delete))).collect();
    if partitions.is_none() && changes.is_empty() {
        anyhow::bail!("nothing to change: give --partitions, --config or --delete-config");
    }
    if !changes.is_empty() {
        let resource = ConfigResource { kind: ResourceKind::Topic, name: name.to_owned() };
        admin.alter_configs(&resource, &changes, false).await?;
    }
    if let Some(count) = partitions {
        admin.create_partitions(name, count).await?;
    }
    changed(std::iter::once((name.to_owned(), "changed")), output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_settings_and_partitions() {
        let partition = DescribedPartition {
            partition: 0,
            leader: None,
            leader_epoch: 3,
            replicas: vec![1, 2],
            isr: vec![2],
            start_offset: None,
            end_offset: Some(9),
        };
        let config = DescribedConfig {
            name: "retention.ms".to_owned(),
            value: Some("5".to_owned()),
            source: "topic",
        };
        let topic = Described {
            name: "orders".to_owned(),
            id: "ID".to_owned(),
            internal: false,
            partitions: vec![partition],
            configs: vec![config],
        };
        let expected = "\
            orders  1 partition  id ID\n\
            retention.ms = 5\n\
            PARTITION  LEADER  EPOCH  REPLICAS  ISR  START  END\n        \
            0       -      3  1,2         2      -    9\n";
        assert_eq!(text(&topic), expected);
    }
}
