//! Changing the codec of a batch, for topics that set `compression.type`.

use bytes::BytesMut;

use crate::builder::write_header;
use crate::compression::{Compression, DecompressLimits, compress, decompress_bounded};
use crate::error::BatchError;
use crate::header::{BatchHeader, HEADER_BYTES};
use crate::iter::payload;

/// The same records under another codec. All other fields of the header stay; length, codec and
/// CRC are written anew. The batch must be valid.
///
/// # Errors
/// [`BatchError`] where the batch cannot be decompressed within `limits`.
pub fn recompress(
    batch: &[u8],
    to: Compression,
    level: Option<i32>,
    limits: DecompressLimits,
) -> Result<BytesMut, BatchError> {
    let mut header = BatchHeader::parse(batch)?;
    let from = header.attributes.compression()?;
    let records = decompress_bounded(from, payload(batch, &header)?, limits)?;
    let compressed = compress(to, level, &records);
    header.attributes = header.attributes.with_compression(to);
    let mut out = BytesMut::with_capacity(HEADER_BYTES + compressed.len());
    out.resize(HEADER_BYTES, 0);
    out.extend_from_slice(&compressed);
    write_header(&mut out, &header);
    Ok(out)
}
