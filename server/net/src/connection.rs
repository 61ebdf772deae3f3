//! One connection: reads frames, has them served, writes the answers in order.
//!
//! A connection is one task that takes turns. A turn serves every frame that has arrived, sends
//! all ready answers with as few writes as possible, and reads again, until nothing moves; then
//! it sleeps until a socket, an answer, a budget or a deadline wakes it. There is no queue
//! between tasks and no lock; what bounds memory is that a turn stops serving while answers
//! pile up, and stops reading while a frame waits to be served, or while the node's budget of
//! requests is spent and this connection holds much of it. Who then takes nothing is soon cut off.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::accept::Net;
use crate::counters::{Closed, ListenerCounters, Traffic};
use crate::handler::{Handler, Response, Served};
use crate::inbound::{FrameError, Inbound};
use crate::limits::CachedLimits;
use crate::memory::{Account, LITTLE_BYTES};
use crate::outbound::{Outbound, SEGMENTS_PER_WRITE};
use crate::pace::{Pace, REST_MAX};
use crate::peer::Peer;
use crate::requests::{Requests, Waiting};
use crate::warnings::Kind;

/// Answers waiting to be sent at which no further frame is served.
const BACKLOG_BYTES_MAX: usize = 1 << 20;
/// More than the kernels of both sides hold of answers that the client never reads, as a rule.
const READS_BYTES: usize = 1 << 20;
/// How often a connection that holds much and rests looks whether a budget of the node is spent.
const PRESSURE_LOOK: Duration = Duration::from_secs(1);
/// How long answers in flight may take once a connection is to be closed.
const LINGER: Duration = Duration::from_secs(5);
/// How long a client may take to close its end after this node has closed its own.
const PARTING: Duration = Duration::from_secs(1);
/// Read at once of what is dropped in the meantime.
const PARTING_BYTES: usize = 16 << 10;

/// A connection and all it holds.
pub(crate) struct Connection<'a, H> {
    net: &'a Net,
    handler: Rc<H>,
    peer: Rc<Peer>,
    stream: TcpStream,
    counters: &'a ListenerCounters,
    limits: CachedLimits,
    inbound: Inbound,
    requests: Requests,
    outbound: Outbound,
    account: Account,
    /// What the kernel holds of answers once it takes no more of them.
    kernel_bytes: usize,
    taken_bytes: usize,
    /// Set while the node's budget keeps this connection from reading.
    memory_wait: Option<Pin<Box<OwnedNotified>>>,
    traffic: Traffic,
    reading: Pace,
    writing: Pace,
    now: Instant,
    last_active: Instant,
    muted_until: Option<Instant>,
    ending: Option<Ending>,
}

/// The connection serves nothing more; it ends when the answers in flight are out.
#[derive(Clone, Copy)]
struct Ending {
    reason: Closed,
    by: Instant,
}

/// Why the task of a connection ends.
pub(crate) enum End {
    /// Nothing more is served. A client that got all its answers is to be left with [`part`].
    Closed(Closed, Option<TcpStream>),
    /// It goes on upon another shard, with the bytes of a frame that it has begun.
    Moves { shard: usize, stream: TcpStream, inbound: Inbound },
}

impl<'a, H: Handler> Connection<'a, H> {
    pub(crate) fn new(
        net: &'a Arc<Net>,
        handler: Rc<H>,
        peer: Rc<Peer>,
        stream: TcpStream,
        inbound: Inbound,
        counters: &'a ListenerCounters,
    ) -> Self {
        let now = Instant::now();
        // A socket that cannot tell is closed already.
        let kernel_bytes = SockRef::from(&stream).send_buffer_size().unwrap_or(0);
        Self {
            net,
            handler,
            peer,
            stream,
            counters,
            limits: net.limits.current(),
            inbound,
            requests: Requests::default(),
            outbound: Outbound::default(),
            account: Account::new(net.requests.clone(), net.answers.clone()),
            kernel_bytes,
            taken_bytes: 0,
            memory_wait: None,
            traffic: Traffic::default(),
            reading: Pace::default(),
            writing: Pace::default(),
            now,
            last_active: now,
            muted_until: None,
            ending: None,
        }
    }

    /// Serves the connection to its end, or until it moves to another shard.
    pub(crate) async fn run(mut self) -> End {
        let mut draining = pin!(self.net.draining());
        let mut drained = false;
        let mut alarm = pin!(sleep_until(self.now));
        let end = poll_fn(|cx| {
            if !drained && let Poll::Ready(by) = draining.as_mut().poll(cx) {
                drained = true;
                self.end(Closed::Shutdown, by);
            }
            let turn = self.turn(cx, alarm.as_mut());
            self.settle();
            turn
        })
        .await;
        match end {
            ControlFlow::Break(reason) => {
                let is_orderly = self.ends_in_order();
                End::Closed(reason, is_orderly.then_some(self.stream))
            }
            ControlFlow::Continue(shard) => {
                End::Moves { shard, stream: self.stream, inbound: self.inbound }
            }
        }
    }

    /// Does all that can be done now. Ready: the connection is over, or goes on upon that shard.
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        mut alarm: Pin<&mut Sleep>,
    ) -> Poll<ControlFlow<Closed, usize>> {
        let over = |reason| Poll::Ready(ControlFlow::Break(reason));
        loop {
            self.now = Instant::now();
            self.limits.refresh(&self.net.limits);
            loop {
                self.serve(cx);
                let Ok(wrote) = self.write(cx) else { return over(Closed::ByClient) };
                if let Some(ending) = self.ending
                    && self.requests.is_empty()
                    && self.outbound.is_empty()
                {
                    return over(ending.reason);
                }
                let Ok(read) = self.read(cx) else { return over(Closed::ByClient) };
                if !wrote && !read {
                    break;
                }
            }
            self.settle();
            if let Some(reason) = self.overdue() {
                return over(reason);
            }
            if let Some(shard) = self.better_shard() {
                return Poll::Ready(ControlFlow::Continue(shard));
            }
            let Some(deadline) = self.next_deadline() else { return Poll::Pending };
            // An alarm that rings too early costs one turn; moving it at every turn costs more.
            if alarm.is_elapsed() || deadline < alarm.deadline() {
                alarm.as_mut().reset(deadline);
            }
            ready!(alarm.as_mut().poll(cx));
        }
    }

    /// Whether this node ends it, and its client has got all answers that it was to get.
    fn ends_in_order(&self) -> bool {
        self.ending.is_some_and(|ending| ending.reason != Closed::ByClient)
            && self.requests.is_empty()
            && self.outbound.is_empty()
    }

    /// The shard on which the connection would be better placed, if it may leave now.
    fn better_shard(&self) -> Option<usize> {
        let rests = self.ending.is_none()
            && self.muted_until.is_none()
            && self.memory_wait.is_none()
            && self.requests.is_empty()
            && self.outbound.is_empty();
        self.peer.pull.won_by().filter(|_| rests)
    }

    /// Serves frames and collects answers until one must be waited for.
    fn serve(&mut self, cx: &mut Context<'_>) {
        self.muted_until = self.muted_until.filter(|&until| until > self.now);
        loop {
            while let Some(response) = self.requests.pop(cx, self.now) {
                self.send(response);
            }
            if !self.may_serve() {
                return;
            }
            match self.inbound.next_frame(self.frame_bytes_max()) {
                Ok(None) => return,
                Ok(Some(frame)) => self.serve_frame(frame, cx),
                Err(error) => self.refuse(error),
            }
        }
    }

    fn may_serve(&self) -> bool {
        self.ending.is_none()
            && self.muted_until.is_none()
            && self.outbound.bytes() + self.requests.response_bytes() < self.backlog_bytes_max()
            && self.requests.may_serve()
    }

    /// Its own answers on their way out wake the connection, so the limit needs no waiting for.
    fn backlog_bytes_max(&self) -> usize {
        if self.account.answers_are_crowded() { LITTLE_BYTES } else { BACKLOG_BYTES_MAX }
    }

    fn serve_frame(&mut self, frame: BytesMut, cx: &mut Context<'_>) {
        self.traffic.requests += 1;
        self.reading.restart();
        let frame_bytes = frame.len();
        match self.handler.serve(&self.peer, frame) {
            Served::Now(response) if self.requests.is_empty() => self.send(response),
            Served::Now(response) => self.requests.push_ready(response),
            Served::Later { future, pipelined, until } => {
                let waiting = Waiting { future, pipelined, until };
                self.requests.push_later(waiting, frame_bytes, cx);
            }
            Served::NoResponse => {}
            Served::Close(why) => {
                self.warn(Kind::ByNode, &why.escape_debug());
                self.end(Closed::ByNode, self.now + LINGER);
            }
        }
    }

    fn send(&mut self, response: Response) {
        let Response { close_after, mute_ms, .. } = response;
        self.outbound.push(response);
        if mute_ms > 0 {
            self.muted_until = Some(self.now + Duration::from_millis(mute_ms.into()));
        }
        if close_after {
            // What a pipelining client asked for behind this one goes unanswered.
            self.requests = Requests::default();
            self.end(Closed::ByNode, self.now + LINGER);
        }
    }

    fn refuse(&mut self, error: FrameError) {
        let (kind, reason) = match error {
            FrameError::Size { .. } => (Kind::BadFrame, Closed::BadFrame),
            FrameError::Tls | FrameError::Http => (Kind::WrongProtocol, Closed::WrongProtocol),
        };
        self.warn(kind, &error);
        self.end(reason, self.now + LINGER);
    }

    fn end(&mut self, reason: Closed, by: Instant) {
        let first = self.ending.unwrap_or(Ending { reason, by });
        self.ending = Some(Ending { by: first.by.min(by), ..first });
    }

    /// Sends what is ready; true when anything moved.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut wrote = false;
        while !self.outbound.is_empty() {
            let Poll::Ready(sent) = self.write_some(cx) else { break };
            let sent = sent?;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.outbound.advance(sent);
            self.taken_bytes = self.taken_bytes.saturating_add(sent);
            self.writing.moved(sent, self.now);
            self.traffic.bytes_out += sent as u64;
            self.last_active = self.now;
            wrote = true;
        }
        if self.taken_bytes >= READS_BYTES {
            self.peer.reads.set(true);
        }
        Ok(wrote)
    }

    fn write_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SEGMENTS_PER_WRITE];
        let count = self.outbound.fill(&mut slices);
        Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count])
    }

    /// Reads once, if there is any use in it; true when anything moved.
    ///
    /// A request in flight does not stop the reading before the next frame is complete: that is
    /// how the end of a client is noticed during a long poll.
    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.ending.is_some() || self.inbound.has_frame(self.frame_bytes_max()) {
            return Ok(false);
        }
        self.settle();
        let allowed = self.memory_allows(cx);
        if allowed == 0 || self.stream.poll_read_ready(cx)?.is_pending() {
            return Ok(false);
        }
        let buffer = self.inbound.room();
        let room = (buffer.capacity() - buffer.len()).min(allowed);
        let mut limited = buffer.limit(room);
        let Poll::Ready(read) = pin!(self.stream.read_buf(&mut limited)).poll(cx) else {
            return Ok(false);
        };
        let read = read?;
        if read == 0 {
            self.end(Closed::ByClient, self.now + LINGER);
            return Ok(true);
        }
        self.inbound.received(read, room);
        self.reading.moved(read, self.now);
        self.traffic.bytes_in += read as u64;
        self.last_active = self.now;
        if self.inbound.has_frame(self.frame_bytes_max()) {
            self.account.end_overdraft();
        }
        Ok(true)
    }

    /// How much the node's budget lets this connection read; if nothing, it will be woken.
    fn memory_allows(&mut self, cx: &mut Context<'_>) -> usize {
        let mid_frame = self.inbound.bytes() > 0;
        loop {
            let mut allowed = self.account.may_read(mid_frame);
            if allowed == 0 {
                let pool = self.account.pool();
                let wait = self.memory_wait.get_or_insert_with(|| Box::pin(pool.freed()));
                let pending = wait.as_mut().poll(cx).is_pending();
                // Asked again, because bytes may have been given back before the wait began.
                allowed = self.account.may_read(mid_frame);
                if pending && allowed == 0 {
                    return 0;
                }
            }
            self.memory_wait = None;
            if allowed > 0 {
                return allowed;
            }
        }
    }

    /// The reason to close now, if a deadline has passed.
    fn overdue(&mut self) -> Option<Closed> {
        let mid_frame = self.inbound.bytes() > 0
            && !self.inbound.has_frame(self.frame_bytes_max())
            && self.memory_wait.is_none()
            && self.ending.is_none();
        self.reading.watch(mid_frame, self.now);
        self.writing.watch(!self.outbound.is_empty(), self.now);
        let rests = |pace: &Pace| pace.rests_since().is_some_and(|at| at + REST_MAX <= self.now);
        let (reading_rests, writing_rests) = (rests(&self.reading), rests(&self.writing));
        if self.reading.is_stalled(self.now) || reading_rests && self.account.crowds_requests() {
            self.warn(Kind::Slow, &"it began a request and did not finish it in time");
            return Some(Closed::SlowSender);
        }
        if self.writing.is_stalled(self.now) || writing_rests && self.account.crowds_answers() {
            self.warn(Kind::Slow, &"it does not read its responses");
            return Some(Closed::SlowReader);
        }
        if let Some(ending) = self.ending {
            return (ending.by <= self.now).then_some(ending.reason);
        }
        self.idle_deadline().filter(|&at| at <= self.now).map(|_| Closed::Idle)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let ending = self.ending.map(|ending| ending.by);
        let paces = [self.reading.deadline(), self.writing.deadline()];
        let others = [ending, self.muted_until, self.idle_deadline(), self.pressure_deadline()];
        paces.into_iter().chain(others).chain([self.requests.until()]).flatten().min()
    }

    /// When to look whether the budget is spent, once the rest is too long for that.
    fn pressure_deadline(&self) -> Option<Instant> {
        if !self.account.holds_much() {
            return None;
        }
        let paces = [self.reading.rests_since(), self.writing.rests_since()];
        let rests_since = paces.into_iter().flatten().min()?;
        Some((rests_since + REST_MAX).max(self.now + PRESSURE_LOOK))
    }

    /// When the connection will have been idle for too long; none while something is under way.
    fn idle_deadline(&self) -> Option<Instant> {
        let idle = self.ending.is_none()
            && self.requests.is_empty()
            && self.outbound.is_empty()
            && self.inbound.bytes() == 0;
        // A limit beyond what the clock can count is no limit.
        idle.then(|| self.last_active.checked_add(self.limits.last().idle_max)).flatten()
    }

    fn frame_bytes_max(&self) -> usize {
        let limits = self.limits.last();
        if self.peer.authenticated.get() {
            limits.frame_bytes_max
        } else {
            limits.frame_bytes_max_before_auth
        }
    }

    /// Brings the shared counts up to date.
    fn settle(&mut self) {
        let kernel = if self.outbound.is_empty() { 0 } else { self.kernel_bytes };
        let answers = self.requests.response_bytes() + self.outbound.memory_bytes() + kernel;
        self.account.set(self.inbound.bytes() + self.requests.frame_bytes(), answers);
        self.counters.add(&mut self.traffic);
    }

    fn warn(&self, kind: Kind, why: &dyn std::fmt::Display) {
        self.net.warnings.warn(kind, || {
            let Peer { listener, address, .. } = &*self.peer;
            format!("listener {listener}: connection of {address} closed: {why}")
        });
    }
}

/// Tells a client that nothing more comes and drops what it still sends, until it closes, too.
///
/// Closing a socket with unread bytes resets the connection, and whatever answers the client has
/// not read by then may be lost to it.
pub(crate) async fn part(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut dropped = vec![0; PARTING_BYTES];
    let to_the_end = async { while let Ok(1..) = stream.read(&mut dropped).await {} };
    _ = timeout(PARTING, to_the_end).await;
}
