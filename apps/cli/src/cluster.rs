//! `thalweg cluster`: brokers, health, feature levels, log directories, the quorum.

mod voters;

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use client::{Admin, QuorumReplica, TopicDescription};
use serde::Serialize;
use tokio::time::timeout;
use types::ErrorCode;

use crate::balance::{self, Goal};
use crate::connect::Common;
use crate::output::{Format, Table, or_dash, print};

/// How long the leader of the quorum is looked for where everything else is known.
const LEADER_WAIT: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Names the cluster and its brokers
    Info,
    /// Looks for partitions without leaders or with replicas missing, and for a majority of the
    /// controllers; fails where something is amiss
    Health,
    /// Lists features with their levels
    Features,
    /// Lists log directories with their sizes
    Logdirs,
    /// Tells about the metadata quorum
    Quorum,
    /// Adds nodes to those that vote in the metadata quorum, or takes them away
    Voters(voters::Arguments),
    /// Evens out replicas, bytes and leaders among the brokers
    ///
    /// Kafka's own topics get the replicas that they should have, where they were made when the
    /// cluster had fewer brokers.
    ///
    /// Copies a few partitions at a time and shows how far it is. Ctrl-C takes back the moves that
    /// are under way; the same command goes on later.
    Balance(balance::Options),
}

#[derive(Debug, Serialize)]
struct Info {
    id: String,
    controller: Option<i32>,
    brokers: Vec<InfoBroker>,
}

#[derive(Debug, Serialize)]
struct InfoBroker {
    id: i32,
    host: String,
    port: u16,
    rack: Option<String>,
}

#[derive(Debug, Serialize)]
struct Health {
    healthy: bool,
    brokers: usize,
    topics: usize,
    partitions: usize,
    without_leader: Vec<String>,
    under_replicated: Vec<String>,
    /// Kafka's own topics that were made for fewer brokers than there are.
    few_replicas: Vec<String>,
    /// Why nobody leads the controllers, where nobody does. All else is then what one broker knew
    /// last.
    no_majority: Option<String>,
}

#[derive(Debug, Serialize)]
struct Feature {
    name: String,
    level: i16,
    supported_min: i16,
    supported_max: i16,
}

#[derive(Debug, Serialize)]
struct Dir {
    broker: i32,
    path: String,
    partitions: usize,
    bytes: i64,
    volume_bytes: Option<i64>,
    usable_bytes: Option<i64>,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Quorum {
    leader: i32,
    leader_epoch: i32,
    high_watermark: i64,
    nodes: Vec<QuorumNode>,
}

#[derive(Debug, Serialize)]
struct QuorumNode {
    id: i32,
    role: &'static str,
    log_end_offset: i64,
    lag: i64,
    directory: Option<String>,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let admin = arguments.common.connect.client().admin();
    let output = arguments.common.output;
    match arguments.action {
        Action::Info => info(&admin, output).await?,
        Action::Health => return health(&admin, output).await,
        Action::Features => features(&admin, output).await?,
        Action::Logdirs => log_dirs(&admin, output).await?,
        Action::Quorum => quorum(&admin, output).await?,
        Action::Voters(arguments) => voters::run(&admin, arguments).await?,
        Action::Balance(options) => {
            return balance::run(&admin, output, Goal::Even, options).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn info(admin: &Admin, output: Format) -> anyhow::Result<()> {
    let cluster = admin.describe_cluster().await?;
    // Brokers name one of themselves as the controller, as any of them hands on what is for it.
    let quorum = timeout(LEADER_WAIT, admin.describe_quorum()).await;
    let leader = quorum.map_or(-1, |quorum| quorum.map_or(-1, |quorum| quorum.leader));
    let brokers = cluster.brokers.into_iter().map(|broker| InfoBroker {
        id: broker.id,
        host: broker.host,
        port: broker.port,
        rack: broker.rack,
    });
    let info = Info {
        id: cluster.id,
        controller: (leader >= 0).then_some(leader),
        brokers: brokers.collect(),
    };
    print(output, &info, || {
        let mut table = Table::new(["BROKER", "HOST", "PORT", "RACK"]);
        for broker in &info.brokers {
            let InfoBroker { id, host, port, rack } = broker;
            table.row([id.to_string(), host.clone(), port.to_string(), or_dash(rack.clone())]);
        }
        format!("cluster {}  controller {}\n{}", info.id, or_dash(info.controller), table.text())
    })
}

async fn health(admin: &Admin, output: Format) -> anyhow::Result<ExitCode> {
    let brokers = admin.describe_cluster().await?.brokers;
    let brokers: Vec<i32> = brokers.iter().map(|broker| broker.id).collect();
    let topics = admin.list_topics().await?;
    let no_majority = leaderless(admin).await?;
    // A broker that has gone is not found out without controllers, and might be asked here.
    let few_replicas = match no_majority {
        None => balance::short_topics(admin, &topics, &brokers).await?,
        Some(_) => Vec::new(),
    };
    let known = assess(brokers.len(), &topics);
    let healthy = known.healthy && no_majority.is_none();
    let health = Health { healthy, few_replicas, no_majority, ..known };
    print(output, &health, || text(&health))?;
    Ok(if health.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why nobody leads the quorum, where nobody does: what brokers know by themselves stays as it was
/// when the majority went.
async fn leaderless(admin: &Admin) -> anyhow::Result<Option<String>> {
    Ok(match timeout(LEADER_WAIT, admin.describe_quorum()).await {
        Ok(Ok(quorum)) if quorum.leader >= 0 => None,
        Ok(Ok(_)) => Some("nobody leads them".to_owned()),
        // Says nothing about the quorum.
        Ok(Err(error)) if error.code() == Some(ErrorCode::ClusterAuthorizationFailed) => {
            return Err(error.into());
        }
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no leader within {} s", LEADER_WAIT.as_secs())),
    })
}

fn assess(brokers: usize, topics: &[TopicDescription]) -> Health {
    let (mut without_leader, mut under_replicated) = (Vec::new(), Vec::new());
    for topic in topics {
        for partition in &topic.partitions {
            let name = format!("{}:{}", topic.name, partition.index);
            if partition.leader.is_none() {
                without_leader.push(name);
            } else if partition.isr.len() < partition.replicas.len() {
                under_replicated.push(name);
            }
        }
    }
    Health {
        healthy: without_leader.is_empty() && under_replicated.is_empty(),
        brokers,
        topics: topics.len(),
        partitions: topics.iter().map(|topic| topic.partitions.len()).sum(),
        without_leader,
        under_replicated,
        few_replicas: Vec::new(),
        no_majority: None,
    }
}

fn text(health: &Health) -> String {
    let Health { brokers, topics, partitions, .. } = health;
    let verdict = if health.healthy { "healthy" } else { "unhealthy" };
    let mut text =
        format!("{verdict}  brokers {brokers}  topics {topics}  partitions {partitions}\n");
    if let Some(why) = &health.no_majority {
        text.push_str(&format!("no majority of controllers answers: {why}\n"));
    }
    let lists = [
        ("without a leader", &health.without_leader),
        ("with replicas missing", &health.under_replicated),
    ];
    for (what, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        text.push_str(&format!("{what}: {}\n", list.join(" ")));
    }
    if !health.few_replicas.is_empty() {
        let topics = health.few_replicas.join(" ");
        text.push_str(&format!(
            "made for fewer brokers: {topics}; thalweg cluster balance adds replicas\n"
        ));
    }
    text
}

async fn features(admin: &Admin, output: Format) -> anyhow::Result<()> {
    let features = admin.features().await?.into_iter().map(|feature| Feature {
        name: feature.name,
        level: feature.finalized,
        supported_min: feature.supported_min,
        supported_max: feature.supported_max,
    });
    let features: Vec<_> = features.collect();
    print(output, &features, || {
        let mut table = Table::new(["FEATURE", "LEVEL", "MIN", "MAX"]);
        for one in &features {
            let numbers = [one.level, one.supported_min, one.supported_max];
            let [level, min, max] = numbers.map(|number| number.to_string());
            table.row([one.name.clone(), level, min, max]);
        }
        table.text()
    })
}

async fn log_dirs(admin: &Admin, output: Format) -> anyhow::Result<()> {
    let known = |bytes: i64| (bytes >= 0).then_some(bytes);
    let dirs = admin.describe_log_dirs().await?.into_iter().map(|dir| Dir {
        broker: dir.broker,
        path: dir.path,
        partitions: dir.replicas.len(),
        bytes: dir.replicas.iter().map(|replica| replica.bytes).sum(),
        volume_bytes: known(dir.total_bytes),
        usable_bytes: known(dir.usable_bytes),
        error: dir.error.map(|code| code.name().to_owned()),
    });
    let dirs: Vec<_> = dirs.collect();
    print(output, &dirs, || {
        let mut table = Table::new(["BROKER", "PATH", "PARTITIONS", "BYTES", "USABLE", "ERROR"]);
        for dir in &dirs {
            let Dir { broker, path, partitions, bytes, usable_bytes, error, .. } = dir;
            table.row([
                broker.to_string(),
                path.clone(),
                partitions.to_string(),
                bytes.to_string(),
                or_dash(*usable_bytes),
                error.clone().unwrap_or_default(),
            ]);
        }
        table.text()
    })
}

async fn quorum(admin: &Admin, output: Format) -> anyhow::Result<()> {
    let quorum = admin.describe_quorum().await?;
    let ends = quorum.voters.iter().chain(&quorum.observers).map(|node| node.log_end_offset);
    let end = ends.max().unwrap_or(0);
    let node = |role: &'static str, replica: &QuorumReplica| QuorumNode {
        id: replica.id,
        role,
        log_end_offset: replica.log_end_offset,
        lag: end - replica.log_end_offset,
        directory: (!replica.directory.is_zero()).then(|| replica.directory.to_string()),
    };
    let voter = |replica: &QuorumReplica| {
        node(if replica.id == quorum.leader { "leader" } else { "voter" }, replica)
    };
    let nodes = quorum.voters.iter().map(voter);
    let nodes = nodes.chain(quorum.observers.iter().map(|replica| node("observer", replica)));
    let quorum = Quorum {
        leader: quorum.leader,
        leader_epoch: quorum.leader_epoch,
        high_watermark: quorum.high_watermark,
        nodes: nodes.collect(),
    };
    print(output, &quorum, || {
        let mut table = Table::new(["NODE", "ROLE", "END", "LAG", "DIRECTORY"]);
        for node in &quorum.nodes {
            let QuorumNode { id, role, log_end_offset, lag, directory } = node;
            table.row([
                id.to_string(),
                (*role).to_owned(),
                log_end_offset.to_string(),
                lag.to_string(),
                or_dash(directory.clone()),
            ]);
        }
        let Quorum { leader, leader_epoch, high_watermark, .. } = &quorum;
        let head =
            format!("leader {leader}  epoch {leader_epoch}  high watermark {high_watermark}");
        format!("{head}\n{}", table.text())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::{PartitionMetadata, TopicMetadata};

    fn topic(partitions: Vec<(Option<i32>, &[i32])>) -> TopicDescription {
        let partitions = partitions.into_iter().enumerate().map(|(index, (leader, isr))| {
            let replicas = vec![1, 2];
            let (index, isr) = (index as i32, isr.to_vec());
            PartitionMetadata { index, leader, replicas, isr, ..PartitionMetadata::default() }
        });
        TopicDescription::new(TopicMetadata {
            name: "t".into(),
            id: client::Uuid::ZERO,
            is_internal: false,
            partitions: partitions.collect(),
        })
    }

    #[test]
    fn health_names_what_is_wrong() {
        let well = assess(2, &[topic(vec![(Some(1), &[1, 2])])]);
        assert_eq!(text(&well), "healthy  brokers 2  topics 1  partitions 1\n");
        let ill = assess(1, &[topic(vec![(Some(1), &[1]), (None, &[1])])]);
        let expected = "unhealthy  brokers 1  topics 1  partitions 2\n\
                        without a leader: t:1\nwith replicas missing: t:0\n";
        assert_eq!(text(&ill), expected);
        let why = Some("nobody leads them".to_owned());
        let minority = Health { healthy: false, no_majority: why, ..assess(2, &[]) };
        let expected = "unhealthy  brokers 2  topics 0  partitions 0\n\
                        no majority of controllers answers: nobody leads them\n";
        assert_eq!(text(&minority), expected);
        let few = Health { few_replicas: vec!["__consumer_offsets".to_owned()], ..well };
        assert!(text(&few).contains("fewer brokers: __consumer_offsets; thalweg cluster balance"));
    }
}
