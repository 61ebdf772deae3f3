//! A shard's end of the hand-over: it runs the connections that were placed on it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use crate::accept::{Accepted, Net};
use crate::connection::{Connection, End, part};
use crate::counters::Closed;
use crate::handler::Handler;
use crate::peer::{OnClose, Peer, Pull};

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
    /// Must run on a local runtime, or inside a `LocalSet`.
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

async fn run<H: Handler>(net: Arc<Net>, handler: Rc<H>, mut accepted: Accepted) {
    if accepted.moves == 0 {
        accepted.counters.count_opened();
    }
    loop {
        // Fails only when the runtime is shutting down.
        let Ok(stream) = tokio::net::TcpStream::from_std(accepted.stream) else { return };
        let peer = Rc::new(Peer {
            id: accepted.peer_id,
            address: accepted.address,
            local_address: accepted.local_address,
            listener: accepted.listener.clone(),
            authenticated: Cell::new(accepted.authenticated),
            reads: Cell::new(accepted.reads),
            place: Cell::new(accepted.place),
            software: RefCell::new(accepted.software.take()),
            pull: Pull::after(accepted.moves),
            on_close: OnClose::default(),
        });
        let (counters, inbound) = (accepted.counters.clone(), accepted.inbound);
        let serving =
            Connection::new(&net, handler.clone(), peer.clone(), stream, inbound, &counters);
        let (shard, stream, inbound) = match serving.run().await {
            End::Closed(reason, stream) => {
                if reason == Closed::ByClient {
                    peer.closed_by_client();
                }
                counters.count_closed(reason);
                if let Some(stream) = stream {
                    part(stream).await;
                }
                return;
            }
            End::Moves { shard, stream, inbound } => (shard, stream, inbound),
        };
        let Ok(stream) = stream.into_std() else { return counters.count_closed(Closed::ByClient) };
        let moving = Accepted {
            stream,
            inbound,
            authenticated: peer.authenticated.get(),
            reads: peer.reads.get(),
            place: peer.place.get(),
            software: peer.software.take(),
            moves: peer.pull.moves.saturating_add(1),
            ..accepted
        };
        match net.move_to(shard, moving) {
            None => return,
            // It goes on here.
            Some(back) => accepted = back,
        }
    }
}

fn pass_on_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
