//! This node as a member of the cluster: it registers, sends heartbeats and leaves in order.
//!
//! One task does all of it, on the thread of the links, so that neither a busy shard nor a busy
//! controller keeps a heartbeat back. The active controller may be this node itself; the same
//! requests then go to it without a connection.
//!
//! A heartbeat goes out at its interval, and at once when a log directory fails or hangs, when another
//! controller takes over, when the node wants to leave, and when the connection has ended: the
//! controller takes that for a sign that the broker is gone, unless it is heard of again.
//!
//! Not here: what the controller makes of it (`sessions`).

mod incarnation;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use ::metadata::controller::{end_recovery, register_controller};
use ::metadata::features;
use ::metadata::{Changes, Image};
use anyhow::{Context, bail};
use net::Quiet;
use protocol::ApiKey;
use protocol::messages::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use types::{BrokerId, ErrorCode, Rng, Uuid};

use self::incarnation::Incarnation;
use crate::dirs::fresh_id;
use crate::peers::LinkOptions;
use crate::shard::Shard;
use crate::shared::Shared;
use crate::standing::{Own, Standing};
use crate::to_controller::{ToController, Unanswered, change};
use crate::{hung_disks, registration, runs, sessions};

/// Wait after an attempt that brought no answer, or NOT_CONTROLLER.
const RETRY: Duration = Duration::from_millis(100);
/// Wait between heartbeats while the answer awaited is about to change: to be let in, or to leave.
const POLL: Duration = Duration::from_millis(100);
/// How long the node waits to be told that it may go.
const LEAVE_MAX: Duration = Duration::from_secs(10);
/// Longest answer of the controller to what is sent here.
pub const RESPONSE_BYTES_MAX: usize = 1 << 20;
/// No epoch: not registered yet.
const NO_EPOCH: i64 = -1;

/// What other parts of the node see of the membership, and may ask of it.
pub struct Membership {
    /// The epoch of the broker's registration.
    epoch: AtomicI64,
    /// Whether other brokers serve, too, as far as the newest metadata says that shards act on.
    has_others: AtomicBool,
    standing: Standing,
    beat_now: Notify,
    leaving: watch::Sender<bool>,
    /// The failed directories that the controller was told of last.
    heard: watch::Sender<Vec<Uuid>>,
}

/// The task; it ends when the node has left.
pub struct Running {
    left: Receiver<()>,
    /// Until when the node waits to be told that it may go, once it has said that it wants to.
    until: Cell<Option<Instant>>,
}

impl Default for Membership {
    fn default() -> Self {
        let (leaving, _) = watch::channel(false);
        let (epoch, has_others) = (AtomicI64::new(NO_EPOCH), AtomicBool::new(false));
        let (heard, _) = watch::channel(Vec::new());
        let (standing, beat_now) = (Standing::default(), Notify::new());
        Self { epoch, has_others, standing, beat_now, leaving, heard }
    }
}

impl Membership {
    /// The epoch of this broker's registration; -1 before.
    pub fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Takes note of who serves beside this broker, and of how it stands itself: one that is kept out
    /// or led away, or of which something is said that is not so, has to be heard of.
    pub fn note(&self, image: &Image, changes: &Changes, own: BrokerId, working: &[Uuid]) {
        let has_others = image.brokers().any(|broker| broker.id != own && !broker.fenced);
        self.has_others.store(has_others, Ordering::Relaxed);
        self.standing.note(image, changes, Own { id: own, epoch: self.epoch(), working });
        let broker = image.broker(own);
        let is_out = broker.is_some_and(|own| own.fenced || own.in_controlled_shutdown);
        if self.standing.is_wrong() || is_out {
            self.beat_now();
        }
    }

    /// Whether other brokers serve, too.
    pub fn has_others(&self) -> bool {
        self.has_others.load(Ordering::Relaxed)
    }

    /// Something that heartbeats tell has changed. The first one tells it anyway.
    pub fn beat_now(&self) {
        self.beat_now.notify_one();
    }

    /// Waits until the controller has heard that these directories have failed.
    pub async fn heard_of(&self, failed: &[Uuid]) {
        let knows = |heard: &Vec<Uuid>| failed.iter().all(|dir| heard.contains(dir));
        // The other end is kept here, so it is always there.
        _ = self.heard.subscribe().wait_for(knows).await;
    }

    /// Starts the task and waits until the cluster has let this node in.
    ///
    /// # Errors
    /// If it refuses the node, or gives no answer within
    /// `initial.broker.registration.timeout.ms`.
    pub fn join(
        shared: &Arc<Shared>,
        has_picked_id: bool,
        rng: &mut Rng,
    ) -> anyhow::Result<Running> {
        let (told, let_in) = mpsc::channel();
        let (leaving, left) = mpsc::channel();
        let config = &shared.config;
        let session = u64::try_from(config.quorum.session_timeout_ms.0).unwrap_or(0);
        let options = LinkOptions {
            client_id: format!("{}-heartbeat", config.node_id),
            // Twice within a session, as in Kafka.
            request_timeout: Duration::from_millis(session / 2),
            response_bytes_max: RESPONSE_BYTES_MAX,
        };
        let controller = shared.controller.active();
        let controller = ToController::new(config, controller, shared.peers.clone(), options);
        let member = Member {
            shared: Arc::clone(shared),
            controller,
            incarnation: Incarnation::new(fresh_id(rng)),
            rng: Rng::new(rng.next_u64()),
            has_picked_id,
            told: None,
            is_fenced: true,
            misjudged: Quiet::default(),
        };
        shared.peers.spawn(async move {
            member.run(told).await;
            drop(leaving);
        });
        shared.peers.spawn(hung_disks::run(Arc::clone(shared)));
        let_in.recv().context("the thread for other nodes has ended")??;
        if config.roles.controller && config.quorum.auto_join {
            shared.controller.start_joining();
        }
        Ok(Running { left, until: Cell::default() })
    }
}

impl Running {
    /// Has the cluster take the leaderships, and waits until the node may go. Once it has left,
    /// there is nothing to do.
    pub fn leave(&self, shared: &Shared) {
        shared.membership.leaving.send_replace(true);
        let (until, is_first) = match self.until.get() {
            Some(until) => (until, false),
            None => (Instant::now() + LEAVE_MAX, true),
        };
        self.until.set(Some(until));
        let wait = until.saturating_duration_since(Instant::now());
        // Nothing is ever sent: the channel ends with the task.
        let ended = self.left.recv_timeout(wait);
        if is_first && ended == Err(mpsc::RecvTimeoutError::Timeout) {
            let waited = LEAVE_MAX.as_secs();
            tracing::warn!("not told that this node may go in {waited} s: it goes all the same");
        }
    }
}

/// The task's own.
struct Member {
    shared: Arc<Shared>,
    controller: ToController,
    incarnation: Incarnation,
    rng: Rng,
    /// Whether nobody has chosen the node's id, so that it can be another one.
    has_picked_id: bool,
    /// What was said last of attempts that failed; said once.
    told: Option<String>,
    is_fenced: bool,
    /// Lines about registrations that somebody else has spoilt.
    misjudged: Quiet,
}

/// Another node has taken the id that was picked for this one.
#[derive(Debug, thiserror::Error)]
#[error("another node has registered with the id that was picked for this one")]
pub struct IdTaken;

/// Why a heartbeat did nothing.
enum Unheard {
    /// Another process has registered with this node's id while this one was not heard of.
    Stale,
    /// Somebody else has told the controller something of this broker that no heartbeat takes back.
    Misjudged(&'static str),
    Other(String),
}

/// Why the node is not registered.
enum Refusal {
    /// It may be otherwise soon.
    ForNow(String),
    ForGood(anyhow::Error),
}

impl From<Unanswered> for Refusal {
    fn from(why: Unanswered) -> Self {
        Self::ForNow(why.to_string())
    }
}

impl Member {
    async fn run(mut self, told: Sender<anyhow::Result<()>>) {
        let roles = self.shared.config.roles;
        if roles.broker {
            runs::vouch(&self.shared, self.incarnation.id()).await;
        }
        let registered = self.register(roles.broker).await;
        if registered.is_err() || !roles.broker {
            // Nobody listens any more where the start was given up.
            _ = told.send(registered);
            return;
        }
        let mut told = Some(told);
        let mut leaving = self.shared.membership.leaving.subscribe();
        let mut active = self.controller.active();
        loop {
            let wants_out = *leaving.borrow_and_update();
            active.mark_unchanged();
            let answer = tokio::select! {
                answer = self.beat(wants_out) => answer,
                // The one who was asked leads no more: its answer may never come.
                () = change(&mut active) => continue,
            };
            let wait = match answer {
                Ok(answer) if answer.should_shut_down => return,
                Ok(answer) => {
                    self.note(answer.is_fenced);
                    if !self.is_fenced
                        && let Some(told) = told.take()
                    {
                        self.end_recovery().await;
                        _ = told.send(Ok(()));
                    }
                    if wants_out || self.is_fenced { POLL } else { self.interval() }
                }
                Err(lost @ (Unheard::Stale | Unheard::Misjudged(_))) => {
                    let may_register = match lost {
                        Unheard::Misjudged(how) => self.begin_anew(how),
                        Unheard::Stale | Unheard::Other(_) => true,
                    };
                    if may_register
                        && let Err(error) = self.register_anew().await
                        && let Some(told) = told.take()
                    {
                        _ = told.send(Err(error));
                        return;
                    }
                    RETRY
                }
                Err(Unheard::Other(why)) => {
                    self.warn(&format!("the heartbeat of this broker failed: {why}"));
                    RETRY
                }
            };
            let membership = &self.shared.membership;
            tokio::select! {
                () = sleep(wait) => {}
                () = membership.beat_now.notified() => {}
                () = self.controller.ended() => {}
                _ = leaving.changed() => {}
                () = change(&mut active) => {}
            }
        }
    }

    fn interval(&self) -> Duration {
        let ms = self.shared.config.quorum.heartbeat_interval_ms.0;
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }

    /// Says once what goes wrong for a while.
    fn warn(&mut self, message: &str) {
        if self.told.as_deref() != Some(message) {
            tracing::warn!("{message}");
            self.told = Some(message.to_owned());
        }
    }

    /// Notes whether the cluster lets this broker serve.
    fn note(&mut self, is_fenced: bool) {
        self.told = None;
        if std::mem::replace(&mut self.is_fenced, is_fenced) != is_fenced {
            match is_fenced {
                true => tracing::warn!("the controller has fenced this broker"),
                false => tracing::info!("the controller has let this broker in"),
            }
        }
    }

    /// Registers the node with its roles, however long it takes within the bound.
    async fn register(&mut self, is_broker: bool) -> anyhow::Result<()> {
        let ms = self.shared.config.quorum.registration_timeout_ms.0;
        let deadline = Instant::now() + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        loop {
            let why = match self.try_register(is_broker).await {
                Ok(()) => return Ok(()),
                Err(Refusal::ForGood(error)) => return Err(error),
                Err(Refusal::ForNow(why)) => why,
            };
            if Instant::now() >= deadline {
                bail!(
                    "not registered within initial.broker.registration.timeout.ms, {ms} ms: {why}"
                );
            }
            self.warn(&format!("this node is not registered yet: {why}"));
            sleep(RETRY).await;
        }
    }

    /// No record takes back what was told but that of another run. Whether that may register now.
    fn begin_anew(&mut self, how: &str) -> bool {
        if let Some(more) = self.misjudged.pass(Instant::now()) {
            tracing::warn!(
                "{how}: this broker registers anew. Whoever reaches the listeners of controllers \
                 may have sent a heartbeat in its name{more}"
            );
        }
        self.is_fenced = true;
        let shared = &self.shared;
        let named = |former, next| runs::vouch_on(Arc::clone(shared), former, next);
        self.incarnation.renew(|| fresh_id(&mut self.rng), named)
    }

    /// Tries to get the registration back, as whoever has it may be gone.
    ///
    /// # Errors
    /// If the node is not to have this id any more.
    async fn register_anew(&mut self) -> anyhow::Result<()> {
        match self.try_register(true).await {
            Ok(()) => {}
            Err(Refusal::ForGood(error)) if error.is::<IdTaken>() => return Err(error),
            Err(Refusal::ForGood(error)) => self.warn(&error.to_string()),
            Err(Refusal::ForNow(why)) => self.warn(&format!("this node has lost its place: {why}")),
        }
        Ok(())
    }

    async fn try_register(&mut self, is_broker: bool) -> Result<(), Refusal> {
        let shared = &self.shared;
        // First of the two: it tells whether another node has this id.
        if is_broker {
            let image = shared.controller.image().await;
            let image = image.map_err(|why| Refusal::ForNow(why.to_string()))?;
            let mut request = registration::broker_request(shared, &image, self.incarnation.id());
            request.features.extend(registration::tolerated(&image));
            let here = |request| sessions::register(shared, request);
            let api = ApiKey::BrokerRegistration;
            let answer = self.controller.ask(api, move |_| request, here).await?;
            let code = ErrorCode::from_wire(answer.error_code);
            if self.has_picked_id && code == ErrorCode::DuplicateBrokerRegistration {
                return Err(Refusal::ForGood(IdTaken.into()));
            }
            if code == ErrorCode::UnsupportedVersion {
                return Err(self.refused_level().await);
            }
            check("broker", answer.error_code)?;
            self.incarnation.registered();
            shared.membership.epoch.store(answer.broker_epoch, Ordering::SeqCst);
            shared.membership.standing.renewed();
            // Shards that have heard of it already did not know that it is this run's.
            for shard in 0..shared.mailboxes.shards() {
                shared.mailboxes.post(shard, Shard::take_roles);
            }
        }
        if shared.config.roles.controller {
            let request = registration::controller_request(shared, self.incarnation.id());
            let api = ApiKey::ControllerRegistration;
            let here = |request| async move {
                shared.controller.decide(move |_, _| register_controller(&request)).await
            };
            let answer = self.controller.ask(api, move |_| request, here).await?;
            check("controller", answer.error_code)?;
        }
        Ok(())
    }

    /// Names the features whose levels keep this broker out, as far as it has heard of them.
    async fn refused_level(&self) -> Refusal {
        let image = self.shared.controller.image().await;
        let known = image.ok().and_then(|image| features::refusal(image.features()));
        let why = known.unwrap_or_else(|| "one was raised at this moment".to_owned());
        Refusal::ForGood(anyhow::anyhow!(
            "the cluster refuses this node as a broker for the levels of its features: {why}"
        ))
    }

    /// Sends one heartbeat.
    async fn beat(&self, want_shut_down: bool) -> Result<BrokerHeartbeatResponse, Unheard> {
        let shared = &self.shared;
        let request = BrokerHeartbeatRequest { want_shut_down, ..registration::heartbeat(shared) };
        let failed = request.offline_log_dirs.clone();
        let here = |mut request: BrokerHeartbeatRequest| {
            // Every shard has acted on what this node's controller has committed.
            request.current_metadata_offset = i64::MAX;
            sessions::beat(shared, request)
        };
        let api = ApiKey::BrokerHeartbeat;
        let fitted = move |version| registration::fitted(request, version);
        let answer = self.controller.ask(api, fitted, here).await;
        let answer: BrokerHeartbeatResponse =
            answer.map_err(|why| Unheard::Other(why.to_string()))?;
        match ErrorCode::from_wire(answer.error_code) {
            ErrorCode::None if answer.should_shut_down && !want_shut_down => {
                let how = "the controller tells this broker to stop, which has not asked for it";
                Err(Unheard::Misjudged(how))
            }
            ErrorCode::None if shared.membership.standing.is_wrong() => {
                let how = "the controller was told that directories have failed which work";
                Err(Unheard::Misjudged(how))
            }
            ErrorCode::None => {
                shared.membership.heard.send_replace(failed);
                Ok(answer)
            }
            ErrorCode::StaleBrokerEpoch => Err(Unheard::Stale),
            code => Err(Unheard::Other(code.to_string())),
        }
    }

    /// After a crash the elections were unclean, and the logs are open: what they lost is lost.
    async fn end_recovery(&self) {
        let node = self.shared.config.node_id;
        let decided = self.shared.controller.decide(move |image, _| end_recovery(image, node));
        // Another controller hears of it by AlterPartition, from whoever leads.
        _ = decided.await;
    }
}

/// What the answer to a registration means.
fn check(role: &str, error_code: i16) -> Result<(), Refusal> {
    match ErrorCode::from_wire(error_code) {
        ErrorCode::None => Ok(()),
        // They pass by themselves: settings that do not fit do not.
        ErrorCode::NotController => Err(Refusal::ForNow(format!(
            "the registration as a {role} is answered with NOT_CONTROLLER"
        ))),
        ErrorCode::DuplicateBrokerRegistration => Err(Refusal::ForNow(
            "DUPLICATE_BROKER_REGISTRATION: another process is registered with the same node.id. \
             If it is this node's former run, its session ends soon; if not, change node.id of \
             one of the two"
                .to_owned(),
        )),
        code => Err(Refusal::ForGood(anyhow::anyhow!(
            "the registration of this node as a {role} is refused: {code}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads;

    #[test]
    fn who_waits_for_the_controller_to_hear_of_a_directory_waits_for_that_one() {
        let [first, second] = [1, 2].map(|byte| Uuid::from_bytes([byte; 16]));
        let membership = Membership::default();
        let hears = |dirs: Vec<Uuid>| {
            membership.heard.send_replace(dirs);
            let heard = async {
                tokio::time::timeout(Duration::ZERO, membership.heard_of(&[second])).await.is_ok()
            };
            threads::runtime().unwrap().block_on(heard)
        };
        assert!(!hears(vec![]));
        assert!(!hears(vec![first]));
        assert!(hears(vec![first, second]));
    }
}
