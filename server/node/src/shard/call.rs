//! Work that crosses from one shard to another.
//!
//! A shard is one thread. State that it owns is touched on that thread alone, so whoever needs it
//! sends a closure to the owner's mailbox and awaits the answer. Mailboxes keep the order in which
//! work was posted. They have no bound of their own: each entry stems from a request that the
//! network limits (requests in flight per connection, bytes in flight per node) have let in.
//!
//! Waking a thread costs more than all the rest of a small request. A shard is therefore woken
//! only when it sleeps: one that runs looks into its mailbox before it falls asleep, with every
//! request and with every commit. Answers travel as work for the asking shard, so that they are
//! part of the same bargain.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::sync::{Notify, mpsc, oneshot};

use super::Shard;

/// A closure that runs on the thread of the shard that it was posted to.
pub type Work = Box<dyn FnOnce(&Rc<Shard>) + Send>;

/// Sends work to every shard of the node.
#[derive(Clone)]
pub struct Mailboxes {
    boxes: Arc<[Mailbox]>,
}

struct Mailbox {
    sender: mpsc::UnboundedSender<Work>,
    bell: Arc<Bell>,
}

/// Tells a shard that there is work, by waking it only if it sleeps.
///
/// Whoever posts sets `pending` and then looks at `asleep`; the shard sets `asleep` and then looks
/// at `pending`. In the one order of these four, at least one of the two sees the other.
#[derive(Default)]
struct Bell {
    pending: AtomicBool,
    asleep: AtomicBool,
    wake: Notify,
}

impl Bell {
    /// Something was posted; whether the shard had to be woken for it.
    fn ring(&self) -> bool {
        self.pending.store(true, Ordering::SeqCst);
        let wakes = self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst);
        if wakes {
            self.wake.notify_one();
        }
        wakes
    }

    /// Has the shard look into its mailbox in this turn, if anything is in it.
    fn look(&self) {
        if self.pending.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }
}

/// The end of a mailbox that its shard reads.
pub struct Inward {
    receiver: mpsc::UnboundedReceiver<Work>,
    bell: Arc<Bell>,
}

/// What the runtime of a shard must tell before and after its thread sleeps.
#[derive(Clone)]
pub struct Sleep {
    bell: Arc<Bell>,
}

impl Inward {
    /// The next work; `None` once nobody can post any more.
    pub async fn next(&mut self) -> Option<Work> {
        loop {
            match self.receiver.try_recv() {
                Ok(work) => return Some(work),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) => {}
            }
            // What came before the mark was taken away is seen here, what comes later rings.
            self.bell.pending.swap(false, Ordering::SeqCst);
            if self.receiver.is_empty() {
                self.bell.wake.notified().await;
            }
        }
    }

    /// For the runtime that the shard runs on.
    pub fn sleep(&self) -> Sleep {
        Sleep { bell: Arc::clone(&self.bell) }
    }
}

impl Sleep {
    /// The thread is about to sleep. If there is work, its task is woken instead.
    pub fn begins(&self) {
        self.bell.asleep.store(true, Ordering::SeqCst);
        if self.bell.pending.load(Ordering::SeqCst) {
            self.bell.asleep.store(false, Ordering::SeqCst);
            self.bell.wake.notify_one();
        }
    }

    /// The thread runs again.
    pub fn ends(&self) {
        self.bell.asleep.store(false, Ordering::SeqCst);
    }
}

/// Runs `work` on a shard, at once if that is this one.
pub async fn call_shard<T: Send + Unpin + 'static>(
    shard: &Rc<Shard>,
    index: usize,
    work: impl FnOnce(&Rc<Shard>) -> T + Send + 'static,
) -> T {
    if index == shard.index { work(shard) } else { shard.shared.mailboxes.call(index, work).await }
}

impl Mailboxes {
    /// One mailbox per shard, and the ends that the shards read.
    pub fn new(shards: usize) -> (Self, Vec<Inward>) {
        let (boxes, ends): (Vec<_>, Vec<_>) = (0..shards)
            .map(|_| {
                let (sender, receiver) = mpsc::unbounded_channel();
                let bell = Arc::new(Bell::default());
                (Mailbox { sender, bell: Arc::clone(&bell) }, Inward { receiver, bell })
            })
            .unzip();
        (Self { boxes: boxes.into() }, ends)
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.boxes.len()
    }

    /// Posts work that answers nobody. A shard that has stopped drops it. Tells whether the shard
    /// slept and had to be woken.
    pub fn post(&self, shard: usize, work: impl FnOnce(&Rc<Shard>) + Send + 'static) -> bool {
        let Mailbox { sender, bell } = &self.boxes[shard];
        sender.send(Box::new(work)).is_ok() && bell.ring()
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

    /// Has the shard of this thread take what was posted to it, before it would by itself.
    pub fn look(&self, own: usize) {
        self.boxes[own].bell.look();
    }
}

/// One answer, owed to a task of this shard or of another.
pub struct Reply<T> {
    sender: oneshot::Sender<T>,
    /// The shard that waits, where it is another one.
    home: Option<(Mailboxes, usize)>,
}

impl<T: Send + 'static> Reply<T> {
    /// A reply to a task of the thread that sends it.
    pub fn here() -> (Self, oneshot::Receiver<T>) {
        Self::new(None)
    }

    /// A reply to a task of the shard `home`, or of the thread that sends it.
    pub fn new(home: Option<(Mailboxes, usize)>) -> (Self, oneshot::Receiver<T>) {
        let (sender, answer) = oneshot::channel();
        (Self { sender, home }, answer)
    }

    /// Sends it. A receiver that is gone means that its connection is.
    pub fn send(self, value: T) {
        let Self { sender, home } = self;
        match home {
            None => _ = sender.send(value),
            Some((mailboxes, home)) => {
                mailboxes.post(home, move |_| _ = sender.send(value));
            }
        }
    }

    /// Whether nobody waits any more.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Resolves once nobody waits any more.
    pub async fn closed(&mut self) {
        self.sender.closed().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shard_that_sleeps_is_woken_and_only_once() {
        let (mailboxes, mut ends) = Mailboxes::new(1);
        let sleep = ends.remove(0).sleep();
        let ring = || mailboxes.boxes[0].bell.ring();
        assert!(!ring(), "it runs");
        sleep.begins();
        assert!(!ring(), "it has seen the work and does not fall asleep");
        mailboxes.boxes[0].bell.pending.store(false, Ordering::SeqCst);
        sleep.begins();
        assert!(ring(), "it sleeps");
        assert!(!ring(), "it is being woken");
        sleep.begins();
        sleep.ends();
        assert!(!ring(), "it runs again");
    }
}
