//! Attacks on the quorum of the metadata log: epochs, leaders and readers that cannot be.

use anyhow::ensure;
use protocol::ApiKey;
use protocol::messages::begin_quorum_epoch::{
    self as begin, BeginQuorumEpochRequest, BeginQuorumEpochResponse,
};
use protocol::messages::describe_quorum::{
    self as describe, DescribeQuorumRequest, DescribeQuorumResponse,
};
use protocol::messages::end_quorum_epoch::{
    self as end, EndQuorumEpochRequest, EndQuorumEpochResponse,
};
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use protocol::messages::fetch_snapshot::{
    FetchSnapshotRequest, FetchSnapshotResponse, PartitionSnapshot, SnapshotId, TopicSnapshot,
};
use protocol::messages::vote::{self, VoteRequest, VoteResponse};
use types::{Rng, Uuid};

use super::target::Target;
use super::wire::{Connection, request};

const TOPIC: &str = "__cluster_metadata";
const TOPIC_ID: Uuid = Uuid::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
const SENSELESS: [i32; 5] = [i32::MIN, -1, 1 << 30, i32::MAX - 1, i32::MAX];
/// A node that is none.
const STRANGER: i32 = 77;
const ABANDONED: usize = 300;
/// More readers than a leader keeps account of.
const READERS: u64 = 11_000;
const READERS_KEPT_MAX: usize = 10_000;

fn described(connection: &mut Connection) -> anyhow::Result<describe::ResponsePartitionData> {
    let topic = describe::TopicData {
        topic_name: TOPIC.to_owned(),
        partitions: vec![describe::PartitionData::default()],
        ..Default::default()
    };
    let question = DescribeQuorumRequest { topics: vec![topic], ..Default::default() };
    let mut answer: DescribeQuorumResponse =
        connection.ask(ApiKey::DescribeQuorum, 2, &question)?;
    ensure!(answer.error_code == 0 && answer.topics.len() == 1, "{answer:?}");
    let partition = answer.topics.remove(0).partitions.remove(0);
    ensure!(partition.error_code == 0, "{partition:?}");
    Ok(partition)
}

fn vote(epoch: i32, pre_vote: bool) -> VoteRequest {
    let partition = vote::PartitionData {
        replica_epoch: epoch,
        replica_id: STRANGER,
        last_offset_epoch: epoch.saturating_sub(1).max(0),
        last_offset: i64::MAX,
        pre_vote,
        ..Default::default()
    };
    let (topic_name, partitions) = (TOPIC.to_owned(), vec![partition]);
    let topic = vote::TopicData { topic_name, partitions, ..Default::default() };
    VoteRequest { voter_id: -1, topics: vec![topic], ..Default::default() }
}

fn begin(leader_id: i32, leader_epoch: i32) -> BeginQuorumEpochRequest {
    let partition = begin::PartitionData { leader_id, leader_epoch, ..Default::default() };
    let (topic_name, partitions) = (TOPIC.to_owned(), vec![partition]);
    let topics = vec![begin::TopicData { topic_name, partitions, ..Default::default() }];
    // Nobody listens there.
    let (name, host, port) = ("CONTROLLER".to_owned(), "127.0.0.1".to_owned(), 1);
    let leader_endpoints = vec![begin::LeaderEndpoint { name, host, port, ..Default::default() }];
    BeginQuorumEpochRequest { voter_id: -1, topics, leader_endpoints, ..Default::default() }
}

fn end(leader_id: i32, leader_epoch: i32) -> EndQuorumEpochRequest {
    let partition = end::PartitionData { leader_id, leader_epoch, ..Default::default() };
    let (topic_name, partitions) = (TOPIC.to_owned(), vec![partition]);
    let topics = vec![end::TopicData { topic_name, partitions, ..Default::default() }];
    EndQuorumEpochRequest { topics, ..Default::default() }
}

/// Epochs that no quorum has, from strangers and in the name of the leader: the epoch stays.
pub(super) fn senseless_epochs(target: &Target) -> anyhow::Result<String> {
    let mut connection = target.connect()?;
    let before = described(&mut connection)?;
    for epoch in SENSELESS {
        for is_pre_vote in [true, false] {
            let asked = vote(epoch, is_pre_vote);
            let answer: VoteResponse = connection.ask(ApiKey::Vote, 2, &asked)?;
            let mut told = answer.topics.iter().flat_map(|topic| &topic.partitions);
            ensure!(told.all(|one| !one.vote_granted), "a vote is given in epoch {epoch}");
        }
        for leader in [STRANGER, -1, before.leader_id] {
            let _: BeginQuorumEpochResponse =
                connection.ask(ApiKey::BeginQuorumEpoch, 1, &begin(leader, epoch))?;
            let _: EndQuorumEpochResponse =
                connection.ask(ApiKey::EndQuorumEpoch, 1, &end(leader, epoch))?;
        }
    }
    let after = described(&mut connection)?;
    let facts = |told: &describe::ResponsePartitionData| (told.leader_id, told.leader_epoch);
    ensure!(facts(&before) == facts(&after), "{before:?} has become {after:?}");
    Ok(format!("epoch {} stays", after.leader_epoch))
}

/// A vote and a leader that could be, were they not of a node that nobody knows: the quorum elects
/// again.
pub(super) fn strangers(target: &Target) -> anyhow::Result<String> {
    let mut connection = target.connect()?;
    let epoch = described(&mut connection)?.leader_epoch;
    let _: VoteResponse = connection.ask(ApiKey::Vote, 2, &vote(epoch + 1, false))?;
    target.decide("hostile-voted")?;
    let epoch = described(&mut connection)?.leader_epoch;
    let _: BeginQuorumEpochResponse =
        connection.ask(ApiKey::BeginQuorumEpoch, 1, &begin(STRANGER, epoch + 1))?;
    target.decide("hostile-begun")?;
    Ok(format!("epoch {} has a leader", described(&mut connection)?.leader_epoch))
}

fn fetch(directory: Uuid, epoch: i32, offset: i64, last_epoch: i32) -> FetchRequest {
    let partition = FetchPartition {
        current_leader_epoch: epoch,
        fetch_offset: offset,
        last_fetched_epoch: last_epoch,
        replica_directory_id: directory,
        partition_max_bytes: i32::MAX,
        ..Default::default()
    };
    let partitions = vec![partition];
    let topics = vec![FetchTopic { topic_id: TOPIC_ID, partitions, ..Default::default() }];
    let mut fetch = FetchRequest { max_bytes: i32::MAX, topics, ..Default::default() };
    fetch.replica_state.replica_id = STRANGER;
    fetch
}

fn fetch_snapshot(told: i32, end_offset: i64, epoch: i32, position: i64) -> FetchSnapshotRequest {
    let partition = PartitionSnapshot {
        current_leader_epoch: told,
        snapshot_id: SnapshotId { end_offset, epoch, ..Default::default() },
        position,
        ..Default::default()
    };
    let (name, partitions) = (TOPIC.to_owned(), vec![partition]);
    let topics = vec![TopicSnapshot { name, partitions, ..Default::default() }];
    let (replica_id, max_bytes) = (STRANGER, i32::MAX);
    FetchSnapshotRequest { replica_id, max_bytes, topics, ..Default::default() }
}

/// Offsets, epochs, positions and sizes that are none.
pub(super) fn reads(target: &Target) -> anyhow::Result<String> {
    let mut connection = target.connect()?;
    let epoch = described(&mut connection)?.leader_epoch;
    let mut asked = 0;
    for offset in [i64::MIN, -1, 0, 1, i64::from(i32::MAX), i64::MAX] {
        for told in [i32::MIN, -1, 0, epoch, i32::MAX] {
            for last in [-1, 0, epoch, i32::MAX] {
                let question = fetch(Uuid::ZERO, told, offset, last);
                let _: FetchResponse = connection.ask(ApiKey::Fetch, 17, &question)?;
                let question = fetch_snapshot(told, offset, last, offset);
                let _: FetchSnapshotResponse =
                    connection.ask(ApiKey::FetchSnapshot, 1, &question)?;
                asked += 2;
            }
        }
    }
    Ok(format!("{asked} reads answered"))
}

/// Reads at the end of the log that may wait for weeks, on connections that are closed at once.
pub(super) fn abandoned_reads(target: &Target) -> anyhow::Result<String> {
    let told = described(&mut target.connect()?)?;
    let mut question = fetch(Uuid::ZERO, told.leader_epoch, told.high_watermark, told.leader_epoch);
    question.max_wait_ms = i32::MAX;
    let bytes = request(ApiKey::Fetch, 17, 1, &question)?;
    for _ in 0..ABANDONED {
        target.connect()?.send(&bytes);
    }
    Ok(format!("{ABANDONED} reads abandoned"))
}

/// Each read in the name of another directory.
pub(super) fn many_readers(target: &Target) -> anyhow::Result<String> {
    let mut connection = target.connect()?;
    let told = described(&mut connection)?;
    let (epoch, end) = (told.leader_epoch, told.high_watermark);
    let mut rng = Rng::new(3);
    for _ in 0..READERS {
        let mut directory = [1; 16];
        directory[..8].copy_from_slice(&rng.next_u64().to_be_bytes());
        let question = fetch(Uuid::from_bytes(directory), epoch, end, epoch);
        let _: FetchResponse = connection.ask(ApiKey::Fetch, 17, &question)?;
    }
    let kept = described(&mut connection)?.observers.len();
    ensure!(kept <= READERS_KEPT_MAX, "{kept} readers are remembered");
    Ok(format!("{kept} of {READERS} readers remembered"))
}
