//! `thalweg broker`: takes a broker out of service, and out of the cluster.

use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use client::Admin;

use crate::balance::{self, Goal};
use crate::connect::Common;
use crate::output::counted;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Moves all replicas of a broker to the others, so that it can be switched off
    ///
    /// It may be down already, if the partitions have other replicas. Ctrl-C takes back the moves
    /// that are under way; the same command goes on later.
    Drain {
        /// Id of the broker
        id: i32,
        #[command(flatten)]
        options: balance::Options,
    },
    /// Forgets a broker that has been drained and stopped: its vote and its registration
    ///
    /// A node that has gone for good without it counts for the majority of the controllers.
    #[command(after_help = "Example, in this order:\n  \
        thalweg broker drain 4\n  \
        (stop node 4)\n  \
        thalweg broker remove 4")]
    Remove {
        /// Id of the broker
        id: i32,
    },
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let admin = arguments.common.connect.client().admin();
    match arguments.action {
        Action::Drain { id, options } => {
            let is_real = !options.dry_run;
            let goal = Goal::Drained(id);
            let ended = balance::run(&admin, arguments.common.output, goal, options).await?;
            if is_real && ended == ExitCode::SUCCESS {
                eprintln!(
                    "broker {id} has no replicas; once it is stopped: thalweg broker remove {id}"
                );
            }
            Ok(ended)
        }
        Action::Remove { id } => {
            remove(&admin, id).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn remove(admin: &Admin, id: i32) -> anyhow::Result<()> {
    if admin.describe_cluster().await?.brokers.iter().any(|broker| broker.id == id) {
        bail!("broker {id} serves, and would come back: stop it first");
    }
    let topics = admin.list_topics().await?;
    let partitions = topics.iter().flat_map(|topic| &topic.partitions);
    let held = partitions.filter(|partition| partition.replicas.contains(&id)).count();
    if held > 0 {
        let held = counted(held, "replica");
        bail!("broker {id} has {held} still: thalweg broker drain {id} moves them away");
    }
    let voters = admin.describe_quorum().await?.voters;
    for voter in voters.iter().filter(|voter| voter.id == id && !voter.directory.is_zero()) {
        admin.remove_voter(id, voter.directory).await?;
        println!("node {id} does not vote any more");
    }
    admin.unregister_broker(id).await?;
    println!("broker {id} is not registered any more");
    Ok(())
}
