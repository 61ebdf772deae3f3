//! Rates of copying: who waits for them, and who does not. How much a rate lets through is told by
//! `replication::Quota`; here it is 0, which needs no clock.

use protocol::ApiKey;
use protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use records::{BatchBuilder, Compression};
use types::ErrorCode;

use crate::client::{Client, TestNode, eventually};
use crate::cluster::{Cluster, await_both};
use crate::configs::{BROKER, TOPIC, set};
use crate::log_dirs::{copy_of, move_to, other_dir, wait_for_move};
use crate::replication::{create_on, reassign, state};

/// What a broker that fetches from the start of a topic's log is answered at once.
fn fetch_as(client: &mut Client, replica_id: i32, topic: &str) -> PartitionData {
    let partition = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
    let topic =
        FetchTopic { topic: topic.to_owned(), partitions: vec![partition], ..Default::default() };
    let request =
        FetchRequest { replica_id, max_bytes: 1 << 20, topics: vec![topic], ..Default::default() };
    let mut response: FetchResponse = client.call(ApiKey::Fetch, 12, &request);
    response.responses.remove(0).partitions.remove(0)
}

fn in_sync(client: &mut Client, topic: &str) -> bool {
    state(client, topic) == Some((2, 2))
}

/// Appends a batch once the topic is served.
pub fn append(client: &mut Client, topic: &str, bytes: usize) {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(1, None, Some(&vec![7; bytes]), &[]);
    let batch = batch.build();
    eventually("the batch to be taken", || {
        (client.append(topic, batch.clone(), 9).error_code == 0).then_some(())
    });
}

fn put(client: &mut Client, kind: i8, name: &str, key: &str, value: Option<&str>) {
    assert_eq!(set(client, kind, name, key, value), ErrorCode::None, "{key}");
}

#[test]
fn a_throttled_replica_waits_and_others_do_not() {
    let cluster = Cluster::start();
    let mut leader = cluster.client(2);
    await_both(&mut leader);
    create_on(&mut leader, "slow", &[2]);
    append(&mut leader, "slow", 4000);
    let mut follower = cluster.client(3);
    put(&mut follower, TOPIC, "slow", "follower.replication.throttled.replicas", Some("0:3"));
    put(&mut follower, BROKER, "3", "follower.replication.throttled.rate", Some("0"));
    create_on(&mut leader, "free", &[2]);
    append(&mut leader, "free", 4000);
    // Who knows of that topic has heard of the rate before.
    eventually("the topic", || state(&mut follower, "free"));
    reassign(&mut leader, "slow", &[2, 3]);
    reassign(&mut leader, "free", &[2, 3]);
    let copied = "kafka_server_brokertopicmetrics_replicationbytesin_total{}";
    eventually("the free one to be copied", || in_sync(&mut leader, "free").then_some(()));
    let free_bytes = cluster.metric(3, copied).unwrap();
    // It is fetched again, and the throttled one would come along.
    append(&mut leader, "free", 4000);
    eventually("more of the free one", || {
        (cluster.metric(3, copied)? == 2.0 * free_bytes).then_some(())
    });
    assert!(!in_sync(&mut leader, "slow"));
    let reassigning = "kafka_server_replicamanager_reassigningpartitions";
    assert_eq!(cluster.metric(2, reassigning), Some(1.0));

    // The leader alone would hold it back, too.
    put(&mut leader, TOPIC, "slow", "leader.replication.throttled.replicas", Some("*"));
    put(&mut leader, BROKER, "2", "leader.replication.throttled.rate", Some("0"));
    let held_back = eventually("the leader to know the rate", || {
        let answer = fetch_as(&mut leader, 3, "slow");
        answer.records.as_ref().is_none_or(bytes::Bytes::is_empty).then_some(answer)
    });
    assert_eq!((held_back.error_code, held_back.high_watermark), (0, 1), "but hears all else");
    let read = fetch_as(&mut leader, -1, "slow").records.unwrap();
    assert!(!read.is_empty(), "consumers are not throttled");
    put(&mut leader, BROKER, "2", "leader.replication.throttled.rate", None);
    put(&mut leader, BROKER, "3", "follower.replication.throttled.rate", None);
    eventually("the throttled one to be copied", || in_sync(&mut leader, "slow").then_some(()));
    assert_eq!(cluster.metric(3, copied), Some(3.0 * free_bytes));
    let given = "kafka_server_brokertopicmetrics_reassignmentbytesout_total{}";
    assert!(cluster.metric(2, given) >= Some(2.0 * free_bytes));

    // Who is in sync is not throttled.
    put(&mut leader, BROKER, "3", "follower.replication.throttled.rate", Some("0"));
    put(&mut leader, BROKER, "2", "leader.replication.throttled.rate", Some("0"));
    append(&mut leader, "slow", 4000);
    eventually("it to be copied at once", || {
        (cluster.metric(3, copied)? == 4.0 * free_bytes).then_some(())
    });
}

#[test]
fn a_replica_that_is_added_waits_and_others_do_not() {
    let cluster = Cluster::start();
    let mut leader = cluster.client(2);
    await_both(&mut leader);
    for topic in ["settled", "added"] {
        create_on(&mut leader, topic, &[2]);
        // Two answers' worth.
        append(&mut leader, topic, 600_000);
        append(&mut leader, topic, 600_000);
    }
    reassign(&mut leader, "settled", &[2, 3]);
    eventually("the move", || in_sync(&mut leader, "settled").then_some(()));
    let rate = "thalweg.reassignment.throttled.rate";
    put(&mut leader, BROKER, "", rate, Some("1"));
    create_on(&mut leader, "last", &[2]);
    eventually("the topic", || state(&mut cluster.client(3), "last"));
    reassign(&mut leader, "added", &[2, 3]);
    let copied = "kafka_server_brokertopicmetrics_replicationbytesin_total{}";
    let added = "kafka_server_brokertopicmetrics_reassignmentbytesin_total{}";
    eventually("it to begin", || (cluster.metric(3, added)? > 1_800_000.0).then_some(()));
    let before = cluster.metric(3, copied).unwrap();
    append(&mut leader, "settled", 4000);
    eventually("more of the settled one", || (cluster.metric(3, copied)? > before).then_some(()));
    assert!(!in_sync(&mut leader, "added"));
    put(&mut leader, BROKER, "", rate, None);
    eventually("the move", || in_sync(&mut leader, "added").then_some(()));
    assert!(cluster.metric(3, added) > Some(2_400_000.0));
}

#[test]
fn a_move_between_directories_waits_for_its_rate() {
    let key = "replica.alter.log.dirs.io.max.bytes.per.second";
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    client.produce("t", 10, 20_000, -1);
    put(&mut client, BROKER, "", key, Some("0"));
    let to = other_dir(&node, &mut client, "t");
    assert_eq!(move_to(&mut client, &to, "t", 0), ErrorCode::None);
    assert_eq!(eventually("the copy to begin", || copy_of(&mut client, "t")), 0);
    client.produce("t", 10, 20_000, -1);
    assert_eq!(copy_of(&mut client, "t"), Some(0), "bytes that were copied");
    put(&mut client, BROKER, "", key, None);
    wait_for_move(&mut client, "t", &to);
}
