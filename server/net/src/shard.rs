//! A shard's end of the hand-over: it runs the connections that were placed on it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use crate::accept::{Accepted, Net};
use crate::connection::Connection;
use crate::handler::{Handler, Peer};

/// The sockets on their way to one shard. It is `Send`: made by [`Net::new`], then moved to the
/// shard's thread.
#[derive(Debug)]
pub struct Inbox {
    net: Arc<Net>,
    sockets: mpsc::Receiver<Accepted>,
}

impl Inbox {
    pub(crate) fn new(net: Arc<Net>, sockets: mpsc::Receiver<Accepted>) -> Self {
        Self { net, sockets }
    }

    /// Serves this shard's connections until the node stops and the last of them has ended.
    ///
    /// Must run inside a `LocalSet`.
    ///
    /// # Panics
    /// With the panic of a connection's task: a broken invariant takes the shard down, instead of
    /// leaving state behind that nobody understands.
    pub async fn serve<H: Handler>(mut self, handler: Rc<H>) {
        let mut connections = JoinSet::new();
        let draining = self.net.clone();
        let mut draining = std::pin::pin!(draining.draining());
        loop {
            tokio::select! {
                Some(accepted) = self.sockets.recv() => {
                    connections.spawn_local(run(self.net.clone(), handler.clone(), accepted));
                }
                Some(ended) = connections.join_next() => pass_on_panic(ended),
                _ = &mut draining => break,
            }
        }
        // Sockets still on their way are dropped with the channel.
        drop(self.sockets);
        while let Some(ended) = connections.join_next().await {
            pass_on_panic(ended);
        }
    }
}

async fn run<H: Handler>(net: Arc<Net>, handler: Rc<H>, accepted: Accepted) {
    let Accepted { stream, counters, seat: _seat, .. } = accepted;
    // Fails only when the runtime is shutting down.
    let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
    counters.count_opened();
    let peer = Rc::new(Peer {
        id: accepted.peer_id,
        address: accepted.address,
        local_address: accepted.local_address,
        listener: accepted.listener,
        authenticated: Cell::new(!accepted.needs_authentication),
        software: RefCell::new(None),
    });
    let reason = Connection::new(&net, handler, peer, stream, &counters).run().await;
    counters.count_closed(reason);
}

fn pass_on_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
