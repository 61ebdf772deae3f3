//! Frames on a connection: a length, then that many bytes.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, IoSlice, Result};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Least room that is offered to the socket.
const READ_BYTES_MIN: usize = 16 << 10;
/// How much larger than what has arrived the room for a frame may be. Thus an announced length
/// alone takes no memory, and a long frame is moved twice at most while it grows, by parts.
const GROWTH: usize = 16;
/// Buffers that go to the socket in one call.
const SLICES_MAX: usize = 64;

/// Cuts frames out of a stream.
pub(super) struct FrameReader<R> {
    stream: R,
    inbox: BytesMut,
    /// Length of the frame that is coming in, once it is known.
    length: Option<usize>,
    frame_bytes_max: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R, frame_bytes_max: usize) -> Self {
        Self { stream, inbox: BytesMut::new(), length: None, frame_bytes_max }
    }

    /// The next frame, without its length. May be dropped at any point and called again.
    pub(super) async fn next(&mut self) -> Result<Bytes> {
        loop {
            if self.length.is_none() && self.inbox.len() >= 4 {
                self.length = Some(self.take_length()?);
            }
            if let Some(length) = self.length
                && self.inbox.len() >= length
            {
                self.length = None;
                return Ok(self.inbox.split_to(length).freeze());
            }
            let missing = self.length.unwrap_or(4).saturating_sub(self.inbox.len());
            let room = missing.min(self.inbox.len() * GROWTH).max(READ_BYTES_MIN);
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
            [0x15, 0x03, ..] => "it answers in TLS".to_owned(),
            [b'H', b'T', b'T', b'P'] => "it answers in HTTP".to_owned(),
            _ if head as usize > self.frame_bytes_max => {
                format!("it announced {head} bytes, {} are taken", self.frame_bytes_max)
            }
            _ => return Ok(head as usize),
        };
        Err(Error::new(ErrorKind::InvalidData, other))
    }
}

/// Writes all buffers, many in one call.
pub(super) async fn write_all<W: AsyncWrite + Unpin>(
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
    fn memory_grows_with_what_arrives() {
        let announced = 1 << 30;
        let stream = [&(1_u32 << 30).to_be_bytes()[..], &[0; 50_000]].concat();
        let mut reader = FrameReader::new(&stream[..], announced);
        assert_eq!(run(reader.next()).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let room = reader.inbox.capacity();
        assert!(room <= (GROWTH + 1) * stream.len(), "{room}");
    }

    #[test]
    fn a_reader_that_was_dropped_midway_goes_on() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut reader = FrameReader::new(server, 10);
        run(async {
            for part in [&[0, 0][..], &[0, 3, 1], &[2]] {
                client.write_all(part).await.unwrap();
                let gone = tokio::time::timeout(std::time::Duration::ZERO, reader.next()).await;
                assert!(gone.is_err());
            }
            client.write_all(&[3]).await.unwrap();
            assert_eq!(reader.next().await.unwrap(), [1, 2, 3].as_slice());
        });
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
