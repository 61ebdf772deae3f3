//! What travels between machines and clients. Requests of brokers and clients have the product's own
//! shapes where the controller decides on them; the rest is as much as the simulation needs.

use bytes::Bytes;
use metadata::controller::Probed;
use protocol::messages::alter_partition::{AlterPartitionRequest, AlterPartitionResponse};
use protocol::messages::alter_partition_reassignments::AlterPartitionReassignmentsRequest;
use protocol::messages::assign_replicas_to_dirs::AssignReplicasToDirsRequest;
use protocol::messages::broker_heartbeat::BrokerHeartbeatRequest;
use protocol::messages::broker_registration::{
    BrokerRegistrationRequest, BrokerRegistrationResponse,
};
use protocol::messages::create_topics::{CreateTopicsRequest, CreateTopicsResponse};
use raft::{ReplicaKey, RequestId};
use replication::{FetchPlan, LeaderAnswer};
use types::{BrokerId, ErrorCode, Millis, Offset};

/// A machine by its number, or a client by [`CLIENTS`] and its own.
pub type Address = usize;
/// The first client's address.
pub const CLIENTS: Address = 100;
/// Index of a partition of the one topic.
pub type Slot = i32;

/// Whoever is to be answered: a process of before does not hear it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    pub at: Address,
    /// Counts the processes of a machine.
    pub life: u32,
}

/// A message that somebody wants to have sent.
#[derive(Debug)]
pub struct Sending {
    pub to: Address,
    /// The process that it is for; any for a request.
    pub life: Option<u32>,
    pub message: Message,
    /// How long the sender keeps it, as one does that has no news.
    pub kept: Millis,
}

impl Sending {
    pub fn request(to: Address, message: Message) -> Self {
        Self { to, life: None, message, kept: Millis::ZERO }
    }

    pub fn answer(to: Peer, message: Message) -> Self {
        Self { to: to.at, life: Some(to.life), message, kept: Millis::ZERO }
    }
}

#[derive(Clone, Debug)]
pub enum Message {
    Raft { id: RequestId, request: raft::Request },
    RaftAnswer { id: RequestId, response: raft::Response },
    RaftFailed { id: RequestId },
    Ask { id: u64, ask: Ask },
    Told { id: u64, told: Told },
    Fetch { id: u64, broker_epoch: i64, plan: FetchPlan },
    Fetched { id: u64, error: ErrorCode, session_id: i32, partitions: Vec<FetchedPartition> },
    Produce { id: u64, slot: Slot, batch: Bytes },
    Produced { id: u64, result: Result<Offset, Refusal> },
    Consume { id: u64, slot: Slot, from: Offset },
    Consumed { id: u64, result: Result<Bytes, Refusal> },
    Probe { epoch: i64 },
    Probed { epoch: i64, probed: Probed },
}

/// What only the active controller can answer.
#[derive(Clone, Debug)]
pub enum Ask {
    Register(BrokerRegistrationRequest),
    Heartbeat(BrokerHeartbeatRequest),
    Alter(AlterPartitionRequest),
    Create(CreateTopicsRequest),
    Move(AlterPartitionReassignmentsRequest),
    Assign(AssignReplicasToDirsRequest),
    /// Makes a node a voter, or takes its vote away.
    Voter(ReplicaKey),
}

#[derive(Clone, Debug)]
pub enum Told {
    NotController,
    Registered(BrokerRegistrationResponse),
    /// What is wrong with a heartbeat, and whether its sender may end.
    Beaten {
        error: ErrorCode,
        should_shut_down: bool,
    },
    Altered(AlterPartitionResponse),
    Created(CreateTopicsResponse),
    /// Nobody needs to know more.
    Done,
}

/// What a leader says of a partition to a follower.
#[derive(Clone, Debug)]
pub struct FetchedPartition {
    pub slot: Slot,
    pub answer: LeaderAnswer,
    /// Where the leader's log ends.
    pub log_end: Offset,
    pub records: Bytes,
}

/// A client gets nothing; who leads, as far as is known.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    pub leader: Option<Address>,
}

impl Message {
    /// How much the receiver will rely on what it says, up to 10: votes are rare and weigh most.
    pub fn promise_weight(&self) -> u32 {
        match self {
            Self::RaftAnswer { response: raft::Response::Vote(answer), .. } => {
                10 * u32::from(answer.is_granted)
            }
            Self::Told { told: Told::NotController, .. } => 0,
            Self::Told { .. } | Self::Produced { result: Ok(_), .. } => 1,
            _ => 0,
        }
    }

    /// Its kind, for the trace.
    pub fn kind(&self) -> u64 {
        match self {
            Self::Raft { .. } => 1,
            Self::RaftAnswer { .. } => 2,
            Self::RaftFailed { .. } => 3,
            Self::Ask { .. } => 4,
            Self::Told { .. } => 5,
            Self::Fetch { .. } => 6,
            Self::Fetched { .. } => 7,
            Self::Produce { .. } => 8,
            Self::Produced { .. } => 9,
            Self::Consume { .. } => 10,
            Self::Consumed { .. } => 11,
            Self::Probe { .. } => 12,
            Self::Probed { .. } => 13,
        }
    }
}

pub fn broker_id(at: Address) -> BrokerId {
    BrokerId(i32::try_from(at).expect("there are few machines"))
}

pub fn address(id: BrokerId) -> Address {
    usize::try_from(id.0).expect("ids count from 0")
}
