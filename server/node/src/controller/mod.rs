//! The controller role: one thread that decides, commits to the metadata log and publishes.
//!
//! A request comes as a closure over the newest state of the cluster and returns records and an
//! answer ([`Controller::decide`]). The thread runs all that wait, appends their records, syncs
//! once, lets every shard act on the new state, and only then answers: who was told that a topic
//! exists finds it on any shard. The quorum has one voter, this node, so what is synced is
//! committed.
//!
//! Not here: what is decided (`core/metadata`), the log's files (`metadata_log`).

mod checkpoints;
mod metadata_log;
mod quorum_state;
mod snapshot;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::metadata::controller::{Context, Decision};
use ::metadata::{Changes, Image, MetadataRecord};
use anyhow::Context as _;
use config::{HostPort, StaticConfig};
use log::{AppendError, LogError};
use tokio::sync::{oneshot, watch};
use types::{BrokerId, LeaderEpoch, Rng};

pub use metadata_log::{MetadataLog, Opening, QuorumFacts, Voter};

use crate::clock;

/// Decisions that share one sync at most.
const DECISIONS_PER_COMMIT: usize = 256;
/// How long the controller rests where there is no room for its log.
const ROOM_RETRY: Duration = Duration::from_millis(200);

/// Sends an answer, once what was decided is committed.
type Answer = Box<dyn FnOnce() + Send>;
/// Decides on the controller's thread.
type Task = Box<dyn FnOnce(&mut Desk) -> (Vec<MetadataRecord>, Answer) + Send>;
/// Lets every shard act on a new image; returns when all have.
pub type Publish = Box<dyn Fn(&Arc<Image>, &Arc<Changes>) + Send>;

/// What the node does as the controller decides.
pub struct Acting {
    /// Acts on what is committed.
    pub publish: Publish,
    /// The controller cannot go on: without its log it knows nothing for certain any more.
    pub fail: Box<dyn FnOnce(&anyhow::Error) + Send>,
}

enum Message {
    Decide(Task),
    Stop,
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
}

/// This node does not lead the metadata quorum, so nothing was decided, or nobody knows whether it
/// was: the answer is NOT_CONTROLLER, and whoever asks turns to [`Controller::active`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this node is not the active controller")]
pub struct NotController;

/// What a decision may look at.
struct Desk {
    image: Arc<Image>,
    facts: QuorumFacts,
    rng: Rng,
    fixed: Arc<StaticConfig>,
    node: BrokerId,
}

/// The controller's thread; it ends with [`Controller::stop`].
pub struct Running {
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Controller {
    /// Starts the thread on a metadata log that was replayed into `image`.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(
        log: MetadataLog,
        image: Arc<Image>,
        fixed: Arc<StaticConfig>,
        node: BrokerId,
        rng: Rng,
        acting: Acting,
    ) -> anyhow::Result<(Self, Running)> {
        let (tasks, inbox) = mpsc::channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let patience = Patience(Arc::clone(&stopping));
        let facts = log.facts();
        let (_, active) = watch::channel(facts.active());
        let applied = Arc::new(AtomicI64::new(facts.end.get() - 1));
        let told = Arc::clone(&applied);
        let desk = Desk { image, facts, rng, fixed, node };
        let thread = thread::Builder::new()
            .name("controller".to_owned())
            .spawn(move || {
                let Acting { publish, fail } = acting;
                let ended = run(log, desk, &inbox, &publish, &patience, &told);
                if let Err(fault) = &ended {
                    fail(fault);
                }
                ended
            })
            .context("cannot start the controller's thread")?;
        Ok((Self { tasks, stopping, active, applied }, Running { thread }))
    }

    /// Offset of the last record of the metadata log that every shard acts on.
    pub fn applied(&self) -> i64 {
        self.applied.load(Ordering::SeqCst)
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

    /// The state of the quorum, as its leader knows it.
    ///
    /// # Errors
    /// [`NotController`].
    pub async fn facts(&self) -> Result<QuorumFacts, NotController> {
        let facts = |_: &Image, facts: &QuorumFacts, _: &mut Context<'_>| Decision {
            records: vec![],
            response: facts.clone(),
        };
        self.decide_with_facts(facts).await
    }

    fn post<R: Send + 'static>(
        &self,
        decide: impl FnOnce(&Image, &QuorumFacts, &mut Context<'_>) -> Decision<R> + Send + 'static,
    ) -> oneshot::Receiver<R> {
        let (reply, answer) = oneshot::channel();
        let task: Task = Box::new(move |desk| {
            let Desk { image, facts, rng, fixed, node } = desk;
            let mut context = Context { rng, fixed, node: *node };
            let Decision { records, response } = decide(image, facts, &mut context);
            (records, Box::new(move || _ = reply.send(response)))
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

/// Tries again what fails for want of room or descriptors: nothing is lost by waiting, and the
/// node serves all that needs no decision meanwhile. A stop is not kept waiting.
struct Patience(Arc<AtomicBool>);

impl Patience {
    fn with(&self, mut attempt: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut told = false;
        loop {
            match attempt() {
                Err(fault) if is_passing(&fault) && !self.0.load(Ordering::Relaxed) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!("changes to the cluster wait for room: {fault:#}");
                    }
                    thread::sleep(ROOM_RETRY);
                }
                ended => return ended,
            }
        }
    }
}

fn is_passing(fault: &anyhow::Error) -> bool {
    let append = fault.downcast_ref::<AppendError>();
    let append = append.and_then(|fault| match fault {
        AppendError::Log(fault) => Some(fault),
        _ => None,
    });
    append.or(fault.downcast_ref::<LogError>()).is_some_and(LogError::is_passing)
}

fn run(
    mut log: MetadataLog,
    mut desk: Desk,
    inbox: &mpsc::Receiver<Message>,
    publish: &Publish,
    patience: &Patience,
    applied: &AtomicI64,
) -> anyhow::Result<()> {
    let mut stopped = false;
    while !stopped {
        // Without a message there may still be a checkpoint to begin or to take in.
        let mut next = match log.checkpoint_wait() {
            Some(wait) => match inbox.recv_timeout(wait) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            },
            None => match inbox.recv() {
                Ok(first) => Some(first),
                Err(_) => break,
            },
        };
        let before = Arc::clone(&desk.image);
        let mut answers = Vec::new();
        while let Some(message) = next {
            match message {
                Message::Decide(task) => answers.push(decide(&mut log, &mut desk, task, patience)?),
                Message::Stop => {
                    stopped = true;
                    break;
                }
            }
            let more = answers.len() < DECISIONS_PER_COMMIT;
            next = if more { inbox.try_recv().ok() } else { None };
        }
        patience.with(|| log.commit())?;
        desk.facts = log.facts();
        if !Arc::ptr_eq(&before, &desk.image) {
            publish(&desk.image, &Arc::new(Changes::between(&before, &desk.image)));
        }
        applied.store(desk.facts.end.get() - 1, Ordering::SeqCst);
        answers.into_iter().for_each(|answer| answer());
        log.keep_checkpoints(&desk.image)?;
    }
    log.close(&desk.image, clock::wall())
}

/// Runs one task; its records are appended and in the image, not yet committed.
fn decide(
    log: &mut MetadataLog,
    desk: &mut Desk,
    task: Task,
    patience: &Patience,
) -> anyhow::Result<Answer> {
    let (records, answer) = task(desk);
    if !records.is_empty() {
        let level = desk.image.metadata_version();
        patience.with(|| log.append(&records, level, clock::wall()))?;
        let mut image = Image::clone(&desk.image);
        for record in &records {
            image.apply(record).context("the controller decided what does not fit its state")?;
        }
        desk.image = Arc::new(image);
        desk.facts = log.facts();
    }
    Ok(answer)
}
