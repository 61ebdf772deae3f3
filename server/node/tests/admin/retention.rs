//! Retention, also of logs that nobody has used since the start.

use types::ErrorCode;

use crate::client::{TestNode, eventually};
use crate::configs::{TOPIC, set};

#[test]
fn logs_that_nobody_uses_let_go_of_what_is_old() {
    let mut node = TestNode::start_with(&[
        ("log.retention.check.interval.ms", "50"),
        ("log.retention.ms", "-1"),
    ]);
    let mut client = node.client();
    client.create_topic("t", 1);
    assert_eq!(client.produce("t", 3, 100, 7), 0);
    drop(client);
    node.restart();
    let has = |base: i64| {
        let name = format!("t-0/{base:020}.log");
        node.log_dirs().iter().any(|dir| dir.join(&name).exists())
    };
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
