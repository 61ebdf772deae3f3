//! What a request names many times is answered once: small requests make no great answers.

use protocol::ApiKey;
use protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use protocol::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, TopicRequest,
};
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use protocol::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse,
};

use crate::client::{TestNode, eventually};
use crate::configs::{BROKER, TOPIC};

#[test]
fn topics_of_metadata_are_told_once_by_name_and_by_id() {
    let node = TestNode::start();
    let mut client = node.client();
    let id = client.create_topic("t", 1);
    let by_name =
        |name: &str| MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() };
    let by_id = MetadataRequestTopic { name: None, topic_id: id, ..Default::default() };
    let cases = [
        (vec![by_name("t"), by_name("no"), by_name("t"), by_name("no")], vec!["t", "no"]),
        (vec![by_id.clone(), by_id.clone(), by_id], vec!["t"]),
    ];
    for (topics, expected) in cases {
        let request = MetadataRequest { topics: Some(topics), ..Default::default() };
        let response: MetadataResponse = client.call(ApiKey::Metadata, 12, &request);
        let told: Vec<_> = response.topics.iter().filter_map(|topic| topic.name.clone()).collect();
        assert_eq!(told, expected);
    }
}

#[test]
fn resources_are_described_once_for_the_same_keys() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    let ask = |kind, name: &str, key: Option<&str>| DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configuration_keys: key.map(|key| vec![key.to_owned()]),
        ..Default::default()
    };
    let all = ask(TOPIC, "t", None);
    let resources = vec![all.clone(), ask(BROKER, "1", None), all, ask(TOPIC, "t", Some("x"))];
    let request = DescribeConfigsRequest { resources, ..Default::default() };
    let response: DescribeConfigsResponse = client.call(ApiKey::DescribeConfigs, 4, &request);
    let told: Vec<_> = response.results.iter().map(|one| one.resource_type).collect();
    assert_eq!(told, [TOPIC, BROKER, TOPIC]);
}

#[test]
fn groups_and_their_partitions_are_told_once() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 2);
    let topic = |partition_indexes| OffsetFetchRequestTopics {
        name: "t".to_owned(),
        partition_indexes,
        ..Default::default()
    };
    let group = OffsetFetchRequestGroup {
        group_id: "g".to_owned(),
        topics: Some(vec![topic(vec![0, 0]), topic(vec![0, 1, 1])]),
        ..Default::default()
    };
    let groups = vec![group.clone(), group];
    let request = OffsetFetchRequest { groups, ..Default::default() };
    let find = FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() };
    let _: FindCoordinatorResponse = client.call(ApiKey::FindCoordinator, 0, &find);
    let response = eventually("the group is served", || {
        let response: OffsetFetchResponse = client.call(ApiKey::OffsetFetch, 8, &request);
        (response.groups[0].error_code == 0).then_some(response)
    });
    assert_eq!(response.groups.len(), 1);
    let partitions = response.groups[0].topics.iter().flat_map(|topic| &topic.partitions);
    assert_eq!(partitions.map(|one| one.partition_index).collect::<Vec<_>>(), [0, 1]);

    let topic = OffsetFetchRequestTopic {
        name: "t".to_owned(),
        partition_indexes: vec![0, 0, 0],
        ..Default::default()
    };
    let group_id = "g".to_owned();
    let request = OffsetFetchRequest { group_id, topics: Some(vec![topic]), ..Default::default() };
    let response: OffsetFetchResponse = client.call(ApiKey::OffsetFetch, 7, &request);
    assert_eq!(response.topics[0].partitions.len(), 1);

    let groups = vec!["g".to_owned(), "h".to_owned(), "g".to_owned()];
    let request = DescribeGroupsRequest { groups, ..Default::default() };
    let response: DescribeGroupsResponse = client.call(ApiKey::DescribeGroups, 5, &request);
    let told: Vec<_> = response.groups.iter().map(|group| &*group.group_id).collect();
    assert_eq!(told, ["g", "h"]);
}

#[test]
fn partitions_are_read_and_described_once() {
    let node = TestNode::start();
    let mut client = node.client();
    client.create_topic("t", 1);
    let topic =
        TopicRequest { name: "t".to_owned(), partition_indexes: vec![0; 9], ..Default::default() };
    let request = DescribeProducersRequest { topics: vec![topic; 3], ..Default::default() };
    let response: DescribeProducersResponse = client.call(ApiKey::DescribeProducers, 0, &request);
    assert_eq!(response.topics.len(), 1);
    assert_eq!(response.topics[0].partitions.len(), 1);

    let topic = FetchTopic {
        topic: "t".to_owned(),
        partitions: vec![FetchPartition::default(); 9],
        ..Default::default()
    };
    // Without a session, and as the start of one.
    for session_epoch in [-1, 0] {
        let topics = vec![topic.clone(); 3];
        let request = FetchRequest { topics, session_epoch, ..Default::default() };
        let response: FetchResponse = client.call(ApiKey::Fetch, 11, &request);
        assert_eq!(response.responses.len(), 1);
        assert_eq!(response.responses[0].partitions.len(), 1);
    }
}
