//! A node from its start to its stop: directories, metadata, shards, listeners, registration.

mod bound;
mod serving;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;

use config::{BrokerLayers, NodeConfig, StaticConfig};
use log::RealDisk;
use net::{Listener, ListenerCounters, Net};
use raft::{Endpoint, ReplicaKey, Voter};
use tokio::sync::watch;
use types::Rng;

pub use bound::Bound;

use crate::cleaner::CleanerStatus;
use crate::controller::{self, Active, Controller, Found, MetadataLog};
use crate::dirs::Dirs;
use crate::group_memory::GroupMemory;
use crate::http::{self, Phase, Status};
use crate::membership::Membership;
use crate::peers::{LinkOptions, Peers};
use crate::runs::Runs;
use crate::sessions::Sessions;
use crate::shard::Mailboxes;
use crate::shared::{Advertised, Shared};
use crate::sync_threads::SyncThreads;
use crate::throttles::Throttles;
use crate::to_controller::ToController;
use crate::upkeep::CheckpointOrder;
use crate::{dynamic, membership, memory, peers, registration, upkeep};

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
    /// As [`Bound::new`] and [`Bound::start`].
    pub fn start(options: StartOptions) -> anyhow::Result<Self> {
        Bound::new(options)?.start()
    }

    fn start_bound(bound: Bound) -> anyhow::Result<Self> {
        let Bound { config, fixed, cluster_id, has_picked_id, listeners: bound, advertised } =
            bound;
        let status = Arc::new(Status::default());
        let metrics = serve_metrics(&config, &status)?;
        let mut rng = seeded()?;
        let id = cluster_id.as_deref();
        let (mut dirs, failure) = Dirs::open(Arc::new(RealDisk), &config, id, &mut rng)?;
        let local = local_voter(&config, &dirs, &advertised);
        let (log, found) = open_metadata(&config, &mut dirs, &local)?;
        let dirs = Arc::new(dirs);
        let shards = serving::shard_count(&config);
        let limits = dynamic::limits(&config, memory::in_flight_bytes_max(&config));
        let (net, inboxes) = Net::new(limits, shards);
        let (mailboxes, receivers) = Mailboxes::new(shards);
        let syncs = SyncThreads::start(&dirs, &mailboxes)?;
        let (peers, links) = Peers::start(config.limits.setup_timeout_ms, &mut rng)?;
        let start = controller::Start {
            config: &config,
            fixed: Arc::clone(&fixed),
            cluster_id: &dirs.cluster_id,
            local,
            calls: Arc::clone(&dirs.metadata().calls),
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
            runs: Runs::default(),
            group_memory: Arc::new(GroupMemory::new(net.in_flight_bytes_max())),
            net,
            listener_counters: counters(&bound),
            advertised,
        });
        let (threads, drained) = serving::start_shards(&shared, inboxes, receivers, &mut rng)?;
        let listeners = bound.iter().map(|one| (one.name().to_owned(), one.local_addr())).collect();
        let acceptors = accept(&shared, bound, &mut running, &status)?;
        let membership = Membership::join(&shared, has_picked_id, &mut rng)?;
        status.serves(Arc::clone(&shared));
        Ok(Self {
            status,
            metrics,
            shared,
            shards: threads,
            acceptors,
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

    /// The directories with its partitions, as they were set.
    pub fn log_dirs(&self) -> &[String] {
        &self.shared.config.log_dirs
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
        self.hand_over()?;
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

    /// Has other brokers lead what this one leads, where there are any. Done while this node still
    /// serves, so that clients find the new leaders and not closed connections.
    fn hand_over(&self) -> anyhow::Result<()> {
        if self.shared.membership.has_others() {
            upkeep::hold_producers(&self.shared)?;
            self.membership.leave(&self.shared);
        }
        Ok(())
    }
}

fn serve_metrics(config: &NodeConfig, status: &Arc<Status>) -> anyhow::Result<Option<SocketAddr>> {
    let at = config.metrics_listener.as_ref();
    at.map(|at| http::serve(at, Arc::clone(status))).transpose()
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

/// Opens the listeners: controllers find each other before anything else is served.
fn accept(
    shared: &Arc<Shared>,
    bound: Vec<Listener>,
    running: &mut controller::Running,
    status: &Status,
) -> anyhow::Result<[JoinHandle<()>; 2]> {
    let (for_controllers, for_clients) = by_role(shared, bound);
    let controllers = serving::start_acceptor(Arc::clone(&shared.net), for_controllers)?;
    serving::open_partitions(shared, running.caught_up()?, status)?;
    Ok([controllers, serving::start_acceptor(Arc::clone(&shared.net), for_clients)?])
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

/// What the node does when its controller cannot go on.
fn fail(dirs: Arc<Dirs>) -> controller::Fail {
    Box::new(move |fault: &anyhow::Error| {
        if let Some(fault) = fault.downcast_ref() {
            dirs.report(fault);
        }
        dirs.end_node(format!("the metadata log has failed: {fault:#}"));
    })
}
