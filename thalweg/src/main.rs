//! The one binary: parses the command line and wires the rooms together.

mod dev;
mod join;
mod server;
mod signals;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// The node makes many small and short allocations from many threads; mimalloc is good at these. Its
/// feature `no_thp` keeps the kernel from backing the little that each thread uses with huge pages,
/// which made an idle node twice as large and nothing faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event-streaming platform that speaks the Apache Kafka protocol.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, arg_required_else_help = true)]
struct Arguments {
    /// Some brokers of the cluster, for the commands that speak to one; may stand after them too
    #[arg(short, long = "bootstrap-server", value_name = "ADDRESSES", value_parser = cli::addresses)]
    bootstrap: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Server(server::Options),
    Dev(dev::Options),
    #[command(flatten)]
    Cluster(cli::Command),
}

fn main() -> ExitCode {
    let Arguments { bootstrap, command } = Arguments::parse();
    let result = match command {
        Command::Server(_) | Command::Dev(_) if bootstrap.is_some() => {
            Err(anyhow::anyhow!("a node takes no --bootstrap-server: it is one"))
        }
        Command::Server(options) => {
            end_on_panic();
            server::run(&options)
        }
        Command::Dev(options) => {
            end_on_panic();
            dev::run(&options)
        }
        Command::Cluster(mut command) => {
            log_for_people();
            if let Some(addresses) = bootstrap {
                command.set_bootstrap(addresses);
            }
            return cli::run(command);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("thalweg: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A broken invariant in any thread or task ends the node: half of one must not go on serving.
/// Nothing acknowledged is lost by it, as by any crash.
fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}

/// What the client warns of while a command goes on; RUST_LOG shows more.
fn log_for_people() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.without_time().with_target(false).with_ansi(std::io::stderr().is_terminal()).init();
}
