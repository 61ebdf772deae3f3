//! Groups, their offsets, and the ids of producers.

use protocol::ApiKey;
use protocol::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use protocol::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use protocol::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use protocol::messages::offset_commit as commit;
use protocol::messages::offset_delete as delete;
use protocol::messages::offset_fetch as fetch;
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::{Sweep, TOPICS};

const GROUPS: [&str; 3] = ["g", "unknown", ""];

impl Sweep<'_> {
    pub(super) fn groups(&mut self) {
        self.ask::<FindCoordinatorRequest, FindCoordinatorResponse>(
            ApiKey::FindCoordinator,
            |version| {
                let of = |key_type: i8| {
                    let mut request = FindCoordinatorRequest { key_type, ..Default::default() };
                    match version {
                        4.. => request.coordinator_keys = GROUPS.map(str::to_owned).to_vec(),
                        _ => "g".clone_into(&mut request.key),
                    }
                    request
                };
                let last = if version >= 1 { 2 } else { 0 };
                (0..=last).map(of).collect()
            },
        );
        self.members();
        self.offsets();
        self.ask::<ListGroupsRequest, ListGroupsResponse>(ApiKey::ListGroups, |version| {
            let mut filtered = ListGroupsRequest::default();
            if version >= 4 {
                filtered.states_filter = vec!["Empty".to_owned()];
            }
            vec![ListGroupsRequest::default(), filtered]
        });
        let names = || GROUPS.map(str::to_owned).to_vec();
        self.ask::<DescribeGroupsRequest, DescribeGroupsResponse>(
            ApiKey::DescribeGroups,
            |version| {
                let include_authorized_operations = version >= 3;
                let groups = names();
                let request = DescribeGroupsRequest { groups, ..Default::default() };
                vec![DescribeGroupsRequest { include_authorized_operations, ..request }]
            },
        );
        self.ask::<DeleteGroupsRequest, DeleteGroupsResponse>(ApiKey::DeleteGroups, |_| {
            vec![DeleteGroupsRequest { groups_names: names(), ..Default::default() }]
        });
        self.ask::<InitProducerIdRequest, InitProducerIdResponse>(ApiKey::InitProducerId, |_| {
            let transactional_id = Some("x".to_owned());
            let transactional = InitProducerIdRequest { transactional_id, ..Default::default() };
            vec![InitProducerIdRequest::default(), transactional]
        });
    }

    fn members(&mut self) {
        self.ask::<JoinGroupRequest, JoinGroupResponse>(ApiKey::JoinGroup, |version| {
            let join = |group_id: String| {
                let protocol =
                    JoinGroupRequestProtocol { name: "range".to_owned(), ..Default::default() };
                JoinGroupRequest {
                    group_id,
                    session_timeout_ms: 6000,
                    rebalance_timeout_ms: 6000,
                    protocol_type: "consumer".to_owned(),
                    protocols: vec![protocol],
                    ..Default::default()
                }
            };
            // A group for each version: who joins one with members waits for them.
            vec![join(format!("g{version}")), join(String::new())]
        });
        self.ask::<SyncGroupRequest, SyncGroupResponse>(ApiKey::SyncGroup, |_| {
            let of = |group: &str| SyncGroupRequest {
                group_id: group.to_owned(),
                member_id: "m".to_owned(),
                ..Default::default()
            };
            GROUPS.map(of).to_vec()
        });
        self.ask::<HeartbeatRequest, HeartbeatResponse>(ApiKey::Heartbeat, |_| {
            let of = |group: &str| HeartbeatRequest {
                group_id: group.to_owned(),
                member_id: "m".to_owned(),
                ..Default::default()
            };
            GROUPS.map(of).to_vec()
        });
        self.ask::<LeaveGroupRequest, LeaveGroupResponse>(ApiKey::LeaveGroup, |version| {
            let of = |group: &str| {
                let mut request =
                    LeaveGroupRequest { group_id: group.to_owned(), ..Default::default() };
                match version {
                    3.. => {
                        let member_id = "m".to_owned();
                        request.members = vec![MemberIdentity { member_id, ..Default::default() }];
                    }
                    _ => "m".clone_into(&mut request.member_id),
                }
                request
            };
            GROUPS.map(of).to_vec()
        });
    }

    fn offsets(&mut self) {
        let ids = self.ids();
        self.ask::<commit::OffsetCommitRequest, commit::OffsetCommitResponse>(
            ApiKey::OffsetCommit,
            |version| {
                let topics = TOPICS.iter().zip(ids).map(|(name, id)| {
                    let partition = commit::OffsetCommitRequestPartition {
                        committed_offset: 1,
                        committed_metadata: Some("m".to_owned()),
                        ..Default::default()
                    };
                    let mut topic = commit::OffsetCommitRequestTopic {
                        partitions: vec![partition],
                        ..Default::default()
                    };
                    match version {
                        10.. => topic.topic_id = id,
                        _ => (*name).clone_into(&mut topic.name),
                    }
                    topic
                });
                let topics: Vec<_> = topics.collect();
                let of = |group: &str| commit::OffsetCommitRequest {
                    group_id: group.to_owned(),
                    topics: topics.clone(),
                    ..Default::default()
                };
                GROUPS.map(of).to_vec()
            },
        );
        self.ask::<fetch::OffsetFetchRequest, fetch::OffsetFetchResponse>(
            ApiKey::OffsetFetch,
            |version| match version {
                8.. => vec![fetch_groups(version, ids)],
                _ => GROUPS.map(fetch_one).to_vec(),
            },
        );
        self.ask::<delete::OffsetDeleteRequest, delete::OffsetDeleteResponse>(
            ApiKey::OffsetDelete,
            |_| {
                let topics = TOPICS.map(|name| delete::OffsetDeleteRequestTopic {
                    name: name.to_owned(),
                    partitions: vec![delete::OffsetDeleteRequestPartition::default()],
                    ..Default::default()
                });
                let of = |group: &str| delete::OffsetDeleteRequest {
                    group_id: group.to_owned(),
                    topics: topics.to_vec(),
                    ..Default::default()
                };
                GROUPS.map(of).to_vec()
            },
        );
    }
}

fn fetch_one(group: &str) -> fetch::OffsetFetchRequest {
    let topics = TOPICS.map(|name| fetch::OffsetFetchRequestTopic {
        name: name.to_owned(),
        partition_indexes: vec![0, 5],
        ..Default::default()
    });
    fetch::OffsetFetchRequest {
        group_id: group.to_owned(),
        topics: Some(topics.to_vec()),
        ..Default::default()
    }
}

fn fetch_groups(version: i16, ids: [types::Uuid; 3]) -> fetch::OffsetFetchRequest {
    let topics = TOPICS.iter().zip(ids).map(|(name, id)| {
        let mut topic =
            fetch::OffsetFetchRequestTopics { partition_indexes: vec![0, 5], ..Default::default() };
        match version {
            10.. => topic.topic_id = id,
            _ => (*name).clone_into(&mut topic.name),
        }
        topic
    });
    let topics: Vec<_> = topics.collect();
    let of = |group: &str, topics| fetch::OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        topics,
        ..Default::default()
    };
    let mut groups: Vec<_> = GROUPS.iter().map(|group| of(group, Some(topics.clone()))).collect();
    groups.push(of("g", None));
    fetch::OffsetFetchRequest { groups, ..Default::default() }
}
