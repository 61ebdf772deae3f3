//! Replicas that are taken from a broker while it is down.

use std::fs;

use protocol::ApiKey;
use protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};

use crate::client::eventually;
use crate::mending::{filled, read_all};
use crate::replication::{TOPIC, reassign, state};

#[test]
fn a_replica_that_was_moved_away_meanwhile_is_deleted() {
    let (mut cluster, leader) = filled();
    let other = 5 - leader;
    cluster.stop(other);
    let mut client = cluster.client(leader);
    eventually("the leader to be alone in sync", || {
        (state(&mut client, TOPIC)? == (leader, 1)).then_some(())
    });
    reassign(&mut client, TOPIC, &[leader]);
    // Another change, behind which a snapshot or a new log of the metadata may begin.
    client.create_topic("later", 1);
    let folder = cluster.folder(other).join(format!("{TOPIC}-0"));
    assert!(folder.exists());
    cluster.start_broker(other);
    eventually("the folder to go", || (!folder.exists()).then_some(()));
    read_all(&cluster, leader);
}

#[test]
fn a_replica_of_a_topic_that_was_deleted_meanwhile_is_set_aside() {
    let (mut cluster, leader) = filled();
    let other = 5 - leader;
    cluster.stop(other);
    let delete = DeleteTopicsRequest {
        topic_names: vec![TOPIC.to_owned()],
        timeout_ms: 5000,
        ..Default::default()
    };
    let answer: DeleteTopicsResponse =
        cluster.client(leader).call(ApiKey::DeleteTopics, 5, &delete);
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
    cluster.start_broker(other);
    let names = || {
        let entries = fs::read_dir(cluster.folder(other)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap())
    };
    eventually("its folder to have another name", || {
        let is_stray = |name: &String| name.starts_with("t-0.") && name.ends_with("-stray");
        (!names().any(|name| name == "t-0") && names().any(|name| is_stray(&name))).then_some(())
    });
}
