//! What goes into the coordinator and what comes out.

use protocol::messages::delete_groups::DeletableGroupResult;
use protocol::messages::describe_groups::DescribedGroup;
use protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use protocol::messages::list_groups::{ListGroupsRequest, ListedGroup};
use protocol::messages::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use protocol::messages::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use protocol::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchResponseGroup};
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use types::{ErrorCode, Millis, Uuid};

use crate::records::Record;

/// The caller's number for a request that wants a reply. Each gets exactly one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ReplyToken(pub u64);

/// The time by both clocks, so that a wall clock that jumps expires no session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Now {
    /// A clock that only grows, from any origin: sessions, rebalances, delays.
    pub monotonic: Millis,
    /// Time since 1970: commit timestamps, retention of offsets.
    pub wall: Millis,
}

/// Who asks, and how.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Where the reply goes.
    pub token: ReplyToken,
    /// Version of the request.
    pub api_version: i16,
    /// Client id of the request's header.
    pub client_id: &'a str,
    /// The address as Kafka's tools show it, such as `/127.0.0.1`.
    pub client_host: &'a str,
    /// What the node has left for members of groups, in bytes.
    pub member_bytes_left: usize,
}

/// One request for groups of one partition. Requests for groups of several partitions are split
/// and their answers joined by the caller, who has also authorized them and checked topics.
#[derive(Clone, Debug)]
pub enum Request {
    /// JoinGroup; `fresh_id` is random and names a member that has no id yet.
    Join { request: JoinGroupRequest, fresh_id: Uuid },
    /// SyncGroup.
    Sync(SyncGroupRequest),
    /// Heartbeat of a classic member.
    Heartbeat(HeartbeatRequest),
    /// LeaveGroup; versions 0 to 2 name their member at the top level.
    Leave(LeaveGroupRequest),
    /// OffsetCommit; topics have their name, and their id where it is known.
    OffsetCommit(OffsetCommitRequest),
    /// One group of an OffsetFetch; older versions are brought into this form by the caller.
    OffsetFetch(OffsetFetchRequestGroup),
    /// OffsetDelete.
    OffsetDelete(OffsetDeleteRequest),
    /// DeleteGroups: group ids.
    DeleteGroups(Vec<String>),
    /// DescribeGroups: group ids.
    DescribeGroups(Vec<String>),
    /// ListGroups.
    ListGroups(ListGroupsRequest),
}

/// The answer to the [`Request`] of the same name. Authorized operations and throttle times are
/// left to the caller.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    Leave(LeaveGroupResponse),
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponseGroup),
    OffsetDelete(OffsetDeleteResponse),
    DeleteGroups(Vec<DeletableGroupResult>),
    DescribeGroups(Vec<DescribedGroup>),
    ListGroups { error: ErrorCode, groups: Vec<ListedGroup> },
}

impl Response {
    /// The same answer with nothing in it but `error`, for a reply whose records were not
    /// committed.
    pub fn refused(self, error: ErrorCode) -> Self {
        let error_code = error.to_wire();
        match self {
            Self::Join(JoinGroupResponse { member_id, protocol_name, .. }) => {
                Self::Join(JoinGroupResponse {
                    error_code,
                    member_id,
                    protocol_name: protocol_name.map(|_| String::new()),
                    ..Default::default()
                })
            }
            Self::Sync(_) => Self::Sync(SyncGroupResponse { error_code, ..Default::default() }),
            Self::Heartbeat(_) => {
                Self::Heartbeat(HeartbeatResponse { error_code, ..Default::default() })
            }
            Self::Leave(_) => Self::Leave(LeaveGroupResponse { error_code, ..Default::default() }),
            Self::OffsetCommit(mut response) => {
                let partitions = response.topics.iter_mut().flat_map(|t| &mut t.partitions);
                partitions.for_each(|partition| partition.error_code = error_code);
                Self::OffsetCommit(response)
            }
            Self::OffsetFetch(OffsetFetchResponseGroup { group_id, .. }) => {
                Self::OffsetFetch(OffsetFetchResponseGroup {
                    group_id,
                    error_code,
                    ..Default::default()
                })
            }
            Self::OffsetDelete(_) => {
                Self::OffsetDelete(OffsetDeleteResponse { error_code, ..Default::default() })
            }
            Self::DeleteGroups(mut results) => {
                results.iter_mut().for_each(|result| result.error_code = error_code);
                Self::DeleteGroups(results)
            }
            Self::DescribeGroups(groups) => {
                let refuse = |DescribedGroup { group_id, .. }| DescribedGroup {
                    error_code,
                    group_id,
                    ..Default::default()
                };
                Self::DescribeGroups(groups.into_iter().map(refuse).collect())
            }
            Self::ListGroups { .. } => Self::ListGroups { error, groups: vec![] },
        }
    }
}

/// What follows from a request or from time passing.
///
/// The caller appends `records` in their order, hands each of them to
/// [`Coordinator::replay`](crate::Coordinator::replay), and sends `replies` when the log is
/// committed up to its end, **also when there are no records**: then nobody is told of a state
/// that a failover could still undo. They may be cut into several batches, since the state makes
/// sense after each of them. Where the append fails, the outcome goes back, without the records
/// that did get in, to [`Coordinator::append_failed`](crate::Coordinator::append_failed).
#[must_use = "records want to be appended and replies to be sent"]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// To be appended to the partition.
    pub records: Vec<Record>,
    /// To be sent once the log is committed up to its end.
    pub replies: Vec<(ReplyToken, Response)>,
}

impl Outcome {
    /// One reply and no record.
    pub(crate) fn reply(token: ReplyToken, response: Response) -> Self {
        Self { records: vec![], replies: vec![(token, response)] }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.replies.is_empty()
    }
}
