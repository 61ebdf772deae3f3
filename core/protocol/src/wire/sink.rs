//! Where encoded bytes go: into a buffer, into a list of shared buffers, or merely counted.

use bytes::{Bytes, BytesMut};

/// From this length a shared buffer becomes a segment of its own; below, a copy is cheaper than
/// one more entry in the list that the socket is given.
const SHARED_BYTES_MIN: usize = 1024;

/// A place for encoded bytes.
pub trait Sink {
    /// Appends a copy of `bytes`.
    fn write(&mut self, bytes: &[u8]);

    /// Appends `bytes`, which the sink may keep instead of copying.
    fn write_shared(&mut self, bytes: &Bytes) {
        self.write(bytes);
    }

    /// Appends an unsigned varint, 7 bits a byte, lowest first.
    fn write_varint(&mut self, value: u32) {
        let mut encoded = [0_u8; 5];
        let length = super::varint_bytes(value);
        for (index, byte) in encoded[..length].iter_mut().enumerate() {
            let more = if index + 1 < length { 0x80 } else { 0 };
            *byte = (value >> (7 * index)) as u8 & 0x7f | more;
        }
        self.write(&encoded[..length]);
    }
}

impl Sink for BytesMut {
    fn write(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts what would be written, so that a buffer can be made once and in the right size.
#[derive(Clone, Copy, Debug, Default)]
pub struct SizeCounter(usize);

impl SizeCounter {
    /// Bytes so far.
    pub fn bytes(self) -> usize {
        self.0
    }
}

impl Sink for SizeCounter {
    fn write(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn write_varint(&mut self, value: u32) {
        self.0 += super::varint_bytes(value);
    }
}

/// A list of buffers for a vectored write; big shared buffers, such as fetched records, stay
/// where they are.
#[derive(Debug, Default)]
pub struct Segments {
    done: Vec<Bytes>,
    open: BytesMut,
}

impl Segments {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.done.iter().map(Bytes::len).sum::<usize>() + self.open.len()
    }

    /// The buffers in order, none of them empty.
    pub fn into_buffers(mut self) -> Vec<Bytes> {
        self.close();
        self.done
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.done.push(self.open.split().freeze());
        }
    }
}

impl Sink for Segments {
    fn write(&mut self, bytes: &[u8]) {
        self.open.extend_from_slice(bytes);
    }

    fn write_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            self.open.extend_from_slice(bytes);
            return;
        }
        self.close();
        self.done.push(bytes.clone());
    }
}
