//! `flush.ms` and `flush.messages`: what of the unsynced is synced all the same.

use crate::client::{Client, TestNode, eventually};

/// The recovery point of the topic's partition: everything before it is synced.
fn recovery_point(node: &TestNode, client: &mut Client) -> i64 {
    // A deletion that moves the start has the checkpoints written.
    let end = client.produce("t", 1, 10, -1);
    client.delete_records("t", 0, end);
    let pages = node.log_dirs().map(|dir| {
        let path = dir.join("recovery-point-offset-checkpoint");
        std::fs::read_to_string(path).unwrap_or_default()
    });
    let page = pages.concat();
    let point = page.lines().find_map(|line| line.strip_prefix("t 0 "));
    point.map_or(0, |point| point.parse().unwrap())
}

#[test]
fn what_nobody_waited_for_is_synced_once_it_is_old() {
    let node =
        TestNode::start_with(&[("thalweg.durability", "async"), ("log.flush.interval.ms", "20")]);
    let mut client = node.client();
    client.create_topic("t", 1);
    assert_eq!(client.produce("t", 2, 10, -1), 0);
    eventually("the recovery point moves", || {
        (recovery_point(&node, &mut client) > 0).then_some(())
    });
}

#[test]
fn the_batch_that_reaches_so_many_records_waits_for_a_sync() {
    let node = TestNode::start_with(&[
        ("thalweg.durability", "async"),
        ("log.flush.interval.messages", "5"),
    ]);
    let mut client = node.client();
    client.create_topic("t", 1);
    assert_eq!(client.produce("t", 3, 10, -1), 0);
    assert_eq!(recovery_point(&node, &mut client), 0, "four are fewer");
    assert_eq!(client.produce("t", 4, 10, -1), 4);
    assert_eq!(recovery_point(&node, &mut client), 8, "eight were synced, the ninth was not");
    assert_eq!(client.produce("t", 2, 10, -1), 9);
    assert_eq!(recovery_point(&node, &mut client), 8, "four are fewer");
}
