//! Attacks on what a node remembers for clients: fetch sessions, group members, patterns.

use anyhow::{bail, ensure};
use protocol::ApiKey;
use protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use types::{ErrorCode, Rng};

use super::target::{TOPIC, Target};
use super::wire::Connection;

/// The last version of Fetch that names topics instead of their ids.
const FETCH_VERSION: i16 = 12;
const GUESSES: u32 = 200;
/// More than a node's cache of fetch sessions holds (1,000).
const SESSIONS: usize = 3_000;
/// Joins without a member id; each makes the node invent one.
const JOINS: usize = 3_000;

/// Session ids of others are not found, whatever the epoch.
pub(super) fn guessed_sessions(target: &Target) -> anyhow::Result<String> {
    let mut rng = Rng::new(2);
    let mut connection = target.connect()?;
    for _ in 0..GUESSES {
        let id = 1 + i32::try_from(rng.below(i32::MAX as u32 - 1))?;
        let epoch = 1 + i32::try_from(rng.below(3))?;
        let answer = fetch(&mut connection, id, epoch)?;
        let expected = ErrorCode::FetchSessionIdNotFound.to_wire();
        ensure!(answer.error_code == expected, "session {id} gets error {}", answer.error_code);
    }
    Ok(format!("{GUESSES} guesses find nothing"))
}

/// More sessions than the cache holds: the last ones are served without one.
pub(super) fn many_sessions(target: &Target) -> anyhow::Result<String> {
    let mut connection = target.connect()?;
    let mut granted = 0;
    for _ in 0..SESSIONS {
        let answer = fetch(&mut connection, 0, 0)?;
        ensure!(answer.error_code == 0, "a full fetch gets error {}", answer.error_code);
        granted += usize::from(answer.session_id != 0);
    }
    ensure!(granted < SESSIONS, "{granted} sessions are kept for one client");
    Ok(format!("{granted} of {SESSIONS} sessions granted"))
}

fn fetch(connection: &mut Connection, id: i32, epoch: i32) -> anyhow::Result<FetchResponse> {
    let partition = FetchPartition {
        current_leader_epoch: -1,
        partition_max_bytes: 1 << 10,
        ..FetchPartition::default()
    };
    let topic = FetchTopic {
        topic: TOPIC.to_owned(),
        partitions: vec![partition],
        ..FetchTopic::default()
    };
    let question = FetchRequest {
        replica_id: -1,
        max_bytes: 1 << 10,
        session_id: id,
        session_epoch: epoch,
        topics: vec![topic],
        ..FetchRequest::default()
    };
    connection.ask(ApiKey::Fetch, FETCH_VERSION, &question)
}

/// Members that do not exist are unknown, and invented ones do not pile up.
pub(super) fn members(target: &Target) -> anyhow::Result<String> {
    let mut connection = target.connect()?;
    let guess = HeartbeatRequest {
        group_id: "hostile-group".to_owned(),
        generation_id: 1,
        member_id: "hostile-00000000-0000-0000-0000-000000000000".to_owned(),
        ..HeartbeatRequest::default()
    };
    let answer: HeartbeatResponse = connection.ask(ApiKey::Heartbeat, 4, &guess)?;
    ensure!(answer.error_code != 0, "a guessed member may heartbeat");
    for _ in 0..JOINS {
        let answer = join(&mut connection, "hostile-group")?;
        ensure!(answer.error_code != 0, "a first join without an id is let in at once");
    }
    Ok(format!("{JOINS} joins without an id are sent back"))
}

/// Group names that would be paths or terminal sequences: names are data, not paths.
pub(super) fn group_names(target: &Target) -> anyhow::Result<String> {
    let mut connection = target.connect()?;
    let long = "g".repeat(30_000);
    let names = ["../../etc/passwd", "..", "a/b", "a\0b", "\u{1b}[2J", "é\u{202e}", &long];
    for name in names {
        let answer = join(&mut connection, name)?;
        ensure!(answer.error_code != 0, "a first join of {name:?} is let in at once");
    }
    let answer = join(&mut connection, "")?;
    let expected = ErrorCode::InvalidGroupId.to_wire();
    ensure!(answer.error_code == expected, "an empty name gets error {}", answer.error_code);
    Ok(format!("{} names are data", names.len()))
}

/// From version 4 on a first join gets an id and an error, so that none of these waits.
fn join(connection: &mut Connection, group: &str) -> anyhow::Result<JoinGroupResponse> {
    let protocol = JoinGroupRequestProtocol {
        name: "range".to_owned(),
        ..JoinGroupRequestProtocol::default()
    };
    let question = JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol],
        ..JoinGroupRequest::default()
    };
    connection.ask(ApiKey::JoinGroup, 9, &question)
}

/// Patterns that take other engines exponential time or gigabytes.
pub(super) fn patterns(target: &Target) -> anyhow::Result<String> {
    let Some((_, version)) = target.versions_of(ApiKey::ConsumerGroupHeartbeat) else {
        return Ok("no API takes patterns yet".to_owned());
    };
    let patterns = ["(a+)+$", "(a|aa)+$", "((((a{100}){100}){100}){100})", "(", "\\1", "(?=a)"];
    for pattern in patterns {
        let question = ConsumerGroupHeartbeatRequest {
            group_id: "hostile-patterns".to_owned(),
            member_id: "hostile".to_owned(),
            member_epoch: 0,
            rebalance_timeout_ms: 10_000,
            subscribed_topic_regex: Some(pattern.to_owned()),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let answer: anyhow::Result<ConsumerGroupHeartbeatResponse> =
            target.connect()?.ask(ApiKey::ConsumerGroupHeartbeat, version, &question);
        if let Err(error) = answer {
            bail!("pattern {pattern} is not answered: {error}");
        }
    }
    Ok(format!("{} patterns answered", patterns.len()))
}
