//! The way to the active controller: it may be this node, another one, or nobody right now.
//!
//! A [`ToController`] is one connection that follows the leader of the metadata quorum; requests
//! that must not wait for each other take one each. Every call is one attempt. Who asks knows when
//! to try again: after NOT_CONTROLLER the leader known here is old, and a newer one is heard of
//! soon.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config::{NodeConfig, SecurityProtocol};
use protocol::{ApiKey, Message};
use tokio::sync::watch;
use tokio::time::timeout;
use types::BrokerId;

use crate::controller::{Active, NotController};
use crate::peers::{Endpoint, Link, LinkOptions, PeerError, Peers};

/// A connection that follows the active controller.
pub struct ToController {
    node: BrokerId,
    active: watch::Receiver<Active>,
    peers: Peers,
    /// The listeners that lead to controllers, the preferred first, and what they speak.
    listeners: Vec<(String, SecurityProtocol)>,
    options: LinkOptions,
    /// The newest link and where it leads.
    link: Mutex<Option<(Endpoint, Link)>>,
}

/// Where the active controller is.
pub enum Place {
    Here,
    There(There),
}

/// Another node, as long as it is the active controller.
pub struct There {
    leader: BrokerId,
    link: Link,
    active: watch::Receiver<Active>,
}

/// Why an attempt to ask the controller brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    #[error("no controller is known to be active after {} ms", .0.as_millis())]
    NobodyLeads(Duration),
    #[error(transparent)]
    NotController(#[from] NotController),
    #[error("the controller that was asked is not the active one any more")]
    Replaced,
    #[error(transparent)]
    Peer(#[from] PeerError),
}

impl ToController {
    /// A connection for one purpose; nothing is connected yet.
    pub fn new(
        config: &NodeConfig,
        active: watch::Receiver<Active>,
        peers: Peers,
        options: LinkOptions,
    ) -> Self {
        let (node, listeners) = (config.node_id, &config.listeners);
        let protocol = |name: &String| {
            let protocol = listeners.protocols.get(name);
            // The settings were checked: each such name has one.
            (name.clone(), protocol.copied().unwrap_or(SecurityProtocol::Plaintext))
        };
        let listeners = listeners.controller_names.iter().map(protocol).collect();
        Self { node, active, peers, listeners, options, link: Mutex::new(None) }
    }

    /// Who leads, and each change of that.
    pub fn active(&self) -> watch::Receiver<Active> {
        self.active.clone()
    }

    /// Whether this node is the active controller, as far as it knows.
    pub fn is_here(&self) -> bool {
        self.active.borrow().leader == Some(self.node)
    }

    /// Where the active controller is; waits until there is one.
    ///
    /// # Errors
    /// If nobody leads for as long as a request may take, or what leads cannot be reached.
    pub async fn find(&self) -> Result<Place, Unanswered> {
        let mut active = self.active.clone();
        let known = active.wait_for(|active| self.place(active).is_some());
        let nobody = Unanswered::NobodyLeads(self.options.request_timeout);
        let Ok(Ok(active)) = timeout(self.options.request_timeout, known).await else {
            return Err(nobody);
        };
        match self.place(&active) {
            Some(Whereabouts::Here) => Ok(Place::Here),
            Some(Whereabouts::There(leader, endpoint)) => {
                let (link, active) = (self.link(endpoint)?, self.active.clone());
                Ok(Place::There(There { leader, link, active }))
            }
            None => Err(nobody),
        }
    }

    /// Asks the controller once. `here` answers where this node is the one; `request` is made for
    /// the highest version that both sides know.
    ///
    /// # Errors
    /// If no answer came. What was asked for may have been done all the same.
    pub async fn ask<Q: Message, R: Message, F>(
        &self,
        api: ApiKey,
        request: impl FnOnce(i16) -> Q + Send + 'static,
        here: impl FnOnce(Q) -> F,
    ) -> Result<R, Unanswered>
    where
        F: Future<Output = Result<R, NotController>>,
    {
        match self.find().await? {
            Place::Here => Ok(here(request(*api.versions().end())).await?),
            Place::There(there) => there.call(api, request).await,
        }
    }

    /// Resolves when the connection has ended; never while the controller is here.
    pub async fn ended(&self) {
        let link = self.kept().as_ref().map(|(_, link)| link.clone());
        match link {
            Some(link) if !self.is_here() => link.ended().await,
            _ => std::future::pending().await,
        }
    }

    fn place(&self, active: &Active) -> Option<Whereabouts> {
        let leader = active.leader?;
        if leader == self.node {
            return Some(Whereabouts::Here);
        }
        self.listeners.iter().find_map(|(name, protocol)| {
            let (_, at) = active.endpoints.iter().find(|(listener, _)| listener == name)?;
            let (host, port) = (at.host.clone(), at.port);
            Some(Whereabouts::There(leader, Endpoint { host, port, protocol: *protocol }))
        })
    }

    fn link(&self, endpoint: Endpoint) -> Result<Link, PeerError> {
        let mut kept = self.kept();
        if let Some((to, link)) = &*kept
            && *to == endpoint
        {
            return Ok(link.clone());
        }
        let link = self.peers.link(&endpoint, &self.options)?;
        *kept = Some((endpoint, link.clone()));
        Ok(link)
    }

    fn kept(&self) -> MutexGuard<'_, Option<(Endpoint, Link)>> {
        // Replaced as a whole, so a panic elsewhere leaves nothing half done.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl There {
    /// Asks it once, unless another controller becomes active meanwhile: the answer of one that is
    /// stopped or cut off never comes.
    ///
    /// # Errors
    /// As [`ToController::ask`].
    pub async fn call<Q: Message, R: Message>(
        mut self,
        api: ApiKey,
        request: impl FnOnce(i16) -> Q + Send + 'static,
    ) -> Result<R, Unanswered> {
        let is_other = |active: &Active| active.leader.is_some_and(|now| now != self.leader);
        let replaced = async { self.active.wait_for(is_other).await.is_ok() };
        tokio::select! {
            // What is there already counts.
            biased;
            answer = self.link.call(api, request) => Ok(answer?),
            true = replaced => Err(Unanswered::Replaced),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> Arc<str> {
        self.link.address()
    }
}

/// Resolves when another controller becomes active; never once nobody says so any more.
pub async fn change(active: &mut watch::Receiver<Active>) {
    if active.changed().await.is_err() {
        std::future::pending().await
    }
}

/// A place without a connection to it.
enum Whereabouts {
    Here,
    There(BrokerId, Endpoint),
}

#[cfg(test)]
mod tests {
    use std::thread;

    use config::{BrokerLayers, HostPort, Sources, StaticConfig};
    use protocol::messages::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
    use types::Rng;

    use super::*;
    use crate::peers::Running;
    use crate::peers::testing::{API, answer_one, fake, greet, read_frame};
    use crate::threads;

    /// Node 3, a broker, on a thread of links of its own.
    fn to_controller(
        active: watch::Receiver<Active>,
        timeout: Duration,
    ) -> (ToController, Running) {
        let settings = [
            ("process.roles", "broker"),
            ("node.id", "3"),
            ("listeners", "PLAINTEXT://127.0.0.1:9092"),
            ("controller.listener.names", "FIRST,SECOND"),
            ("controller.quorum.bootstrap.servers", "127.0.0.1:1"),
        ];
        let overrides = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let (fixed, _) = StaticConfig::new(&Sources { overrides, ..Default::default() }).unwrap();
        let config = NodeConfig::resolve(&BrokerLayers::at_start(&fixed)).unwrap();
        let (peers, running) = Peers::start(types::Millis(10_000), &mut Rng::new(1)).unwrap();
        let client_id = "3".to_owned();
        let options = LinkOptions { client_id, request_timeout: timeout, response_bytes_max: 100 };
        (ToController::new(&config, active, peers, options), running)
    }

    fn active(leader: i32, endpoints: &[(&str, u16)]) -> Active {
        let at = |port| HostPort { host: "127.0.0.1".to_owned(), port };
        let endpoints = endpoints.iter().map(|(name, port)| ((*name).to_owned(), at(*port)));
        let leader = Some(BrokerId(leader));
        Active { leader, endpoints: endpoints.collect(), ..Default::default() }
    }

    /// The error code of the answer: 99 if this node gave it.
    async fn ask(to: &ToController) -> Result<i16, Unanswered> {
        let here =
            |_| async { Ok(BrokerHeartbeatResponse { error_code: 99, ..Default::default() }) };
        let answer = to.ask(API, |_| BrokerHeartbeatRequest::default(), here).await;
        answer.map(|answer: BrokerHeartbeatResponse| answer.error_code)
    }

    #[test]
    fn the_leader_is_followed_by_the_preferred_listener() {
        let serve = |code| {
            move |listener| {
                let mut stream = greet(&listener, 0..=2);
                answer_one(&mut stream, code);
            }
        };
        let ((first, _), (second, _), (third, _)) =
            (fake(serve(1)), fake(serve(2)), fake(serve(3)));
        let (leads, known) = watch::channel(Active::default());
        let (to, running) = to_controller(known, Duration::from_secs(30));
        let runtime = threads::runtime().unwrap();
        for (now, expected) in [
            (active(1, &[("OTHER", 1), ("SECOND", first)]), 1),
            (active(2, &[("SECOND", second), ("FIRST", third)]), 3),
            (active(3, &[]), 99),
            (active(2, &[("SECOND", second)]), 2),
        ] {
            leads.send_replace(now.clone());
            assert_eq!(runtime.block_on(ask(&to)).unwrap(), expected, "{now:?}");
        }
        running.stop();
    }

    #[test]
    fn nobody_waits_for_a_controller_that_was_replaced() {
        let (asked, is_asked) = std::sync::mpsc::channel();
        let (silent, _) = fake(move |listener| {
            let mut stream = greet(&listener, 0..=2);
            let request = read_frame(&mut stream);
            // Stays connected until the test ends.
            _ = asked.send((stream, request));
        });
        let (leads, known) = watch::channel(active(1, &[("FIRST", silent)]));
        let (to, running) = to_controller(known, Duration::from_secs(30));
        let elected = thread::spawn(move || {
            let connection = is_asked.recv().unwrap();
            leads.send_replace(Active::default());
            leads.send_replace(active(2, &[("FIRST", 1)]));
            connection
        });
        let error = threads::runtime().unwrap().block_on(ask(&to)).unwrap_err();
        assert!(matches!(error, Unanswered::Replaced), "{error}");
        drop(elected.join());
        running.stop();
    }

    #[test]
    fn who_asks_waits_for_a_leader_and_not_for_ever() {
        let (leads, known) = watch::channel(active(1, &[("OTHER", 1)]));
        let runtime = threads::runtime().unwrap();
        let (soon, _running) = to_controller(known.clone(), Duration::from_millis(20));
        let error = runtime.block_on(ask(&soon)).unwrap_err();
        assert!(matches!(error, Unanswered::NobodyLeads(_)), "{error}");

        let (later, _running) = to_controller(known, Duration::from_secs(30));
        let elected = async { leads.send_replace(active(3, &[])) };
        let (answer, _) = runtime.block_on(async { tokio::join!(ask(&later), elected) });
        assert_eq!(answer.unwrap(), 99);
    }
}
