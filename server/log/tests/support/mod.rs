//! Reading a log from its start to its end, for tests of the crate and of its modules.

use bytes::Bytes;
use thalweg_log::Log;
use types::Offset;

/// What one read after the other gives, each of `bytes_max` bytes or of one batch that is longer.
///
/// A compacted log may have nothing more before its end.
pub fn reads(log: &mut Log, bytes_max: usize) -> Vec<Bytes> {
    let mut reads = Vec::new();
    let mut at = log.start_offset();
    while at < log.end_offset() {
        let read = log.read_blocking(at, bytes_max, Offset::MAX, true).unwrap();
        if read.bytes.is_empty() {
            break;
        }
        assert!(read.next_offset > at, "reading is stuck at {at}");
        at = read.next_offset;
        reads.push(read.bytes);
    }
    reads
}
