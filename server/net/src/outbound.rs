//! Answers on their way out: a queue of segments that leaves uncopied, by vectored writes.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use crate::handler::Response;

/// Segments of one write call.
pub(crate) const SEGMENTS_PER_WRITE: usize = 64;

/// Bytes ready to be sent.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    segments: VecDeque<Segment>,
    /// How much of the first segment is sent.
    sent_of_first: usize,
    bytes: usize,
    /// A buffer is free when all of it is sent.
    memory_bytes: usize,
}

#[derive(Debug)]
enum Segment {
    /// A frame's length; held in place to spare an allocation for each response.
    Length([u8; 4]),
    Body(Bytes),
}

impl Segment {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Length(bytes) => bytes,
            Self::Body(bytes) => bytes,
        }
    }
}

impl Outbound {
    /// Bytes not sent yet.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Queues a response behind its length. One without bytes sends nothing.
    ///
    /// # Panics
    /// On a response of 2 GiB or more, which no limit of a request lets anyone build.
    pub(crate) fn push(&mut self, response: Response) {
        let body_bytes = response.body_bytes();
        if body_bytes == 0 {
            return;
        }
        self.memory_bytes += 4 + body_bytes;
        let length = i32::try_from(body_bytes).expect("responses are smaller than 2 GiB");
        self.segments.push_back(Segment::Length(length.to_be_bytes()));
        let bodies = response.segments.into_iter().filter(|segment| !segment.is_empty());
        self.segments.extend(bodies.map(Segment::Body));
        self.bytes += 4 + body_bytes;
    }

    /// Points `slices` at the bytes to be sent next and tells how many are used.
    pub(crate) fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            let bytes = segment.as_slice();
            let skip = if count == 0 { self.sent_of_first } else { 0 };
            *slice = IoSlice::new(&bytes[skip..]);
            count += 1;
        }
        count
    }

    /// So many bytes were sent.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.sent_of_first += bytes;
        while let Some(first) = self.segments.front()
            && let first_bytes = first.as_slice().len()
            && first_bytes <= self.sent_of_first
        {
            self.sent_of_first -= first_bytes;
            self.memory_bytes -= first_bytes;
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbound: &mut Outbound, per_write: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        while !outbound.is_empty() {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = outbound.fill(&mut slices);
            let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            let now = per_write.min(all.len());
            sent.extend_from_slice(&all[..now]);
            outbound.advance(now);
        }
        sent
    }

    #[test]
    fn every_byte_leaves_once_however_short_the_writes() {
        for per_write in 1..20 {
            let mut outbound = Outbound::default();
            let body = |text: &'static str| Bytes::from_static(text.as_bytes());
            outbound.push(Response::new(vec![body("ab"), body(""), body("c")]));
            outbound.push(Response::default());
            outbound.push(Response::new(vec![body("d")]));
            assert_eq!(outbound.bytes(), 12);
            assert_eq!(drain(&mut outbound, per_write), b"\0\0\0\x03abc\0\0\0\x01d");
        }
    }

    #[test]
    fn one_write_takes_many_responses() {
        let mut outbound = Outbound::default();
        for _ in 0..SEGMENTS_PER_WRITE / 2 {
            outbound.push(Response::new(vec![Bytes::from_static(b"x")]));
        }
        let mut slices = [IoSlice::new(&[]); SEGMENTS_PER_WRITE];
        assert_eq!(outbound.fill(&mut slices), SEGMENTS_PER_WRITE);
    }
}
