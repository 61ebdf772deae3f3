//! Attacks with record batches: bombs, lying fields, old formats, records for internal topics.

use anyhow::{Context, ensure};
use bytes::Bytes;
use protocol::ApiKey;
use protocol::messages::produce::ProduceResponse;
use records::compression::compress;
use records::{BatchBuilder, Compression, HEADER_BYTES, stamp_max_timestamp};

use super::target::{BOMBS_TOPIC, TOPIC, Target, good_batch};
use crate::client::produce_request;

/// What a bomb unpacks to: far beyond any sane bound, and small when packed.
const BOMB_BYTES: usize = 256 << 20;
/// Where fields lie in a batch.
const AT_BATCH_LENGTH: usize = 8;
const AT_MAGIC: usize = 16;
const AT_CRC: usize = 17;
const AT_ATTRIBUTES: usize = 21;
const AT_LAST_OFFSET_DELTA: usize = 23;
const AT_BASE_TIMESTAMP: usize = 27;
const AT_MAX_TIMESTAMP: usize = 35;
const AT_PRODUCER_ID: usize = 43;
const AT_RECORD_COUNT: usize = 57;

/// A quarter of a gigabyte of zeros in one small batch, once as no record at all and once as a
/// record that nothing is wrong with. The second may be taken or refused; the caller's look at
/// the peak of the node's memory is the proof.
pub(super) fn bombs(target: &Target) -> anyhow::Result<String> {
    let mut answers = Vec::new();
    let zeros = vec![0; BOMB_BYTES];
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let name = codec.name();
        let empty = with_payload(codec, &compress(codec, None, &zeros));
        refuse(target, empty).with_context(|| format!("{name} bomb without a record"))?;
        let mut batch = BatchBuilder::new(codec);
        batch.append(0, None, Some(&zeros), &[]);
        let answer = target.produce(BOMBS_TOPIC, batch.build());
        let answer = answer.with_context(|| format!("{name} bomb"))?;
        answers.push(format!("{name} error {}", answer.error_code));
    }
    Ok(answers.join(", "))
}

/// Payloads that the codec cannot unpack, or whose own lengths lie.
pub(super) fn broken_compression(target: &Target) -> anyhow::Result<String> {
    let mut refused = 0;
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let whole = compress(codec, None, &good_batch()[HEADER_BYTES..]);
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0xff;
        let payloads: [&[u8]; 6] = [
            &[],
            &[0xff; 40],
            &whole[..whole.len() / 2],
            &flipped,
            // Snappy: 4 GiB announced. Lz4 and zstd: frames of that size announced by headers.
            &[0xff, 0xff, 0xff, 0xff, 0x0f, 0x00],
            &[0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ];
        for payload in payloads {
            let name = codec.name();
            refuse(target, with_payload(codec, payload))
                .with_context(|| format!("{name} payload {payload:02x?}"))?;
            refused += 1;
        }
    }
    Ok(format!("{refused} payloads refused"))
}

/// One field of a good batch at a time is made to lie; the CRC is right again.
pub(super) fn lying_fields(target: &Target) -> anyhow::Result<String> {
    let lies: [(&str, usize, &[u8]); 14] = [
        ("no records", AT_RECORD_COUNT, &[0; 4]),
        ("negative record count", AT_RECORD_COUNT, &[0xff; 4]),
        ("record count beyond the bytes", AT_RECORD_COUNT, &[0x7f, 0xff, 0xff, 0xff]),
        ("one record more", AT_RECORD_COUNT, &[0, 0, 0, 2]),
        ("last offset delta too large", AT_LAST_OFFSET_DELTA, &[0x7f, 0xff, 0xff, 0xff]),
        ("last offset delta negative", AT_LAST_OFFSET_DELTA, &[0xff; 4]),
        ("last offset delta off by one", AT_LAST_OFFSET_DELTA, &[0, 0, 0, 1]),
        ("base timestamp below -1", AT_BASE_TIMESTAMP, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("control batch", AT_ATTRIBUTES, &[0, 0x20]),
        ("transactional without producer", AT_ATTRIBUTES, &[0, 0x10]),
        ("codec 7", AT_ATTRIBUTES, &[0, 7]),
        ("producer without epoch", AT_PRODUCER_ID, &[0, 0, 0, 0, 0, 0, 0, 9]),
        ("producer without sequence", AT_PRODUCER_ID, &[0, 0, 0, 0, 0, 0, 0, 9, 0, 0]),
        ("unused attribute bits with codec 5", AT_ATTRIBUTES, &[0x7f, 0x85]),
    ];
    for (name, at, bytes) in lies {
        let mut batch = good_batch().to_vec();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        refuse(target, resealed(batch)).context(name)?;
    }
    let mut wrong_crc = good_batch().to_vec();
    wrong_crc[AT_CRC] ^= 1;
    refuse(target, wrong_crc.into()).context("wrong CRC")?;
    Ok(format!("{} lies refused", lies.len() + 1))
}

/// Batches cut at every byte, with a length that lies, or two where one is allowed.
pub(super) fn wrong_sizes(target: &Target) -> anyhow::Result<String> {
    let good = good_batch();
    for bytes in 0..good.len() {
        refuse_or_close(target, good.slice(..bytes))
            .with_context(|| format!("a batch cut after {bytes} bytes"))?;
    }
    for length in [i32::MIN, -1, 0, 1, 48, i32::MAX] {
        let mut batch = good.to_vec();
        batch[AT_BATCH_LENGTH..AT_BATCH_LENGTH + 4].copy_from_slice(&length.to_be_bytes());
        refuse_or_close(target, batch.into()).with_context(|| format!("batch length {length}"))?;
    }
    let two = [&good[..], &good[..]].concat();
    refuse_or_close(target, two.into()).context("two batches in one partition")?;
    Ok(format!("{} sizes refused", good.len() + 7))
}

/// Message formats 0 and 1, and formats that do not exist yet.
pub(super) fn old_formats(target: &Target) -> anyhow::Result<String> {
    for magic in [0, 1, 3, 127, 0xff] {
        let mut batch = good_batch().to_vec();
        batch[AT_MAGIC] = magic;
        refuse_or_close(target, batch.into()).with_context(|| format!("magic {magic}"))?;
    }
    Ok("5 formats refused".to_owned())
}

/// Records that the node itself would have to parse when it loads its coordinators.
pub(super) fn internal_topics(target: &Target) -> anyhow::Result<String> {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(0, Some(&[0, 1, 0x7f, 0xff]), Some(&[0xff; 20]), &[]);
    let batch = batch.build();
    let topics =
        ["__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"];
    for topic in topics {
        let answer = target.produce(topic, batch.clone()).context(topic)?;
        ensure!(answer.error_code != 0, "a client may write to {topic}");
    }
    Ok(format!("{} topics refused", topics.len()))
}

/// A batch with this attribute and these bytes behind its header.
fn with_payload(codec: Compression, payload: &[u8]) -> Bytes {
    let mut batch = good_batch()[..HEADER_BYTES].to_vec();
    batch.extend_from_slice(payload);
    let length = i32::try_from(batch.len() - 12).expect("payloads are small");
    batch[AT_BATCH_LENGTH..AT_BATCH_LENGTH + 4].copy_from_slice(&length.to_be_bytes());
    batch[AT_ATTRIBUTES..AT_ATTRIBUTES + 2].copy_from_slice(&codec.id().to_be_bytes());
    resealed(batch)
}

/// Makes the CRC right again, with nothing else changed.
fn resealed(mut batch: Vec<u8>) -> Bytes {
    let max_timestamp = batch[AT_MAX_TIMESTAMP..AT_MAX_TIMESTAMP + 8].try_into();
    let max_timestamp = i64::from_be_bytes(max_timestamp.expect("eight bytes were cut out"));
    stamp_max_timestamp(&mut batch, max_timestamp);
    batch.into()
}

fn refuse(target: &Target, batch: Bytes) -> anyhow::Result<()> {
    let answer = target.produce(TOPIC, batch)?;
    ensure!(answer.error_code != 0, "accepted at offset {}", answer.base_offset);
    Ok(())
}

/// As [`refuse`], where a node may also close: the request as a whole may be unreadable.
fn refuse_or_close(target: &Target, batch: Bytes) -> anyhow::Result<()> {
    let mut connection = target.connect()?;
    let question = produce_request(TOPIC, 0, batch);
    match connection.ask::<_, ProduceResponse>(ApiKey::Produce, 12, &question) {
        Err(_) => connection.expect_closed(),
        Ok(answer) => {
            let partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
            let accepted = partitions.filter(|partition| partition.error_code == 0).count();
            ensure!(accepted == 0, "accepted");
            Ok(())
        }
    }
}
