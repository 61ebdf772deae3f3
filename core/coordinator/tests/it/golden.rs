//! Records byte for byte, as Apache Kafka 4.3 writes the same facts.

use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use thalweg_coordinator::{Logged, Record, Replayed, Request, Settings};
use types::{LeaderEpoch, Millis, Uuid};

use crate::world::{World, join_request, sync_request};

const GROUP_KEY: &str = "00020006677275707065";
const OFFSET_KEY: &str = "000100066772757070650005746f70696300000003";
const EMPTY_GROUP: &str = "0003000000000000ffffffff00000000000f424000000000";
const MEMBER_ID: &str = "i-00000000-0000-0000-0000-000000000001";
const GROUP_V3: &str = "00030008636f6e73756d657200000001000572616e67650026692d30303030303030\
    302d303030302d303030302d303030302d30303030303030303030303100000000000f4df8000000010026692d30303030\
    303030302d303030302d303030302d303030302d30303030303030303030303100016900066b6c69656e7400092f31302e\
    302e302e310000ea600000271000000011000100000001000174ffffffff0000000000000003616c6c";

/// The same generation in the other versions that there have been.
const GROUP_OTHERS: [(&str, &str); 4] = [
    (
        "version 0",
        "00000008636f6e73756d657200000001000572616e67650026692d30303030303030302d303030302d30303030\
        2d303030302d303030303030303030303031000000010026692d30303030303030302d303030302d303030302d30303030\
        2d30303030303030303030303100066b6c69656e7400092f31302e302e302e310000271000000011000100000001000174\
        ffffffff0000000000000003616c6c",
    ),
    (
        "version 1",
        "00010008636f6e73756d657200000001000572616e67650026692d30303030303030302d303030302d30303030\
        2d303030302d303030303030303030303031000000010026692d30303030303030302d303030302d303030302d30303030\
        2d30303030303030303030303100066b6c69656e7400092f31302e302e302e310000ea6000002710000000110001000000\
        01000174ffffffff0000000000000003616c6c",
    ),
    (
        "version 2",
        "00020008636f6e73756d657200000001000572616e67650026692d30303030303030302d303030302d30303030\
        2d303030302d30303030303030303030303100000000000f4df8000000010026692d30303030303030302d303030302d30\
        3030302d303030302d30303030303030303030303100066b6c69656e7400092f31302e302e302e310000ea600000271000\
        000011000100000001000174ffffffff0000000000000003616c6c",
    ),
    (
        "version 4",
        "000409636f6e73756d6572000000010672616e676527692d30303030303030302d303030302d303030302d3030\
        30302d30303030303030303030303100000000000f4df80227692d30303030303030302d303030302d303030302d303030\
        302d3030303030303030303030310269076b6c69656e740a2f31302e302e302e310000ea60000027101200010000000100\
        0174ffffffff0000000004616c6c0000",
    ),
];

#[test]
fn a_generation_is_written_as_kafka_writes_it() {
    let mut world = World::new(Settings::default());
    let mut request = join_request("gruppe", "", &[("range", &["t"])]);
    request.group_instance_id = Some("i".to_owned());
    let created = world.join(request, 9, "klient").outcome.records;
    assert_eq!(hex(&created), [(GROUP_KEY.to_owned(), Some(EMPTY_GROUP.to_owned()))]);
    _ = world.wait(3_000);
    let request = sync_request("gruppe", MEMBER_ID, 1, &[(MEMBER_ID, "all")]);
    let completed = world.send(Request::Sync(request), 5, "klient").outcome.records;
    assert_eq!(hex(&completed), [(GROUP_KEY.to_owned(), Some(GROUP_V3.to_owned()))]);
}

#[test]
fn offsets_are_written_as_kafka_writes_them() {
    let topic_id = Uuid::from_bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    let cases = [
        (
            "with epoch, metadata and topic id",
            commit(7, "mäta", -1, topic_id),
            "0004000000000000002a00000007066dc3a4746100000000000f4240010010\
            0102030405060708090a0b0c0d0e0f10",
        ),
        (
            "with the offset alone",
            commit(-1, "", -1, Uuid::ZERO),
            "0004000000000000002affffffff0100000000000f424000",
        ),
        (
            "with a retention of its own",
            commit(7, "", 5_000, Uuid::ZERO),
            "0001000000000000002a000000000000000f424000000000000f55c8",
        ),
    ];
    for (name, request, expected) in cases {
        let mut world = World::new(Settings::default());
        let records = world.send(Request::OffsetCommit(request), 9, "klient").outcome.records;
        let expected = (OFFSET_KEY.to_owned(), Some(expected.to_owned()));
        assert_eq!(hex(&records), [expected], "{name}");
    }
}

#[test]
fn tombstones_are_written_as_kafka_writes_them() {
    let mut world = World::new(Settings::default());
    let request = commit(-1, "", -1, Uuid::ZERO);
    _ = world.send(Request::OffsetCommit(request), 9, "klient");
    let request = Request::DeleteGroups(vec!["gruppe".to_owned()]);
    let records = world.send(request, 2, "klient").outcome.records;
    assert_eq!(hex(&records), [(OFFSET_KEY.to_owned(), None), (GROUP_KEY.to_owned(), None)]);
}

#[test]
fn every_version_of_a_generation_is_read() {
    let current = replayed(GROUP_KEY, GROUP_V3);
    for (name, value) in GROUP_OTHERS {
        let other = replayed(GROUP_KEY, value);
        let (_, current) = current.groups().next().unwrap();
        let (_, other) = other.groups().next().unwrap();
        assert_eq!(other.number, current.number, "{name}");
        assert_eq!(other.protocol_name, current.protocol_name, "{name}");
        let (current, other) = (&current.members[MEMBER_ID], &other.members[MEMBER_ID]);
        assert_eq!(other.assignment, current.assignment, "{name}");
        assert_eq!(other.subscription, current.subscription, "{name}");
        let timeout = if name == "version 0" { 10_000 } else { 60_000 };
        assert_eq!(other.rebalance_timeout, Millis(timeout), "{name}");
    }
}

#[test]
fn every_version_of_an_offset_is_read() {
    let legacy_key = "000000066772757070650005746f70696300000003";
    let cases = [
        ("version 0", OFFSET_KEY, "0000000000000000002a00016d00000000000f4240", None),
        ("version 2", OFFSET_KEY, "0002000000000000002a00016d00000000000f4240", None),
        ("version 3", OFFSET_KEY, "0003000000000000002a0000000700016d00000000000f4240", Some(7)),
        ("the old type", legacy_key, "0000000000000000002a00016d00000000000f4240", None),
    ];
    for (name, key, value, leader_epoch) in cases {
        let logged = replayed(key, value);
        let committed = logged.offsets().get("gruppe", "topic", 3).unwrap();
        assert_eq!(committed.offset, 42, "{name}");
        assert_eq!(&*committed.metadata, "m", "{name}");
        assert_eq!(committed.committed_at, Millis(1_000_000), "{name}");
        assert_eq!(committed.leader_epoch, leader_epoch.map(LeaderEpoch), "{name}");
    }
}

#[test]
fn records_of_other_kinds_of_groups_are_skipped_and_counted() {
    let mut logged = Logged::default();
    let others = [
        ("00030006677275707065", "00000000000500"),
        ("000b0006677275707065", "000000000005000000000000000000"),
        ("7fff", "00"),
    ];
    for (key, value) in others {
        assert_eq!(logged.replay(&record(key, value)), Ok(Replayed::Skipped), "{key}");
    }
    assert_eq!(logged.skipped(), 3);
    assert_eq!(logged.groups().count(), 0);
}

fn commit(
    committed_leader_epoch: i32,
    metadata: &str,
    retention_time_ms: i64,
    topic_id: Uuid,
) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: 3,
        committed_offset: 42,
        committed_leader_epoch,
        committed_metadata: Some(metadata.to_owned()),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: "topic".to_owned(),
        topic_id,
        partitions: vec![partition],
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: "gruppe".to_owned(),
        generation_id_or_member_epoch: -1,
        retention_time_ms,
        topics: vec![topic],
        ..Default::default()
    }
}

fn replayed(key: &str, value: &str) -> Logged {
    let mut logged = Logged::default();
    logged.replay(&record(key, value)).expect("Kafka's own records are well-formed");
    logged
}

fn record(key: &str, value: &str) -> Record {
    Record { key: bytes(key).into(), value: Some(bytes(value).into()) }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn hex(records: &[Record]) -> Vec<(String, Option<String>)> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    records.iter().map(|r| (hex(&r.key), r.value.as_deref().map(hex))).collect()
}
