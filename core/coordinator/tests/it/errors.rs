//! Which error a client gets, as tables.

use protocol::messages::heartbeat::HeartbeatRequest;
use protocol::messages::join_group::JoinGroupRequest;
use protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_delete::OffsetDeleteRequest;
use thalweg_coordinator::{Request, Response, Settings};
use types::ErrorCode;

use crate::world::{World, join_request, joined_response, sync_request};

/// What makes a good request a bad one.
type Change = fn(&mut JoinGroupRequest);

#[test]
fn join_is_refused() {
    let invalid_session = ErrorCode::InvalidSessionTimeout;
    let unknown = ErrorCode::UnknownMemberId;
    let inconsistent = ErrorCode::InconsistentGroupProtocol;
    let cases: [(&str, Change, ErrorCode); 11] = [
        ("group id is empty", |join| join.group_id.clear(), ErrorCode::InvalidGroupId),
        ("session is too short", |join| join.session_timeout_ms = 5_999, invalid_session),
        ("session is too long", |join| join.session_timeout_ms = 1_800_001, invalid_session),
        ("member id of a group that does not exist", |join| to_new_group(join, "m"), unknown),
        (
            "the same, and no protocol",
            |join| {
                to_new_group(join, "m");
                join.protocols.clear();
            },
            unknown,
        ),
        ("member id is not of the group", |join| join.member_id = "m".into(), unknown),
        (
            "neither is the instance id",
            |join| {
                join.member_id = "m".into();
                join.group_instance_id = Some("i".into());
            },
            unknown,
        ),
        ("another protocol type", |join| join.protocol_type = "connect".into(), inconsistent),
        ("no protocol", |join| join.protocols.clear(), inconsistent),
        (
            "more than 1 MiB of metadata",
            |join| join.protocols[0].metadata = vec![0; 1 << 20].into(),
            ErrorCode::InvalidRequest,
        ),
        (
            "no protocol in a new group",
            |join| {
                to_new_group(join, "");
                join.protocols.clear();
            },
            inconsistent,
        ),
    ];
    for (name, change, expected) in cases {
        let mut world = World::new(Settings::default());
        _ = world.stable_group("g", &["t"]);
        let written = world.log.len();
        let mut request = join_request("g", "", &[("range", &["t"])]);
        change(&mut request);
        let sent = world.join(request, 9, "c");
        let response = joined_response(sent.reply().expect("a refusal does not wait"));
        assert_eq!(ErrorCode::from_wire(response.error_code), expected, "{name}");
        assert_eq!(world.log.len(), written, "{name}: nothing is written");
    }
}

fn to_new_group(request: &mut JoinGroupRequest, member_id: &str) {
    request.group_id = "h".to_owned();
    request.member_id = member_id.to_owned();
}

#[test]
fn the_members_of_a_group_keep_no_more_than_64_mib_together() {
    let mut world = World::new(Settings::default());
    // With the name of its protocol, exactly what one member may bring.
    let large = vec![0; (1 << 20) - "range".len()];
    let mut join = |group: &str, instance_id: Option<String>| {
        let mut request = join_request(group, "", &[("range", &["t"])]);
        request.protocols[0].metadata = large.clone().into();
        request.group_instance_id = instance_id;
        let sent = world.join(request, 9, "c");
        sent.reply().map(|it| ErrorCode::from_wire(joined_response(it).error_code))
    };
    for number in 0..64 {
        assert_eq!(join("g", Some(number.to_string())), None, "member {number} waits");
    }
    assert_eq!(join("g", Some("64".to_owned())), Some(ErrorCode::GroupMaxSizeReached));
    assert_eq!(join("g", Some("63".to_owned())), None, "who comes back brings nothing more");
    assert_eq!(join("h", Some("0".to_owned())), None, "another group has its own");
}

/// What a member that joins is told; nothing where it has to wait for the others.
fn joined(world: &mut World, group: &str, member: &str, topics: &[&str]) -> Option<ErrorCode> {
    let request = join_request(group, member, &[("range", topics)]);
    let sent = world.join(request, 3, "c");
    sent.reply().map(|reply| ErrorCode::from_wire(joined_response(reply).error_code))
}

#[test]
fn who_finds_no_memory_is_turned_away_and_members_stay() {
    let mut world = World::new(Settings::default());
    let member = world.stable_group("g", &["t"]);
    world.member_bytes_left = 100;
    let turned_away = Some(ErrorCode::CoordinatorNotAvailable);
    assert_eq!(joined(&mut world, "g", "", &["t"]), turned_away, "one more");
    assert_eq!(joined(&mut world, "h", "", &["t"]), turned_away, "another group");
    let long = "t".repeat(249);
    assert_eq!(joined(&mut world, "g", &member, &["t", &long]), turned_away, "one that grows");
    assert_eq!(joined(&mut world, "g", &member, &["u"]), Some(ErrorCode::None), "it stays");
    let assignment = "a".repeat(200);
    let sync = sync_request("g", &member, 2, &[(&member, &assignment)]);
    let Response::Sync(synced) = world.ask(Request::Sync(sync), 5) else { panic!("a sync") };
    assert_eq!(Some(ErrorCode::from_wire(synced.error_code)), turned_away);
    assert_eq!(world.coordinator.members().turned_away, 4);
}

#[test]
fn what_members_take_is_given_back_when_they_go() {
    let mut world = World::new(Settings::default());
    world.stable_group("g", &["t"]);
    let one = world.coordinator.members().bytes;
    assert!(one > 1000, "{one}");
    world.stable_group("h", &["t"]);
    assert_eq!(world.coordinator.members().bytes, 2 * one);
    _ = world.fail_over();
    let loaded = world.coordinator.members().bytes;
    assert_eq!(loaded, 2 * one, "another coordinator counts the same");
    _ = world.wait(3_600_000);
    assert_eq!(world.coordinator.members().bytes, 0);
}

#[test]
fn refused_join_of_an_old_client_has_a_protocol_name() {
    let mut world = World::new(Settings::default());
    for (api_version, expected) in [(6, Some("")), (7, None)] {
        let sent = world.join(join_request("", "", &[]), api_version, "c");
        let response = joined_response(sent.reply().unwrap());
        assert_eq!(response.protocol_name.as_deref(), expected, "version {api_version}");
    }
}

#[test]
fn sync_is_refused() {
    let cases = [
        ("group id is empty", "", "", 1, ErrorCode::InvalidGroupId),
        ("group does not exist", "h", "", 1, ErrorCode::UnknownMemberId),
        ("member id is not of the group", "g", "m", 1, ErrorCode::UnknownMemberId),
        ("generation has passed", "g", "", 0, ErrorCode::IllegalGeneration),
        ("generation has not come", "g", "", 2, ErrorCode::IllegalGeneration),
        ("all is well", "g", "", 1, ErrorCode::None),
    ];
    for (name, group_id, member_id, generation, expected) in cases {
        let mut world = World::new(Settings::default());
        let own = world.stable_group("g", &["t"]);
        let member_id = if member_id.is_empty() { &own } else { member_id };
        let request = sync_request(group_id, member_id, generation, &[]);
        let Response::Sync(response) = world.ask(Request::Sync(request), 5) else {
            panic!("{name}: not a SyncGroup response");
        };
        assert_eq!(ErrorCode::from_wire(response.error_code), expected, "{name}");
    }
}

#[test]
fn heartbeat_is_refused() {
    let cases = [
        ("group id is empty", "", "", 1, ErrorCode::InvalidGroupId),
        ("group does not exist", "h", "", 1, ErrorCode::UnknownMemberId),
        ("member id is not of the group", "g", "m", 1, ErrorCode::UnknownMemberId),
        ("generation has passed", "g", "", 0, ErrorCode::IllegalGeneration),
        ("all is well", "g", "", 1, ErrorCode::None),
    ];
    for (name, group_id, member_id, generation_id, expected) in cases {
        let mut world = World::new(Settings::default());
        let own = world.stable_group("g", &["t"]);
        let member_id = if member_id.is_empty() { own } else { member_id.to_owned() };
        let request = HeartbeatRequest {
            group_id: group_id.to_owned(),
            member_id,
            generation_id,
            ..Default::default()
        };
        let Response::Heartbeat(response) = world.ask(Request::Heartbeat(request), 4) else {
            panic!("{name}: not a Heartbeat response");
        };
        assert_eq!(ErrorCode::from_wire(response.error_code), expected, "{name}");
    }
}

#[test]
fn commit_is_refused() {
    let cases = [
        ("nobody commits for a group with members", "g", "", -1, 9, ErrorCode::UnknownMemberId),
        ("member without a generation", "g", "own", -1, 9, ErrorCode::IllegalGeneration),
        ("member of another group", "g", "m", 1, 9, ErrorCode::UnknownMemberId),
        ("generation has passed", "g", "own", 0, 9, ErrorCode::IllegalGeneration),
        ("all is well", "g", "own", 1, 9, ErrorCode::None),
        ("group does not exist", "h", "m", 1, 9, ErrorCode::GroupIdNotFound),
        ("group does not exist, old client", "h", "m", 1, 8, ErrorCode::IllegalGeneration),
        ("simple group", "h", "", -1, 9, ErrorCode::None),
        ("simple group without an id", "", "", -1, 9, ErrorCode::None),
    ];
    for (name, group_id, member_id, generation, api_version, expected) in cases {
        let mut world = World::new(Settings::default());
        let own = world.stable_group("g", &["t"]);
        let request = OffsetCommitRequest {
            group_id: group_id.to_owned(),
            member_id: if member_id == "own" { own } else { member_id.to_owned() },
            generation_id_or_member_epoch: generation,
            topics: vec![OffsetCommitRequestTopic {
                partitions: vec![OffsetCommitRequestPartition::default()],
                ..Default::default()
            }],
            ..Default::default()
        };
        let Response::OffsetCommit(response) =
            world.ask(Request::OffsetCommit(request), api_version)
        else {
            panic!("{name}: not an OffsetCommit response");
        };
        let error_code = response.topics[0].partitions[0].error_code;
        assert_eq!(ErrorCode::from_wire(error_code), expected, "{name}");
    }
}

#[test]
fn leave_is_refused_for_each_member_by_itself() {
    let member = |member_id: &str, instance_id: Option<&str>| MemberIdentity {
        member_id: member_id.to_owned(),
        group_instance_id: instance_id.map(str::to_owned),
        ..Default::default()
    };
    let mut world = World::new(Settings::default());
    let own = world.stable_group("g", &["t"]);
    let request = LeaveGroupRequest {
        group_id: "g".to_owned(),
        members: vec![
            member("m", None),
            member("", Some("i")),
            member("", None),
            member(&own, Some("i")),
            member(&own, None),
            member(&own, None),
        ],
        ..Default::default()
    };
    let Response::Leave(response) = world.ask(Request::Leave(request), 5) else {
        panic!("not a LeaveGroup response");
    };
    let unknown = ErrorCode::UnknownMemberId;
    let expected = [unknown, unknown, unknown, unknown, ErrorCode::None, unknown];
    let errors: Vec<_> =
        response.members.iter().map(|m| ErrorCode::from_wire(m.error_code)).collect();
    assert_eq!(errors, expected);
}

#[test]
fn old_leave_has_its_error_at_the_top() {
    let cases = [
        ("group id is empty", "", ErrorCode::InvalidGroupId),
        ("group does not exist", "h", ErrorCode::UnknownMemberId),
        ("member id is not of the group", "g", ErrorCode::UnknownMemberId),
    ];
    for (name, group_id, expected) in cases {
        let mut world = World::new(Settings::default());
        _ = world.stable_group("g", &["t"]);
        let request = LeaveGroupRequest {
            group_id: group_id.to_owned(),
            member_id: "m".to_owned(),
            ..Default::default()
        };
        let Response::Leave(response) = world.ask(Request::Leave(request), 2) else {
            panic!("{name}: not a LeaveGroup response");
        };
        assert_eq!(ErrorCode::from_wire(response.error_code), expected, "{name}");
        assert_eq!(response.members, [], "{name}");
    }
}

#[test]
fn offset_delete_is_refused() {
    let cases = [
        ("group id is empty", "", ErrorCode::InvalidGroupId),
        ("group does not exist", "h", ErrorCode::GroupIdNotFound),
        ("group has members that are no consumers", "workers", ErrorCode::NonEmptyGroup),
        ("group has consumers", "g", ErrorCode::None),
    ];
    for (name, group_id, expected) in cases {
        let mut world = World::new(Settings::default());
        _ = world.stable_group("g", &["t"]);
        let mut workers = join_request("workers", "", &[("sessioned", &[])]);
        workers.protocol_type = "connect".to_owned();
        _ = world.join(workers, 3, "worker");
        let request = OffsetDeleteRequest { group_id: group_id.to_owned(), ..Default::default() };
        let Response::OffsetDelete(response) = world.ask(Request::OffsetDelete(request), 0) else {
            panic!("{name}: not an OffsetDelete response");
        };
        assert_eq!(ErrorCode::from_wire(response.error_code), expected, "{name}");
    }
}
