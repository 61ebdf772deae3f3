//! The seam between a connection and the node: a frame goes in, an answer comes out.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::peer::Peer;

/// What the node does with frames. One value per shard thread, shared by its connections.
pub trait Handler: 'static {
    /// Called for each complete frame (without its length prefix), in order of arrival.
    ///
    /// Whatever must take effect in request order (decode, append) happens inside this call.
    fn serve(self: &Rc<Self>, peer: &Rc<Peer>, frame: BytesMut) -> Served;
}

/// How a frame was served.
pub enum Served {
    /// The answer is ready.
    Now(Response),
    /// The answer comes later; responses still leave in request order.
    ///
    /// The future of a pipelined request is polled once at once and then only when every earlier one
    /// is answered, so it must wait and not work, and nobody else may have to wait for it. Others are
    /// polled whenever they wake. Each is dropped unfinished when the connection ends.
    Later {
        future: Pin<Box<dyn Future<Output = Response>>>,
        /// The next frame may be served before this answer is ready (Produce). Without it the
        /// next frame waits, as Kafka mutes the channel.
        pipelined: bool,
        /// When the future wants to be polled once more though nothing has woken it. The
        /// connection has an alarm anyway; a timer of each request's own would cost more.
        until: Option<Instant>,
    },
    /// Nothing is sent (`acks=0`).
    NoResponse,
    /// The frame breaks the protocol: close once the earlier requests are answered.
    Close(Cow<'static, str>),
}

/// One response.
#[derive(Debug, Default)]
pub struct Response {
    /// What follows the length prefix, in order. Empty: nothing is sent.
    pub segments: Vec<Bytes>,
    /// Close the connection once this response is written.
    pub close_after: bool,
    /// Throttle: serve no further frame of this connection for so long (KIP-219).
    pub mute_ms: u32,
}

impl Response {
    /// An ordinary response of these bytes.
    pub fn new(segments: Vec<Bytes>) -> Self {
        Self { segments, ..Self::default() }
    }

    /// No bytes, only the end of the connection (a failed `acks=0` produce).
    pub fn close() -> Self {
        Self { close_after: true, ..Self::default() }
    }

    pub(crate) fn body_bytes(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }
}
