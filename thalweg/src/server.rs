//! `thalweg server`: a node as its operator configured it, by file, environment and overrides.

use std::env::{var, vars_os};
use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use config::{ConfigError, ConfigErrors, Properties, Sources, StaticConfig, Warning};
use node::{Bound, IdTaken, StartOptions};
use rustix::process::{Signal, set_parent_process_death_signal};
use tracing_subscriber::EnvFilter;

use crate::join;
use crate::signals::{self, Stop};

/// Set for nodes that `thalweg dev` starts: nobody would be left to stop them.
pub(crate) const ENDS_WITH_PARENT: &str = "THALWEG_ENDS_WITH_PARENT";

/// Warnings about settings that are told one by one.
const WARNINGS_MAX: usize = 5;

/// Runs a node that is configured with Kafka's keys
///
/// Settings come from FILE, from the environment (KAFKA_LOG_DIRS as in the apache/kafka image,
/// KAFKA_CFG_LOG_DIRS as in bitnami's) and from --override; the later ones win.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A server.properties; without one, a single node with Kafka's defaults
    file: Option<PathBuf>,
    /// Sets one key, whatever the file says; may be given many times
    #[arg(long = "override", value_name = "KEY=VALUE", value_parser = pair)]
    overrides: Vec<(String, String)>,
    /// Joins the cluster of this broker, and remembers it: later starts need no --join.
    ///
    /// Whatever the settings leave open is found out: the cluster's id, its controllers, a node.id
    /// that is free, and whether a controller more is of use (up to three).
    #[arg(long, value_name = "HOST:PORT", value_parser = cli::addresses)]
    join: Option<String>,
}

/// Runs the node until a signal stops it.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let begin = Instant::now();
    if var(ENDS_WITH_PARENT).is_ok() {
        set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    start_logging()?;
    let mut sources = sources(options)?;
    let joined = join::prepare(options.join.as_deref(), cluster_id(), &mut sources)?;
    let (fixed, warnings) =
        StaticConfig::new(&sources).map_err(|errors| explain(errors, &sources))?;
    for text in shortened(&warnings) {
        tracing::warn!("{text}");
    }
    let is_serving = Arc::new(AtomicBool::new(false));
    let (stop, stopped) = signals::catch(Arc::clone(&is_serving), || {})?;
    let (cluster_id, has_picked_id) = (joined.cluster_id.clone(), joined.has_picked_id);
    let bound = Bound::new(StartOptions { fixed, cluster_id, has_picked_id })?;
    joined.keep()?;
    let mut node = match bound.start() {
        Err(error) if error.is::<IdTaken>() => return Err(joined.start_again()),
        started => started?,
    };
    is_serving.store(true, Ordering::SeqCst);
    signals::watch(node.failure(), stop)?;
    let listeners = node.listeners().iter().map(|(name, at)| format!("{name} {at}"));
    let listeners = listeners.collect::<Vec<_>>().join(", ");
    // Testcontainers and scripts wait for the last sentence, which Kafka's broker logs.
    tracing::info!(
        "ready after {} ms, cluster {}, listening on {listeners}, data in {}. \
         Transitioning from RECOVERY to RUNNING",
        begin.elapsed().as_millis(),
        node.cluster_id(),
        node.log_dirs().join(", "),
    );
    let why = stopped.recv().context("nothing catches signals any more")?;
    if let Stop::Failed(reason) = &why {
        tracing::error!("the node cannot go on: {reason}");
    }
    tracing::info!("stopping; a second signal ends the process at once");
    let begin = Instant::now();
    signals::end(node, why)?;
    tracing::info!("stopped after {} ms", begin.elapsed().as_millis());
    Ok(())
}

fn sources(options: &Options) -> anyhow::Result<Sources> {
    let file = options.file.as_ref().map(|path| {
        let text = fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        Properties::parse(&text).with_context(|| format!("{} is broken", path.display()))
    });
    // What is not UTF-8 is no setting.
    let variables: Vec<_> = vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let variables = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(Sources {
        file: file.transpose()?,
        environment: config::environment::settings(variables),
        overrides: options.overrides.clone(),
        learned: Vec::new(),
    })
}

/// Adds what a file lacks that says nothing of the node itself: it is most often that.
fn explain(errors: ConfigErrors, sources: &Sources) -> anyhow::Error {
    let roles = |error: &ConfigError| matches!(error, ConfigError::Missing { key, .. } if key == "process.roles");
    let Some(file) = sources.file.as_ref().filter(|_| errors.0.iter().any(roles)) else {
        return errors.into();
    };
    let is_set = |key: &str| file.iter().any(|(set, _)| set == key);
    let own = ("controller.quorum.bootstrap.servers", "localhost:9093");
    let lacking = config::SINGLE_NODE.iter().chain([&own]).filter(|(key, _)| !is_set(key));
    let lines = lacking.map(|(key, value)| format!("\n    {key}={value}")).collect::<String>();
    anyhow::anyhow!(
        "{errors}\nA file has to say what the node is. For one that begins a cluster add{lines}\n\
         or name no file: these hold by themselves then, and --override sets the rest. For one of \
         an existing cluster name a broker: --join HOST:PORT"
    )
}

/// Both images of Kafka have a variable for the id of a new cluster.
fn cluster_id() -> Option<String> {
    var("CLUSTER_ID").or_else(|_| var("KAFKA_KRAFT_CLUSTER_ID")).ok().filter(|id| !id.is_empty())
}

fn start_logging() -> anyhow::Result<()> {
    let level = var("RUST_LOG").or_else(|_| var("KAFKA_LOG4J_ROOT_LOGLEVEL"));
    let level = level.unwrap_or_else(|_| "info".to_owned());
    let Ok(filter) = EnvFilter::try_new(&level) else {
        bail!("{level:?} is not a log level; try error, warn, info, debug or trace");
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    // Colours are for people: no file and no log collector wants their control characters.
    log.with_ansi(std::io::stdout().is_terminal()).init();
    Ok(())
}

/// One line for each warning, but not for the hundredth.
fn shortened(warnings: &[Warning]) -> Vec<String> {
    let mut lines: Vec<_> = warnings.iter().take(WARNINGS_MAX).map(ToString::to_string).collect();
    if let Some(more) = warnings.len().checked_sub(WARNINGS_MAX).filter(|more| *more > 0) {
        lines.push(format!("and {more} more settings that are unknown"));
    }
    lines
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is expected")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_hundredth_warning_is_only_counted() {
        let unknown = |_| Warning::Unknown { key: "a.b".to_owned(), nearest: None };
        let warnings: Vec<_> = (0..7).map(unknown).collect();
        assert_eq!(shortened(&warnings[..5]).len(), 5);
        let lines = shortened(&warnings);
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[5], "and 2 more settings that are unknown");
    }

    #[test]
    fn a_file_that_says_nothing_of_the_node_is_told_what_it_lacks() {
        let refusal = |text: &str| {
            let file = Some(Properties::parse(text).unwrap());
            let sources = Sources { file, ..Sources::default() };
            explain(StaticConfig::new(&sources).unwrap_err(), &sources).to_string()
        };
        let three = refusal("log.dirs=/d\nlisteners=PLAINTEXT://:1\nnode.id=7\n");
        assert!(three.contains("process.roles=broker,controller"), "{three}");
        assert!(three.contains("--join HOST:PORT") && !three.contains("node.id="), "{three}");
        let other = refusal("process.roles=king\n");
        assert!(!other.contains("--join"), "{other}");
    }

    #[test]
    fn an_address_to_join_without_a_port_is_refused_at_once() {
        let parse = |at| crate::Arguments::try_parse_from(["thalweg", "server", "--join", at]);
        let refusal = parse("localhost").unwrap_err().to_string();
        assert!(refusal.contains("HOST:PORT expected"), "{refusal}");
        assert!(parse("localhost:9092").is_ok());
    }

    #[test]
    fn an_override_is_cut_at_its_first_equals_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("a").is_err());
    }
}
