//! `thalweg dev`: a node, or a cluster of some, for one's own machine, without a word of
//! configuration.

mod cluster;
mod control;
mod relay;

use std::io::IsTerminal;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use std::{env, fs, process};

use anyhow::Context;
use config::{Sources, StaticConfig};
use node::{Node, StartOptions};
use tracing_subscriber::EnvFilter;

use crate::signals;

/// Kafka's port; another one where it is taken.
const PORT: u16 = 9092;

/// Runs a node on this machine for development and tests, or several
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    thalweg dev                   one node on port 9092\n  \
    thalweg dev --brokers 3       three nodes on ports 9092, 9192 and 9292, and from another terminal:\n  \
    thalweg dev kill 2            how a cluster takes the loss of a node\n  \
    thalweg dev start 2           and its return")]
pub(crate) struct Options {
    /// Where data is kept [default: ~/.local/share/thalweg/dev, or dev-cluster for several nodes]
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// Keeps data in memory, and only until the node stops
    #[arg(long, conflicts_with = "dir")]
    in_memory: bool,
    /// Port to listen on [default: 9092, or a free one where that is taken]
    ///
    /// That of the first of several nodes; the next ones have it plus 100, plus 200 and so on, and
    /// each takes the four ports behind it.
    #[arg(long)]
    port: Option<u16>,
    /// Number of nodes, each a process that ends with this one
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=9))]
    brokers: Option<u16>,
    #[command(subcommand)]
    drill: Option<control::Drill>,
}

/// Runs the node until a signal stops it.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(drill) = options.drill {
        return control::ask(&DataDir::path(options, true)?, drill);
    }
    start_logging();
    match options.brokers {
        Some(count) => cluster::run(options, count),
        None => run_one(options),
    }
}

fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    log.with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
}

fn run_one(options: &Options) -> anyhow::Result<()> {
    let begin = Instant::now();
    let data = DataDir::choose(options)?;
    let port = match options.port {
        Some(port) => port,
        None => free_port(PORT)?,
    };
    let sources = Sources { overrides: settings(port, &data.path)?, ..Sources::default() };
    let (fixed, _) = StaticConfig::new(&sources)?;
    let temporary = data.is_temporary.then(|| data.path.clone());
    let is_serving = Arc::new(AtomicBool::new(false));
    let (stop, stopped) = signals::catch(Arc::clone(&is_serving), move || {
        _ = temporary.as_ref().map(fs::remove_dir_all);
    })?;
    let mut node = Node::start(StartOptions { fixed, cluster_id: None, has_picked_id: false })
        .context("cannot start; --port and --dir or --in-memory make room for a second node")?;
    is_serving.store(true, Ordering::SeqCst);
    signals::watch(node.failure(), stop)?;
    let address = node.listeners().first().map_or(format!("127.0.0.1:{port}"), |l| l.1.to_string());
    let took = begin.elapsed().as_millis();
    println!("{}", greeting(&address, &data, took));
    let why = stopped.recv().context("nothing catches signals any more")?;
    println!("stopping; press Ctrl-C again to end at once");
    signals::end(node, why)
}

/// What nobody has to know for a first start.
fn settings(port: u16, dir: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let controller = format!("127.0.0.1:{}", free_port(0)?);
    let dir = dir.to_str().context("the directory's name is not UTF-8")?;
    let settings = [
        ("listeners", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://{controller}")),
        ("controller.quorum.bootstrap.servers", controller),
        ("log.dirs", dir.to_owned()),
        // One consumer at a time on one machine: there is nobody to wait for, and few groups.
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ("offsets.topic.num.partitions", "3".to_owned()),
    ];
    Ok(settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// `wanted` if nobody listens there, else any other port.
fn free_port(wanted: u16) -> anyhow::Result<u16> {
    let local = |port| TcpListener::bind(("127.0.0.1", port));
    let listener = local(wanted).or_else(|_| local(0)).context("no port is free on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

fn greeting(address: &str, data: &DataDir, took: u128) -> String {
    let at = if address.ends_with(":9092") { String::new() } else { format!(" -b {address}") };
    let kept = if data.is_temporary { "until it stops, in memory at" } else { "in" };
    format!(
        "thalweg {} is ready after {took} ms; bootstrap server: {address}\n\
         Data is kept {kept} {}\n\
         \n    echo hello | thalweg produce{at} greetings\
         \n    thalweg consume{at} greetings --from-beginning\
         \n    kcat -b {address} -C -t greetings\n",
        env!("CARGO_PKG_VERSION"),
        data.path.display(),
    )
}

/// Where the node keeps its data; removed in the end where that was asked for.
#[derive(Debug)]
struct DataDir {
    path: PathBuf,
    is_temporary: bool,
    /// Whether everybody finds it without a word.
    is_default: bool,
}

impl DataDir {
    fn choose(options: &Options) -> anyhow::Result<Self> {
        let path = Self::path(options, options.brokers.is_some())?;
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let is_default = options.dir.is_none() && !options.in_memory;
        Ok(Self { path, is_temporary: options.in_memory, is_default })
    }

    fn path(options: &Options, is_cluster: bool) -> anyhow::Result<PathBuf> {
        let folder = if is_cluster { "dev-cluster" } else { "dev" };
        match &options.dir {
            Some(dir) => Ok(std::path::absolute(dir)?),
            None if options.in_memory => Ok(in_memory()),
            None => Ok(home_data()?.join("thalweg").join(folder)),
        }
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.is_temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            eprintln!("thalweg: {} is left behind: {error}", self.path.display());
        }
    }
}

/// Linux has a file system in memory for everybody; elsewhere the temporary one must do.
fn in_memory() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    let base = if shared.is_dir() { shared } else { env::temp_dir() };
    base.join(format!("thalweg-dev-{}", process::id()))
}

/// `$XDG_DATA_HOME`, or where it is by default.
fn home_data() -> anyhow::Result<PathBuf> {
    let given = env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || env::home_dir().map(|home| home.join(".local").join("share"));
    given.or_else(home).context("there is no home directory; choose another with --dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_the_server_unless_it_is_the_usual_one() {
        let data = DataDir { path: "/data".into(), is_temporary: false, is_default: false };
        assert!(greeting("127.0.0.1:9092", &data, 1).contains("thalweg produce greetings"));
        let other = greeting("127.0.0.1:4711", &data, 1);
        assert!(other.contains("thalweg produce -b 127.0.0.1:4711 greetings"));
        assert!(other.contains("thalweg consume -b 127.0.0.1:4711 greetings"));
    }

    #[test]
    fn a_taken_port_is_replaced() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(free_port(port).unwrap(), port);
    }

    #[test]
    fn the_settings_make_a_valid_node() {
        let overrides = settings(9092, Path::new("/data")).unwrap();
        let (fixed, warnings) =
            StaticConfig::new(&Sources { overrides, ..Sources::default() }).unwrap();
        assert_eq!(fixed.get("log.dirs"), Some("/data"));
        assert_eq!(warnings, []);
    }
}
