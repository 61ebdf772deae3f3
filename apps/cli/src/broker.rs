//! `thalweg broker`: takes a broker out of service.

use std::process::ExitCode;

use clap::Subcommand;

use crate::balance;
use crate::connect::Common;

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
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let admin = arguments.common.connect.client().admin();
    let Action::Drain { id, options } = arguments.action;
    balance::run(&admin, arguments.common.output, Some(id), options).await
}
