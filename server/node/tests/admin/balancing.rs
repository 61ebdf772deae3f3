//! Balancing that goes on by itself. Which moves are worth while is told by `core/balance`.

use protocol::ApiKey;
use protocol::messages::metadata::{MetadataRequest, MetadataResponse};

use crate::client::{Client, eventually};
use crate::cluster::{Cluster, await_both};
use crate::configs::{BROKER, set};
use crate::replication::create_on;

/// How many partitions each of the two brokers has alone and leads.
fn shares(client: &mut Client) -> [usize; 2] {
    let request = MetadataRequest { topics: None, ..Default::default() };
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 12, &request);
    let partitions: Vec<_> = answer.topics.iter().flat_map(|topic| &topic.partitions).collect();
    let of = |id| {
        let has_it = |replicas: &[i32], leader| replicas == [id] && leader == id;
        partitions.iter().filter(|one| has_it(&one.replica_nodes, one.leader_id)).count()
    };
    [of(2), of(3)]
}

#[test]
fn a_broker_takes_its_share_once_balancing_is_on() {
    let cluster = Cluster::start();
    let mut client = cluster.client(2);
    await_both(&mut client);
    // More than are moved at once.
    for at in 0..26 {
        create_on(&mut client, &format!("t{at}"), &[2]);
    }
    eventually("the topics", || (shares(&mut client) == [26, 0]).then_some(()));
    let code = set(&mut client, BROKER, "", "thalweg.balance.enable", Some("true"));
    assert!(code.is_none(), "{code}");
    let alike = || Some(shares(&mut client)).filter(|[a, b]| a + b == 26 && a.abs_diff(*b) <= 2);
    eventually("both to have alike", alike);
}
