//! Topics, their records, and settings.

use protocol::ApiKey;
use protocol::messages::alter_configs as alter;
use protocol::messages::alter_replica_log_dirs as move_dirs;
use protocol::messages::create_partitions as partitions;
use protocol::messages::create_topics as create;
use protocol::messages::delete_records;
use protocol::messages::delete_topics as delete;
use protocol::messages::describe_configs as configs;
use protocol::messages::describe_log_dirs as log_dirs;
use protocol::messages::describe_producers as producers;
use protocol::messages::describe_topic_partitions as describe;
use protocol::messages::elect_leaders as elect;
use protocol::messages::fetch;
use protocol::messages::incremental_alter_configs as incremental;
use protocol::messages::list_config_resources as resources;
use protocol::messages::list_offsets as offsets;
use protocol::messages::list_partition_reassignments as reassignments;
use protocol::messages::metadata;
use protocol::messages::offset_for_leader_epoch as epochs;
use protocol::messages::produce;

use super::{Sweep, TOPICS, batch};

impl Sweep<'_> {
    pub(super) fn topics(&mut self) {
        let ids = self.ids();
        self.ask::<metadata::MetadataRequest, metadata::MetadataResponse>(
            ApiKey::Metadata,
            |version| {
                let mut requests = vec![metadata_of(
                    version,
                    TOPICS.map(|name| metadata::MetadataRequestTopic {
                        name: Some(name.to_owned()),
                        ..Default::default()
                    }),
                )];
                if version >= 1 {
                    let all = metadata::MetadataRequest { topics: None, ..Default::default() };
                    requests.push(all);
                }
                if version >= 10 {
                    requests.push(metadata_of(
                        version,
                        ids.map(|topic_id| metadata::MetadataRequestTopic {
                            topic_id,
                            name: None,
                            ..Default::default()
                        }),
                    ));
                }
                requests
            },
        );
        self.changes();
        self.ask::<describe::DescribeTopicPartitionsRequest, describe::DescribeTopicPartitionsResponse>(
            ApiKey::DescribeTopicPartitions,
            |_| {
                let topics = TOPICS.map(|name| describe::TopicRequest {
                    name: name.to_owned(),
                    ..Default::default()
                });
                let some = describe::DescribeTopicPartitionsRequest {
                    topics: topics.to_vec(),
                    response_partition_limit: 1,
                    ..Default::default()
                };
                vec![some, describe::DescribeTopicPartitionsRequest::default()]
            },
        );
        self.ask::<elect::ElectLeadersRequest, elect::ElectLeadersResponse>(
            ApiKey::ElectLeaders,
            |_| {
                let topics = TOPICS.map(|name| elect::TopicPartitions {
                    topic: name.to_owned(),
                    partitions: vec![0, 5],
                    ..Default::default()
                });
                let some = elect::ElectLeadersRequest {
                    topic_partitions: Some(topics.to_vec()),
                    ..Default::default()
                };
                let all =
                    elect::ElectLeadersRequest { topic_partitions: None, ..Default::default() };
                vec![some, all]
            },
        );
        self.ask::<reassignments::ListPartitionReassignmentsRequest, reassignments::ListPartitionReassignmentsResponse>(
            ApiKey::ListPartitionReassignments,
            |_| vec![Default::default()],
        );
    }

    fn changes(&mut self) {
        self.ask::<create::CreateTopicsRequest, create::CreateTopicsResponse>(
            ApiKey::CreateTopics,
            |version| {
                let fresh = format!("fresh{version}");
                let names = [fresh.as_str(), "t", "?"];
                let topics = names.map(|name| create::CreatableTopic {
                    name: name.to_owned(),
                    num_partitions: 1,
                    replication_factor: 1,
                    ..Default::default()
                });
                let topics = topics.to_vec();
                vec![create::CreateTopicsRequest { topics, ..Default::default() }]
            },
        );
        self.ask::<partitions::CreatePartitionsRequest, partitions::CreatePartitionsResponse>(
            ApiKey::CreatePartitions,
            |version| {
                let topics = TOPICS.map(|name| partitions::CreatePartitionsTopic {
                    name: name.to_owned(),
                    count: 3 + i32::from(version),
                    assignments: None,
                    ..Default::default()
                });
                let topics = topics.to_vec();
                vec![partitions::CreatePartitionsRequest { topics, ..Default::default() }]
            },
        );
        self.ask::<delete::DeleteTopicsRequest, delete::DeleteTopicsResponse>(
            ApiKey::DeleteTopics,
            |version| {
                let names = [format!("fresh{version}"), "unknown".to_owned(), "?".to_owned()];
                let mut request = delete::DeleteTopicsRequest::default();
                match version {
                    6.. => {
                        let named = names.into_iter().map(|name| delete::DeleteTopicState {
                            name: Some(name),
                            ..Default::default()
                        });
                        request.topics = named.collect();
                        request.topics.push(delete::DeleteTopicState {
                            topic_id: types::Uuid::from_bytes([7; 16]),
                            ..Default::default()
                        });
                    }
                    _ => request.topic_names = names.to_vec(),
                }
                vec![request]
            },
        );
    }

    pub(super) fn records(&mut self) {
        let ids = self.ids();
        self.ask::<produce::ProduceRequest, produce::ProduceResponse>(ApiKey::Produce, |version| {
            let topics = TOPICS.iter().zip(ids).map(|(name, id)| {
                let records = |index, records| produce::PartitionProduceData {
                    index,
                    records,
                    ..Default::default()
                };
                let broken = bytes::Bytes::from_static(b"no batch");
                let mut topic = produce::TopicProduceData {
                    partition_data: vec![
                        records(0, Some(batch())),
                        records(1, Some(broken)),
                        records(9, None),
                    ],
                    ..Default::default()
                };
                match version {
                    13.. => topic.topic_id = id,
                    _ => (*name).clone_into(&mut topic.name),
                }
                topic
            });
            let topic_data: Vec<_> = topics.collect();
            let with = |acks| produce::ProduceRequest {
                acks,
                timeout_ms: 5000,
                topic_data: topic_data.clone(),
                ..Default::default()
            };
            vec![with(-1), with(1), with(7)]
        });
        self.ask::<fetch::FetchRequest, fetch::FetchResponse>(ApiKey::Fetch, |version| {
            let topics = TOPICS.iter().zip(ids).map(|(name, id)| {
                let at = |fetch_offset| fetch::FetchPartition {
                    fetch_offset,
                    partition_max_bytes: 1000,
                    ..Default::default()
                };
                let mut topic =
                    fetch::FetchTopic { partitions: vec![at(0), at(99)], ..Default::default() };
                match version {
                    13.. => topic.topic_id = id,
                    _ => (*name).clone_into(&mut topic.topic),
                }
                topic
            });
            let request = fetch::FetchRequest {
                max_bytes: 1000,
                isolation_level: 1,
                topics: topics.collect(),
                ..Default::default()
            };
            let mut unknown_session = request.clone();
            if version >= 7 {
                (unknown_session.session_id, unknown_session.session_epoch) = (9, 9);
            }
            vec![request, unknown_session]
        });
        self.positions();
    }

    fn positions(&mut self) {
        self.ask::<offsets::ListOffsetsRequest, offsets::ListOffsetsResponse>(
            ApiKey::ListOffsets,
            |_| {
                let topics = TOPICS.map(|name| offsets::ListOffsetsTopic {
                    name: name.to_owned(),
                    partitions: (-7..=1)
                        .map(|timestamp| offsets::ListOffsetsPartition {
                            timestamp,
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                });
                let topics = topics.to_vec();
                vec![offsets::ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }]
            },
        );
        self.ask::<epochs::OffsetForLeaderEpochRequest, epochs::OffsetForLeaderEpochResponse>(
            ApiKey::OffsetForLeaderEpoch,
            |_| {
                let topics = TOPICS.map(|name| epochs::OffsetForLeaderTopic {
                    topic: name.to_owned(),
                    partitions: vec![epochs::OffsetForLeaderPartition::default()],
                    ..Default::default()
                });
                let topics = topics.to_vec();
                vec![epochs::OffsetForLeaderEpochRequest { topics, ..Default::default() }]
            },
        );
        self.ask::<producers::DescribeProducersRequest, producers::DescribeProducersResponse>(
            ApiKey::DescribeProducers,
            |_| {
                let topics = TOPICS.map(|name| producers::TopicRequest {
                    name: name.to_owned(),
                    partition_indexes: vec![0, 9],
                    ..Default::default()
                });
                let topics = topics.to_vec();
                vec![producers::DescribeProducersRequest { topics, ..Default::default() }]
            },
        );
        self.ask::<delete_records::DeleteRecordsRequest, delete_records::DeleteRecordsResponse>(
            ApiKey::DeleteRecords,
            |_| {
                let topics = TOPICS.map(|name| delete_records::DeleteRecordsTopic {
                    name: name.to_owned(),
                    partitions: vec![delete_records::DeleteRecordsPartition {
                        offset: 1,
                        ..Default::default()
                    }],
                    ..Default::default()
                });
                let topics = topics.to_vec();
                vec![delete_records::DeleteRecordsRequest { topics, ..Default::default() }]
            },
        );
    }

    pub(super) fn settings(&mut self) {
        // Topics, brokers, groups, client metrics, and no kind at all.
        let kinds = [(2, "t"), (2, "nope"), (4, "1"), (4, ""), (32, "g"), (16, "m"), (99, "x")];
        self.ask::<configs::DescribeConfigsRequest, configs::DescribeConfigsResponse>(
            ApiKey::DescribeConfigs,
            |version| {
                let wanted = kinds.map(|(resource_type, name)| configs::DescribeConfigsResource {
                    resource_type,
                    resource_name: name.to_owned(),
                    configuration_keys: None,
                    ..Default::default()
                });
                vec![configs::DescribeConfigsRequest {
                    resources: wanted.to_vec(),
                    include_synonyms: true,
                    include_documentation: version >= 3,
                    ..Default::default()
                }]
            },
        );
        self.ask::<alter::AlterConfigsRequest, alter::AlterConfigsResponse>(
            ApiKey::AlterConfigs,
            |_| {
                let wanted = kinds.map(|(resource_type, name)| alter::AlterConfigsResource {
                    resource_type,
                    resource_name: name.to_owned(),
                    ..Default::default()
                });
                let resources = wanted.to_vec();
                vec![alter::AlterConfigsRequest { resources, ..Default::default() }]
            },
        );
        self.ask::<incremental::IncrementalAlterConfigsRequest, incremental::IncrementalAlterConfigsResponse>(
            ApiKey::IncrementalAlterConfigs,
            |_| {
                let wanted = kinds.map(|(resource_type, name)| incremental::AlterConfigsResource {
                    resource_type,
                    resource_name: name.to_owned(),
                    ..Default::default()
                });
                let resources = wanted.to_vec();
                vec![incremental::IncrementalAlterConfigsRequest { resources, ..Default::default() }]
            },
        );
        self.ask::<resources::ListConfigResourcesRequest, resources::ListConfigResourcesResponse>(
            ApiKey::ListConfigResources,
            |_| vec![Default::default()],
        );
        self.dirs();
    }

    fn dirs(&mut self) {
        self.ask::<log_dirs::DescribeLogDirsRequest, log_dirs::DescribeLogDirsResponse>(
            ApiKey::DescribeLogDirs,
            |_| vec![log_dirs::DescribeLogDirsRequest { topics: None, ..Default::default() }],
        );
        self.ask::<move_dirs::AlterReplicaLogDirsRequest, move_dirs::AlterReplicaLogDirsResponse>(
            ApiKey::AlterReplicaLogDirs,
            |_| {
                let topics = TOPICS.map(|name| move_dirs::AlterReplicaLogDirTopic {
                    name: name.to_owned(),
                    partitions: vec![0],
                    ..Default::default()
                });
                let dir = move_dirs::AlterReplicaLogDir {
                    path: "/nowhere".to_owned(),
                    topics: topics.to_vec(),
                    ..Default::default()
                };
                vec![move_dirs::AlterReplicaLogDirsRequest {
                    dirs: vec![dir],
                    ..Default::default()
                }]
            },
        );
    }
}

fn metadata_of(
    version: i16,
    topics: [metadata::MetadataRequestTopic; 3],
) -> metadata::MetadataRequest {
    metadata::MetadataRequest {
        topics: Some(topics.to_vec()),
        include_topic_authorized_operations: version >= 8,
        include_cluster_authorized_operations: (8..=10).contains(&version),
        ..Default::default()
    }
}
