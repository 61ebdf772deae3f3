//! Snappy as Kafka's clients write it: the Java ones in the xerial framing, others as one raw block.
//!
//! Framing: 8 bytes of magic, two INT32 versions, then blocks, each an INT32 length and a raw
//! snappy block. Concatenated framings are one stream.

use std::io::{self, Read};

const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// Magic and the two versions.
const FRAME_HEADER_BYTES: usize = 16;
/// What xerial writes for both the version and the oldest version that can read it.
const VERSION: [u8; 4] = [0, 0, 0, 1];
/// Uncompressed bytes per block, xerial's default.
const BLOCK_BYTES: usize = 32 << 10;
/// A block cannot expand more than this: three bytes copy at most 64.
const RATIO_MAX: usize = 22;

pub(super) fn compress(data: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = snap::raw::Encoder::new();
    let mut out = Vec::with_capacity(FRAME_HEADER_BYTES + data.len() / 2);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION);
    out.extend_from_slice(&VERSION);
    for block in data.chunks(BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block).map_err(io::Error::other)?;
        let length = i32::try_from(compressed.len()).map_err(io::Error::other)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(out)
}

/// Decompresses block by block.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    framed: bool,
    block: Vec<u8>,
    /// How much of `block` has been handed out.
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { rest: data, framed: data.starts_with(MAGIC), block: Vec::new(), at: 0 }
    }

    /// The next raw block, or `None` at the end of the data.
    fn next_block(&mut self) -> io::Result<Option<&'a [u8]>> {
        if !self.framed {
            let block = std::mem::take(&mut self.rest);
            return Ok((!block.is_empty()).then_some(block));
        }
        while self.rest.starts_with(MAGIC) {
            let behind = self.rest.get(FRAME_HEADER_BYTES..);
            self.rest = behind.ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (length, rest) =
            self.rest.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = usize::try_from(i32::from_be_bytes(*length))
            .map_err(|_| io::Error::other("a snappy block has a negative length"))?;
        let (block, rest) = rest.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.rest = rest;
        Ok(Some(block))
    }

    fn fill(&mut self, compressed: &[u8]) -> io::Result<()> {
        let announced = snap::raw::decompress_len(compressed).map_err(io::Error::other)?;
        if announced > compressed.len().saturating_mul(RATIO_MAX) {
            return Err(io::Error::other("a snappy block announces more than it can hold"));
        }
        self.block.clear();
        self.block.resize(announced, 0);
        self.at = 0;
        let mut decoder = snap::raw::Decoder::new();
        decoder.decompress(compressed, &mut self.block).map_err(io::Error::other)?;
        Ok(())
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // An empty block is no end of the data.
        while self.at == self.block.len() {
            match self.next_block()? {
                Some(compressed) => self.fill(compressed)?,
                None => return Ok(0),
            }
        }
        let read = out.len().min(self.block.len() - self.at);
        out[..read].copy_from_slice(&self.block[self.at..self.at + read]);
        self.at += read;
        Ok(read)
    }
}
