//! Retention, also of logs that nobody has used since the start.

use types::ErrorCode;

use crate::client::{TestNode, eventually};
use crate::configs::{TOPIC, set};
use crate::faults::{PARTITIONS, check_each, write_to_each};

/// Whether partition `t-0` has a segment that begins there.
fn has_segment(node: &TestNode, base: i64) -> bool {
    let name = format!("t-0/{base:020}.log");
    node.log_dirs().iter().any(|dir| dir.join(&name).exists())
}

#[test]
fn logs_that_nobody_uses_let_go_of_what_is_old() {
    let mut node = TestNode::start_with(&[
        ("log.initial.task.delay.ms", "50"),
        ("log.retention.check.interval.ms", "50"),
        ("log.retention.ms", "-1"),
    ]);
    let mut client = node.client();
    client.create_topic("t", 1);
    assert_eq!(client.produce("t", 3, 100, 7), 0);
    drop(client);
    node.restart();
    let has = |base| has_segment(&node, base);
    assert!(has(0));
    let mut client = node.client();
    assert_eq!(set(&mut client, TOPIC, "t", "retention.ms", Some("1000")), ErrorCode::None);
    eventually("the segment is gone", || (has(3) && !has(0)).then_some(()));
    // The next records, which are as old, are not to go before they are looked for.
    assert_eq!(set(&mut client, TOPIC, "t", "retention.ms", Some("-1")), ErrorCode::None);
    // Whether the log is open or at rest by now, it goes on where it was.
    assert_eq!(client.produce("t", 2, 100, -1), 3);
    assert_eq!(client.delete_records("t", 0, 0), (ErrorCode::None, 3));
}

/// Nothing but the delay and the interval that the test is about comes round within it. The delay is
/// longer than the node's first run, whose stop writes all checkpoints.
#[test]
fn old_segments_are_first_looked_for_after_the_initial_delay_and_new_starts_written_down() {
    let mut node = TestNode::start_with(&[
        ("log.initial.task.delay.ms", "2000"),
        ("log.retention.check.interval.ms", "3600000"),
        ("log.retention.ms", "1000"),
        ("log.flush.offset.checkpoint.interval.ms", "3600000"),
        ("replica.high.watermark.checkpoint.interval.ms", "3600000"),
        ("log.flush.start.offset.checkpoint.interval.ms", "50"),
    ]);
    let mut client = node.client();
    client.create_topic("t", 1);
    assert_eq!(client.produce("t", 3, 100, 7), 0);
    drop(client);
    node.restart();
    // No request: one that asks for the start would have it written down.
    let has = |base| has_segment(&node, base);
    eventually("the segment is gone", || (has(3) && !has(0)).then_some(()));
    // Written often, whatever the other checkpoints' intervals say.
    eventually("the new start is written down", || {
        let files = node.log_dirs().map(|dir| dir.join("log-start-offset-checkpoint"));
        let holds = |file: &std::path::PathBuf| {
            std::fs::read_to_string(file).is_ok_and(|text| text.contains("t 0 3"))
        };
        files.iter().any(holds).then_some(())
    });
}

/// `THALWEG_TOPICS=34` has 10,200 partitions instead of the 300 of a build.
#[test]
fn old_records_go_from_every_partition() {
    let topics = std::env::var("THALWEG_TOPICS").map_or(1, |text| text.parse().unwrap());
    let topics: Vec<String> = (0..topics).map(|number: u32| format!("t{number}")).collect();
    let mut node = TestNode::start_with(&[
        ("log.initial.task.delay.ms", "50"),
        ("log.retention.check.interval.ms", "50"),
        ("log.retention.ms", "-1"),
        ("log.segment.delete.delay.ms", "0"),
    ]);
    topics.iter().for_each(|topic| write_to_each(&mut node.client(), topic));
    node.restart();
    // How many partitions have a segment that begins there.
    let count = |base: i64| {
        let dirs = node.log_dirs();
        let has = |topic: &str, index: i32| {
            let file = format!("{topic}-{index}/{base:020}.log");
            dirs.iter().any(|dir| dir.join(&file).exists())
        };
        let of = |topic: &String| (0..PARTITIONS).filter(|index| has(topic, *index)).count();
        topics.iter().map(of).sum::<usize>()
    };
    let all = count(0);
    assert_eq!((all % 300, all / 300, count(1)), (0, topics.len(), 0));
    let mut client = node.client();
    for topic in &topics {
        let old = Some("1000");
        assert_eq!(set(&mut client, TOPIC, topic, "retention.ms", old), ErrorCode::None);
    }
    eventually("all of them are gone", || (count(0) == 0 && count(1) == all).then_some(()));
    topics.iter().for_each(|topic| check_each(&mut client, topic));
}
