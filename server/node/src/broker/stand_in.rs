//! Stand-ins for records that are not in memory, so that a response can be encoded around them.
//!
//! A message holds its records as bytes. For those that the kernel is to send out of a file, bytes
//! of the same length stand there: a part of one blank that is never read nor written, and so takes
//! no memory. Once the message is encoded, with the right lengths, the files take their places.

use bytes::Bytes;
use log::FileSlice;
use net::{FileRange, Segment};

/// The most that one stand-in stands for.
pub const BYTES_MAX: usize = 8 << 20;

static BLANK: [u8; BYTES_MAX] = [0; BYTES_MAX];

/// Bytes that stand for a stretch of a file.
pub fn of(slice: &FileSlice) -> Bytes {
    Bytes::from_static(&BLANK[..slice.bytes])
}

/// The encoded message with the files, which are in the order of their stand-ins, in their places.
pub fn replace(encoded: Vec<Bytes>, files: Vec<FileSlice>) -> Vec<Segment> {
    let mut files = files.into_iter();
    let place = |bytes: Bytes| {
        if bytes.as_ptr() != BLANK.as_ptr() {
            return Segment::Bytes(bytes);
        }
        let slice = files.next().expect("each stand-in was made for a file");
        assert!(slice.bytes == bytes.len(), "files come in the order of their stand-ins");
        Segment::File(FileRange { file: slice.file, position: slice.position, bytes: slice.bytes })
    };
    encoded.into_iter().map(place).collect()
}
