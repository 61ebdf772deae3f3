//! `flush.ms`: what was acknowledged unsynced does not stay so.

use crate::client::{TestNode, eventually};

#[test]
fn what_nobody_waited_for_is_synced_once_it_is_old() {
    let node =
        TestNode::start_with(&[("thalweg.durability", "async"), ("log.flush.interval.ms", "20")]);
    let mut client = node.client();
    client.create_topic("t", 1);
    let recovery_point = || {
        let pages = node.log_dirs().map(|dir| {
            let path = dir.join("recovery-point-offset-checkpoint");
            std::fs::read_to_string(path).unwrap_or_default()
        });
        let page = pages.concat();
        let point = page.lines().find_map(|line| line.strip_prefix("t 0 "));
        point.map_or(0, |point| point.parse::<i64>().unwrap())
    };
    assert_eq!(client.produce("t", 2, 10, -1), 0);
    eventually("the recovery point moves", || {
        // Each deletion has the checkpoints written.
        let base = client.produce("t", 1, 10, -1);
        client.delete_records("t", 0, base);
        (recovery_point() > 0).then_some(())
    });
}
