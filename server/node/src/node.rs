//! A node from its start to its stop: directories, metadata, shards, listeners, registration.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::metadata::Image;
use anyhow::{Context, bail};
use config::{BrokerLayers, NodeConfig, StaticConfig};
use log::RealDisk;
use net::{Inbox, Listener, ListenerCounters, ListenerOptions, Net};
use raft::{Endpoint, ReplicaKey, Voter};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;
use types::Rng;

use crate::cleaner::CleanerStatus;
use crate::controller::{self, Active, Controller, Found, MetadataLog, Publish};
use crate::dirs::Dirs;
use crate::http::{self, Phase, Status};
use crate::membership::Membership;
use crate::peers::{LinkOptions, Peers};
use crate::recovery::{self, Recovered};
use crate::registration;
use crate::sessions::Sessions;
use crate::shard::{Inward, Mailboxes, Shard};
use crate::shared::{Advertised, Shared};
use crate::sync_threads::SyncThreads;
use crate::throttles::Throttles;
use crate::to_controller::ToController;
use crate::upkeep::CheckpointOrder;
use crate::{
    dir_failures, dynamic, groups, leaders, membership, peers, replicas, sessions, threads, upkeep,
};

/// How long requests in flight may take to end at a stop.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// How long the active controller may take for what is handed on to it.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(10);

/// What a node is started with.
pub struct StartOptions {
    /// The settings, checked.
    pub fixed: StaticConfig,
    /// Id for a new cluster (`CLUSTER_ID`); random if none is given.
    pub cluster_id: Option<String>,
    /// Whether `node.id` was picked for this start, so that another node may have it by chance.
    pub has_picked_id: bool,
}

/// A node that serves.
pub struct Node {
    shared: Arc<Shared>,
    shards: Vec<JoinHandle<()>>,
    acceptors: [JoinHandle<()>; 2],
    /// Ends when the last connection has ended.
    drained: Receiver<()>,
    controller: controller::Running,
    membership: membership::Running,
    peers: peers::Running,
    listeners: Vec<(String, SocketAddr)>,
    metrics: Option<SocketAddr>,
    status: Arc<Status>,
    failure: Receiver<String>,
}

impl Node {
    /// Starts a node; it serves clients when this returns.
    ///
    /// # Errors
    /// With the cause and, where there is one, the setting to change.
    pub fn start(options: StartOptions) -> anyhow::Result<Self> {
        raise_descriptor_limit();
        let fixed = Arc::new(options.fixed);
        let config = resolve(&fixed, options.cluster_id.as_deref())?;
        let status = Arc::new(Status::default());
        let metrics = serve_metrics(&config, &status)?;
        let mut rng = seeded()?;
        let id = options.cluster_id.as_deref();
        let (mut dirs, failure) = Dirs::open(Arc::new(RealDisk), &config, id, &mut rng)?;
        let bound = bind(&config)?;
        let advertised = registration::advertised(&config, &bound);
        let local = local_voter(&config, &dirs, &advertised);
        let (log, found) = open_metadata(&config, &mut dirs, &local)?;
        let dirs = Arc::new(dirs);
        let shards = shard_count(&config);
        let (net, inboxes) = Net::new(dynamic::limits(&config), shards);
        let (mailboxes, receivers) = Mailboxes::new(shards);
        let syncs = SyncThreads::start(&dirs, &mailboxes)?;
        let (peers, links) = Peers::start(config.limits.setup_timeout_ms, &mut rng)?;
        let start = controller::Start {
            config: &config,
            fixed: Arc::clone(&fixed),
            cluster_id: &dirs.cluster_id,
            local,
            peers: peers.clone(),
            rng: Rng::new(rng.next_u64()),
            fail: fail(Arc::clone(&dirs)),
        };
        let (controller, mut running) = Controller::start(start, log, found)?;
        let to_controller = to_controller(&config, controller.active(), peers.clone());
        let shared = Arc::new(Shared {
            sessions: Arc::new(Sessions::new(&config.quorum)),
            throttles: Throttles::new(&BrokerLayers::at_start(&fixed)),
            config,
            fixed,
            dirs,
            checkpoints: CheckpointOrder::default(),
            cleaner: CleanerStatus::default(),
            syncs,
            mailboxes,
            controller,
            peers,
            to_controller,
            membership: Membership::default(),
            net: Arc::clone(&net),
            listener_counters: counters(&bound),
            advertised,
        });
        let (serving, drained) = std::sync::mpsc::channel();
        let threads = start_shards(&shared, inboxes, receivers, serving, &mut rng)?;
        let listeners = bound.iter().map(|one| (one.name().to_owned(), one.local_addr())).collect();
        // Controllers find each other before anything else is served.
        let (for_controllers, for_clients) = by_role(&shared, bound);
        let controllers = start_acceptor(Arc::clone(&net), for_controllers)?;
        open_partitions(&shared, running.caught_up()?, &status)?;
        let clients = start_acceptor(net, for_clients)?;
        let membership = Membership::join(&shared, options.has_picked_id, &mut rng)?;
        status.show(Arc::clone(&shared));
        status.set(Phase::Serving);
        Ok(Self {
            status,
            metrics,
            shared,
            shards: threads,
            acceptors: [controllers, clients],
            drained,
            controller: running,
            membership,
            peers: links,
            listeners,
            failure,
        })
    }

    /// The listeners with the ports that they got.
    pub fn listeners(&self) -> &[(String, SocketAddr)] {
        &self.listeners
    }

    /// Where metrics and health are served, if they are.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Id of the cluster.
    pub fn cluster_id(&self) -> &str {
        &self.shared.dirs.cluster_id
    }

    /// Waits until the node cannot go on and gives the reason; the node then has to be stopped.
    /// Ends without one when the node stops.
    pub fn failure(&mut self) -> impl FnOnce() -> Option<String> + Send + 'static {
        let (_, none) = std::sync::mpsc::channel();
        let failure = std::mem::replace(&mut self.failure, none);
        move || failure.recv().ok()
    }

    /// Stops in order: nothing new is accepted, what is in flight ends, logs and checkpoints are
    /// written, the directories are marked as cleanly stopped.
    ///
    /// # Errors
    /// If something could not be written; the next start then recovers as after a crash.
    pub fn stop(self) -> anyhow::Result<()> {
        self.status.set(Phase::Stopping);
        self.membership.leave_to_others(&self.shared);
        self.shared.net.shut_down(DRAIN_GRACE);
        let panicked = |what: &str| anyhow::anyhow!("{what} panicked");
        for acceptor in self.acceptors {
            acceptor.join().map_err(|_| panicked("an acceptor"))?;
        }
        upkeep::drain_shards(&self.shared)?;
        // Nothing is ever sent: the channel ends with the last of those who serve connections.
        _ = self.drained.recv();
        self.membership.leave(&self.shared);
        let closed = upkeep::close_shards(&self.shared)?;
        for shard in self.shards {
            shard.join().map_err(|_| panicked("a shard"))?;
        }
        let epoch = registration::epoch_of(&closed.image, self.shared.config.node_id);
        let ended = self.shared.controller.stop(self.controller);
        self.peers.stop();
        upkeep::mark_clean(&self.shared, &closed, epoch, ended.is_ok())?;
        ended
    }
}

/// The settings, typed, if this build can serve them.
fn resolve(fixed: &StaticConfig, cluster_id: Option<&str>) -> anyhow::Result<NodeConfig> {
    let config = NodeConfig::resolve(&BrokerLayers::at_start(fixed))?;
    config.refuse_secured_listeners()?;
    refuse_authorizer(fixed)?;
    refuse_own_cluster(&config, cluster_id)?;
    refuse_second_cluster(&config)?;
    Ok(config)
}

fn serve_metrics(config: &NodeConfig, status: &Arc<Status>) -> anyhow::Result<Option<SocketAddr>> {
    let at = config.metrics_listener.as_ref();
    at.map(|at| http::serve(at, Arc::clone(status))).transpose()
}

/// Takes as many descriptors as the process may have: the usual soft limit is for programs that
/// cannot count beyond 1,024.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
}

/// Refuses settings that promise access control: nothing would enforce it.
fn refuse_authorizer(fixed: &StaticConfig) -> anyhow::Result<()> {
    for key in ["authorizer.class.name", "super.users"] {
        if fixed.get(key).is_some_and(|value| !value.trim().is_empty()) {
            bail!("{key} is set, but access control is not supported yet: remove the setting");
        }
    }
    Ok(())
}

/// Refuses to make up a cluster's id where other nodes must have the same one.
fn refuse_own_cluster(config: &NodeConfig, cluster_id: Option<&str>) -> anyhow::Result<()> {
    let joins = config.quorum.auto_join || !config.roles.controller;
    let has_others = config.quorum.voters.len() > 1 || joins;
    let formatted = std::path::Path::new(&config.metadata_log_dir).join("meta.properties");
    if has_others && cluster_id.is_none() && !formatted.exists() {
        bail!(
            "{} is not formatted, and other nodes belong to this cluster: set CLUSTER_ID to their \
             cluster's id, or format the directory with it",
            config.metadata_log_dir
        );
    }
    Ok(())
}

/// Refuses to begin a cluster of its own where the settings name several controllers: each of them
/// would, and they would never find each other.
fn refuse_second_cluster(config: &NodeConfig) -> anyhow::Result<()> {
    let quorum = &config.quorum;
    let begins = config.roles.controller && quorum.voters.is_empty() && !quorum.auto_join;
    let formatted = std::path::Path::new(&config.metadata_log_dir).join("meta.properties");
    if begins && quorum.bootstrap_servers.len() > 1 && !formatted.exists() {
        bail!(
            "{} is not formatted, and controller.quorum.bootstrap.servers names other controllers: \
             format it as the first one or as one of them (kafka-storage format), or set \
             controller.quorum.auto.join.enable on all but the first",
            config.metadata_log_dir
        );
    }
    Ok(())
}

/// Seeds from the operating system; everything random in the node comes from here.
fn seeded() -> anyhow::Result<Rng> {
    let seed = getrandom::u64().map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(Rng::new(seed))
}

fn counters(bound: &[Listener]) -> Vec<(String, Arc<ListenerCounters>)> {
    bound.iter().map(|one| (one.name().to_owned(), one.counters())).collect()
}

/// The way to the active controller for requests that clients wait for.
fn to_controller(
    config: &NodeConfig,
    active: watch::Receiver<Active>,
    peers: Peers,
) -> ToController {
    let options = LinkOptions {
        client_id: format!("{}-forwarding", config.node_id),
        request_timeout: FORWARD_TIMEOUT,
        response_bytes_max: config.limits.request_bytes_max as usize,
    };
    ToController::new(config, active, peers, options)
}

/// The listeners of controllers, and those of brokers.
fn by_role(shared: &Shared, bound: Vec<Listener>) -> (Vec<Listener>, Vec<Listener>) {
    let names = &shared.config.listeners.controller_names;
    bound.into_iter().partition(|one| names.iter().any(|name| *name == one.name()))
}

/// This node as a replica of the metadata log.
fn local_voter(config: &NodeConfig, dirs: &Dirs, advertised: &[Advertised]) -> Voter {
    let told = advertised.iter().filter(|one| one.is_controller);
    let endpoints = told.map(|one| Endpoint {
        listener: one.listener.clone(),
        host: one.host.clone(),
        port: one.port,
    });
    let key = ReplicaKey { id: config.node_id, directory: Some(dirs.metadata().id) };
    Voter { key, endpoints: endpoints.collect(), kraft_versions: controller::KRAFT_VERSIONS }
}

/// Opens the metadata log, and takes in the directories by what this node knew last: the cluster
/// itself is heard of only when it can be asked.
fn open_metadata(
    config: &NodeConfig,
    dirs: &mut Dirs,
    local: &Voter,
) -> anyhow::Result<(MetadataLog, Found)> {
    let metadata = (dirs.metadata().path(), dirs.metadata().is_clean());
    let (log, found) = controller::open(config, metadata, local)?;
    dirs.admit(found.images.deciding(), config.node_id)?;
    Ok((log, found))
}

/// Has every shard serve what it owns of the cluster, and act on what changes from here on.
fn open_partitions(shared: &Arc<Shared>, image: Arc<Image>, status: &Status) -> anyhow::Result<()> {
    let recovered = Arc::new(recovery::run(shared, &image, status.recovery())?);
    open_shards(shared, &image, &recovered)?;
    shared.controller.publish(image, publish(shared.mailboxes.clone()));
    Ok(())
}

/// What the node does when its controller cannot go on.
fn fail(dirs: Arc<Dirs>) -> controller::Fail {
    Box::new(move |fault: &anyhow::Error| {
        if let Some(fault) = fault.downcast_ref() {
            dirs.report(fault);
        }
        dirs.end_node(format!("the metadata log has failed: {fault:#}"));
    })
}

/// Lets every shard act on a new image.
fn publish(mailboxes: Mailboxes) -> Publish {
    Box::new(move |image, changes| {
        if !changes.topics_deleted.is_empty() {
            // On all shards first: a new topic of the same name takes the same folders, and other
            // shards may own its partitions.
            let changes = Arc::clone(changes);
            on_all_shards(&mailboxes, move |shard| shard.delete_topics(&changes));
        }
        let (next, made) = (Arc::clone(image), Arc::clone(changes));
        on_all_shards(&mailboxes, move |shard| shard.apply(&next, &made));
    })
}

/// Runs `work` on every shard and waits until all have done it or have stopped.
fn on_all_shards(mailboxes: &Mailboxes, work: impl Fn(&Rc<Shard>) + Clone + Send + 'static) {
    let (done, all_done) = std::sync::mpsc::channel::<()>();
    for shard in 0..mailboxes.shards() {
        let (work, done) = (work.clone(), done.clone());
        mailboxes.post(shard, move |shard| {
            work(shard);
            drop(done);
        });
    }
    drop(done);
    // Ends when every shard has dropped its sender, also one that has stopped.
    _ = all_done.recv();
}

fn bind(config: &NodeConfig) -> anyhow::Result<Vec<Listener>> {
    let limits = &config.limits;
    let bytes = |bytes: Option<u32>| bytes.map(|bytes| bytes as usize);
    let listeners = config.listeners.bound.iter().map(|listener| {
        Listener::bind(&ListenerOptions {
            name: listener.name.clone(),
            host: listener.host.clone().unwrap_or_default(),
            port: listener.port,
            backlog: u32::try_from(limits.backlog).unwrap_or(0),
            send_buffer_bytes: bytes(limits.send_buffer_bytes),
            receive_buffer_bytes: bytes(limits.receive_buffer_bytes),
            needs_authentication: false,
        })
    });
    Ok(listeners.collect::<Result<_, _>>()?)
}

fn shard_count(config: &NodeConfig) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    config.shards.map_or(cores, |count| count as usize)
}

fn start_shards(
    shared: &Arc<Shared>,
    inboxes: Vec<Inbox>,
    receivers: Vec<Inward>,
    serving: Sender<()>,
    rng: &mut Rng,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for (index, (inbox, mailbox)) in inboxes.into_iter().zip(receivers).enumerate() {
        let (shared, serving) = (Arc::clone(shared), serving.clone());
        let rng = Rng::new(rng.next_u64());
        let thread = thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
            let runtime = match threads::local_runtime(mailbox.sleep()) {
                Ok(runtime) => runtime,
                Err(error) => return tracing::error!("shard {index}: {error:#}"),
            };
            runtime.block_on(async move {
                let shard = Shard::new(index, shared, Arc::default(), rng);
                let handler = Rc::clone(&shard);
                tokio::task::spawn_local(async move {
                    inbox.serve(handler).await;
                    drop(serving);
                });
                shard.run(mailbox).await;
            });
        });
        threads.push(thread.context("cannot start a shard's thread")?);
    }
    Ok(threads)
}

/// Gives every shard the partitions that it owns, and begins what it does by itself.
fn open_shards(
    shared: &Arc<Shared>,
    image: &Arc<Image>,
    recovered: &Arc<Recovered>,
) -> anyhow::Result<()> {
    let (opened, all_opened) = std::sync::mpsc::channel();
    for index in 0..shared.mailboxes.shards() {
        let (image, recovered) = (Arc::clone(image), Arc::clone(recovered));
        let opened = opened.clone();
        shared.mailboxes.post(index, move |shard| {
            shard.open_all(&image, &recovered);
            tokio::task::spawn_local(groups::run_timers(Rc::clone(shard)));
            tokio::task::spawn_local(upkeep::run(Rc::clone(shard)));
            tokio::task::spawn_local(replicas::run_isr(Rc::clone(shard)));
            tokio::task::spawn_local(replicas::run_throttled(Rc::clone(shard)));
            tokio::task::spawn_local(replicas::run_mending(Rc::clone(shard)));
            if shard.index == 0 {
                // What was changed before the last stop; the limits are the node's, not a shard's.
                dynamic::put_in_force(&shard.shared, &image);
                tokio::task::spawn_local(dir_failures::run(Rc::clone(shard)));
                tokio::task::spawn_local(sessions::run(Rc::clone(shard)));
                tokio::task::spawn_local(leaders::run(Rc::clone(shard)));
            }
            // Fails where the start was given up.
            _ = opened.send(());
        });
    }
    drop(opened);
    if all_opened.iter().count() < shared.mailboxes.shards() {
        bail!("a shard has died at its start");
    }
    if let Some(reason) = shared.dirs.lost() {
        bail!("{reason}");
    }
    Ok(())
}

fn start_acceptor(net: Arc<Net>, bound: Vec<Listener>) -> anyhow::Result<JoinHandle<()>> {
    let runtime = threads::runtime()?;
    let run = move || {
        runtime.block_on(async move {
            let mut tasks = tokio::task::JoinSet::new();
            for listener in bound {
                tasks.spawn(Arc::clone(&net).accept(listener));
            }
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended.expect("accepting does not panic") {
                    tracing::error!("a listener has failed: {error}");
                }
            }
        });
    };
    thread::Builder::new().name("acceptor".to_owned()).spawn(run).context("cannot start a thread")
}
