//! Work that crosses from one shard to another.
//!
//! A shard is one thread. State that it owns is touched on that thread alone, so whoever needs it
//! sends a closure to the owner's mailbox and awaits the answer. Mailboxes keep the order in which
//! work was posted. They have no bound of their own: each entry stems from a request that the
//! network limits (requests in flight per connection, bytes in flight per node) have let in.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::sync::{mpsc, oneshot};

use super::Shard;

/// A closure that runs on the thread of the shard that it was posted to.
pub type Work = Box<dyn FnOnce(&Rc<Shard>) + Send>;

/// Sends work to every shard of the node.
#[derive(Clone)]
pub struct Mailboxes {
    senders: std::sync::Arc<[mpsc::UnboundedSender<Work>]>,
}

impl Mailboxes {
    /// One mailbox per shard, and the ends that the shards read.
    pub fn new(shards: usize) -> (Self, Vec<mpsc::UnboundedReceiver<Work>>) {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..shards).map(|_| mpsc::unbounded_channel()).unzip();
        (Self { senders: senders.into() }, receivers)
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.senders.len()
    }

    /// Posts work that answers nobody. A shard that has stopped drops it.
    pub fn post(&self, shard: usize, work: impl FnOnce(&Rc<Shard>) + Send + 'static) {
        _ = self.senders[shard].send(Box::new(work));
    }

    /// Posts work to a shard from any thread and awaits what it returns.
    pub fn call<T: Send + 'static>(
        &self,
        shard: usize,
        work: impl FnOnce(&Rc<Shard>) -> T + Send + 'static,
    ) -> Call<T> {
        let (reply, answer) = oneshot::channel();
        self.post(shard, move |shard| _ = reply.send(work(shard)));
        Call::Posted(answer)
    }
}

/// The answer to work for a shard: at hand when the shard was the caller's own.
///
/// If the shard stops before it answers, the call never completes: the node is going down and the
/// connection behind the call is closed with it.
pub enum Call<T> {
    /// The work ran at once.
    Done(Option<T>),
    /// The work lies in another shard's mailbox.
    Posted(oneshot::Receiver<T>),
}

impl<T: Unpin> Future for Call<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match &mut *self {
            Self::Done(value) => {
                Poll::Ready(value.take().expect("a finished call is not polled again"))
            }
            Self::Posted(answer) => match Pin::new(answer).poll(context) {
                Poll::Ready(Ok(value)) => Poll::Ready(value),
                Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
            },
        }
    }
}
