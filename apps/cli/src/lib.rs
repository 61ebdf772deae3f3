//! The command line of thalweg: topics, records, groups, configuration, the cluster.
//!
//! Each command is a file with its arguments and what it prints. All speak to the cluster through
//! `client` alone, so they work with any Kafka broker. What they print in JSON and YAML is an
//! interface: fields are added, never renamed.

mod balance;
mod broker;
mod cluster;
mod config;
mod connect;
mod consume;
mod format;
mod group;
mod offset;
mod output;
mod produce;
mod records;
#[cfg(test)]
mod tests;
mod topic;

use std::io;
use std::process::ExitCode;

use clap::Subcommand;

pub use connect::addresses;

/// What can be done with a cluster.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Creates, lists, describes, changes, moves and deletes topics
    Topic(topic::Arguments),
    /// Writes lines from standard input or a file as records
    Produce(produce::Arguments),
    /// Reads records, live until Ctrl-C
    Consume(consume::Arguments),
    /// Lists, describes and deletes consumer groups, and moves their offsets
    Group(group::Arguments),
    /// Describes, sets and deletes configuration of topics, brokers and groups
    Config(config::Arguments),
    /// Tells about the cluster itself, balances it, changes who votes
    Cluster(cluster::Arguments),
    /// Takes a broker out of service and out of the cluster
    Broker(broker::Arguments),
}

impl Command {
    /// Says where the cluster is, over what the command's own arguments say.
    pub fn set_bootstrap(&mut self, addresses: String) {
        let connect = match self {
            Self::Topic(arguments) => &mut arguments.common.connect,
            Self::Produce(arguments) => &mut arguments.common.connect,
            Self::Consume(arguments) => &mut arguments.connect,
            Self::Group(arguments) => &mut arguments.common.connect,
            Self::Config(arguments) => &mut arguments.common.connect,
            Self::Cluster(arguments) => &mut arguments.common.connect,
            Self::Broker(arguments) => &mut arguments.common.connect,
        };
        connect.bootstrap = addresses;
    }
}

/// Runs a command to its end. What goes wrong is told on standard error.
pub fn run(command: Command) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(command)),
        Err(error) => Err(anyhow::Error::new(error).context("cannot start")),
    };
    match result {
        Ok(code) => code,
        // `| head` has seen enough: that is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("thalweg: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Topic(arguments) => return topic::run(arguments).await,
        Command::Produce(arguments) => produce::run(arguments).await?,
        Command::Consume(arguments) => consume::run(arguments).await?,
        Command::Group(arguments) => group::run(arguments).await?,
        Command::Config(arguments) => config::run(arguments).await?,
        Command::Cluster(arguments) => return cluster::run(arguments).await,
        Command::Broker(arguments) => return broker::run(arguments).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
