//! Requests of one connection that are served and not answered, in order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

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
    Waiting { future: Pin<Box<dyn Future<Output = Response>>>, pipelined: bool },
}

impl Requests {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes of frames and of ready responses that are in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.frame_bytes + self.response_bytes
    }

    /// The same of ready responses alone, which wait for earlier ones.
    pub(crate) fn response_bytes(&self) -> usize {
        self.response_bytes
    }

    /// Whether the next frame may be served.
    pub(crate) fn may_serve(&self) -> bool {
        let muted =
            |last: &Request| matches!(last.answer, Answer::Waiting { pipelined: false, .. });
        !self.queue.back().is_some_and(muted)
            && self.queue.len() < REQUESTS_MAX
            && self.frame_bytes < FRAME_BYTES_MAX
    }

    pub(crate) fn push_ready(&mut self, response: Response) {
        self.response_bytes += response.memory_bytes();
        self.queue.push_back(Request { answer: Answer::Ready(response), frame_bytes: 0 });
    }

    /// Queues an answer to come. Its first poll starts it, even when it is not its turn.
    pub(crate) fn push_later(
        &mut self,
        mut future: Pin<Box<dyn Future<Output = Response>>>,
        pipelined: bool,
        frame_bytes: usize,
        cx: &mut Context<'_>,
    ) {
        match future.as_mut().poll(cx) {
            Poll::Ready(response) => self.push_ready(response),
            Poll::Pending => {
                self.frame_bytes += frame_bytes;
                let answer = Answer::Waiting { future, pipelined };
                self.queue.push_back(Request { answer, frame_bytes });
            }
        }
    }

    /// The first response in order, once it is ready.
    pub(crate) fn pop(&mut self, cx: &mut Context<'_>) -> Option<Response> {
        if let Answer::Waiting { future, .. } = &mut self.queue.front_mut()?.answer {
            let Poll::Ready(response) = future.as_mut().poll(cx) else { return None };
            let request = self.queue.pop_front()?;
            self.frame_bytes -= request.frame_bytes;
            return Some(response);
        }
        match self.queue.pop_front()?.answer {
            Answer::Ready(response) => {
                self.response_bytes -= response.memory_bytes();
                Some(response)
            }
            Answer::Waiting { .. } => unreachable!("handled above"),
        }
    }
}
