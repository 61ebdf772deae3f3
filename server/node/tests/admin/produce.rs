//! Batches that a node does not take, however sound they are.

use records::{BatchBuilder, Compression};
use types::{ErrorCode, ProducerId};

use crate::client::TestNode;

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
