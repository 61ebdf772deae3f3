//! The other end of a connection, as the node sees it, and where its requests lead.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::line::Place;

/// Votes with which a connection moves for the first time: so many wake-ups cost more than it does.
const VOTES_TO_MOVE: u32 = 8;
/// Each move doubles what the next one takes, this often at most, so that a connection whose
/// requests go everywhere does not wander.
const DOUBLINGS_MAX: u32 = 10;

/// The other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Unique in this process.
    pub id: u64,
    pub address: SocketAddr,
    /// The address of ours that the client connected to.
    pub local_address: SocketAddr,
    pub listener: Arc<str>,
    /// Whether the larger frame limit applies. True from the start where nobody logs in.
    pub authenticated: Cell<bool>,
    /// Whether it has taken so much that it surely reads what it asks for.
    pub reads: Cell<bool>,
    /// Since it found no room for an answer, until it has got one.
    pub place: Cell<Option<Place>>,
    /// What ApiVersions told about the client (KIP-511).
    pub software: RefCell<Option<ClientSoftware>>,
    pub(crate) pull: Pull,
    pub(crate) on_close: OnClose,
}

/// What to do once the client has closed the connection.
#[derive(Default)]
pub(crate) struct OnClose(RefCell<Option<Box<dyn FnOnce()>>>);

/// Name and version of a client library.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientSoftware {
    pub name: String,
    pub version: String,
}

impl Peer {
    /// Serving a request meant waking `shard`, another one than the connection's own. If most
    /// requests do so, the connection moves there when it rests.
    pub fn woke(&self, shard: usize) {
        self.pull.vote_for(shard);
    }

    /// Serving a request took nothing but the connection's own shard.
    pub fn served_at_home(&self) {
        self.pull.vote_to_stay();
    }

    /// Has `act` called when the other side closes the connection or is lost; the last one counts.
    /// The connection stays on this shard from now on.
    pub fn when_closed_by_client(&self, act: Box<dyn FnOnce()>) {
        self.stays();
        self.on_close.0.replace(Some(act));
    }

    pub(crate) fn closed_by_client(&self) {
        if let Some(act) = self.on_close.0.take() {
            act();
        }
    }

    /// All that this connection will ask for is known to lead to `shard`: it moves there as soon as
    /// it rests. Gives whether it does; each connection only once.
    pub fn belongs_to(&self, shard: usize) -> bool {
        self.pull.decide_for(shard)
    }

    /// The shard holds something for this connection that does not go with it.
    pub fn stays(&self) {
        self.pull.stays.set(true);
    }
}

impl fmt::Debug for OnClose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.borrow().is_some() { "OnClose(set)" } else { "OnClose(none)" })
    }
}

/// Which shard most requests lead to: a vote that only a majority can win (Boyer and Moore).
#[derive(Debug, Default)]
pub(crate) struct Pull {
    shard: Cell<usize>,
    votes: Cell<u32>,
    /// How often the connection has moved.
    pub(crate) moves: u32,
    stays: Cell<bool>,
}

impl Pull {
    /// No votes yet, on a connection that has moved so often.
    pub(crate) fn after(moves: u32) -> Self {
        Self { moves, ..Self::default() }
    }

    /// The shard to move to, if there is one.
    pub(crate) fn won_by(&self) -> Option<usize> {
        let needed = VOTES_TO_MOVE << self.moves.min(DOUBLINGS_MAX);
        (self.votes.get() >= needed && !self.stays.get()).then(|| self.shard.get())
    }

    fn vote_for(&self, shard: usize) {
        let votes = self.votes.get();
        if votes == 0 {
            self.shard.set(shard);
        }
        let votes = if self.shard.get() == shard { votes.saturating_add(1) } else { votes - 1 };
        self.votes.set(votes);
    }

    fn decide_for(&self, shard: usize) -> bool {
        let is_open = self.moves == 0 && self.votes.get() < VOTES_TO_MOVE && !self.stays.get();
        if is_open {
            self.shard.set(shard);
            self.votes.set(VOTES_TO_MOVE);
        }
        is_open
    }

    fn vote_to_stay(&self) {
        self.votes.set(self.votes.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_move_makes_the_next_one_harder() {
        for (moves, expected) in [(0, 8), (1, 16), (2, 32), (10, 8192), (1000, 8192)] {
            let pull = Pull::after(moves);
            let needed = (1..).find(|_| {
                pull.vote_for(1);
                pull.won_by().is_some()
            });
            assert_eq!(needed, Some(expected), "after {moves}");
        }
    }

    #[test]
    fn a_connection_is_told_once_where_it_belongs() {
        let pull = Pull::default();
        pull.vote_for(1);
        assert!(pull.decide_for(2));
        assert_eq!(pull.won_by(), Some(2));
        assert!(!pull.decide_for(1), "it is about to move");
        assert!(!Pull::after(1).decide_for(2), "it has moved");
    }

    #[test]
    fn only_a_clear_majority_moves_a_connection() {
        // Rounds of requests: `None` is served at home.
        let cases = [
            ("all to one shard", vec![Some(2)], Some(2)),
            ("half of them at home", vec![Some(2), None], None),
            ("two thirds to one shard", vec![Some(2), None, Some(2)], Some(2)),
            ("spread over three", vec![Some(1), Some(2), None], None),
        ];
        for (name, round, expected) in cases {
            let pull = Pull::default();
            for vote in round.iter().cycle().take(200) {
                vote.map_or_else(|| pull.vote_to_stay(), |shard| pull.vote_for(shard));
            }
            assert_eq!(pull.won_by(), expected, "{name}");
            pull.stays.set(true);
            assert_eq!(pull.won_by(), None, "{name}, but it stays");
        }
    }
}
