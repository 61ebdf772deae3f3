//! Partitions with replicas on two brokers: what counts as acknowledged, who serves, what moves.

use protocol::ApiKey;
use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignableTopic,
};
use protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
    CreateTopicsResponse,
};
use protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ReplicaState,
};
use protocol::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use records::{BatchBuilder, Compression};
use types::{ErrorCode, Uuid};

use crate::client::{Client, eventually};
use crate::cluster::{Cluster, await_both};
use crate::configs::{self, set};
use crate::mending::batches_of;

pub const TOPIC: &str = "t";
const GROUP: &str = "g";
pub const OFFSETS: &str = "__consumer_offsets";

/// Both brokers are in, and the topic has a replica on each; records need both of them.
pub fn start() -> Cluster {
    let cluster = Cluster::start();
    let mut client = cluster.client(2);
    await_both(&mut client);
    let both = CreatableTopicConfig {
        name: "min.insync.replicas".to_owned(),
        value: Some("2".to_owned()),
        ..Default::default()
    };
    let topic = CreatableTopic {
        name: TOPIC.to_owned(),
        num_partitions: 1,
        replication_factor: 2,
        configs: vec![both],
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let answer: CreateTopicsResponse = client.call(ApiKey::CreateTopics, 7, &request);
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
    cluster
}

pub fn topic_id(client: &mut Client) -> Uuid {
    let topic = MetadataRequestTopic { name: Some(TOPIC.to_owned()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 12, &request);
    answer.topics[0].topic_id
}

/// Leader and number of replicas in sync of the topic's partition, as a broker knows them.
pub fn state(client: &mut Client, topic: &str) -> Option<(i32, usize)> {
    let topic = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 12, &request);
    let partition = answer.topics.first()?.partitions.first()?;
    Some((partition.leader_id, partition.isr_nodes.len()))
}

pub fn append(client: &mut Client) -> ErrorCode {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(1, None, Some(b"v"), &[]);
    ErrorCode::from_wire(client.append(TOPIC, batch.build(), 9).error_code)
}

#[test]
fn records_are_refused_while_too_few_replicas_are_in_sync() {
    let mut cluster = start();
    let leader = eventually("a leader", || state(&mut cluster.client(2), TOPIC)).0;
    let other = 5 - leader;
    let (mut leads, mut follows) = (cluster.client(leader), cluster.client(other));
    eventually("the leader to serve", || append(&mut leads).is_none().then_some(()));
    let refused = append(&mut follows);
    assert_eq!(refused, ErrorCode::NotLeaderOrFollower, "a follower takes no records");

    cluster.stop(other);
    eventually("the follower to be out of sync", || {
        (state(&mut leads, TOPIC)? == (leader, 1)).then_some(())
    });
    assert_eq!(append(&mut leads), ErrorCode::NotEnoughReplicas);
    let metric = |cluster: &Cluster, name: &str| {
        cluster.metric(leader, &format!("kafka_server_replicamanager_{name}"))
    };
    for name in ["underreplicatedpartitions", "underminisrpartitioncount"] {
        assert_eq!(metric(&cluster, name), Some(1.0), "{name}");
    }

    cluster.start_broker(other);
    eventually("the follower to be in sync again", || {
        (state(&mut leads, TOPIC)? == (leader, 2)).then_some(())
    });
    eventually("records to be taken again", || append(&mut leads).is_none().then_some(()));
    eventually("that to be counted", || {
        (metric(&cluster, "isrexpands_total{}") == Some(1.0)).then_some(())
    });
    assert_eq!(metric(&cluster, "underreplicatedpartitions"), Some(0.0));
    assert_eq!(metric(&cluster, "atminisrpartitioncount"), Some(1.0));
}

#[test]
fn a_follower_hears_of_a_high_watermark_though_no_record_comes() {
    let mut cluster = start();
    let leader = eventually("a leader", || state(&mut cluster.client(2), TOPIC)).0;
    let follower = 5 - leader;
    let mut leads = cluster.client(leader);
    eventually("the leader to serve", || append(&mut leads).is_none().then_some(()));
    let topic_id = topic_id(&mut leads);
    cluster.stop(follower);

    // It has the one record, does not know that it is committed, and would wait for ever.
    let partition = FetchPartition {
        fetch_offset: 1,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        high_watermark: 0,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchTopic { topic_id, partitions: vec![partition], ..Default::default() };
    let request = FetchRequest {
        replica_state: ReplicaState {
            replica_id: follower,
            replica_epoch: -1,
            ..Default::default()
        },
        max_wait_ms: i32::MAX,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![topic],
        ..Default::default()
    };
    // One of them on the shard of the partition, the other not.
    for mut client in [cluster.client(leader), cluster.client(leader)] {
        let answer: FetchResponse = client.call(ApiKey::Fetch, 18, &request);
        assert_eq!(answer.responses[0].partitions[0].high_watermark, 1);
    }
}

/// The broker that serves the group, as another one says.
pub fn coordinator(client: &mut Client) -> Option<i32> {
    let coordinator_keys = vec![GROUP.to_owned()];
    let request = FindCoordinatorRequest { coordinator_keys, ..Default::default() };
    let answer: FindCoordinatorResponse = client.call(ApiKey::FindCoordinator, 4, &request);
    let found = answer.coordinators.first()?;
    (found.error_code == 0).then_some(found.node_id)
}

pub fn commit(client: &mut Client, committed_offset: i64) -> ErrorCode {
    let partition = OffsetCommitRequestPartition { committed_offset, ..Default::default() };
    let topic = OffsetCommitRequestTopic {
        name: TOPIC.to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: GROUP.to_owned(),
        topics: vec![topic],
        ..Default::default()
    };
    let answer: OffsetCommitResponse = client.call(ApiKey::OffsetCommit, 8, &request);
    ErrorCode::from_wire(answer.topics[0].partitions[0].error_code)
}

/// What the group has committed, where the broker serves it.
pub fn committed(client: &mut Client) -> Option<i64> {
    let topic = OffsetFetchRequestTopics {
        name: TOPIC.to_owned(),
        partition_indexes: vec![0],
        ..Default::default()
    };
    let group = OffsetFetchRequestGroup {
        group_id: GROUP.to_owned(),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let answer: OffsetFetchResponse = client.call(ApiKey::OffsetFetch, 8, &request);
    let group = answer.groups.first().filter(|group| group.error_code == 0)?;
    Some(group.topics[0].partitions[0].committed_offset)
}

/// The groups that the broker lists.
fn groups(client: &mut Client) -> Vec<String> {
    let request = ListGroupsRequest::default();
    let listed: ListGroupsResponse = client.call(ApiKey::ListGroups, 4, &request);
    assert_eq!(listed.error_code, 0, "{listed:?}");
    listed.groups.into_iter().map(|group| group.group_id).collect()
}

#[test]
fn offsets_are_refused_while_too_few_replicas_are_in_sync() {
    let mut cluster = start();
    let first = eventually("a coordinator", || coordinator(&mut cluster.client(2)));
    let mut serves = cluster.client(first);
    eventually("the commit", || commit(&mut serves, 42).is_none().then_some(()));
    let both = set(&mut serves, configs::TOPIC, OFFSETS, "min.insync.replicas", Some("2"));
    assert_eq!(both, ErrorCode::None);
    cluster.stop(5 - first);
    eventually("the refusal", || {
        (commit(&mut serves, 43) == ErrorCode::CoordinatorNotAvailable).then_some(())
    });
    assert_eq!(state(&mut serves, OFFSETS), Some((first, 1)));
    // One that is written and then waits in vain for the other replica has the same code in the end.
    let before = batches_of(&cluster, first, OFFSETS);
    assert_eq!(commit(&mut serves, 43), ErrorCode::CoordinatorNotAvailable);
    assert!(batches_of(&cluster, first, OFFSETS) == before, "what is refused is not written");

    cluster.start_broker(5 - first);
    eventually("commits again", || commit(&mut serves, 44).is_none().then_some(()));
    assert_eq!(committed(&mut serves), Some(44));
}

#[test]
fn a_group_is_served_by_whoever_leads_its_partition_next() {
    let mut cluster = start();
    let first = eventually("a coordinator", || coordinator(&mut cluster.client(2)));
    let mut serves = cluster.client(first);
    eventually("the commit", || commit(&mut serves, 42).is_none().then_some(()));
    let next = 5 - first;
    let mut other = cluster.client(next);
    assert_eq!(committed(&mut other), None, "a follower serves no groups");
    eventually("both to have the offsets", || (state(&mut other, OFFSETS)?.1 == 2).then_some(()));

    assert_eq!(groups(&mut serves), [GROUP]);
    assert_eq!(groups(&mut other), [""; 0], "each broker lists its own, and that is no error");

    cluster.stop(first);
    eventually("another coordinator", || (coordinator(&mut other)? == next).then_some(()));
    assert_eq!(eventually("the offsets", || committed(&mut other)), 42);
    eventually("the next commit", || commit(&mut other, 43).is_none().then_some(()));
    assert_eq!(committed(&mut other), Some(43));
    assert_eq!(groups(&mut other), [GROUP]);
}

#[test]
fn who_is_followed_from_now_on_does_not_wait_for_an_answer_about_others() {
    // Longer than a producer waits here, and nothing happens in the topics before.
    let cluster = Cluster::start_with(&[("replica.fetch.wait.max.ms", "30000")]);
    let mut client = cluster.client(2);
    await_both(&mut client);
    // More than shards, each of which asks for its own.
    for at in 0..6 {
        let topic = format!("t{at}");
        create_on(&mut client, &topic, &[2, 3]);
        let code = eventually("the leader", || {
            let mut batch = BatchBuilder::new(Compression::None);
            batch.append(1, None, Some(b"v"), &[]);
            let code = client.append(&topic, batch.build(), 9).error_code;
            Some(ErrorCode::from_wire(code)).filter(|code| {
                !matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::UnknownTopicOrPartition)
            })
        });
        assert_eq!(code, ErrorCode::None, "{topic}");
    }
}

/// Makes a topic of one partition with its replicas on these brokers; the topic's id.
pub fn create_on(client: &mut Client, name: &str, brokers: &[i32]) -> Uuid {
    let assigned =
        CreatableReplicaAssignment { broker_ids: brokers.to_vec(), ..Default::default() };
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![assigned],
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let answer: CreateTopicsResponse = client.call(ApiKey::CreateTopics, 7, &request);
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
    answer.topics[0].topic_id
}

/// Gives the topic's partition other replicas, in a while.
pub fn reassign(client: &mut Client, topic: &str, replicas: &[i32]) {
    let partition =
        ReassignablePartition { replicas: Some(replicas.to_vec()), ..Default::default() };
    let topic = ReassignableTopic {
        name: topic.to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = AlterPartitionReassignmentsRequest {
        timeout_ms: 5000,
        topics: vec![topic],
        allow_replication_factor_change: true,
        ..Default::default()
    };
    let answer: AlterPartitionReassignmentsResponse =
        client.call(ApiKey::AlterPartitionReassignments, 1, &request);
    assert_eq!(answer.error_code, 0, "{answer:?}");
}

#[test]
fn a_partition_moves_to_another_broker_with_its_records() {
    let cluster = Cluster::start();
    let (mut from, mut to) = (cluster.client(2), cluster.client(3));
    await_both(&mut from);
    create_on(&mut from, TOPIC, &[2]);
    eventually("the leader to serve", || append(&mut from).is_none().then_some(()));
    from.produce(TOPIC, 4, 10, -1);

    reassign(&mut from, TOPIC, &[3]);
    eventually("the other broker to lead alone", || {
        (state(&mut to, TOPIC)? == (3, 1)).then_some(())
    });
    eventually("the other broker to serve", || append(&mut to).is_none().then_some(()));
    assert_eq!(to.produce(TOPIC, 1, 10, -1), 6, "five records came along, one was added");
    let folder = cluster.folder(2).join(format!("{TOPIC}-0"));
    eventually("the folder to go", || (!folder.exists()).then_some(()));
}

/// Its fetches are refused as long as it does not know.
#[test]
fn a_replica_that_lacks_what_is_deleted_asks_once_where_to_begin() {
    let cluster = Cluster::start();
    let mut leads = cluster.client(2);
    await_both(&mut leads);
    create_on(&mut leads, TOPIC, &[2]);
    eventually("the leader to serve", || append(&mut leads).is_none().then_some(()));
    leads.produce(TOPIC, 4, 10, -1);
    assert_eq!(leads.delete_records(TOPIC, 0, 3), (ErrorCode::None, 3));

    reassign(&mut leads, TOPIC, &[2, 3]);
    eventually("both to be in sync", || (state(&mut leads, TOPIC)? == (2, 2)).then_some(()));
    let version = ApiKey::ListOffsets.versions();
    let labels = format!("{{request=\"ListOffsets\",version=\"{}\"}}", version.end());
    let sample = format!("kafka_network_requestmetrics_requests_total{labels}");
    assert_eq!(cluster.metric(2, &sample), Some(2.0), "for the beginning and for the end");
}
