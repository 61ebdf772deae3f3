//! The node's whole network side: accepting, admitting, placing on shards, and stopping.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::bind::{self, Listener};
use crate::counters::ListenerCounters;
use crate::gate::{Admission, Gate, Ticket};
use crate::inbound::Inbound;
use crate::limits::{CachedLimits, Limits, SharedLimits};
use crate::line::{Line, Place, Standing};
use crate::memory::{InFlight, Pool};
use crate::pace::REST_MAX;
use crate::peer::ClientSoftware;
use crate::quiet::QUIET;
use crate::shard::Inbox;
use crate::warnings::{Kind, Warnings};

/// How long accepting rests after the process ran out of descriptors or the kernel of memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Descriptors that connections leave for files, of the process's limit: one in so many.
const DESCRIPTORS_LEFT_ONE_IN: u64 = 8;
/// No more than this are left.
const DESCRIPTORS_LEFT_MAX: u64 = 1024;
/// So often one client at least is let in that is not known to read, if any waits: as long as one that
/// does not read keeps its room.
const LET_IN_EVERY: Duration = REST_MAX;
/// Accepted sockets that may wait for one shard to pick them up.
const INBOX_SOCKETS: usize = 256;

/// What all listeners, shards and connections of a node share.
#[derive(Debug)]
pub struct Net {
    pub(crate) limits: SharedLimits,
    pub(crate) requests: Arc<Pool>,
    pub(crate) answers: Arc<Pool>,
    /// Who waits for room for an answer: those who are not known to read theirs, and those who are.
    lines: [Line; 2],
    next_place: AtomicU64,
    /// When one of those was let in last who are not known to read.
    let_in_at: Mutex<Instant>,
    pub(crate) warnings: Warnings,
    gate: Arc<Gate>,
    shards: Vec<ShardLink>,
    next_peer_id: AtomicU64,
    /// Connections have descriptors below this.
    descriptors_end: u64,
    /// When connections must be closed at the latest; `None` while the node serves.
    drain: watch::Sender<Option<Instant>>,
}

#[derive(Debug)]
struct ShardLink {
    connections: AtomicUsize,
    sender: mpsc::Sender<Accepted>,
}

/// A socket on its way to a shard, where it is placed first or moves to.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub stream: TcpStream,
    pub peer_id: u64,
    pub address: SocketAddr,
    pub local_address: SocketAddr,
    pub listener: Arc<str>,
    pub authenticated: bool,
    pub reads: bool,
    pub place: Option<Place>,
    pub software: Option<ClientSoftware>,
    pub counters: Arc<ListenerCounters>,
    pub seat: Seat,
    /// What has arrived of the next frame, of a connection that comes from another shard.
    pub inbound: Inbound,
    /// How often it has moved.
    pub moves: u32,
}

/// Whether a listener's connections have to wait, and whether the log says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Held {
    No,
    /// Another line of the kind was written just now: it is tried again.
    Unsaid,
    Said,
}

/// A connection's place in the counts; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Seat {
    net: Arc<Net>,
    shard: usize,
    _ticket: Ticket,
}

impl Seat {
    fn take_at(&mut self, shard: usize) {
        let shards = &self.net.shards;
        shards[shard].connections.fetch_add(1, Ordering::Relaxed);
        shards[self.shard].connections.fetch_sub(1, Ordering::Relaxed);
        self.shard = shard;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.net.shards[self.shard].connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The turn of one who waited for room; see [`Net::answer_room`].
#[derive(Debug)]
pub struct Turn<'a> {
    /// Whether it is let in as those are who surely read.
    pub as_reader: bool,
    _standing: [Option<Standing<'a>>; 2],
}

impl Net {
    /// The network side of a node of `shards` threads, and the inbox for each of them.
    pub fn new(limits: Limits, shards: usize) -> (Arc<Self>, Vec<Inbox>) {
        let (links, receivers): (Vec<_>, Vec<_>) = (0..shards)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(INBOX_SOCKETS);
                (ShardLink { connections: AtomicUsize::new(0), sender }, receiver)
            })
            .unzip();
        let net = Arc::new(Self {
            requests: Arc::new(Pool::new(limits.in_flight_bytes_max)),
            answers: Arc::new(Pool::new(limits.in_flight_bytes_max)),
            lines: Default::default(),
            next_place: AtomicU64::new(1),
            let_in_at: Mutex::new(Instant::now()),
            limits: SharedLimits::new(limits),
            warnings: Warnings::default(),
            gate: Arc::default(),
            shards: links,
            next_peer_id: AtomicU64::new(1),
            descriptors_end: descriptors_end(),
            drain: watch::Sender::new(None),
        });
        let inboxes = receivers.into_iter().map(|it| Inbox::new(net.clone(), it)).collect();
        (net, inboxes)
    }

    /// Changes the limits of the running node; connections see it at their next turn.
    pub fn set_limits(&self, limits: Limits) {
        self.requests.set_max(limits.in_flight_bytes_max);
        self.answers.set_max(limits.in_flight_bytes_max);
        self.limits.set(limits);
        self.gate.changed();
    }

    /// Bytes in flight in the whole node now, of requests and of answers.
    pub fn in_flight_bytes(&self) -> usize {
        self.requests.used() + self.answers.used()
    }

    /// How many may be, of each.
    pub fn in_flight_bytes_max(&self) -> usize {
        self.answers.bytes_max()
    }

    /// What the budget of answers has left now.
    pub fn answer_bytes_left(&self) -> usize {
        self.answers.left()
    }

    /// Counts bytes that the node holds for an answer which no connection has yet.
    pub fn hold_answer(&self, bytes: usize) -> InFlight {
        InFlight::new(self.answers.clone(), bytes)
    }

    /// The same for bytes that are still to be read for a client; `None` where nothing is left of
    /// the budget for it, or somebody waits who came before. Part of that is for those who surely read.
    pub fn hold_answer_within(
        &self,
        bytes: usize,
        client_reads: bool,
        place: Option<Place>,
    ) -> Option<InFlight> {
        let is_due = self.lines[usize::from(client_reads)].lets(place);
        is_due.then(|| InFlight::within(self.answers.clone(), bytes, client_reads)).flatten()
    }

    /// A place behind all who have one, for a client that found nothing left.
    pub fn draw_place(&self) -> Place {
        Place(self.next_place.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits until the budget of answers has something left for a client, in the order of places.
    /// The others go on waiting until the turn is dropped, so that whoever has it is the one who
    /// gets that.
    ///
    /// Where those who read use up all there is, the first of the others is let in among them, now and
    /// then: else it would never show that it reads, too.
    pub async fn answer_room(&self, client_reads: bool, place: Place) -> Turn<'_> {
        let [others, readers] = &self.lines;
        if client_reads {
            let standing = readers.stand(place);
            self.until_room(&standing, true).await;
            return Turn { as_reader: true, _standing: [Some(standing), None] };
        }
        let standing = others.stand(place);
        let turn = tokio::select! {
            () = self.until_room(&standing, false) => {
                Turn { as_reader: false, _standing: [Some(standing), None] }
            }
            () = self.until_overdue(&standing) => {
                let among_readers = readers.stand(place);
                self.until_room(&among_readers, true).await;
                Turn { as_reader: true, _standing: [Some(among_readers), Some(standing)] }
            }
        };
        *self.let_in_at() = Instant::now();
        turn
    }

    async fn until_room(&self, standing: &Standing<'_>, as_reader: bool) {
        loop {
            standing.until_first().await;
            let freed = self.answers.freed();
            if self.answers.used() < self.answers.limit(as_reader) {
                return;
            }
            freed.await;
        }
    }

    /// Until nobody like this one has been let in for too long, and it is the first of them.
    async fn until_overdue(&self, standing: &Standing<'_>) {
        loop {
            standing.until_first().await;
            let due = *self.let_in_at() + LET_IN_EVERY;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    fn let_in_at(&self) -> MutexGuard<'_, Instant> {
        // One value that is set at once.
        self.let_in_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops accepting and serving; connections end once their requests in flight are answered,
    /// or after `grace`. Each [`Inbox::serve`] returns when its last connection has ended.
    pub fn shut_down(&self, grace: Duration) {
        self.drain.send_replace(Some(Instant::now() + grace));
    }

    /// Resolves with the deadline once the node stops.
    pub(crate) async fn draining(&self) -> Instant {
        let mut drain = self.drain.subscribe();
        loop {
            if let Some(deadline) = *drain.borrow_and_update() {
                return deadline;
            }
            drain.changed().await.expect("the sender lives as long as self");
        }
    }

    /// Accepts connections until the node stops. Runs on any tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime.
    pub async fn accept(self: Arc<Self>, listener: Listener) -> io::Result<()> {
        let socket = tokio::net::TcpListener::from_std(listener.socket.try_clone()?)?;
        let mut limits = self.limits.current();
        let mut held = Held::No;
        tokio::select! {
            _ = self.draining() => Ok(()),
            () = async {
                loop {
                    match socket.accept().await {
                        Ok((stream, address)) => {
                            let net = self.clone();
                            net.admit(&listener, &mut limits, &mut held, stream, address).await;
                        }
                        Err(error) => self.rest_after(&listener, &error).await,
                    }
                }
            } => Ok(()),
        }
    }

    /// Out of descriptors: others go on, new clients wait. Anything else is one client's trouble.
    async fn rest_after(&self, listener: &Listener, error: &io::Error) {
        let exhausted = [
            rustix::io::Errno::MFILE,
            rustix::io::Errno::NFILE,
            rustix::io::Errno::NOBUFS,
            rustix::io::Errno::NOMEM,
        ];
        if exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
            self.warnings.warn(Kind::Exhausted, || {
                format!("listener {}: cannot accept connections: {error}", listener.name)
            });
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
        }
    }

    async fn admit(
        self: Arc<Self>,
        listener: &Listener,
        limits: &mut CachedLimits,
        held: &mut Held,
        stream: tokio::net::TcpStream,
        address: SocketAddr,
    ) {
        let ip = address.ip().to_canonical();
        let Some(ticket) = self.pass_gate(listener, limits, held, ip).await else { return };
        // The system gives the lowest number that is free: this one tells how many are left.
        let descriptor = u64::try_from(stream.as_raw_fd()).unwrap_or(0);
        if descriptor >= self.descriptors_end {
            listener.counters.count_refused();
            self.warnings.warn(Kind::Exhausted, || {
                format!(
                    "listener {}: connections are refused, the descriptors left are for files: \
                     raise the limit of open files (LimitNOFILE, ulimit -n)",
                    listener.name
                )
            });
            drop(stream);
            return tokio::time::sleep(EXHAUSTED_PAUSE).await;
        }
        // A socket that fails here was closed by its client already.
        let Ok(stream) = stream.into_std() else { return };
        let (Ok(()), Ok(local_address)) = (bind::tune(&stream), stream.local_addr()) else {
            return;
        };
        let shard = self.least_loaded_shard();
        self.shards[shard].connections.fetch_add(1, Ordering::Relaxed);
        let accepted = Accepted {
            stream,
            peer_id: self.next_peer_id.fetch_add(1, Ordering::Relaxed),
            address: SocketAddr::new(ip, address.port()),
            local_address,
            listener: listener.name.clone(),
            authenticated: !listener.needs_authentication,
            reads: false,
            place: None,
            software: None,
            inbound: Inbound::new(),
            moves: 0,
            counters: listener.counters.clone(),
            seat: Seat { net: self.clone(), shard, _ticket: ticket },
        };
        // Fails only when that shard has stopped; then the node is stopping.
        _ = self.shards[shard].sender.send(accepted).await;
    }

    /// Waits until the limits let a connection in; `None` where they refuse it.
    async fn pass_gate(
        &self,
        listener: &Listener,
        limits: &mut CachedLimits,
        held: &mut Held,
        ip: IpAddr,
    ) -> Option<Ticket> {
        let mut has_waited = false;
        loop {
            let now = Instant::now();
            let changed = self.gate.freed();
            match self.gate.admit(limits.refresh(&self.limits), &listener.name, ip, now) {
                Admission::Admitted(ticket) => {
                    if !has_waited {
                        self.end_of_limit(held);
                    }
                    return Some(ticket);
                }
                // As in Kafka, the listener stops accepting: clients queue in the backlog.
                Admission::Full(setting) => {
                    self.warn_of_limit(&listener.name, setting, held);
                    match held {
                        Held::Unsaid => _ = tokio::time::timeout(QUIET, changed).await,
                        Held::No | Held::Said => changed.await,
                    }
                }
                Admission::After(pause, setting) => {
                    self.warn_of_limit(&listener.name, setting, held);
                    tokio::time::sleep(pause).await;
                }
                Admission::Refused(why) => {
                    listener.counters.count_refused();
                    self.warnings.warn(Kind::Refused, || {
                        format!("listener {}: connection of {ip} refused: {why}", listener.name)
                    });
                    return None;
                }
            }
            has_waited = true;
        }
    }

    /// Once, and again only after a connection has come in without waiting.
    fn warn_of_limit(&self, listener: &str, setting: &str, held: &mut Held) {
        let text = || format!("listener {listener}: new connections wait because of {setting}");
        if *held != Held::Said {
            let is_said = self.warnings.try_warn(Kind::Limited, text);
            *held = if is_said { Held::Said } else { Held::Unsaid };
        }
    }

    /// A connection has come in without waiting. What was not said by now is counted.
    fn end_of_limit(&self, held: &mut Held) {
        if std::mem::replace(held, Held::No) == Held::Unsaid {
            self.warnings.swallow(Kind::Limited);
        }
    }

    /// Hands a connection over to another shard. It comes back if that one takes none now.
    pub(crate) fn move_to(&self, shard: usize, mut moving: Accepted) -> Option<Accepted> {
        let room = self.shards.get(shard).and_then(|link| link.sender.try_reserve().ok());
        let Some(room) = room else { return Some(moving) };
        moving.seat.take_at(shard);
        room.send(moving);
        None
    }

    fn least_loaded_shard(&self) -> usize {
        let loads = self.shards.iter().map(|shard| shard.connections.load(Ordering::Relaxed));
        loads.enumerate().min_by_key(|&(_, load)| load).map_or(0, |(shard, _)| shard)
    }
}

/// A node that has no descriptor left for its files can write nothing.
fn descriptors_end() -> u64 {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    limit - (limit / DESCRIPTORS_LEFT_ONE_IN).min(DESCRIPTORS_LEFT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_is_reached_just_after_another_is_said_later() {
        let (net, _inboxes) = Net::new(Limits::default(), 1);
        let reach = |listener, mut held| {
            net.warn_of_limit(listener, "max.connections", &mut held);
            held
        };
        assert_eq!(reach("A", Held::No), Held::Said);
        assert_eq!(reach("B", Held::No), Held::Unsaid);
        tokio::time::advance(QUIET).await;
        assert_eq!(reach("B", Held::Unsaid), Held::Said);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_nobody_has_heard_of_is_counted_once_it_is_over() {
        let (net, _inboxes) = Net::new(Limits::default(), 1);
        let mut held = Held::Unsaid;
        net.end_of_limit(&mut held);
        net.end_of_limit(&mut held);
        assert_eq!((held, net.warnings.swallowed(Kind::Limited)), (Held::No, 1));
    }
}
