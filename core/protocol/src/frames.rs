//! Frames as a client sees them: requests become buffers behind their length, answers are cut out
//! of what comes in.
//!
//! No IO here: whoever has the socket reads into [`AnswerCutter::room`], and writes an [`Unsent`].
//!
//! Not here: the server's side (`server/net`), which bounds the memory of connections that it does
//! not trust.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::messages::headers::RequestHeader;
use crate::wire::{EncodeError, Segments, Sink};
use crate::{ApiKey, Message};

/// The length before each frame.
const LENGTH_BYTES: usize = 4;
/// Least room that is offered to the socket.
const READ_BYTES_MIN: usize = 16 << 10;
/// How much larger than what has arrived the room for a frame may be. Thus an announced length
/// alone takes no memory, and a long frame is moved twice at most while it grows, by parts.
const GROWTH: usize = 16;

/// A request with its length and header, as buffers that follow each other.
///
/// # Errors
/// If the version cannot carry it, or it is longer than a frame can be.
pub fn request_frame<Q: Message>(
    api: ApiKey,
    header: &RequestHeader,
    request: &Q,
) -> Result<Vec<Bytes>, EncodeError> {
    let version = header.request_api_version;
    let header_version = api.request_header_version(version);
    let bytes = header.encoded_size(header_version)? + request.encoded_size(version)?;
    let length = i32::try_from(bytes)
        .map_err(|_| EncodeError::TooLong { field: "request", length: bytes })?;
    let mut segments = Segments::new();
    segments.write(&length.to_be_bytes());
    header.encode(header_version, &mut segments)?;
    request.encode(version, &mut segments)?;
    Ok(segments.into_buffers())
}

/// Cuts answers out of what a server sends.
#[derive(Debug)]
pub struct AnswerCutter {
    inbox: BytesMut,
    /// Length of the answer that is coming in, once it is known.
    length: Option<usize>,
    answer_bytes_max: usize,
}

/// Why what came is no answer of a Kafka server, or none that is taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ForeignFrame {
    #[error("it answers in TLS")]
    Tls,
    #[error("it answers in HTTP")]
    Http,
    #[error("it announced {bytes} bytes, {bytes_max} are taken")]
    TooLong { bytes: u32, bytes_max: usize },
}

impl AnswerCutter {
    pub fn new(answer_bytes_max: usize) -> Self {
        Self { inbox: BytesMut::new(), length: None, answer_bytes_max }
    }

    /// The next answer without its length, if all of it is here.
    ///
    /// # Errors
    /// If it is none; the connection is of no use then.
    pub fn next_answer(&mut self) -> Result<Option<Bytes>, ForeignFrame> {
        if self.length.is_none() && self.inbox.len() >= LENGTH_BYTES {
            self.length = Some(self.take_length()?);
        }
        let Some(length) = self.length.filter(|length| self.inbox.len() >= *length) else {
            return Ok(None);
        };
        self.length = None;
        Ok(Some(self.inbox.split_to(length).freeze()))
    }

    /// The buffer to read into, with room in it. Grows with what arrives, not with what is
    /// announced.
    pub fn room(&mut self) -> &mut BytesMut {
        let missing = self.length.unwrap_or(LENGTH_BYTES).saturating_sub(self.inbox.len());
        let trusted = self.inbox.len().saturating_mul(GROWTH);
        self.inbox.reserve(missing.min(trusted).max(READ_BYTES_MIN));
        &mut self.inbox
    }

    fn take_length(&mut self) -> Result<usize, ForeignFrame> {
        let bytes = self.inbox.get_u32();
        // What servers of other protocols say when they meet a Kafka request.
        match bytes.to_be_bytes() {
            [0x15, 0x03, ..] => Err(ForeignFrame::Tls),
            [b'H', b'T', b'T', b'P'] => Err(ForeignFrame::Http),
            _ if bytes as usize > self.answer_bytes_max => {
                Err(ForeignFrame::TooLong { bytes, bytes_max: self.answer_bytes_max })
            }
            _ => Ok(bytes as usize),
        }
    }
}

/// Buffers that are still to be written, in their order; a [`Buf`], so that many leave in one call.
#[derive(Debug, Default)]
pub struct Unsent {
    /// None of them is empty.
    buffers: VecDeque<Bytes>,
}

impl Extend<Bytes> for Unsent {
    fn extend<I: IntoIterator<Item = Bytes>>(&mut self, buffers: I) {
        self.buffers.extend(buffers.into_iter().filter(|buffer| !buffer.is_empty()));
    }
}

impl Buf for Unsent {
    fn remaining(&self) -> usize {
        self.buffers.iter().map(Bytes::len).sum()
    }

    fn has_remaining(&self) -> bool {
        !self.buffers.is_empty()
    }

    fn chunk(&self) -> &[u8] {
        self.buffers.front().map_or(&[], |first| &first[..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        for (slice, buffer) in slices.iter_mut().zip(&self.buffers) {
            *slice = IoSlice::new(buffer);
        }
        slices.len().min(self.buffers.len())
    }

    fn advance(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let first = self.buffers.front_mut().expect("no more is sent than there is");
            if bytes < first.len() {
                return first.advance(bytes);
            }
            bytes -= first.len();
            self.buffers.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands over bytes as a socket does, as far as there is room, and takes all answers.
    fn receive(cutter: &mut AnswerCutter, mut bytes: &[u8]) -> Result<Vec<Bytes>, ForeignFrame> {
        let mut answers = Vec::new();
        while !bytes.is_empty() {
            let inbox = cutter.room();
            let room = (inbox.capacity() - inbox.len()).min(bytes.len());
            inbox.extend_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
            while let Some(answer) = cutter.next_answer()? {
                answers.push(answer);
            }
        }
        Ok(answers)
    }

    #[test]
    fn answers_are_cut_where_their_length_says_however_they_arrive() {
        let bytes = [0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3, 0, 0];
        for part in 1..=bytes.len() {
            let mut cutter = AnswerCutter::new(10);
            let parts = bytes.chunks(part).map(|part| receive(&mut cutter, part).unwrap());
            assert_eq!(parts.flatten().collect::<Vec<_>>(), [&[7, 8][..], &[], &[1, 2, 3]]);
        }
    }

    #[test]
    fn other_protocols_and_giants_are_told_apart() {
        let cases: [(&[u8], ForeignFrame); 3] = [
            (&[0x15, 3, 3, 0, 2, 2, 40], ForeignFrame::Tls),
            (b"HTTP/1.1 400", ForeignFrame::Http),
            (&[0, 0, 0, 11, 1], ForeignFrame::TooLong { bytes: 11, bytes_max: 10 }),
        ];
        for (bytes, expected) in cases {
            assert_eq!(receive(&mut AnswerCutter::new(10), bytes), Err(expected));
        }
    }

    #[test]
    fn memory_grows_with_what_arrives() {
        let mut cutter = AnswerCutter::new(1 << 30);
        let bytes = [&(1_u32 << 30).to_be_bytes()[..], &[0; 50_000]].concat();
        assert_eq!(receive(&mut cutter, &bytes), Ok(vec![]));
        let room = cutter.room().capacity();
        assert!(room <= (GROWTH + 1) * bytes.len(), "{room}");
    }

    #[test]
    fn every_byte_leaves_once_however_short_the_writes() {
        for per_write in 1..8 {
            let mut unsent = Unsent::default();
            unsent.extend(["ab", "", "c", "def"].map(|part| Bytes::from_static(part.as_bytes())));
            let mut sent = Vec::new();
            while unsent.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 2];
                let count = unsent.chunks_vectored(&mut slices);
                let all = slices[..count].iter().flat_map(|slice| slice.to_vec());
                let now: Vec<u8> = all.take(per_write).collect();
                unsent.advance(now.len());
                sent.extend(now);
                assert_eq!(unsent.remaining() + sent.len(), 6);
            }
            assert_eq!(sent, b"abcdef");
        }
    }
}
