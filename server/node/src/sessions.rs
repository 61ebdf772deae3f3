//! Sessions of brokers on the active controller: heartbeats keep them, silence ends them.
//!
//! Shards note who was heard of as it arrives, so that a busy controller fences nobody for its own
//! slowness; decisions on the controller's thread look at the same notes. That is why they lie
//! behind a lock, which nobody holds for longer than a look. They belong to one epoch of the
//! controller: with the next one every broker gets a whole session.
//!
//! A closed connection is only a hint. A process that was killed leaves nothing else behind, so its
//! broker gets [`RECONNECT_GRACE`] to be heard of again instead of the rest of its session. So is
//! the end of a controller that is a broker, too: nobody elects another one while it is well, so
//! its broker gets [`SUCCESSION_GRACE`] to be heard of by its successor. Whoever is silent without
//! such a hint is probed, as `core/metadata` says when: a process that was stopped, or cut off, ends
//! no connection, but does not answer.
//!
//! A controller that stood still itself has heard of nobody meanwhile, and holds that against nobody.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::metadata::Image;
use ::metadata::controller::{
    BrokerSessions, Context, Decision, Probed, RegistrationFacts, fence_broker, heartbeat,
    register_broker,
};
use ::metadata::image::Broker;
use config::{Listeners, QuorumConfig, SecurityProtocol};
use protocol::messages::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use protocol::messages::broker_registration::{
    BrokerRegistrationRequest, BrokerRegistrationResponse,
};
use tokio::sync::Notify;
use types::{BrokerId, LeaderEpoch, Millis};

use crate::clock;
use crate::controller::{NotController, QuorumFacts};
use crate::peers::{Endpoint, LinkOptions};
use crate::shard::Shard;
use crate::shared::Shared;
use crate::to_controller::change;

/// How long a broker has to connect again and be heard of once its connection was closed.
const RECONNECT_GRACE: Millis = Millis(500);

/// How long the broker of a former active controller has to be heard of by the new one. It has to
/// learn who that is first, and to connect.
const SUCCESSION_GRACE: Millis = Millis(1000);

/// How long a probe waits for its answer: as long as any of them counts.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1500);
/// More than the versions of all APIs take.
const PROBE_BYTES_MAX: usize = 64 << 10;

/// How late a turn of this controller may be for what others do to be judged by the clock.
const LATE_MAX: Millis = Millis(250);

/// From this `metadata.version` on (4.3-IV0), the cluster knows of cordoned directories.
const CORDONED_SINCE: i16 = 30;

/// The sessions, as all threads of the node see them.
pub struct Sessions {
    timeout: Millis,
    heartbeat_interval: Millis,
    notes: Mutex<Notes>,
    /// Something may have to be looked at earlier than planned.
    changed: Notify,
}

struct Notes {
    /// The controller's epoch that these belong to.
    epoch: Option<LeaderEpoch>,
    sessions: BrokerSessions,
    /// The connection on which each broker was heard of last.
    connections: BTreeMap<BrokerId, u64>,
}

impl Sessions {
    /// No sessions yet; `config` says how long they last, and how often brokers are to be heard of.
    pub fn new(config: &QuorumConfig) -> Self {
        let (timeout, heartbeat_interval) =
            (config.session_timeout_ms, config.heartbeat_interval_ms);
        let notes = Notes {
            epoch: None,
            sessions: BrokerSessions::new(timeout, heartbeat_interval),
            connections: BTreeMap::new(),
        };
        Self { timeout, heartbeat_interval, notes: Mutex::new(notes), changed: Notify::new() }
    }

    /// A broker was heard of on a connection.
    pub fn heard_on(&self, id: BrokerId, connection: u64) {
        self.notes().connections.insert(id, connection);
    }

    /// A connection on which a broker was heard of has ended. It matters where the broker has not
    /// been heard of on another one since.
    pub fn closed(&self, id: BrokerId, connection: u64) {
        let mut notes = self.notes();
        if notes.connections.get(&id) == Some(&connection) {
            notes.connections.remove(&id);
            let now = clock::monotonic();
            notes.sessions.suspect(id, now + RECONNECT_GRACE, now);
            self.changed.notify_one();
        }
    }

    /// A probe of a run of a broker has come to its end.
    fn probed(&self, run: (BrokerId, i64), probed: Probed) {
        self.notes().sessions.probed(run, probed, clock::monotonic());
        self.changed.notify_one();
    }

    /// This controller was to look at the sessions at `planned`.
    fn note_turn(&self, planned: Millis) {
        let late = clock::monotonic() - planned;
        if late > LATE_MAX {
            tracing::debug!("the look at the brokers' sessions is {late} late");
            self.notes().sessions.postpone(late);
        }
    }

    /// The notes as they are for this image, to be called by decisions.
    fn follow(&self, image: &Image, quorum: &QuorumFacts, now: Millis) -> MutexGuard<'_, Notes> {
        let mut notes = self.notes();
        if notes.epoch != Some(quorum.epoch) {
            notes.epoch = Some(quorum.epoch);
            notes.sessions = BrokerSessions::new(self.timeout, self.heartbeat_interval);
        }
        notes.sessions.follow(image, quorum.end.get() - 1, now);
        notes
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // Each change of the notes is one call; a panic in it ends the process.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registers a broker.
///
/// # Errors
/// [`NotController`] where this node cannot decide it.
pub async fn register(
    shared: &Shared,
    request: BrokerRegistrationRequest,
) -> Result<BrokerRegistrationResponse, NotController> {
    let sessions = Arc::clone(&shared.sessions);
    let (cluster_id, own) = (shared.dirs.cluster_id.clone(), shared.config.node_id);
    let decide = move |image: &Image, quorum: &QuorumFacts, context: &mut Context<'_>| {
        let now = clock::monotonic();
        let id = BrokerId(request.broker_id);
        let facts = RegistrationFacts {
            cluster_id: &cluster_id,
            next_offset: quorum.end.get(),
            // This node holds the lock of its directories: no other run of it is left.
            session_is_alive: id != own
                && sessions.follow(image, quorum, now).sessions.is_alive(id, now),
        };
        register_broker(image, &request, facts, context)
    };
    shared.controller.decide_with_facts(decide).await
}

/// Takes in a broker's heartbeat.
///
/// # Errors
/// [`NotController`] where this node cannot decide it.
pub async fn beat(
    shared: &Shared,
    mut request: BrokerHeartbeatRequest,
) -> Result<BrokerHeartbeatResponse, NotController> {
    let arrived = clock::monotonic();
    shared.sessions.notes().sessions.heard(&request, arrived);
    let sessions = Arc::clone(&shared.sessions);
    let decide = move |image: &Image, quorum: &QuorumFacts, context: &mut Context<'_>| {
        let id = BrokerId(request.broker_id);
        let facts = {
            let mut notes = sessions.follow(image, quorum, arrived);
            // Noted as it arrived, unless the broker was not known in this epoch yet.
            if !notes.sessions.is_alive(id, arrived) || !notes.sessions.is_heard_of(id) {
                notes.sessions.heard(&request, arrived);
            }
            notes.sessions.heartbeat_facts(id)
        };
        // A cluster of an older version has no record for it.
        if image.metadata_version() < CORDONED_SINCE {
            request.cordoned_log_dirs = None;
        }
        let Decision { records, response } = heartbeat(image, &request, facts, context);
        let is_changed = !records.is_empty();
        Decision { records, response: (response, is_changed) }
    };
    let (response, is_changed) = shared.controller.decide_with_facts(decide).await?;
    if is_changed {
        // The session is one of a broker in its new state before anything else can befall it.
        let sessions = Arc::clone(&shared.sessions);
        let follow = move |image: &Image, quorum: &QuorumFacts, _: &mut Context<'_>| {
            drop(sessions.follow(image, quorum, clock::monotonic()));
            Decision { records: vec![], response: () }
        };
        shared.controller.decide_with_facts(follow).await?;
        shared.sessions.changed.notify_one();
    }
    Ok(response)
}

/// Fences brokers whose sessions have ended, while this node is the active controller. For the
/// first shard; ends with it.
pub async fn run(shard: Rc<Shard>) {
    let shared = &shard.shared;
    let mut active = shared.controller.active();
    let mut former = None;
    let mut next = None;
    loop {
        if let Some(planned) = next {
            shared.sessions.note_turn(planned);
        }
        let leader = active.borrow_and_update().leader;
        let leads = leader == Some(shared.config.node_id);
        if leads && let Some(former) = former.take() {
            suspect_former(shared, former).await;
        } else if !leads {
            // An election may end before it was seen that it began.
            former = leader.or(former);
        }
        next = if leads { look(shared).await } else { None };
        let ended = async {
            match next {
                Some(ends) => {
                    // The session lasts through this instant.
                    let wait = ends.0 - clock::monotonic().0 + 1;
                    tokio::time::sleep(Duration::from_millis(wait.max(1).unsigned_abs())).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ended => {}
            () = shared.sessions.changed.notified() => {}
            () = change(&mut active) => {}
        }
    }
}

/// The former controller was given up by a majority, or gave up: its broker may be gone, too.
async fn suspect_former(shared: &Shared, former: BrokerId) {
    let sessions = Arc::clone(&shared.sessions);
    let decide = move |image: &Image, quorum: &QuorumFacts, _: &mut Context<'_>| {
        let now = clock::monotonic();
        let mut notes = sessions.follow(image, quorum, now);
        // Heard of here already: it lives, and knows who leads.
        if !notes.sessions.is_heard_of(former) {
            notes.sessions.suspect(former, now + SUCCESSION_GRACE, now);
        }
        Decision { records: vec![], response: () }
    };
    // Where this node leads no more it is not the one to suspect anybody.
    _ = shared.controller.decide_with_facts(decide).await;
}

/// Fences whoever is due, and probes whoever is silent; says when to look again.
async fn look(shared: &Arc<Shared>) -> Option<Millis> {
    loop {
        let (sessions, shared_too) = (Arc::clone(&shared.sessions), Arc::clone(shared));
        let decide = move |image: &Image, quorum: &QuorumFacts, context: &mut Context<'_>| {
            let now = clock::monotonic();
            let mut notes = sessions.follow(image, quorum, now);
            for run in notes.sessions.take_probes(now) {
                probe(&shared_too, image, run);
            }
            let (records, response) = match notes.sessions.expired(now) {
                // One at a time: the next is fenced by what the image is then.
                Some(id) => {
                    tracing::warn!("broker {id} is fenced: it is not heard of any more");
                    (fence_broker(image, id, context), Looked::Again)
                }
                None => (vec![], Looked::Until(notes.sessions.next_check())),
            };
            Decision { records, response }
        };
        match shared.controller.decide_with_facts(decide).await {
            Ok(Looked::Until(next)) => return next,
            Ok(Looked::Again) => {}
            Err(NotController) => return None,
        }
    }
}

/// What a look at the sessions found.
enum Looked {
    /// Somebody was due, and others may be.
    Again,
    /// Nobody is due before then.
    Until(Option<Millis>),
}

/// Asks a broker over a connection of its own whether it lives, and notes what is found.
fn probe(shared: &Arc<Shared>, image: &Image, run: (BrokerId, i64)) {
    let at = image.broker(run.0).and_then(|broker| way_to(broker, &shared.config.listeners));
    // This node's own broker is as well as the node, and who cannot be asked is not.
    let Some(endpoint) = at.filter(|_| run.0 != shared.config.node_id) else { return };
    let options = LinkOptions {
        client_id: format!("{}-probe", shared.config.node_id),
        request_timeout: PROBE_TIMEOUT,
        response_bytes_max: PROBE_BYTES_MAX,
    };
    let (peers, sessions) = (shared.peers.clone(), Arc::clone(&shared.sessions));
    shared.peers.spawn(async move {
        let found = peers.probe(&endpoint, &options).await;
        tracing::debug!("probe of broker {}: {found:?}", run.0);
        if let Some(found) = found {
            sessions.probed(run, found);
        }
    });
}

/// A listener of a broker that can be asked: the one for brokers, or any.
fn way_to(broker: &Broker, listeners: &Listeners) -> Option<Endpoint> {
    let plain = SecurityProtocol::Plaintext;
    let preferred = broker.endpoint(&listeners.inter_broker).into_iter();
    let mut all = preferred.chain(&broker.endpoints);
    let at = all.find(|endpoint| endpoint.security_protocol == plain.to_wire())?;
    Some(Endpoint { host: at.host.clone(), port: at.port, protocol: plain })
}
