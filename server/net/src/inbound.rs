//! Frames out of a stream of bytes: a 4-byte length, then so many bytes.
//!
//! Small frames are split off one shared chunk without copying. A large frame gets an allocation
//! of its own, which grows with the bytes that have arrived and never with the length announced;
//! a connection that has completed a frame of that size before gets it in one piece.

use bytes::BytesMut;

/// The length before each frame.
pub(crate) const LENGTH_BYTES: usize = 4;
/// A chunk of a quiet connection, and the least room worth a read.
const CHUNK_BYTES_MIN: usize = 4 << 10;
/// A chunk of a busy connection, and what any peer may get before it has sent anything.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;
const ROOM_BYTES_MIN: usize = 512;
/// A large frame may take so many times what has arrived of it; the rest is untouched memory.
const GROWTH: usize = 3;
/// What a connection gets in one piece at most, however large the frames it has completed.
const PROVEN_BYTES_MAX: usize = 8 << 20;

/// Bytes received and not yet served.
#[derive(Debug)]
pub(crate) struct Inbound {
    buffer: BytesMut,
    chunk_bytes: usize,
    /// The largest frame that this connection has completed, up to [`PROVEN_BYTES_MAX`].
    proven_bytes: usize,
    any_frame: bool,
}

/// Why the bytes cannot be a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {bytes} bytes where 0 to {bytes_max} are allowed")]
    Size { bytes: i32, bytes_max: usize },
    #[error("TLS was spoken to a plaintext listener")]
    Tls,
    #[error("HTTP was spoken to a Kafka listener")]
    Http,
}

impl Inbound {
    pub(crate) fn new() -> Self {
        Self {
            buffer: BytesMut::new(),
            chunk_bytes: CHUNK_BYTES_MIN,
            proven_bytes: 0,
            any_frame: false,
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the next frame is complete. A bad length counts: it is there to be refused.
    pub(crate) fn has_frame(&self, bytes_max: usize) -> bool {
        match self.announced() {
            None => false,
            Some(bytes) => usize::try_from(bytes)
                .ok()
                .filter(|&bytes| bytes <= bytes_max)
                .is_none_or(|bytes| self.buffer.len() >= LENGTH_BYTES + bytes),
        }
    }

    /// Takes the next complete frame, without its length.
    pub(crate) fn next_frame(&mut self, bytes_max: usize) -> Result<Option<BytesMut>, FrameError> {
        let Some(announced) = self.announced() else { return Ok(None) };
        if !self.any_frame {
            recognise(&self.buffer)?;
        }
        let bytes = usize::try_from(announced).ok().filter(|&bytes| bytes <= bytes_max);
        let Some(bytes) = bytes else {
            return Err(FrameError::Size { bytes: announced, bytes_max });
        };
        if self.buffer.len() < LENGTH_BYTES + bytes {
            return Ok(None);
        }
        self.any_frame = true;
        self.proven_bytes = self.proven_bytes.max(bytes).min(PROVEN_BYTES_MAX);
        let mut frame = self.buffer.split_to(LENGTH_BYTES + bytes);
        _ = frame.split_to(LENGTH_BYTES);
        Ok(Some(frame))
    }

    /// The buffer to read into, with room in it.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        let spare = self.buffer.capacity() - self.buffer.len();
        let missing = self.missing_bytes();
        if spare < missing.clamp(1, ROOM_BYTES_MIN) {
            // Copied by hand: `reserve` may double what it is asked for.
            let mut grown = BytesMut::with_capacity(self.next_capacity(missing));
            grown.extend_from_slice(&self.buffer);
            self.buffer = grown;
        }
        &mut self.buffer
    }

    /// Adapts the size of the next chunk to what one read brought into `room` bytes.
    pub(crate) fn received(&mut self, bytes: usize, room: usize) {
        if bytes == room {
            self.chunk_bytes = (self.chunk_bytes * 2).min(CHUNK_BYTES_MAX);
        } else if bytes < self.chunk_bytes / 4 {
            self.chunk_bytes = (self.chunk_bytes / 2).max(CHUNK_BYTES_MIN);
        }
    }

    fn next_capacity(&self, missing: usize) -> usize {
        let arrived = self.buffer.len();
        let trusted = CHUNK_BYTES_MAX.max(GROWTH * arrived).max(self.proven_bytes + LENGTH_BYTES);
        (arrived + missing).min(trusted).max(self.chunk_bytes).max(arrived + ROOM_BYTES_MIN)
    }

    /// What the begun frame still lacks; without a length, room for a chunk.
    fn missing_bytes(&self) -> usize {
        let bytes = self.announced().and_then(|bytes| usize::try_from(bytes).ok());
        bytes.map_or(ROOM_BYTES_MIN, |bytes| {
            (LENGTH_BYTES + bytes).saturating_sub(self.buffer.len())
        })
    }

    fn announced(&self) -> Option<i32> {
        self.buffer.first_chunk::<LENGTH_BYTES>().map(|bytes| i32::from_be_bytes(*bytes))
    }
}

/// Tells the protocols that people point at a Kafka port by mistake. As lengths, all of these
/// would be frames of more than 300 MB, which no client begins with.
fn recognise(start: &[u8]) -> Result<(), FrameError> {
    const HTTP: [&[u8; 4]; 7] = [b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"CONN", b"PRI "];
    let Some(first) = start.first_chunk::<4>() else { return Ok(()) };
    if HTTP.contains(&first) {
        return Err(FrameError::Http);
    }
    // A TLS record of type handshake, version 3.x.
    if first[..2] == [0x16, 0x03] { Err(FrameError::Tls) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 100 << 20;

    fn receive(inbound: &mut Inbound, bytes: &[u8]) {
        for byte in bytes {
            inbound.room().extend_from_slice(&[*byte]);
        }
    }

    #[test]
    fn frames_come_out_whole_and_in_order_however_they_arrive() {
        let mut inbound = Inbound::new();
        receive(&mut inbound, &[0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 3, 1]);
        assert_eq!(&inbound.next_frame(BYTES_MAX).unwrap().unwrap()[..], [7, 8]);
        assert_eq!(&inbound.next_frame(BYTES_MAX).unwrap().unwrap()[..], []);
        assert!(!inbound.has_frame(BYTES_MAX));
        assert_eq!(inbound.next_frame(BYTES_MAX), Ok(None));
        receive(&mut inbound, &[2, 3]);
        assert!(inbound.has_frame(BYTES_MAX));
        assert_eq!(&inbound.next_frame(BYTES_MAX).unwrap().unwrap()[..], [1, 2, 3]);
        assert_eq!(inbound.bytes(), 0);
    }

    #[test]
    fn bad_starts_are_named() {
        let size = |bytes| FrameError::Size { bytes, bytes_max: BYTES_MAX };
        let cases: [(&[u8; 4], FrameError); 7] = [
            (&[0xff; 4], size(-1)),
            (&[0x80, 0, 0, 0], size(i32::MIN)),
            (&[0x7f, 0xff, 0xff, 0xff], size(i32::MAX)),
            (&[0x06, 0x40, 0, 1], size((100 << 20) + 1)),
            (b"GET ", FrameError::Http),
            (b"POST", FrameError::Http),
            (&[0x16, 0x03, 0x01, 0x02], FrameError::Tls),
        ];
        for (start, expected) in cases {
            let mut inbound = Inbound::new();
            receive(&mut inbound, start);
            assert!(inbound.has_frame(BYTES_MAX), "{expected}: it is there to be refused");
            assert_eq!(inbound.next_frame(BYTES_MAX), Err(expected));
        }
    }

    #[test]
    fn room_follows_the_bytes_that_arrived_and_not_the_length_announced() {
        let mut inbound = Inbound::new();
        receive(&mut inbound, &i32::try_from(BYTES_MAX).unwrap().to_be_bytes());
        let mut arrived = LENGTH_BYTES;
        while arrived < 4 << 20 {
            let buffer = inbound.room();
            let room = buffer.capacity() - buffer.len();
            assert!(buffer.capacity() <= CHUNK_BYTES_MAX.max(GROWTH * arrived), "at {arrived}");
            buffer.extend_from_slice(&vec![0; room]);
            arrived += room;
        }
    }

    #[test]
    fn a_proven_size_is_given_in_one_piece() {
        let mut inbound = Inbound::new();
        let frame = vec![7; 1 << 20];
        let mut allocations = [0, 0];
        for count in &mut allocations {
            let length = (frame.len() as u32).to_be_bytes();
            let mut rest = [&length[..], &frame].concat();
            while !rest.is_empty() {
                let before = inbound.buffer.capacity();
                let buffer = inbound.room();
                let room = (buffer.capacity() - buffer.len()).min(rest.len());
                *count += u32::from(buffer.capacity() != before);
                buffer.extend_from_slice(&rest[..room]);
                rest.drain(..room);
            }
            assert_eq!(inbound.next_frame(BYTES_MAX).unwrap().unwrap(), frame);
        }
        assert_eq!(allocations, [5, 2], "first growing from 4 KiB, then a chunk and the frame");
    }

    #[test]
    fn small_frames_share_a_chunk() {
        let mut inbound = Inbound::new();
        receive(&mut inbound, &[0, 0, 0, 1, 7, 0, 0, 0, 1, 8]);
        let first = inbound.next_frame(BYTES_MAX).unwrap().unwrap();
        let second = inbound.next_frame(BYTES_MAX).unwrap().unwrap();
        assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 5);
    }
}
