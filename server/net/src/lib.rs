//! Listeners and connections: accept, frame, limit, answer in order.
//!
//! One [`Net`] serves the whole node. An acceptor per listener ([`Net::accept`]) hands every
//! accepted socket to the shard that holds the fewest connections; there its [`Inbox`] runs one
//! task per connection, which calls the node's [`Handler`] for each complete frame and writes the
//! answers in request order. A connection most of whose requests wake one other shard is handed
//! over to that one while it rests.
//!
//! Why one listening socket and a hand-over, not a `SO_REUSEPORT` socket per shard: the kernel
//! spreads by hash, so that of eight connections four may share one core while others idle, and a
//! second process of the same user could silently share the port. Kafka clients hold few, long
//! connections, hence an even spread is worth far more than a shorter accept path.
//!
//! Not here: what a request means (`node`), bytes of messages (`protocol`), TLS and SASL.

mod accept;
mod bind;
mod connection;
mod counters;
mod gate;
mod handler;
mod inbound;
mod limits;
mod line;
mod memory;
mod outbound;
mod pace;
mod peer;
mod quiet;
mod requests;
mod shard;
mod warnings;

pub use accept::{Net, Turn};
pub use bind::{BindError, Listener, ListenerOptions};
pub use counters::{Closed, ListenerCounters};
pub use handler::{Handler, Response, Served};
pub use inbound::CHUNK_BYTES_MAX;
pub use limits::{Limits, ListenerLimits};
pub use line::Place;
pub use memory::InFlight;
pub use peer::{ClientSoftware, Peer};
pub use quiet::Quiet;
pub use shard::Inbox;
