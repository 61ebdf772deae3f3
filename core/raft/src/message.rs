//! What replicas say to each other, and what the driver is told to do.
//!
//! The shapes are those of the protocol's APIs 1, 52, 53, 54 and 59 without their wrapping: one
//! topic, one partition.

use bytes::Bytes;
use protocol::internal::raft::{KRaftVersionRecord, LeaderChangeMessage, VotersRecord};
use types::{BrokerId, ErrorCode, LeaderEpoch, Offset};

use crate::election::Election;
use crate::log_view::LogPosition;
use crate::requests::RequestId;
use crate::voters::{Endpoint, ReplicaKey, Voter};

/// Asks for a vote (KIP-595), or whether one would be given (KIP-996).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vote {
    /// The voter that is asked; a node that has another directory now must refuse.
    pub voter: Option<ReplicaKey>,
    /// The epoch of the election.
    pub epoch: LeaderEpoch,
    /// Who wants the vote.
    pub candidate: ReplicaKey,
    /// The end of its log.
    pub end: LogPosition,
    /// Only asks; nothing is promised.
    pub is_pre_vote: bool,
}

/// The answer to [`Vote`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VoteAnswer {
    /// Why the request is refused as such.
    pub error: ErrorCode,
    /// Who leads, if known.
    pub leader: Option<BrokerId>,
    /// The epoch of the one who answers.
    pub epoch: LeaderEpoch,
    /// Whether the vote is given.
    pub is_granted: bool,
}

/// A new leader makes itself known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BeginQuorumEpoch {
    /// The voter that is told.
    pub voter: Option<ReplicaKey>,
    /// The leader.
    pub leader: BrokerId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// Where it listens; empty in old versions.
    pub endpoints: Vec<Endpoint>,
}

/// A leader resigns.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndQuorumEpoch {
    /// Who led.
    pub leader: BrokerId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// Voters in the order in which they should try to follow, the most complete log first.
    pub preferred: Vec<ReplicaKey>,
    /// Where the leader listens; empty in old versions.
    pub endpoints: Vec<Endpoint>,
}

/// The answer to [`BeginQuorumEpoch`] and [`EndQuorumEpoch`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EpochAnswer {
    /// Why the request is refused.
    pub error: ErrorCode,
    /// Who leads, if known.
    pub leader: Option<BrokerId>,
    /// The epoch of the one who answers.
    pub epoch: LeaderEpoch,
}

/// A replica reads the leader's log, and by the offset confirms what it has on disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fetch {
    /// Who reads.
    pub replica: ReplicaKey,
    /// The epoch that it believes in.
    pub epoch: LeaderEpoch,
    /// The end of its log: what it has before is on its disk.
    pub end: LogPosition,
    /// The high watermark that it knows (KIP-1166).
    pub high_watermark: Option<Offset>,
}

/// What a leader decides on a [`Fetch`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FetchAnswer {
    /// Not from here, or not so: error, leader and epoch as far as known.
    Refused(EpochAnswer),
    /// The logs part: the reader has to cut its own to at most this.
    Diverging(LogPosition),
    /// What the reader wants is gone: it has to take this snapshot first.
    Snapshot(LogPosition),
    /// Records from the fetch's offset; the driver reads them, and waits where there are none.
    Records,
}

/// What a follower learns from its fetch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FetchReply {
    /// Error, leader and epoch.
    pub answer: EpochAnswer,
    /// Where the leader listens, if it says so.
    pub endpoints: Vec<Endpoint>,
    /// The logs part here.
    pub diverging: Option<LogPosition>,
    /// The snapshot to take instead.
    pub snapshot: Option<LogPosition>,
    /// The end of what is committed.
    pub high_watermark: Option<Offset>,
    /// Whole batches from the fetch's offset.
    pub records: Bytes,
}

/// Asks for a piece of a snapshot (KIP-630).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FetchSnapshot {
    /// Who reads.
    pub replica: ReplicaKey,
    /// The epoch that it believes in.
    pub epoch: LeaderEpoch,
    /// Which snapshot.
    pub snapshot: LogPosition,
    /// The first byte wanted.
    pub position: u64,
}

/// The answer to [`FetchSnapshot`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FetchSnapshotAnswer {
    /// Error, leader and epoch.
    pub answer: EpochAnswer,
    /// The bytes of the whole snapshot.
    pub size: u64,
    /// The first of the bytes here.
    pub position: u64,
    /// A piece.
    pub bytes: Bytes,
}

/// A change of the voters that a replica asks for on its own behalf (KIP-853).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VoterChange {
    /// It wants to vote.
    Add(Voter),
    /// What it was before it lost its disk votes no more.
    Remove(ReplicaKey),
    /// It listens elsewhere, or supports something else.
    Update {
        /// The voter as it is now.
        voter: Voter,
        /// The leader's epoch.
        epoch: LeaderEpoch,
    },
}

/// A request to another replica.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Vote, API 52.
    Vote(Vote),
    /// BeginQuorumEpoch, API 53.
    BeginQuorumEpoch(BeginQuorumEpoch),
    /// EndQuorumEpoch, API 54.
    EndQuorumEpoch(EndQuorumEpoch),
    /// Fetch, API 1.
    Fetch(Fetch),
    /// FetchSnapshot, API 59.
    FetchSnapshot(FetchSnapshot),
    /// AddRaftVoter, RemoveRaftVoter or UpdateRaftVoter, APIs 80, 81 and 82.
    ChangeVoters(VoterChange),
}

/// What came back; a broken connection is told by [`crate::Raft::failed`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Response {
    /// To Vote.
    Vote(VoteAnswer),
    /// To BeginQuorumEpoch.
    BeginQuorumEpoch(EpochAnswer),
    /// To EndQuorumEpoch.
    EndQuorumEpoch(EpochAnswer),
    /// To Fetch.
    Fetch(FetchReply),
    /// To FetchSnapshot.
    FetchSnapshot(FetchSnapshotAnswer),
    /// To a change of the voters.
    ChangeVoters(ErrorCode),
}

/// A control record that a leader writes.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlRecord {
    /// The first record of every epoch.
    LeaderChange(LeaderChangeMessage),
    /// `kraft.version` from here on.
    KRaftVersion(KRaftVersionRecord),
    /// The voters from here on.
    Voters(VotersRecord),
}

/// What the driver has to do, in this order, before anything else.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Write `quorum-state` and sync it.
    Persist(Election),
    /// Append these as one batch of the epoch; the driver syncs and then calls
    /// [`crate::Raft::synced`].
    AppendControl {
        /// The leader's epoch.
        epoch: LeaderEpoch,
        /// The records.
        records: Vec<ControlRecord>,
    },
    /// Append what the leader sent and sync it. Control records in it are told by
    /// [`crate::Raft::replay`].
    AppendFetched(Bytes),
    /// Say that the leader's log lacks what is committed here, so that nothing of it is taken.
    Refused {
        /// The leader.
        leader: BrokerId,
        /// Where it wants this log to end.
        end: Offset,
        /// What is committed.
        committed: Offset,
    },
    /// Say that a request has named an epoch that no election can have reached, so that it is not
    /// believed.
    EpochRefused {
        /// The epoch that was named.
        epoch: LeaderEpoch,
        /// The epoch that this replica is in.
        own: LeaderEpoch,
    },
    /// Cut the log so that it ends here at most.
    Truncate(Offset),
    /// Write a piece of a snapshot that is being taken over. After the last one the log is replaced
    /// by the snapshot and [`crate::Raft::installed`] is called.
    WriteSnapshot {
        /// Which snapshot.
        snapshot: LogPosition,
        /// Where the piece begins.
        position: u64,
        /// The piece.
        bytes: Bytes,
        /// Whether it is complete with that.
        is_last: bool,
    },
    /// Send a request; what comes of it is told by the id.
    Send {
        /// Names the request.
        id: RequestId,
        /// The node, `None` for any of the bootstrap servers.
        to: Option<BrokerId>,
        /// Where it listens; empty for a bootstrap server.
        endpoints: Vec<Endpoint>,
        /// What is asked.
        request: Request,
    },
    /// Everything before this offset is committed.
    Committed(Offset),
    /// The role, epoch or leader is another one now: see [`crate::Raft::role`].
    Changed,
}
