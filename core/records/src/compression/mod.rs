//! The codecs of record batches: gzip, snappy, lz4 and zstd, as Kafka's own clients write them.
//!
//! Decompression is a stream under a [`DecompressLimits`]: nothing is allocated because the data
//! announces a size, only because bytes have come out. What the bytes mean is not known here.

mod lz4_frame;
mod snappy;

use std::io::{self, Read, Write};
use std::ops::RangeInclusive;

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::error::BatchError;

/// Data that decompresses to no more than this is fine at any ratio: a large batch of equal
/// records is honest and may shrink ten-thousandfold.
const RATIO_FREE_BYTES: usize = 16 << 20;
/// Beyond [`RATIO_FREE_BYTES`], how many bytes may come out of one. Gzip cannot do more than 1032.
const RATIO_MAX: usize = 1024;
/// Growth of the output of [`decompress_bounded`] and the window of a streaming reader.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy blocks in the framing of the xerial library.
    Snappy,
    /// LZ4 frames of independent blocks.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// All codecs, by id.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this id in the batch attributes.
    pub fn from_id(id: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.id() == id)
    }

    /// The id in the batch attributes.
    pub fn id(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The codec that configurations call so; `uncompressed` is the topic's word for none.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "uncompressed" => Some(Self::None),
            _ => Self::ALL.into_iter().find(|codec| codec.name() == name),
        }
    }

    /// The name in configurations and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The levels that Kafka's configurations accept, beside [`Compression::default_level`].
    pub fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Self::None | Self::Snappy => None,
            Self::Gzip => Some(1..=9),
            Self::Lz4 => Some(1..=17),
            Self::Zstd => Some(-131_072..=22),
        }
    }

    /// The level that is used where none is configured; gzip's -1 means the library's own choice.
    pub fn default_level(self) -> Option<i32> {
        match self {
            Self::None | Self::Snappy => None,
            Self::Gzip => Some(-1),
            Self::Lz4 => Some(lz4_frame::DEFAULT_LEVEL),
            Self::Zstd => Some(3),
        }
    }
}

/// How much a reader is willing to decompress.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DecompressLimits {
    /// Most bytes that may come out of one batch.
    pub bytes_max: usize,
}

impl DecompressLimits {
    /// What `compressed` bytes may become.
    fn bytes_max_of(self, compressed: usize) -> usize {
        self.bytes_max.min(compressed.saturating_mul(RATIO_MAX).saturating_add(RATIO_FREE_BYTES))
    }
}

/// Compresses `data` in one go. `level` `None` is the codec's default; levels outside of
/// [`Compression::levels`] are drawn to its nearest end.
pub fn compress(codec: Compression, level: Option<i32>, data: &[u8]) -> Vec<u8> {
    let level = match (codec.levels(), level.or(codec.default_level())) {
        (Some(_), level) if level == codec.default_level() => level.unwrap_or_default(),
        (Some(levels), Some(level)) => level.clamp(*levels.start(), *levels.end()),
        _ => 0,
    };
    let compressed = match codec {
        Compression::None => Ok(data.to_vec()),
        Compression::Gzip => gzip(data, level),
        Compression::Snappy => snappy::compress(data),
        Compression::Lz4 => lz4_frame::compress(data, level),
        Compression::Zstd => zstd::stream::encode_all(data, level),
    };
    compressed.expect("compressing from memory to memory fails for want of memory only")
}

fn gzip(data: &[u8], level: i32) -> io::Result<Vec<u8>> {
    // A negative level is Kafka's default, which leaves the choice to the library.
    let level = u32::try_from(level).map_or_else(|_| Default::default(), flate2::Compression::new);
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(data)?;
    encoder.finish()
}

/// Decompresses `data` as a whole.
///
/// # Errors
/// [`BatchError::Decompress`] where the data is broken or ends early,
/// [`BatchError::DecompressedTooLarge`] where more comes out than `limits` allows.
pub fn decompress_bounded(
    codec: Compression,
    data: &[u8],
    limits: DecompressLimits,
) -> Result<Vec<u8>, BatchError> {
    let mut reader = BoundedReader::new(codec, data, limits)?;
    let mut out = Vec::new();
    loop {
        let filled = out.len();
        // Grows by what has come out so far, never by what the data says about itself.
        out.resize(filled + filled.clamp(CHUNK_BYTES / 16, CHUNK_BYTES * 16), 0);
        let read = reader.read(&mut out[filled..])?;
        out.truncate(filled + read);
        if read == 0 {
            return Ok(out);
        }
    }
}

/// A stream of decompressed bytes that fails instead of growing past its limit.
pub(crate) struct BoundedReader<'a> {
    codec: Compression,
    inner: Box<dyn Read + 'a>,
    bytes_max: usize,
    bytes_read: usize,
}

impl<'a> BoundedReader<'a> {
    pub(crate) fn new(
        codec: Compression,
        data: &'a [u8],
        limits: DecompressLimits,
    ) -> Result<Self, BatchError> {
        let bytes_max = limits.bytes_max_of(data.len());
        let inner: io::Result<Box<dyn Read + 'a>> = match codec {
            Compression::None => Ok(Box::new(data)),
            Compression::Gzip => Ok(Box::new(MultiGzDecoder::new(data))),
            Compression::Snappy => Ok(Box::new(snappy::Reader::new(data))),
            Compression::Lz4 => lz4_frame::Reader::new(data).map(|r| Box::new(r) as _),
            Compression::Zstd => zstd::Decoder::with_buffer(data).map(|r| Box::new(r) as _),
        };
        match inner {
            Ok(inner) => Ok(Self { codec, inner, bytes_max, bytes_read: 0 }),
            Err(e) => Err(BatchError::Decompress { codec, reason: e.to_string() }),
        }
    }

    /// Reads some bytes; 0 means the end of the data.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result<usize, BatchError> {
        let codec = self.codec;
        let read = loop {
            match self.inner.read(out) {
                Ok(read) => break read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(BatchError::Decompress { codec, reason: e.to_string() }),
            }
        };
        self.bytes_read += read;
        if self.bytes_read > self.bytes_max {
            return Err(BatchError::DecompressedTooLarge { codec, bytes_max: self.bytes_max });
        }
        Ok(read)
    }
}
