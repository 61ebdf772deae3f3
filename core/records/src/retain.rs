//! Leaving records out of a batch, as compaction does. What stays keeps its offset.
//!
//! Not here: which records may go (`log`).

use types::Millis;

use crate::builder::{as_i32, write_header};
use crate::compression::{Compression, compress};
use crate::error::BatchError;
use crate::header::{BatchHeader, HEADER_BYTES, TimestampType};
use crate::iter::{Batch, timestamp};
use crate::record::{Record, take_record};
use crate::varint::{put_varint, put_varlong, take_varint, take_varlong, varlong_bytes};

/// When tombstones of a batch may go, for batches that do not say it yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeleteHorizon {
    /// The time to note.
    pub at: Millis,
    /// Whether it is noted although the batch keeps no tombstone, as for a marker whose
    /// transaction has no records any more.
    pub always: bool,
}

/// What is left of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Retained {
    /// Every record, and nothing else has changed either.
    All,
    /// Some records or another header: the new batch.
    Some(Vec<u8>),
    /// No record.
    Nothing,
}

/// The records of one pass over a batch that stay.
#[derive(Default)]
struct Kept {
    /// The records as they are, one behind the other.
    bytes: Vec<u8>,
    count: i32,
    has_tombstone: bool,
    max_timestamp: Option<i64>,
}

/// Keeps the records for which `keep` holds, under the batch's own codec. Base and last offset,
/// producer, sequence and leader epoch stay as they are. A batch that keeps tombstones and has no
/// delete horizon gets `horizon` (KIP-534).
///
/// # Errors
/// [`BatchError`] where a record is broken.
pub fn retain(
    batch: &Batch<'_>,
    horizon: DeleteHorizon,
    mut keep: impl FnMut(&Record<'_>) -> bool,
) -> Result<Retained, BatchError> {
    let mut header = *batch.header();
    let mut kept = Kept::default();
    let mut rest = batch.payload();
    for record in batch.records() {
        let record = record?;
        let whole = rest;
        take_record(&mut rest).map_err(|fault| BatchError::Record { index: kept.count, fault })?;
        if keep(&record) {
            kept.count += 1;
            kept.has_tombstone |= record.value.is_none();
            kept.max_timestamp = kept.max_timestamp.max(Some(record.timestamp));
            kept.bytes.extend_from_slice(&whole[..whole.len() - rest.len()]);
        }
    }
    let Some(max_timestamp) = kept.max_timestamp else { return Ok(Retained::Nothing) };
    let needs_horizon =
        (kept.has_tombstone || horizon.always) && !header.attributes.has_delete_horizon();
    if kept.count == header.record_count && !needs_horizon {
        return Ok(Retained::All);
    }
    let mut records = kept.bytes;
    if needs_horizon {
        records = count_timestamps_from(&header, &records, horizon.at.get())?;
        header.attributes = header.attributes.with_delete_horizon();
        header.base_timestamp = horizon.at.get();
    }
    header.record_count = kept.count;
    if header.attributes.timestamp_type() == TimestampType::CreateTime {
        header.max_timestamp = max_timestamp;
    }
    Ok(Retained::Some(finish(&header, records)?))
}

/// The batch without any record: what remains to tell its producer's sequence and the offsets.
pub fn empty_batch(header: &BatchHeader) -> Vec<u8> {
    let mut header = *header;
    header.attributes =
        header.attributes.with_compression(Compression::None).without_delete_horizon();
    header.base_timestamp = -1;
    header.record_count = 0;
    let mut batch = vec![0; HEADER_BYTES];
    write_header(&mut batch, &header);
    batch
}

fn finish(header: &BatchHeader, records: Vec<u8>) -> Result<Vec<u8>, BatchError> {
    let codec = header.attributes.compression()?;
    let records = match codec {
        Compression::None => records,
        _ => compress(codec, None, &records),
    };
    let mut batch = Vec::with_capacity(HEADER_BYTES + records.len());
    batch.resize(HEADER_BYTES, 0);
    batch.extend_from_slice(&records);
    write_header(&mut batch, header);
    Ok(batch)
}

/// The records with deltas from another base timestamp, so that their times stay.
fn count_timestamps_from(
    header: &BatchHeader,
    records: &[u8],
    base_timestamp: i64,
) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::with_capacity(records.len());
    let mut rest = records;
    while !rest.is_empty() {
        let broken = |fault| BatchError::Record { index: 0, fault };
        let mut whole = rest;
        let raw = take_record(&mut rest).map_err(broken)?;
        // All records of a batch with append time have the header's.
        let delta = match header.attributes.timestamp_type() {
            TimestampType::LogAppendTime => raw.timestamp_delta,
            TimestampType::CreateTime => {
                timestamp(header, &raw).map_err(broken)?.wrapping_sub(base_timestamp)
            }
        };
        take_varint(&mut whole).map_err(broken)?;
        let body = &whole[..whole.len() - rest.len()];
        let (attributes, mut behind) = body.split_at(1);
        take_varlong(&mut behind).map_err(broken)?;
        let bytes = 1 + varlong_bytes(delta) + behind.len();
        put_varint(&mut out, as_i32(bytes));
        out.extend_from_slice(attributes);
        put_varlong(&mut out, delta);
        out.extend_from_slice(behind);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use types::{LeaderEpoch, Offset, ProducerId};

    use super::*;
    use crate::{BatchBuilder, DecompressLimits, check_crc, stamp_log_append_time};

    const LIMITS: DecompressLimits = DecompressLimits { bytes_max: 1 << 20 };
    const HORIZON: DeleteHorizon = DeleteHorizon { at: Millis(9_000_000), always: false };

    /// Five records from offset 10 on; the one at 12 is a tombstone.
    fn batch(codec: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec)
            .base_offset(Offset::new(10))
            .leader_epoch(LeaderEpoch(3))
            .producer(ProducerId(7), 2, 40);
        for n in 0..5_u8 {
            let value = [n; 3];
            let value = (n != 2).then_some(&value[..]);
            builder.append(100 + i64::from(n), Some(&[b'a' + n]), value, &[]);
        }
        builder.build().to_vec()
    }

    fn kept(bytes: &[u8], keep: impl Fn(i64) -> bool) -> Retained {
        let batch = Batch::open(bytes, LIMITS).unwrap();
        retain(&batch, HORIZON, |record| keep(record.offset.get())).unwrap()
    }

    fn facts(bytes: &[u8]) -> Vec<(i64, i64, bool)> {
        let batch = Batch::open(bytes, LIMITS).unwrap();
        check_crc(bytes, batch.header()).unwrap();
        let records = batch.records().map(Result::unwrap);
        records.map(|r| (r.offset.get(), r.timestamp, r.value.is_none())).collect()
    }

    #[test]
    fn offsets_times_and_producer_stay_under_every_codec() {
        for codec in Compression::ALL {
            let bytes = batch(codec);
            let Retained::Some(left) = kept(&bytes, |offset| offset % 2 == 1) else { panic!() };
            assert_eq!(facts(&left), [(11, 101, false), (13, 103, false)], "{codec:?}");
            let (old, new) =
                (BatchHeader::parse(&bytes).unwrap(), BatchHeader::parse(&left).unwrap());
            let same = |h: &BatchHeader| {
                (h.base_offset, h.last_offset_delta, h.base_sequence, h.producer_epoch)
            };
            assert_eq!(same(&old), same(&new));
            assert_eq!(new.attributes.compression(), Ok(codec));
            assert_eq!((new.max_timestamp, new.record_count), (103, 2));
            assert!(!new.attributes.has_delete_horizon());
        }
    }

    #[test]
    fn kept_tombstones_get_a_horizon_once_and_keep_their_times() {
        let Retained::Some(first) = kept(&batch(Compression::Lz4), |_| true) else { panic!() };
        let header = BatchHeader::parse(&first).unwrap();
        assert!(header.attributes.has_delete_horizon());
        assert_eq!(header.base_timestamp, HORIZON.at.get());
        assert_eq!(facts(&first)[2], (12, 102, true));
        assert_eq!(kept(&first, |_| true), Retained::All);
        let Retained::Some(second) = kept(&first, |offset| offset == 12) else { panic!() };
        assert_eq!(BatchHeader::parse(&second).unwrap().base_timestamp, HORIZON.at.get());
        assert_eq!(facts(&second), [(12, 102, true)]);
    }

    #[test]
    fn append_time_stays_with_a_horizon() {
        let mut bytes = batch(Compression::None);
        stamp_log_append_time(&mut bytes, Millis(5000));
        let Retained::Some(left) = kept(&bytes, |offset| offset == 12) else { panic!() };
        assert_eq!(facts(&left), [(12, 5000, true)]);
    }

    #[test]
    fn without_records_only_the_header_can_stay() {
        let bytes = batch(Compression::Zstd);
        assert_eq!(kept(&bytes, |_| false), Retained::Nothing);
        let empty = empty_batch(&BatchHeader::parse(&bytes).unwrap());
        assert_eq!(facts(&empty), []);
        let header = BatchHeader::parse(&empty).unwrap();
        assert_eq!((header.last_offset().get(), header.last_sequence()), (14, 44));
        assert_eq!((header.record_count, header.producer_id), (0, 7));
    }
}
