//! Frames on a TCP connection: a length, then that many bytes.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, IoSlice, Result};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Least room that is offered to the socket.
const READ_BYTES_MIN: usize = 16 << 10;
/// Buffers that go to the socket in one call.
const SLICES_MAX: usize = 64;

/// Cuts frames out of a stream.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    stream: R,
    inbox: BytesMut,
    frame_bytes_max: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(stream: R, frame_bytes_max: usize) -> Self {
        Self { stream, inbox: BytesMut::new(), frame_bytes_max }
    }

    /// The next frame, without its length. Memory grows with what arrives, not with what is
    /// announced.
    pub(crate) async fn next(&mut self) -> Result<Bytes> {
        let mut length = None;
        loop {
            if length.is_none() && self.inbox.len() >= 4 {
                length = Some(self.take_length()?);
            }
            if let Some(length) = length
                && self.inbox.len() >= length
            {
                return Ok(self.inbox.split_to(length).freeze());
            }
            let missing = length.unwrap_or(4).saturating_sub(self.inbox.len());
            let room = missing.min(self.inbox.len().max(READ_BYTES_MIN)).max(READ_BYTES_MIN);
            self.inbox.reserve(room);
            if self.stream.read_buf(&mut self.inbox).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take_length(&mut self) -> Result<usize> {
        let head = self.inbox.get_u32();
        // What servers of other protocols say when they meet a Kafka request.
        let other = match head.to_be_bytes() {
            [0x15, 0x03, ..] => "answers in TLS",
            [b'H', b'T', b'T', b'P'] => "answers in HTTP",
            _ if head as usize > self.frame_bytes_max => "announced a frame that is too large",
            _ => return Ok(head as usize),
        };
        Err(Error::new(ErrorKind::InvalidData, other))
    }
}

/// Writes all buffers, many in one call.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(
    stream: &mut W,
    buffers: &mut VecDeque<Bytes>,
) -> Result<()> {
    while !buffers.is_empty() {
        let slices: Vec<_> = buffers.iter().take(SLICES_MAX).map(|b| IoSlice::new(b)).collect();
        let mut written = stream.write_vectored(&slices).await?;
        if written == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        while let Some(first) = buffers.front_mut() {
            if written < first.len() {
                first.advance(written);
                break;
            }
            written -= first.len();
            buffers.pop_front();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn frames_are_cut_where_their_length_says() {
        let mut reader = FrameReader::new(&[0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0][..], 10);
        assert_eq!(run(reader.next()).unwrap(), [7, 8].as_slice());
        assert_eq!(run(reader.next()).unwrap(), [].as_slice());
        assert_eq!(run(reader.next()).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn other_protocols_and_giants_are_told_apart() {
        let cases: [(&[u8], &str); 3] = [
            (&[0x15, 3, 3, 0, 2, 2, 40], "answers in TLS"),
            (b"HTTP/1.1 400", "answers in HTTP"),
            (&[0, 0, 0, 11, 1], "announced a frame that is too large"),
        ];
        for (bytes, text) in cases {
            let error = run(FrameReader::new(bytes, 10).next()).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn all_buffers_are_written_in_order() {
        let mut out = Vec::new();
        let parts = ["ab", "", "c", "def"];
        let mut buffers: VecDeque<_> = parts.map(|part| Bytes::from_static(part.as_bytes())).into();
        run(write_all(&mut out, &mut buffers)).unwrap();
        assert_eq!(out, b"abcdef");
    }
}
