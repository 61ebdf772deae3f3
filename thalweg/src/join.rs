//! `thalweg server --join HOST:PORT`: what a node has to know of the cluster that it joins.
//!
//! It is asked once, from a broker that runs, and kept beside `meta.properties` as
//! `joined.properties`, so that the node starts again when nobody answers. What the operator sets
//! always holds over it.
//!
//! Not here: becoming a voter, which the node does by itself (`controller.quorum.auto.join.enable`).

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, bail};
use client::{
    Admin, Broker, Client, ClientError, ClientSettings, ClusterDescription, QuorumDescription,
};
use config::{BrokerLayers, HostPort, NodeConfig, Properties, Sources, StaticConfig};

/// What was learned, beside `meta.properties`.
const LEARNED_FILE: &str = "joined.properties";
const FORMATTED_FILE: &str = "meta.properties";
/// Written before the node registers.
const WHOLE_RUNS_FILE: &str = ".thalweg_whole_runs";
/// Folder of the metadata log.
const METADATA_FOLDER: &str = "__cluster_metadata-0";
/// As many controllers outlive the loss of one; more are slower, and are made on demand.
const VOTERS: usize = 3;
/// How long the cluster may take to answer: all machines may be switched on at once.
const ANSWER_MAX: Duration = Duration::from_secs(120);
const ASK_EVERY: Duration = Duration::from_millis(500);

/// How the node is to be started.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    /// The cluster to belong to, if it is known.
    pub(crate) cluster_id: Option<String>,
    /// Whether nobody but this module has chosen `node.id`.
    pub(crate) has_picked_id: bool,
    /// Directories that nobody had formatted before.
    new_dirs: Vec<PathBuf>,
    /// What was learned just now, and what it is called.
    learned: Option<Learned>,
}

#[derive(Debug)]
struct Learned {
    file: PathBuf,
    text: String,
    /// What to tell of it.
    told: String,
}

/// What a broker tells of the cluster.
#[derive(Debug)]
struct Cluster {
    /// With all brokers that are registered.
    description: ClusterDescription,
    /// The brokers that serve.
    serving: Vec<Broker>,
    quorum: QuorumDescription,
}

/// Completes the settings by what was learned of the cluster, now or at an earlier start.
pub(crate) fn prepare(
    join: Option<&str>,
    cluster_id: Option<String>,
    sources: &mut Sources,
) -> anyhow::Result<Joined> {
    let [metadata_dir, ..] = &dirs(sources)[..] else { return Ok(Joined::default()) };
    let formatted = metadata_dir.join(FORMATTED_FILE);
    let learned = metadata_dir.join(LEARNED_FILE);
    if formatted.exists() && learned.exists() {
        let text = fs::read_to_string(&learned)?;
        let known = Properties::parse(&text).with_context(|| learned.display().to_string())?;
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        sources.learned = known.iter().map(owned).collect();
        return Ok(Joined { cluster_id, ..Joined::default() });
    }
    let Some(at) = join else { return Ok(Joined { cluster_id, ..Joined::default() }) };
    let own_properties = read_if_exists(&formatted)?;
    let cluster = ask(at, |cluster| {
        if let Some(text) = &own_properties {
            refuse_other_cluster(text, &cluster.description.id, (&formatted, at))?;
        }
        find_twin(cluster, sources)
    })?;
    let id = cluster.description.id.clone();
    if let Some(other) = cluster_id.filter(|other| *other != id) {
        bail!("{at} belongs to cluster {id}, and CLUSTER_ID says {other}: change one of the two");
    }
    if own_properties.is_some() {
        tracing::info!("{} belongs to cluster {id} already", metadata_dir.display());
        return Ok(Joined { cluster_id: Some(id), ..Joined::default() });
    }
    let (known, has_picked_id) = learn(&cluster, sources)?;
    let text = known.iter().map(|(key, value)| format!("{key}={value}\n")).collect::<String>();
    let holding = known
        .iter()
        .map(|(key, learned)| format!("{key}={}", sources.given(key).unwrap_or(learned)));
    let holding = holding.collect::<Vec<_>>().join(", ");
    let learned = Learned {
        file: learned,
        text: format!("# Learned from {at} when this node joined; settings win.\n{text}"),
        told: format!("joins cluster {id} of {at} with {holding}"),
    };
    sources.learned = known;
    let new_dirs = dirs(sources).into_iter().filter(|dir| !dir.join(FORMATTED_FILE).exists());
    Ok(Joined {
        cluster_id: Some(id),
        has_picked_id,
        new_dirs: new_dirs.collect(),
        learned: Some(learned),
    })
}

impl Joined {
    /// Keeps what was learned for later starts. Called once the node has its ports: one that has
    /// none leaves its directory as it was.
    pub(crate) fn keep(&self) -> anyhow::Result<()> {
        let Some(Learned { file, text, told }) = &self.learned else { return Ok(()) };
        let written = file.parent().map_or(Ok(()), fs::create_dir_all);
        let written = written.and_then(|()| fs::write(file, text));
        written.with_context(|| format!("cannot write {}", file.display()))?;
        tracing::info!("{told}");
        Ok(())
    }

    /// Runs this program anew, as if the node had never begun: another one has its id, and by now
    /// the cluster tells so. Comes back only where that fails. Each time one of the nodes that
    /// began at once has got its id, so this ends.
    pub(crate) fn start_again(&self) -> anyhow::Error {
        tracing::info!("another node has taken the id meanwhile; picking another one");
        let forgotten = self.new_dirs.iter().try_for_each(|dir| forget(dir));
        let restarted = forgotten.and_then(|()| {
            let program = env::current_exe()?;
            Err(Command::new(program).args(env::args_os().skip(1)).exec())
        });
        restarted.map_or_else(anyhow::Error::from, |()| anyhow::anyhow!("cannot start again"))
    }
}

/// Takes away what this start has written: nothing in it was ever acknowledged.
fn forget(dir: &Path) -> std::io::Result<()> {
    let gone = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    };
    gone(fs::remove_file(dir.join(LEARNED_FILE)))?;
    gone(fs::remove_dir_all(dir.join(METADATA_FOLDER)))?;
    gone(fs::remove_file(dir.join(WHOLE_RUNS_FILE)))?;
    gone(fs::remove_file(dir.join(FORMATTED_FILE)))
}

fn read_if_exists(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Refuses a directory that was used in another cluster.
fn refuse_other_cluster(text: &str, id: &str, (file, at): (&Path, &str)) -> anyhow::Result<()> {
    let properties = Properties::parse(text).with_context(|| file.display().to_string())?;
    let found = properties.iter().find(|(key, _)| *key == "cluster.id");
    match found {
        Some((_, other)) if other != id => bail!(
            "{} belongs to cluster {other}, and {at} to cluster {id}: choose other log.dirs, or \
             empty them if nothing in them is needed",
            file.display()
        ),
        _ => Ok(()),
    }
}

/// The metadata directory, then the other log directories.
fn dirs(sources: &Sources) -> Vec<PathBuf> {
    let none = StaticConfig::default();
    let default = BrokerLayers::at_start(&none).text("log.dir").into_owned();
    let list = sources.given("log.dirs").or_else(|| sources.given("log.dir")).unwrap_or(&default);
    let listed = list.split(',').map(str::trim);
    let all = sources.given("metadata.log.dir").into_iter().chain(listed);
    all.filter(|dir| !dir.is_empty()).map(PathBuf::from).collect()
}

/// Asks a broker what cluster it belongs to. Waits for it, as it may be starting, and for the end of
/// a broker that has this node's id, which `twin` finds.
fn ask(
    at: &str,
    twin: impl Fn(&Cluster) -> anyhow::Result<Option<Broker>>,
) -> anyhow::Result<Cluster> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let give_up = Instant::now() + ANSWER_MAX;
    let mut told = String::new();
    loop {
        let settings = ClientSettings::new(at);
        let settings = ClientSettings { client_id: "thalweg-join".to_owned(), ..settings };
        let answer = runtime.block_on(ask_once(&Client::new(settings).admin()));
        let why = match answer {
            Ok(cluster) => match twin(&cluster)? {
                None => return Ok(cluster),
                Some(twin) => anyhow::anyhow!(
                    "DUPLICATE_BROKER_REGISTRATION: node.id {} is that of a broker that serves at \
                     {}:{}. Change node.id of one of the two, or stop that one",
                    twin.id,
                    twin.host,
                    twin.port
                ),
            },
            Err(error) if !may_pass(&error) => {
                let hint = "--join wants the address that clients of a running broker use";
                return Err(anyhow::Error::new(error).context(hint));
            }
            Err(error) => error.into(),
        };
        if Instant::now() >= give_up {
            return Err(why.context("gave up waiting for the cluster to join"));
        }
        let why = why.to_string();
        if told != why {
            tracing::warn!("waiting for the cluster to join: {why}");
            told = why;
        }
        thread::sleep(ASK_EVERY);
    }
}

async fn ask_once(admin: &Admin) -> Result<Cluster, ClientError> {
    let description = admin.describe_registered().await?;
    let serving = admin.describe_cluster().await?.brokers;
    Ok(Cluster { description, serving, quorum: admin.describe_quorum().await? })
}

/// A broker that serves with this node's id, elsewhere.
fn find_twin(cluster: &Cluster, sources: &Sources) -> anyhow::Result<Option<Broker>> {
    let Some(id) = given_id(sources) else { return Ok(None) };
    let own = own_addresses(sources, settings(id, false, "CONTROLLER", "localhost:9093"))?;
    let twin = cluster.serving.iter().find(|one| one.id.to_string() == id && !is_at(one, &own));
    Ok(twin.cloned())
}

fn given_id(sources: &Sources) -> Option<&str> {
    sources.given("node.id").or_else(|| sources.given("broker.id"))
}

/// Whether an error is that of a broker that has not started yet.
fn may_pass(error: &ClientError) -> bool {
    !matches!(error, ClientError::Refusal { .. } | ClientError::Invalid(_))
}

/// The settings that follow from what the cluster is, and whether the id was picked among the free
/// ones.
fn learn(cluster: &Cluster, sources: &Sources) -> anyhow::Result<(Vec<(String, String)>, bool)> {
    let listener = cluster.quorum.endpoints.first();
    let listener = listener.context("the cluster does not tell where its controllers listen")?;
    let listener = &listener.listener;
    let addresses = cluster.quorum.endpoints.iter().filter(|one| one.listener == *listener);
    let host = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let addresses = addresses.map(|one| format!("{}:{}", host(&one.host), one.port));
    let addresses = addresses.collect::<Vec<_>>().join(",");
    let trial = settings("0", false, listener, &addresses);
    let (id, is_picked) = match given_id(sources) {
        Some(id) => (id.to_owned(), false),
        None => match former_id(cluster, &own_addresses(sources, trial)?) {
            Some(id) => (id.to_string(), false),
            None => (free_id(cluster).to_string(), true),
        },
    };
    let is_controller = wants_controller(cluster, sources, &id, listener);
    Ok((settings(&id, is_controller, listener, &addresses), is_picked))
}

fn settings(
    id: &str,
    is_controller: bool,
    listener: &str,
    controllers: &str,
) -> Vec<(String, String)> {
    let (roles, listeners) = match is_controller {
        true => ("broker,controller", format!("PLAINTEXT://:9092,{listener}://:9093")),
        false => ("broker", "PLAINTEXT://:9092".to_owned()),
    };
    let settings = [
        ("process.roles", roles),
        ("node.id", id),
        ("listeners", &listeners),
        ("controller.listener.names", listener),
        ("controller.quorum.bootstrap.servers", controllers),
        ("controller.quorum.auto.join.enable", if is_controller { "true" } else { "false" }),
    ];
    settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Whether the node is to be a controller: as its operator says, or else while few are.
fn wants_controller(cluster: &Cluster, sources: &Sources, id: &str, listener: &str) -> bool {
    if let Some(roles) = sources.given("process.roles") {
        return roles.contains("controller");
    }
    if let Some(listeners) = sources.given("listeners") {
        return listeners.split(',').any(|one| one.trim().starts_with(&format!("{listener}://")));
    }
    let voters = &cluster.quorum.voters;
    // Voters without directories are named by each node's settings, and cannot change.
    let can_change = voters.iter().all(|voter| !voter.directory.is_zero());
    voters.iter().any(|voter| voter.id.to_string() == id) || can_change && voters.len() < VOTERS
}

/// Where clients are to reach this node.
fn own_addresses(
    sources: &Sources,
    learned: Vec<(String, String)>,
) -> anyhow::Result<Vec<HostPort>> {
    let mut sources = Sources { learned, ..sources.clone() };
    // Listeners of controllers are none of a broker's, and this is about clients.
    let brokers = |name: &str| {
        sources.given(name).map(|list| {
            let listed = list.split(',').filter(|one| !one.trim().starts_with("CONTROLLER://"));
            listed.collect::<Vec<_>>().join(",")
        })
    };
    if let Some(listeners) = brokers("listeners") {
        sources.overrides.push(("listeners".to_owned(), listeners));
    }
    sources.overrides.push(("process.roles".to_owned(), "broker".to_owned()));
    let (fixed, _) = StaticConfig::new(&sources)?;
    let node = NodeConfig::resolve(&BrokerLayers::at_start(&fixed))?;
    let advertised = node.listeners.advertised.into_iter();
    let address = |one: config::Listener| HostPort {
        host: one.host.unwrap_or_else(node::own_host),
        port: one.port,
    };
    Ok(advertised.map(address).collect())
}

/// The id of a broker at this node's address: it is this node, which has lost its disk.
fn former_id(cluster: &Cluster, own: &[HostPort]) -> Option<i32> {
    let former = cluster.description.brokers.iter().find(|broker| is_at(broker, own));
    former.map(|broker| broker.id)
}

fn is_at(broker: &Broker, own: &[HostPort]) -> bool {
    own.iter().any(|one| one.host == broker.host && one.port == broker.port)
}

/// The lowest id that nobody has.
fn free_id(cluster: &Cluster) -> i32 {
    let brokers = cluster.description.brokers.iter().map(|broker| broker.id);
    let replicas = cluster.quorum.voters.iter().chain(&cluster.quorum.observers);
    let taken: BTreeSet<i32> = brokers.chain(replicas.map(|replica| replica.id)).collect();
    (1..).find(|id| !taken.contains(id)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
