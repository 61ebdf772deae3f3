//! Stand-ins for records in several pieces, so that a response can be encoded around them.
//!
//! A message holds its records as one run of bytes. For records that lie in pieces, as the tail of
//! a log was received, a part of one blank that is never read nor written, and so takes no memory,
//! stands there. Once the message is encoded, with the right lengths, the pieces take their places.

use bytes::Bytes;

/// The most that one stand-in stands for.
pub const BYTES_MAX: usize = 8 << 20;

static BLANK: [u8; BYTES_MAX] = [0; BYTES_MAX];

/// Bytes that stand for `bytes` bytes of records.
pub fn of(bytes: usize) -> Bytes {
    Bytes::from_static(&BLANK[..bytes])
}

/// The encoded message with the records, which are in the order of their stand-ins, in their
/// places.
pub fn replace(encoded: Vec<Bytes>, records: Vec<Vec<Bytes>>) -> Vec<Bytes> {
    let mut records = records.into_iter();
    let mut segments = Vec::with_capacity(encoded.len());
    for bytes in encoded {
        if bytes.as_ptr() != BLANK.as_ptr() {
            segments.push(bytes);
            continue;
        }
        let pieces = records.next().expect("each stand-in was made for records");
        let total: usize = pieces.iter().map(Bytes::len).sum();
        assert!(total == bytes.len(), "records come in the order of their stand-ins");
        segments.extend(pieces);
    }
    segments
}
