//! LZ4 frames as Kafka reads and writes them: one frame of independent blocks of 64 KiB.

use std::io::{self, Read, Write};

use lz4::liblz4::{BlockChecksum, ContentChecksum};
use lz4::{BlockMode, BlockSize, Decoder, EncoderBuilder};

/// Kafka's default. It alone means the fast compressor; all other levels mean the slow one.
pub(super) const DEFAULT_LEVEL: i32 = 9;
/// The levels of the slow compressor, as the library counts them.
const SLOW_LEVELS: (i32, i32) = (3, 12);
/// Bits of the frame's flags that Kafka's Java clients insist on: blocks do not refer to each
/// other, and there is neither a dictionary nor anything that came after format 1.5.1.
const FLAGS_MASK: u8 = 0x23;
const FLAGS_EXPECTED: u8 = 0x20;
/// Where the flags stand, behind the magic.
const AT_FLAGS: usize = 4;

pub(super) fn compress(data: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let level = match level {
        DEFAULT_LEVEL => 0,
        slow => slow.clamp(SLOW_LEVELS.0, SLOW_LEVELS.1).cast_unsigned(),
    };
    let mut encoder = EncoderBuilder::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Independent)
        .block_checksum(BlockChecksum::NoBlockChecksum)
        .checksum(ContentChecksum::NoChecksum)
        .level(level)
        .build(Vec::new())?;
    encoder.write_all(data)?;
    let (out, result) = encoder.finish();
    result.map(|()| out)
}

/// Decompresses one frame; what stands behind it is an error.
pub(super) struct Reader<'a> {
    /// Gone once the frame has been read to its end.
    decoder: Option<Decoder<&'a [u8]>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(data: &'a [u8]) -> io::Result<Self> {
        // The library would read other frames too, but Kafka's Java consumers would not.
        if data.get(AT_FLAGS).is_some_and(|flags| flags & FLAGS_MASK != FLAGS_EXPECTED) {
            return Err(io::Error::other("the frame has dependent blocks or a dictionary"));
        }
        Ok(Self { decoder: Some(Decoder::new(data)?) })
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(mut decoder) = self.decoder.take() else { return Ok(0) };
        let read = decoder.read(out);
        if out.is_empty() || !matches!(read, Ok(0)) {
            self.decoder = Some(decoder);
            return read;
        }
        // The library reports a frame that ends early only when asked to finish it.
        let (rest, result) = decoder.finish();
        result.map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if !rest.is_empty() {
            return Err(io::Error::other("there are bytes behind the frame"));
        }
        Ok(0)
    }
}
