//! The controller role, and the metadata log of a node without it: one thread that drives the
//! quorum, decides if this node leads it, and publishes what is committed.
//!
//! A request for a decision comes as a closure over the newest state of the cluster and returns
//! records and an answer ([`Controller::decide`]). The thread runs all that wait, appends their
//! records, syncs once, lets every shard act on the new state once a majority has it, and only then
//! answers: who was told that a topic exists finds it on any shard.
//!
//! Not here: what is decided (`core/metadata`), how voters agree (`core/raft`).

mod checkpoints;
mod driver;
mod epochs;
mod images;
mod leading;
mod metadata_log;
mod patience;
mod quorum;
mod quorum_state;
mod readers;
mod remote;
mod reserve;
mod snapshot;
mod snapshots;
mod waiting;
pub mod wire;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use ::metadata::controller::{Context, Decision};
use ::metadata::{Changes, Image, MetadataRecord};
use anyhow::{Context as _, bail};
use config::{HostPort, NodeConfig, StaticConfig};
use raft::{Endpoint, Raft, ReplicaKey, RequestId, Voter, VoterSet};
use tokio::sync::{oneshot, watch};
use types::{BrokerId, LeaderEpoch, Millis, Offset, Rng};

use driver::{Desk, Driver, Publishing};
use epochs::EpochWords;
use leading::Idle;
use metadata_log::Setup;
pub use metadata_log::{Found, METADATA_FOLDER, MetadataLog};
use patience::Patience;
pub use quorum::{Change, Description, Replica, Unchanged};
use readers::Asked;
pub use readers::Reply;
use remote::Remote;
use waiting::Waiting;

use crate::clock;
use crate::dirs::DiskCalls;
use crate::peers::Peers;

/// What of `kraft.version` this build supports.
pub const KRAFT_VERSIONS: (i16, i16) = (0, 1);

/// Sends an answer, once what was decided is committed. Who is dropped says that it never was.
type Answer = Box<dyn FnOnce() + Send>;
/// Decides on the controller's thread.
type Task = Box<dyn for<'a> FnOnce(Deciding<'a>) -> (Vec<MetadataRecord>, Answer) + Send>;
/// Lets every shard act on a new image; returns when all have.
pub type Publish = Box<dyn Fn(&Arc<Image>, &Arc<Changes>) + Send>;
/// What the node does when the controller cannot go on: without its log it knows nothing for
/// certain any more.
pub type Fail = Box<dyn FnOnce(&anyhow::Error) + Send>;

enum Message {
    Decide(Task),
    Asked(Asked),
    Answered {
        id: RequestId,
        response: raft::Response,
    },
    /// Nothing came of a request.
    Unanswered {
        id: RequestId,
        /// Whom it went to, and why; `None` where nobody is known to be asked.
        fault: Option<(String, String)>,
        /// Whether nobody listens there.
        is_unreachable: bool,
    },
    Look(Box<dyn FnOnce(&mut Driver) + Send>),
    Stop,
}

/// What a decision may look at.
struct Deciding<'a> {
    image: &'a Image,
    facts: &'a QuorumFacts,
    context: Context<'a>,
}

/// A handle to the controller's thread. Cheap to clone.
#[derive(Clone)]
pub struct Controller {
    tasks: mpsc::Sender<Message>,
    stopping: Arc<AtomicBool>,
    active: watch::Receiver<Active>,
    applied: Arc<AtomicI64>,
}

/// Who decides for the cluster: the leader of the metadata quorum, as far as this node knows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Active {
    /// The node; `None` while nobody is known to lead.
    pub leader: Option<BrokerId>,
    /// The epoch that it leads, or the newest one known.
    pub epoch: LeaderEpoch,
    /// Where its controller listens: listener name, host and port.
    pub endpoints: Vec<(String, HostPort)>,
    /// `kraft.version` of the quorum.
    pub kraft_version: i16,
}

/// The state of the quorum at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QuorumFacts {
    /// Who leads, as far as known.
    pub leader: Option<BrokerId>,
    /// The newest epoch known.
    pub epoch: LeaderEpoch,
    /// End of what is committed.
    pub high_watermark: Offset,
    /// Offset that the next record gets.
    pub end: Offset,
    /// 1 with voters in the log, 0 with static ones.
    pub kraft_version: i16,
}

/// This node does not lead the metadata quorum, so nothing was decided, or nobody knows whether it
/// was: the answer is NOT_CONTROLLER, and whoever asks turns to [`Controller::active`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this node is not the active controller")]
pub struct NotController;

/// The controller's thread; it ends with [`Controller::stop`].
pub struct Running {
    thread: JoinHandle<anyhow::Result<()>>,
    starting: oneshot::Receiver<Arc<Image>>,
}

/// What the thread is started with, beside its log.
pub struct Start<'a> {
    /// The settings, typed.
    pub config: &'a NodeConfig,
    /// The settings as they were given.
    pub fixed: Arc<StaticConfig>,
    /// Id of the cluster.
    pub cluster_id: &'a str,
    /// This node, its directory, and where its controller listens.
    pub local: Voter,
    /// What waits for the disk of the metadata log.
    pub calls: Arc<DiskCalls>,
    /// The way to other nodes.
    pub peers: Peers,
    /// Seeds whatever is drawn by chance.
    pub rng: Rng,
    /// What the node does when the controller cannot go on.
    pub fail: Fail,
}

/// Opens the metadata log in `dir`. A new cluster of this node alone begins here, if nobody has
/// said otherwise: static voters, a format, a node that is no controller, or one that joins others.
///
/// # Errors
/// If files are damaged.
pub fn open(
    config: &NodeConfig,
    (dir, is_clean): (&Path, bool),
    local: &Voter,
) -> anyhow::Result<(MetadataLog, Found)> {
    let quorum = &config.quorum;
    let may_begin = config.roles.controller && quorum.voters.is_empty() && !quorum.auto_join;
    let is_first = may_begin && !MetadataLog::is_formatted(dir);
    let opened = MetadataLog::open(Setup {
        dir,
        quorum,
        fixed: fixed_voters(config),
        first: is_first.then(|| VoterSet::new([local.clone()])),
        is_clean,
        now: clock::wall(),
    });
    let (log, found) = opened.with_context(|| {
        format!(
            "the cluster's metadata in {} cannot be used. Where other controllers have it, move the \
             whole directory away and start the node with an empty one, as after the loss of a disk; \
             else bring it back from a backup",
            dir.display()
        )
    })?;
    if !config.roles.controller {
        check_former_vote(found.voters.latest(), local.key)?;
    }
    Ok((log, found))
}

/// A node that is a controller no more gives no vote. Where it was one of several, they have to know;
/// where it was the only one, nobody would decide any more.
fn check_former_vote(voters: &VoterSet, own: ReplicaKey) -> anyhow::Result<()> {
    let ReplicaKey { id, .. } = own;
    if voters.is_only(own) {
        bail!(
            "node {id} is the only voter of the cluster's metadata quorum, and process.roles has no \
             controller: nobody could decide any more. Add controller to process.roles, and its \
             listener to listeners; it may go once other controllers vote"
        );
    }
    if voters.contains(own) {
        tracing::warn!(
            "node {id} is a voter of the cluster's metadata quorum, but gives no vote, as process.roles \
             has no controller. It counts for the majority until its vote is taken away: \
             thalweg cluster voters remove {id}"
        );
    }
    Ok(())
}

/// The voters of `controller.quorum.voters`, known by their ids alone.
fn fixed_voters(config: &NodeConfig) -> VoterSet {
    let listener = config.listeners.controller_names.first().cloned().unwrap_or_default();
    let voters = config.quorum.voters.iter().map(|voter| {
        let HostPort { host, port } = voter.address.clone();
        let endpoint = Endpoint { listener: listener.clone(), host, port };
        let key = ReplicaKey { id: voter.id, directory: None };
        Voter { key, endpoints: vec![endpoint], kraft_versions: KRAFT_VERSIONS }
    });
    VoterSet::new(voters)
}

fn raft_config(config: &NodeConfig) -> raft::Config {
    let quorum = &config.quorum;
    raft::Config {
        election_timeout: quorum.election_timeout_ms,
        fetch_timeout: quorum.fetch_timeout_ms,
        election_backoff_max: quorum.election_backoff_max_ms,
        request_timeout: quorum.request_timeout_ms,
        retry_backoff: quorum.retry_backoff_ms,
        // A broker registers first: that tells whether another node has its id, and so its vote.
        auto_join: quorum.auto_join && config.roles.controller && !config.roles.broker,
        is_controller: config.roles.controller,
    }
}

impl Controller {
    /// Starts the thread on a metadata log.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(
        start: Start<'_>,
        log: MetadataLog,
        found: Found,
    ) -> anyhow::Result<(Self, Running)> {
        let Start { config, fixed, cluster_id, local, calls, peers, mut rng, fail } = start;
        let (tasks, inbox) = mpsc::channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let (told, active) = watch::channel(Active::default());
        let applied = Arc::new(AtomicI64::new(-1));
        let (starting, started) = oneshot::channel();
        let Found { images, voters, election, formatted } = found;
        let endpoints = local.endpoints.clone();
        let seed = Rng::new(rng.next_u64());
        let times = raft_config(config);
        let now = clock::monotonic();
        let reserve = log.reserve();
        reserve.fill();
        let driver = Driver {
            raft: Raft::new(times, local, election, voters, &log, now, seed),
            log,
            committed: Arc::new(images.committed().image().clone()),
            images,
            readers: readers::Readers::default(),
            remote: Remote::new(peers, tasks.clone(), config, cluster_id),
            endpoints,
            desk: Desk { rng, fixed, node: config.node_id },
            patience: Patience { stopping: Arc::clone(&stopping), calls, reserve },
            formatted,
            activated: None,
            waiting: VecDeque::new(),
            publishing: None,
            starting: Some(starting),
            waits_for: Waiting::new(&config.quorum, now),
            applied: Arc::clone(&applied),
            active: told,
            stopping: None,
            told: None,
            epoch_words: EpochWords::default(),
            idle: Idle { after: config.quorum.idle_ms_max, end: Offset::ZERO, until: now },
        };
        let thread = thread::Builder::new()
            .name("controller".to_owned())
            .spawn(move || {
                let ended = driver.run(&inbox);
                if let Err(fault) = &ended {
                    fail(fault);
                }
                ended
            })
            .context("cannot start the controller's thread")?;
        Ok((Self { tasks, stopping, active, applied }, Running { thread, starting: started }))
    }

    /// Offset of the last record of the metadata log that every shard acts on.
    pub fn applied(&self) -> i64 {
        self.applied.load(Ordering::SeqCst)
    }

    /// The newest state of the cluster that this node knows to be committed: no shard acts on a
    /// newer one.
    ///
    /// # Errors
    /// [`NotController`] after the stop.
    pub async fn image(&self) -> Result<Arc<Image>, NotController> {
        let (reply, answer) = oneshot::channel();
        // Who does not wait any more needs no answer.
        self.look(move |driver| _ = reply.send(Arc::clone(&driver.committed)));
        answer.await.map_err(|_| NotController)
    }

    /// From now on every shard acts on what is committed; they know `seen`.
    pub fn publish(&self, seen: Arc<Image>, publish: Publish) {
        self.look(move |driver| driver.publishing = Some(Publishing { publish, seen }));
    }

    /// Who leads the quorum, and each change of that.
    pub fn active(&self) -> watch::Receiver<Active> {
        self.active.clone()
    }

    /// Has the controller decide and gives its answer once it is committed and every shard acts
    /// on it.
    ///
    /// # Errors
    /// [`NotController`] where another node leads, or this one led no more before the end, or has
    /// stopped.
    pub async fn decide<R: Send + 'static>(
        &self,
        decide: impl FnOnce(&Image, &mut Context<'_>) -> Decision<R> + Send + 'static,
    ) -> Result<R, NotController> {
        self.decide_with_facts(move |image, _, context| decide(image, context)).await
    }

    /// As [`Controller::decide`], for decisions that depend on the log's position.
    ///
    /// # Errors
    /// [`NotController`], as there.
    pub async fn decide_with_facts<R: Send + 'static>(
        &self,
        decide: impl FnOnce(&Image, &QuorumFacts, &mut Context<'_>) -> Decision<R> + Send + 'static,
    ) -> Result<R, NotController> {
        self.post(decide).await.map_err(|_| NotController)
    }

    /// Answers another replica; `bytes_max` and `wait` are what it reads and waits for at most.
    ///
    /// # Errors
    /// [`NotController`] after the stop.
    pub async fn ask(
        &self,
        request: raft::Request,
        bytes_max: usize,
        wait: Millis,
    ) -> Result<Reply, NotController> {
        let (reply, answer) = oneshot::channel();
        let asked = Asked { request, bytes_max, wait, reply };
        _ = self.tasks.send(Message::Asked(asked));
        answer.await.map_err(|_| NotController)
    }

    /// Runs something on the controller's thread, if it still runs.
    fn look(&self, look: impl FnOnce(&mut Driver) + Send + 'static) {
        _ = self.tasks.send(Message::Look(Box::new(look)));
    }

    fn post<R: Send + 'static>(
        &self,
        decide: impl FnOnce(&Image, &QuorumFacts, &mut Context<'_>) -> Decision<R> + Send + 'static,
    ) -> oneshot::Receiver<R> {
        let (reply, answer) = oneshot::channel();
        let task: Task = Box::new(move |deciding: Deciding<'_>| {
            let Deciding { image, facts, mut context } = deciding;
            let Decision { records, response } = decide(image, facts, &mut context);
            (records, Box::new(move || _ = reply.send(response)) as Answer)
        });
        // A task that is dropped, as after the stop, says so to the receiver.
        _ = self.tasks.send(Message::Decide(task));
        answer
    }

    /// Ends the thread when it has done what was asked before.
    ///
    /// # Errors
    /// If the log could not be closed in order.
    pub fn stop(&self, running: Running) -> anyhow::Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        _ = self.tasks.send(Message::Stop);
        running.thread.join().map_err(|_| anyhow::anyhow!("the controller's thread panicked"))?
    }
}

impl Running {
    /// The state of the cluster, once this node has all that was committed when it started. Blocks;
    /// without a majority of the voters for ever.
    ///
    /// # Errors
    /// If the controller has failed.
    pub fn caught_up(&mut self) -> anyhow::Result<Arc<Image>> {
        let (_, none) = oneshot::channel();
        let starting = std::mem::replace(&mut self.starting, none);
        starting.blocking_recv().context("the controller has stopped at its start")
    }
}
