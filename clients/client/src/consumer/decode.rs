//! From the bytes of a fetch answer to records that consumers may see.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use protocol::messages::fetch::AbortedTransaction;
use records::{
    Batch, BatchError, BatchHeader, Compression, ControlRecordType, DecompressLimits, check_crc,
    compression::decompress_bounded, split_batches,
};

use super::record::Record;

/// Most bytes that one batch may become when decompressed.
const BATCH_BYTES_MAX: usize = 256 << 20;
const AT_LENGTH: usize = 8;
const AT_ATTRIBUTES: usize = 21;
const COMPRESSION_BITS: u8 = 0b111;

/// What a fetch brought of one partition.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) records: Vec<Record>,
    /// Where to go on; behind control records and aborted ones too.
    pub(crate) next: i64,
    /// What is wrong with the batch at `next`, if something is.
    pub(crate) error: Option<BatchError>,
}

/// Reads the batches in `bytes` from offset `from` on. `aborted` is given for readers that see
/// only what was committed.
pub(crate) fn decode(
    topic: &Arc<str>,
    partition: i32,
    bytes: &Bytes,
    from: i64,
    aborted: Option<Vec<AbortedTransaction>>,
) -> Decoded {
    let mut decoded = Decoded { next: from, ..Decoded::default() };
    let mut filter = aborted.map(Filter::new);
    for (index, found) in split_batches(bytes).enumerate() {
        let (range, header) = match found {
            Ok(found) => found,
            // The broker cuts its answer at a size; only the first batch is always whole.
            Err(BatchError::Truncated { .. }) if index > 0 => break,
            Err(error) => {
                decoded.error = Some(error);
                break;
            }
        };
        let batch = bytes.slice(range);
        let is_hidden = filter.as_mut().is_some_and(|filter| filter.hides(&batch, &header));
        let next = header.next_offset().get();
        if !is_hidden && !header.attributes.is_control() && next > decoded.next {
            let start = decoded.next;
            let records = &mut decoded.records;
            if let Err(error) = append(topic, partition, &batch, &header, start, records) {
                decoded.error = Some(error);
                break;
            }
        }
        decoded.next = decoded.next.max(next);
    }
    decoded
}

fn append(
    topic: &Arc<str>,
    partition: i32,
    batch: &Bytes,
    header: &BatchHeader,
    from: i64,
    out: &mut Vec<Record>,
) -> Result<(), BatchError> {
    check_crc(batch, header)?;
    let plain = plain(batch, header)?;
    let opened = Batch::open(&plain, DecompressLimits { bytes_max: BATCH_BYTES_MAX })?;
    let share = |slice: &[u8]| plain.slice_ref(slice);
    let before = out.len();
    for record in opened.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                out.truncate(before);
                return Err(error);
            }
        };
        if record.offset.get() < from {
            continue;
        }
        out.push(Record {
            topic: topic.clone(),
            partition,
            offset: record.offset.get(),
            timestamp: record.timestamp,
            key: record.key.map(share),
            value: record.value.map(share),
            headers: record.headers.map(|h| (share(h.key), h.value.map(share))).collect(),
        });
    }
    Ok(())
}

/// The batch without compression, so that records can share its bytes.
fn plain(batch: &Bytes, header: &BatchHeader) -> Result<Bytes, BatchError> {
    let codec = header.attributes.compression()?;
    if codec == Compression::None {
        return Ok(batch.clone());
    }
    let limits = DecompressLimits { bytes_max: BATCH_BYTES_MAX };
    let (head, payload) = batch.split_at(records::HEADER_BYTES);
    let payload = decompress_bounded(codec, payload, limits)?;
    let mut plain = Vec::with_capacity(head.len() + payload.len());
    plain.extend_from_slice(head);
    plain.extend_from_slice(&payload);
    let length = (plain.len() - AT_LENGTH - 4) as u32;
    plain[AT_LENGTH..AT_LENGTH + 4].copy_from_slice(&length.to_be_bytes());
    plain[AT_ATTRIBUTES + 1] &= !COMPRESSION_BITS;
    Ok(plain.into())
}

/// Knows which transactions were aborted while it walks over the batches in order.
struct Filter {
    /// Not begun yet, the next one last.
    ahead: Vec<AbortedTransaction>,
    /// Producers whose transaction is open and will be aborted.
    aborting: BTreeSet<i64>,
}

impl Filter {
    fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_by_key(|one| std::cmp::Reverse(one.first_offset));
        Self { ahead: aborted, aborting: BTreeSet::new() }
    }

    fn hides(&mut self, batch: &Bytes, header: &BatchHeader) -> bool {
        let last = header.last_offset().get();
        while let Some(one) = self.ahead.pop_if(|one| one.first_offset <= last) {
            self.aborting.insert(one.producer_id);
        }
        if !header.attributes.is_transactional() {
            return false;
        }
        if header.attributes.is_control() {
            if is_abort(batch) {
                self.aborting.remove(&header.producer_id);
            }
            return true;
        }
        self.aborting.contains(&header.producer_id)
    }
}

fn is_abort(batch: &Bytes) -> bool {
    let limits = DecompressLimits { bytes_max: BATCH_BYTES_MAX };
    let Ok(opened) = Batch::open(batch, limits) else { return false };
    let first = opened.records().next();
    let key = first.and_then(Result::ok).and_then(|record| record.key);
    key.and_then(ControlRecordType::parse_key) == Some(ControlRecordType::Abort)
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::{BatchBuilder, Header};
    use types::{Offset, ProducerId};

    fn batch(base: i64, values: &[&str], codec: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec).base_offset(Offset::new(base));
        for value in values {
            let headers = [Header { key: b"h", value: None }];
            builder.append(5, None, Some(value.as_bytes()), &headers);
        }
        builder.build().to_vec()
    }

    fn transactional(base: i64, producer: i64, value: &str) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None)
            .base_offset(Offset::new(base))
            .producer(ProducerId(producer), 0, 0)
            .transactional();
        builder.append(5, None, Some(value.as_bytes()), &[]);
        builder.build().to_vec()
    }

    fn marker(base: i64, producer: i64, kind: ControlRecordType) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None)
            .base_offset(Offset::new(base))
            .producer(ProducerId(producer), 0, -1)
            .transactional()
            .control();
        builder.append(5, Some(&kind.to_key()), Some(&[0; 6]), &[]);
        builder.build().to_vec()
    }

    fn values(decoded: &Decoded) -> Vec<(i64, &str)> {
        let value = |record: &Record| -> &str {
            std::str::from_utf8(record.value.as_ref().unwrap()).unwrap().to_owned().leak()
        };
        decoded.records.iter().map(|record| (record.offset, value(record))).collect()
    }

    fn read(parts: &[Vec<u8>], from: i64, aborted: Option<Vec<AbortedTransaction>>) -> Decoded {
        decode(&"t".into(), 0, &parts.concat().into(), from, aborted)
    }

    #[test]
    fn records_before_the_wanted_offset_are_left_out() {
        for codec in Compression::ALL {
            let decoded = read(&[batch(10, &["a", "b", "c"], codec)], 11, None);
            assert_eq!(values(&decoded), [(11, "b"), (12, "c")], "{}", codec.name());
            assert_eq!((decoded.next, decoded.error), (13, None));
        }
    }

    #[test]
    fn a_cut_last_batch_is_left_for_the_next_fetch() {
        let mut second = batch(12, &["c"], Compression::None);
        second.truncate(70);
        let decoded = read(&[batch(10, &["a", "b"], Compression::None), second], 10, None);
        assert_eq!((values(&decoded).len(), decoded.next, decoded.error), (2, 12, None));
    }

    #[test]
    fn a_broken_batch_is_an_error_behind_the_good_ones() {
        let mut second = batch(12, &["c"], Compression::None);
        *second.last_mut().unwrap() ^= 1;
        let decoded = read(&[batch(10, &["a", "b"], Compression::None), second], 10, None);
        assert_eq!((values(&decoded).len(), decoded.next), (2, 12));
        assert!(decoded.error.is_some());
    }

    #[test]
    fn aborted_records_and_markers_are_hidden_yet_passed() {
        let parts = [
            transactional(0, 7, "aborted"),
            transactional(1, 8, "committed"),
            marker(2, 7, ControlRecordType::Abort),
            transactional(3, 7, "later"),
            marker(4, 7, ControlRecordType::Commit),
        ];
        let aborted = AbortedTransaction { producer_id: 7, first_offset: 0, ..Default::default() };
        let decoded = read(&parts, 0, Some(vec![aborted]));
        assert_eq!(values(&decoded), [(1, "committed"), (3, "later")]);
        assert_eq!(decoded.next, 5);
        assert_eq!(read(&parts, 0, None).records.len(), 3, "without the list all are seen");
    }
}
