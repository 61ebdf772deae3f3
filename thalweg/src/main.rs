//! The one binary: parses the command line and wires the rooms together.

mod dev;
mod server;
mod signals;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// The node makes many small and short allocations from many threads; mimalloc is good at these.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event-streaming platform that speaks the Apache Kafka protocol.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, arg_required_else_help = true)]
struct Arguments {
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
    let result = match Arguments::parse().command {
        Command::Server(options) => {
            end_on_panic();
            server::run(&options)
        }
        Command::Dev(options) => {
            end_on_panic();
            dev::run(&options)
        }
        Command::Cluster(command) => {
            log_for_people();
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
