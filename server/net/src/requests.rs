//! Requests of one connection that are served and not answered, in order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::handler::Response;

/// Requests in flight on one connection.
const REQUESTS_MAX: usize = 64;
/// Bytes of frames in flight on one connection, at which no further frame is served.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// The queue of requests in flight.
#[derive(Default)]
pub(crate) struct Requests {
    queue: VecDeque<Request>,
    frame_bytes: usize,
    response_bytes: usize,
}

struct Request {
    answer: Answer,
    frame_bytes: usize,
}

enum Answer {
    Ready(Response),
    Waiting(Waiting),
}

/// An answer to come.
pub(crate) struct Waiting {
    pub(crate) future: Pin<Box<dyn Future<Output = Response>>>,
    pub(crate) pipelined: bool,
    /// When to poll the future though nothing has woken it.
    pub(crate) until: Option<Instant>,
}

impl Requests {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes of frames that are not answered.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// Bytes of ready responses, which wait for earlier ones.
    pub(crate) fn response_bytes(&self) -> usize {
        self.response_bytes
    }

    /// Whether the next frame may be served.
    pub(crate) fn may_serve(&self) -> bool {
        let muted =
            |last: &Request| matches!(&last.answer, Answer::Waiting(waiting) if !waiting.pipelined);
        !self.queue.back().is_some_and(muted)
            && self.queue.len() < REQUESTS_MAX
            && self.frame_bytes < FRAME_BYTES_MAX
    }

    pub(crate) fn push_ready(&mut self, response: Response) {
        self.response_bytes += response.body_bytes();
        self.queue.push_back(Request { answer: Answer::Ready(response), frame_bytes: 0 });
    }

    /// Queues an answer to come. Its first poll starts it, even when it is not its turn.
    pub(crate) fn push_later(
        &mut self,
        mut waiting: Waiting,
        frame_bytes: usize,
        cx: &mut Context<'_>,
    ) {
        match waiting.future.as_mut().poll(cx) {
            Poll::Ready(response) => self.push_ready(response),
            Poll::Pending => {
                self.frame_bytes += frame_bytes;
                let answer = Answer::Waiting(waiting);
                self.queue.push_back(Request { answer, frame_bytes });
            }
        }
    }

    /// Lets the request go on that holds back the next frame, though others are to be answered first. It
    /// may stand in a line, or hold room, and nobody else may have to wait for those others.
    fn poll_muting(&mut self, cx: &mut Context<'_>) {
        let behind = self.queue.len() > 1;
        let Some(last) = self.queue.back_mut().filter(|_| behind) else { return };
        if let Answer::Waiting(waiting) = &mut last.answer
            && !waiting.pipelined
            && let Poll::Ready(response) = waiting.future.as_mut().poll(cx)
        {
            self.frame_bytes -= last.frame_bytes;
            self.queue.pop_back();
            self.push_ready(response);
        }
    }

    /// When the first answer in order wants to be asked for, though nothing has woken it.
    pub(crate) fn until(&self) -> Option<Instant> {
        match &self.queue.front()?.answer {
            Answer::Waiting(waiting) => waiting.until,
            Answer::Ready(_) => None,
        }
    }

    /// The first response in order, once it is ready.
    pub(crate) fn pop(&mut self, cx: &mut Context<'_>, now: Instant) -> Option<Response> {
        if let Answer::Waiting(waiting) = &mut self.queue.front_mut()?.answer {
            let Poll::Ready(response) = waiting.future.as_mut().poll(cx) else {
                // Asked in time; from here on only what it waits for wakes it.
                waiting.until = waiting.until.filter(|&until| until > now);
                self.poll_muting(cx);
                return None;
            };
            let request = self.queue.pop_front()?;
            self.frame_bytes -= request.frame_bytes;
            return Some(response);
        }
        match self.queue.pop_front()?.answer {
            Answer::Ready(response) => {
                self.response_bytes -= response.body_bytes();
                Some(response)
            }
            Answer::Waiting(_) => unreachable!("handled above"),
        }
    }
}
