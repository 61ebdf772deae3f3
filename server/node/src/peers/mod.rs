//! The way to other nodes: connections that this node opens.
//!
//! One thread serves them, so that neither shards nor the controller wait for a socket, except for
//! those on which a shard copies records, which it serves itself. A [`Link`] is one connection to
//! one address, opened when something is first sent and opened again when it has broken; whoever
//! must not wait behind another's requests takes a link of its own.
//! Requests of a link are pipelined, in the order they were given. Each gets one answer, an error
//! included; nothing is sent twice, since only the caller knows whether that is safe.
//!
//! Not here: who is asked and what an error of the other side means (`registration`, `forward`,
//! the controller).

mod connection;
mod error;
mod link;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::metadata::controller::Probed;
use anyhow::Context;
use bytes::Bytes;
use config::SecurityProtocol;
use protocol::frames::request_frame;
use protocol::messages::headers::RequestHeader;
use protocol::wire::EncodeError;
use protocol::{ApiKey, Message};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use types::{Millis, Rng};

pub use error::PeerError;

use crate::threads;

/// Requests of one link that wait to be sent.
const QUEUE_MAX: usize = 1024;

/// Where a node is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
    /// What is spoken there.
    pub protocol: SecurityProtocol,
}

/// How one link behaves.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// How this node calls itself.
    pub client_id: String,
    /// How long a request may take, the wait for a connection included.
    pub request_timeout: Duration,
    /// The longest answer that is taken.
    pub response_bytes_max: usize,
}

/// The thread that serves all links. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    runtime: Handle,
    connect_timeout: Duration,
    /// Seed of the next link.
    seeds: Arc<AtomicU64>,
}

/// The thread; it ends with [`Running::stop`].
pub struct Running {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

/// A connection to one node. Cheap to clone; closed when the last clone is gone and all that was
/// sent is answered.
#[derive(Clone)]
pub struct Link {
    requests: mpsc::Sender<Request>,
    address: Arc<str>,
    request_timeout: Duration,
    /// Changes whenever a connection has ended.
    ends: watch::Receiver<()>,
}

impl Peers {
    /// Starts the thread. `connect_timeout` is for a connection until it can be used.
    ///
    /// # Errors
    /// If the system has no thread or descriptor left.
    pub fn start(connect_timeout: Millis, rng: &mut Rng) -> anyhow::Result<(Self, Running)> {
        let connect_timeout = Duration::from_millis(connect_timeout.0.max(0).unsigned_abs());
        let runtime = threads::runtime()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        // Dropping the runtime drops the links, and each request is then answered by its end.
        let serve = move || _ = runtime.block_on(stopped);
        let thread = thread::Builder::new().name("peers".to_owned()).spawn(serve);
        let thread = thread.context("cannot start the thread for other nodes")?;
        let seeds = Arc::new(AtomicU64::new(rng.next_u64()));
        Ok((Self { runtime: handle, connect_timeout, seeds }, Running { thread, stop }))
    }

    /// A link to `endpoint`; nothing is connected yet.
    ///
    /// # Errors
    /// [`PeerError::Secured`] where TLS or SASL is spoken.
    pub fn link(&self, endpoint: &Endpoint, options: &LinkOptions) -> Result<Link, PeerError> {
        let (link, serve) = self.prepare(endpoint, options)?;
        self.runtime.spawn(serve);
        Ok(link)
    }

    /// As [`Peers::link`], but served by the runtime that this is called on: for much that goes to
    /// and fro, where waking another thread each time would cost more than the socket.
    ///
    /// # Errors
    /// [`PeerError::Secured`] where TLS or SASL is spoken.
    pub fn link_here(&self, endpoint: &Endpoint, options: &LinkOptions) -> Result<Link, PeerError> {
        let (link, serve) = self.prepare(endpoint, options)?;
        tokio::task::spawn_local(serve);
        Ok(link)
    }

    /// A link and what serves it.
    fn prepare(
        &self,
        endpoint: &Endpoint,
        options: &LinkOptions,
    ) -> Result<(Link, impl Future<Output = ()> + Send + 'static), PeerError> {
        let address: Arc<str> = format!("{}:{}", endpoint.host, endpoint.port).into();
        if endpoint.protocol != SecurityProtocol::Plaintext {
            return Err(PeerError::Secured { address, protocol: endpoint.protocol.name() });
        }
        let (requests, queue) = mpsc::channel(QUEUE_MAX);
        let (ended, ends) = watch::channel(());
        let target = self.target(endpoint, options);
        let rng = Rng::new(self.seeds.fetch_add(1, Ordering::Relaxed));
        let link = Link { requests, address, request_timeout: options.request_timeout, ends };
        Ok((link, link::run(target, queue, ended, rng)))
    }

    /// Whether somebody serves at `endpoint`: a connection of its own is opened and ApiVersions asked.
    /// `None` where no answer comes in time, or none can be had.
    pub async fn probe(&self, endpoint: &Endpoint, options: &LinkOptions) -> Option<Probed> {
        if endpoint.protocol != SecurityProtocol::Plaintext {
            return None;
        }
        connection::Connection::probe(&self.target(endpoint, options)).await
    }

    fn target(&self, endpoint: &Endpoint, options: &LinkOptions) -> link::Target {
        link::Target {
            host: endpoint.host.clone(),
            port: endpoint.port,
            address: format!("{}:{}", endpoint.host, endpoint.port).into(),
            client_id: options.client_id.clone(),
            connect_timeout: self.connect_timeout.min(options.request_timeout),
            response_bytes_max: options.response_bytes_max,
        }
    }

    /// Runs a task on the thread of the links; it must not block. It ends with the thread.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }
}

impl Running {
    /// Ends the thread; what was asked and is not answered yet fails.
    pub fn stop(self) {
        _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the thread for other nodes panicked");
        }
    }
}

impl Link {
    /// The address, as errors name it.
    pub fn address(&self) -> Arc<str> {
        Arc::clone(&self.address)
    }

    /// Sends a request and has `answer` called with what comes, on the thread of the links; it
    /// must not wait. `request` is made for the highest version that both sides know.
    pub fn send<Q: Message, R: Message>(
        &self,
        api: ApiKey,
        request: impl FnOnce(i16) -> Q + Send + 'static,
        answer: impl FnOnce(Result<R, PeerError>) + Send + 'static,
    ) {
        let address = Arc::clone(&self.address);
        self.post(api, request, move |reply| answer(decode(reply, api, &address)));
    }

    /// Sends a request, at once and not only when it is first polled, and waits for the answer.
    pub fn call<Q: Message, R: Message>(
        &self,
        api: ApiKey,
        request: impl FnOnce(i16) -> Q + Send + 'static,
    ) -> impl Future<Output = Result<R, PeerError>> + Send + 'static {
        let (reply, received) = oneshot::channel();
        let address = Arc::clone(&self.address);
        self.post(api, request, move |answer| _ = reply.send(answer));
        async move {
            let reply = received.await.unwrap_or(Err(PeerError::Stopped));
            decode(reply, api, &address)
        }
    }

    /// As [`Link::call`], for threads that may block.
    #[cfg(test)]
    pub fn call_blocking<Q: Message, R: Message>(
        &self,
        api: ApiKey,
        request: impl FnOnce(i16) -> Q + Send + 'static,
    ) -> Result<R, PeerError> {
        let (reply, received) = oneshot::channel();
        self.post(api, request, move |answer| _ = reply.send(answer));
        decode(received.blocking_recv().unwrap_or(Err(PeerError::Stopped)), api, &self.address)
    }

    /// Resolves when the connection that is open now, or the next one, has ended.
    pub async fn ended(&self) {
        let mut ends = self.ends.clone();
        ends.mark_unchanged();
        if ends.changed().await.is_err() {
            std::future::pending().await
        }
    }

    fn post<Q: Message>(
        &self,
        api: ApiKey,
        request: impl FnOnce(i16) -> Q + Send + 'static,
        answer: impl FnOnce(Result<Reply, PeerError>) + Send + 'static,
    ) {
        let encode = move |header: &RequestHeader| {
            request_frame(api, header, &request(header.request_api_version))
        };
        let request = Request {
            api,
            encode: Box::new(encode),
            deadline: Instant::now() + self.request_timeout,
            after: self.request_timeout,
            answer: Answer(Some(Box::new(answer))),
        };
        match self.requests.try_send(request) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(request)) => {
                let address = Arc::clone(&self.address);
                request.answer.give(Err(PeerError::Overloaded { address, waiting: QUEUE_MAX }));
            }
            Err(mpsc::error::TrySendError::Closed(request)) => {
                request.answer.give(Err(PeerError::Stopped));
            }
        }
    }
}

/// Makes a frame.
type Encode = Box<dyn FnOnce(&RequestHeader) -> Result<Vec<Bytes>, EncodeError> + Send>;
/// Takes an answer.
type Take = Box<dyn FnOnce(Result<Reply, PeerError>) + Send>;

/// A request on its way.
struct Request {
    api: ApiKey,
    /// Makes the frame once the version is known.
    encode: Encode,
    deadline: Instant,
    /// How long after the request the deadline is.
    after: Duration,
    answer: Answer,
}

/// What the other side answered.
struct Reply {
    version: i16,
    /// What follows the header; shares the buffer that was read into.
    body: Bytes,
}

/// Takes one answer; the end of the thread is one, too.
struct Answer(Option<Take>);

impl Answer {
    fn give(mut self, reply: Result<Reply, PeerError>) {
        if let Some(answer) = self.0.take() {
            answer(reply);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(Err(PeerError::Stopped));
        }
    }
}

fn decode<R: Message>(
    reply: Result<Reply, PeerError>,
    api: ApiKey,
    address: &Arc<str>,
) -> Result<R, PeerError> {
    let Reply { version, body } = reply?;
    R::from_bytes(&body, version).map_err(|error| PeerError::Malformed {
        address: Arc::clone(address),
        api,
        cause: error.to_string(),
    })
}
