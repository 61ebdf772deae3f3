//! Kafka's binary producer snapshot, version 1: the content of `<offset>.snapshot`.
//!
//! Version (INT16), CRC-32C of what follows it, a count, then entries of 46 bytes. An entry has room
//! for one batch of a producer, so a producer has an entry for each batch that is remembered of it,
//! the newest last: Kafka takes the last entry of a producer and thereby what it expects. What
//! clients have in flight is thus known after a restart, too.

use types::Offset;

use crate::producer_state::{BatchMetadata, ProducerEntry, ProducerStates};

const VERSION: i16 = 1;
/// Version and CRC; the CRC covers all behind them.
const FRONT_BYTES: usize = 6;
const ENTRY_BYTES: usize = 46;

/// The file's content.
pub(crate) fn encode(states: &ProducerStates) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRONT_BYTES + 4 + states.len() * ENTRY_BYTES);
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend([0; 4 + 4]);
    let mut count = 0_i32;
    for (producer, entry) in states.iter() {
        let none = BatchMetadata { last_sequence: -1, last_offset: -1, ..Default::default() };
        let (last, earlier) = entry.batches().split_last().unwrap_or((&none, &[]));
        for batch in earlier {
            put_entry(&mut bytes, producer.0, entry, batch, batch.timestamp, None);
        }
        put_entry(
            &mut bytes,
            producer.0,
            entry,
            last,
            entry.last_timestamp,
            entry.txn_first_offset,
        );
        count += i32::try_from(earlier.len() + 1).expect("few batches of a producer are kept");
    }
    bytes[FRONT_BYTES..FRONT_BYTES + 4].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c(&bytes[FRONT_BYTES..]);
    bytes[2..FRONT_BYTES].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn put_entry(
    bytes: &mut Vec<u8>,
    producer: i64,
    entry: &ProducerEntry,
    batch: &BatchMetadata,
    timestamp: i64,
    txn_first_offset: Option<Offset>,
) {
    bytes.extend(producer.to_be_bytes());
    bytes.extend(entry.epoch.to_be_bytes());
    bytes.extend(batch.last_sequence.to_be_bytes());
    bytes.extend(batch.last_offset.to_be_bytes());
    bytes.extend(batch.offset_delta.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(entry.coordinator_epoch.to_be_bytes());
    bytes.extend(txn_first_offset.map_or(-1, Offset::get).to_be_bytes());
}

/// The producers in a file's content; the reason where it is not a whole snapshot.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<(i64, ProducerEntry)>, String> {
    let mut rest = bytes;
    let (version, crc, count) =
        read_front(&mut rest).ok_or_else(|| "it is too short".to_owned())?;
    if version != VERSION {
        return Err(format!("version {version} is not {VERSION}"));
    }
    let computed = crc32c(&bytes[FRONT_BYTES..]);
    if computed != crc {
        return Err(format!("CRC-32C is {computed:#010x}, the file says {crc:#010x}"));
    }
    let (entries, rest) = rest.as_chunks::<ENTRY_BYTES>();
    if usize::try_from(count) != Ok(entries.len()) || !rest.is_empty() {
        return Err(format!("it announces {count} producers and holds {}", entries.len()));
    }
    let mut producers: Vec<(i64, ProducerEntry)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let (producer, entry) =
            read_entry(entry).ok_or_else(|| "an entry is malformed".to_owned())?;
        match producers.last_mut() {
            Some((known, earlier)) if *known == producer => earlier.follow_with(&entry),
            Some(_) | None => producers.push((producer, entry)),
        }
    }
    Ok(producers)
}

fn read_front(rest: &mut &[u8]) -> Option<(i16, u32, i32)> {
    Some((
        i16::from_be_bytes(take(rest)?),
        u32::from_be_bytes(take(rest)?),
        i32::from_be_bytes(take(rest)?),
    ))
}

fn read_entry(mut rest: &[u8]) -> Option<(i64, ProducerEntry)> {
    let rest = &mut rest;
    let producer = i64::from_be_bytes(take(rest)?);
    let epoch = i16::from_be_bytes(take(rest)?);
    let last_sequence = i32::from_be_bytes(take(rest)?);
    let last_offset = i64::from_be_bytes(take(rest)?);
    let offset_delta = i32::from_be_bytes(take(rest)?);
    let timestamp = i64::from_be_bytes(take(rest)?);
    let coordinator_epoch = i32::from_be_bytes(take(rest)?);
    let txn_first_offset = Offset::from_wire(i64::from_be_bytes(take(rest)?));
    if offset_delta < 0 || (last_offset >= 0 && last_offset < i64::from(offset_delta)) {
        return None;
    }
    let mut entry = ProducerEntry::new(epoch, coordinator_epoch, timestamp);
    entry.txn_first_offset = txn_first_offset;
    if last_offset >= 0 {
        entry.remember(BatchMetadata { last_sequence, last_offset, offset_delta, timestamp });
    }
    Some((producer, entry))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (front, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*front)
}

fn crc32c(bytes: &[u8]) -> u32 {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(crc).expect("a CRC-32 has 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states() -> ProducerStates {
        let mut states = ProducerStates::default();
        let mut entry = ProducerEntry::new(3, 2, 0);
        entry.remember(BatchMetadata {
            last_sequence: 9,
            last_offset: 100,
            offset_delta: 4,
            timestamp: 1_700_000_000_000,
        });
        for at in 1..4 {
            entry.remember(BatchMetadata {
                last_sequence: 9 + at,
                last_offset: 100 + i64::from(at),
                offset_delta: 0,
                timestamp: 1_700_000_000_000,
            });
        }
        entry.txn_first_offset = Some(Offset::new(96));
        states.restore(4000, entry);
        states.restore(5, ProducerEntry::new(0, -1, 7));
        states
    }

    #[test]
    fn snapshot_survives_the_file() {
        let states = states();
        let mut restored = ProducerStates::default();
        for (producer, entry) in decode(&encode(&states)).unwrap() {
            restored.restore(producer, entry);
        }
        for (producer, entry) in states.iter() {
            assert_eq!(restored.entry(producer), Some(entry), "{producer}");
        }
        assert_eq!(restored.len(), 2);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = encode(&states());
        assert!(decode(&good).is_ok());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(decode(&bad).is_err(), "flip at {at}");
            assert!(decode(&good[..at]).is_err(), "cut at {at}");
        }
    }
}
