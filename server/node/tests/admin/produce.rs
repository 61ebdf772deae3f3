//! Batches that a node does not take, however sound they are, and those that it changes.

use records::{BatchBuilder, Compression};
use types::{ErrorCode, ProducerId};

use crate::client::{Client, TestNode};
use crate::configs::{TOPIC, set};
use crate::log_dirs::logs;

fn refusal(batch: BatchBuilder, version: i16) -> ErrorCode {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    let mut batch = batch;
    batch.append(1, None, Some(b"v"), &[]);
    ErrorCode::from_wire(client.append("t", batch.build(), version).error_code)
}

#[test]
fn transactions_that_nobody_could_end_are_refused() {
    let batch = BatchBuilder::new(Compression::None).producer(ProducerId(1), 0, 0).transactional();
    assert_eq!(refusal(batch, 9), ErrorCode::InvalidTxnState);
}

#[test]
fn zstd_needs_a_version_that_knows_it() {
    let batch = || BatchBuilder::new(Compression::Zstd);
    assert_eq!(refusal(batch(), 6), ErrorCode::UnsupportedCompressionType);
    assert_eq!(refusal(batch(), 7), ErrorCode::None);
}

#[test]
fn a_batch_that_is_sent_twice_is_appended_once() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    assert_eq!(client.produce("t", 3, 1, 42), 0);
    assert_eq!(client.produce("t", 3, 1, 42), 0);
    assert_eq!(client.produce("t", 1, 1, -1), 3);
}

/// Bytes of the same batch in a topic of this codec and level.
fn recompressed(client: &mut Client, codec: &str, level: &str) -> i64 {
    let topic = format!("{codec}-{level}");
    client.create_topic(&topic, 1);
    let of_codec = format!("compression.{codec}.level");
    for (key, value) in [("compression.type", codec), (of_codec.as_str(), level)] {
        assert_eq!(set(client, TOPIC, &topic, key, Some(value)), ErrorCode::None, "{key}");
    }
    let mut batch = BatchBuilder::new(Compression::None);
    for n in 0..1000 {
        let value = format!("{} of many lines, {} of them alike", n * 7919 % 997, n % 13);
        batch.append(1, None, Some(value.as_bytes()), &[]);
    }
    let appended = client.append(&topic, batch.build(), 9);
    assert_eq!(appended.error_code, 0, "{appended:?}");
    logs(client, &topic)[0].1
}

#[test]
fn batches_are_compressed_by_the_level_of_their_topic() {
    let node = TestNode::start();
    let mut client = node.client();
    for (codec, fast, small) in [("gzip", "1", "9"), ("lz4", "9", "17"), ("zstd", "1", "19")] {
        let sizes = [fast, small].map(|level| recompressed(&mut client, codec, level));
        assert!(sizes[1] > 0 && sizes[1] < sizes[0], "{codec}: {sizes:?}");
    }
}
