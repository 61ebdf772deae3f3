//! Requests of this replica to others, over links that are opened as they are needed.
//!
//! Not here: sockets (`peers`), the form on the wire (`wire`).

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use config::{HostPort, NodeConfig, SecurityProtocol};
use raft::{Endpoint, Request, RequestId, Response, VoterChange};
use types::BrokerId;

use super::{Message, wire};
use crate::peers::{self, Link, LinkOptions, PeerError, Peers};

/// Addresses that links are kept to; all are closed when there are more, and opened anew.
const LINKS_MAX: usize = 64;
/// The longest answer that is taken: more than the largest batch of a metadata log.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The way to other replicas.
pub struct Remote {
    peers: Peers,
    inbox: mpsc::Sender<Message>,
    links: BTreeMap<(String, u16), Link>,
    options: LinkOptions,
    /// The listener of controllers that this node uses.
    listener: String,
    protocol: SecurityProtocol,
    /// Whom to ask who leads, in turns.
    bootstrap: Vec<HostPort>,
    next_bootstrap: usize,
    terms: wire::Terms,
    under_way: usize,
}

impl Remote {
    /// No link is open yet. What comes back goes into `inbox`.
    pub fn new(
        peers: Peers,
        inbox: mpsc::Sender<Message>,
        config: &NodeConfig,
        cluster_id: &str,
    ) -> Self {
        let listener = config.listeners.controller_names.first().cloned().unwrap_or_default();
        let protocol = config.listeners.protocols.get(&listener).copied();
        let quorum = &config.quorum;
        let voters = quorum.voters.iter().map(|voter| voter.address.clone());
        let bootstrap = match &quorum.bootstrap_servers[..] {
            [] => voters.collect(),
            servers => servers.to_vec(),
        };
        let timeout = u64::try_from(quorum.request_timeout_ms.get()).unwrap_or(0);
        Self {
            peers,
            inbox,
            links: BTreeMap::new(),
            options: LinkOptions {
                client_id: format!("raft-client-{}", config.node_id),
                request_timeout: Duration::from_millis(timeout),
                response_bytes_max: ANSWER_BYTES_MAX,
            },
            terms: wire::Terms {
                cluster_id: cluster_id.to_owned(),
                listener: listener.clone(),
                fetch_bytes_max: quorum.fetch_bytes_max,
                snapshot_bytes_max: quorum.fetch_snapshot_bytes_max,
                timeout_ms: i32::try_from(timeout).unwrap_or(i32::MAX),
            },
            listener,
            protocol: protocol.unwrap_or(SecurityProtocol::Plaintext),
            bootstrap,
            next_bootstrap: 0,
            under_way: 0,
        }
    }

    /// Whether nobody owes an answer.
    pub fn is_idle(&self) -> bool {
        self.under_way == 0
    }

    /// An answer has come, or never will.
    pub fn ended(&mut self) {
        self.under_way -= 1;
    }

    /// Sends a request to a node, or to any of the bootstrap servers.
    pub fn send(
        &mut self,
        id: RequestId,
        to: Option<BrokerId>,
        endpoints: &[Endpoint],
        request: Request,
    ) {
        self.under_way += 1;
        let inbox = self.inbox.clone();
        let Some((host, port)) = self.address(endpoints) else {
            // Fails where the controller has ended, as below.
            _ = inbox.send(Message::Unanswered { id, fault: None, is_unreachable: false });
            return;
        };
        let (address, own) = (format!("{host}:{port}"), self.terms.cluster_id.clone());
        let answered = move |response: Result<Option<Response>, PeerError>| {
            let (why, is_unreachable) = match response {
                Ok(Some(response)) => {
                    _ = inbox.send(Message::Answered { id, response });
                    return;
                }
                Ok(None) => {
                    let why = format!(
                        "{address} refuses what a node of cluster {own} asks: is it of another one?"
                    );
                    (why, false)
                }
                Err(fault) => {
                    tracing::debug!("a request within the quorum has failed: {fault}");
                    (fault.to_string(), matches!(fault, PeerError::Unreachable { .. }))
                }
            };
            _ = inbox.send(Message::Unanswered { id, fault: Some((address, why)), is_unreachable });
        };
        if let Request::ChangeVoters(change) = &request {
            tell(change);
        }
        tracing::trace!("to {to:?} at {host}:{port}: {request:?}");
        match self.link(host, port) {
            Ok(link) => wire::send(&link, &self.terms, request, answered),
            Err(fault) => answered(Err(fault)),
        }
    }

    fn address(&mut self, endpoints: &[Endpoint]) -> Option<(String, u16)> {
        let ours = endpoints.iter().find(|one| one.listener == self.listener);
        if let Some(endpoint) = ours.or(endpoints.first()) {
            return Some((endpoint.host.clone(), endpoint.port));
        }
        self.next_bootstrap = self.next_bootstrap.wrapping_add(1);
        let at = self.next_bootstrap.checked_rem(self.bootstrap.len())?;
        let HostPort { host, port } = &self.bootstrap[at];
        Some((host.clone(), *port))
    }

    fn link(&mut self, host: String, port: u16) -> Result<Link, PeerError> {
        if let Some(link) = self.links.get(&(host.clone(), port)) {
            return Ok(link.clone());
        }
        if self.links.len() >= LINKS_MAX {
            self.links.clear();
        }
        let endpoint = peers::Endpoint { host: host.clone(), port, protocol: self.protocol };
        let link = self.peers.link(&endpoint, &self.options)?;
        self.links.insert((host, port), link.clone());
        Ok(link)
    }
}

fn tell(change: &VoterChange) {
    match change {
        VoterChange::Add(_) => tracing::info!("this controller asks to become a voter"),
        VoterChange::Remove(_) => tracing::info!(
            "this node has a new metadata directory: its former one is to be no voter any more"
        ),
        VoterChange::Update { .. } => {
            tracing::debug!("tells the leader where this voter listens, and what it supports");
        }
    }
}
