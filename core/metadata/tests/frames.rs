//! The frame of metadata records against bytes that Apache Kafka 4.3.0's own serde wrote.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use bytes::Bytes;
use protocol::internal::metadata::{
    client_quota_record::EntityData, register_broker_record as broker,
    register_controller_record as controller, *,
};
use thalweg_metadata::{FrameError, MetadataRecord};
use types::Uuid;

/// `metadata.version` of Kafka 4.3.
const LEVEL: i16 = 30;

fn uuid(first: u8) -> Uuid {
    Uuid::from_bytes(std::array::from_fn(|index| first + index as u8))
}

fn unhex(text: &str) -> Bytes {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

macro_rules! record {
    ($message:ident { $($field:ident: $value:expr),* $(,)? }) => {
        MetadataRecord::from($message { $($field: $value,)* ..Default::default() })
    };
}

/// Each type once, and the bytes that Kafka writes for it.
fn golden() -> Vec<(MetadataRecord, &'static str)> {
    let mut all = nodes();
    all.extend(changes());
    all.extend(topics());
    all.extend(others());
    all
}

fn nodes() -> Vec<(MetadataRecord, &'static str)> {
    vec![
        (
            record!(RegisterBrokerRecord {
                broker_id: 1,
                incarnation_id: uuid(1),
                broker_epoch: 5,
                end_points: vec![broker::BrokerEndpoint {
                    name: "PLAINTEXT".to_owned(),
                    host: "h".to_owned(),
                    port: 9092,
                    ..Default::default()
                }],
                features: vec![broker::BrokerFeature {
                    name: "metadata.version".to_owned(),
                    min_supported_version: 7,
                    max_supported_version: 30,
                    ..Default::default()
                }],
                rack: Some("r".to_owned()),
                fenced: true,
                log_dirs: vec![uuid(0x11)],
                cordoned_log_dirs: Some(vec![]),
            }),
            "01000400000001000102030405060708090a0b0c0d0e0f100000000000000005020a504c41494e54455854\
             0268238400000002116d657461646174612e76657273696f6e0007001e0002720100020011021112131415\
             161718191a1b1c1d1e1f20010101",
        ),
        (
            record!(UnregisterBrokerRecord { broker_id: 1, broker_epoch: 5 }),
            "01010000000001000000000000000500",
        ),
        (record!(FenceBrokerRecord { id: 1, epoch: 5 }), "01070000000001000000000000000500"),
        (record!(UnfenceBrokerRecord { id: 1, epoch: 5 }), "01080000000001000000000000000500"),
    ]
}

fn changes() -> Vec<(MetadataRecord, &'static str)> {
    vec![
        (
            record!(BrokerRegistrationChangeRecord { broker_id: 1, broker_epoch: 5, fenced: -1 }),
            "011100000000010000000000000005010001ff",
        ),
        (
            record!(BrokerRegistrationChangeRecord {
                broker_id: 1,
                broker_epoch: 5,
                in_controlled_shutdown: 1
            }),
            "01110100000001000000000000000501010101",
        ),
        (
            record!(BrokerRegistrationChangeRecord {
                broker_id: 1,
                broker_epoch: 5,
                log_dirs: vec![uuid(0x11)]
            }),
            "011102000000010000000000000005010211021112131415161718191a1b1c1d1e1f20",
        ),
        (
            record!(BrokerRegistrationChangeRecord {
                broker_id: 1,
                broker_epoch: 5,
                cordoned_log_dirs: Some(vec![])
            }),
            "01110300000001000000000000000501030101",
        ),
        (
            record!(RegisterControllerRecord {
                controller_id: 1,
                incarnation_id: uuid(1),
                end_points: vec![controller::ControllerEndpoint {
                    name: "CONTROLLER".to_owned(),
                    host: "h".to_owned(),
                    port: 9093,
                    ..Default::default()
                }],
            }),
            "011b00000000010102030405060708090a0b0c0d0e0f1000020b434f4e54524f4c4c455202682385000000\
             0100",
        ),
    ]
}

fn topics() -> Vec<(MetadataRecord, &'static str)> {
    vec![
        (
            record!(TopicRecord { name: "t".to_owned(), topic_id: uuid(1) }),
            "01020002740102030405060708090a0b0c0d0e0f1000",
        ),
        (
            record!(PartitionRecord {
                partition_id: 3,
                topic_id: uuid(1),
                replicas: vec![1, 2],
                isr: vec![1],
                leader: 1,
                leader_epoch: 4,
                partition_epoch: 7,
                directories: vec![uuid(0x11); 2],
                eligible_leader_replicas: Some(vec![2]),
            }),
            "010302000000030102030405060708090a0b0c0d0e0f100300000001000000020200000001010100000001\
             0000000400000007031112131415161718191a1b1c1d1e1f201112131415161718191a1b1c1d1e1f200101\
             050200000002",
        ),
        (
            record!(PartitionChangeRecord {
                partition_id: 3,
                topic_id: uuid(1),
                isr: Some(vec![2]),
                leader: 2,
                eligible_leader_replicas: Some(vec![]),
            }),
            "010502000000030102030405060708090a0b0c0d0e0f10030005020000000201040000000206\
             0101",
        ),
        (
            record!(RemoveTopicRecord { topic_id: uuid(1) }),
            "0109000102030405060708090a0b0c0d0e0f1000",
        ),
        (record!(ClearElrRecord { topic_name: "t".to_owned() }), "011c00027400"),
        (
            record!(ConfigRecord {
                resource_type: 2,
                resource_name: "t".to_owned(),
                name: "k".to_owned(),
                value: None,
            }),
            "010400020274026b0000",
        ),
    ]
}

fn others() -> Vec<(MetadataRecord, &'static str)> {
    let text = str::to_owned;
    let mut all = credentials();
    all.extend([
        (
            record!(FeatureLevelRecord { name: text("metadata.version"), feature_level: 30 }),
            "010c00116d657461646174612e76657273696f6e001e00",
        ),
        (
            record!(ClientQuotaRecord {
                entity: vec![EntityData { entity_type: text("user"), ..Default::default() }],
                key: text("producer_byte_rate"),
                value: 1.5,
            }),
            "010e0002057573657200001370726f64756365725f627974655f726174653ff80000000000000000",
        ),
        (
            record!(ProducerIdsRecord { broker_id: 1, broker_epoch: 5, next_producer_id: 2000 }),
            "010f0000000001000000000000000500000000000007d000",
        ),
        (record!(NoOpRecord {}), "01140000"),
        (record!(ZkMigrationStateRecord { zk_migration_state: 0 }), "0115000000"),
        (
            record!(BeginTransactionRecord { name: Some(text("Bootstrap records")) }),
            "01170001001212426f6f747374726170207265636f726473",
        ),
        (record!(EndTransactionRecord {}), "01180000"),
        (record!(AbortTransactionRecord { reason: Some(text("r")) }), "0119000100020272"),
    ]);
    all
}

fn credentials() -> Vec<(MetadataRecord, &'static str)> {
    let text = str::to_owned;
    vec![
        (
            record!(DelegationTokenRecord {
                owner: text("User:o"),
                requester: text("User:r"),
                renewers: vec![text("User:n")],
                issue_timestamp: 1,
                max_timestamp: 3,
                expiration_timestamp: 2,
                token_id: text("i"),
            }),
            "010a0007557365723a6f07557365723a720207557365723a6e000000000000000100000000000000030000\
             000000000002026900",
        ),
        (record!(RemoveDelegationTokenRecord { token_id: text("i") }), "011a00026900"),
        (
            record!(UserScramCredentialRecord {
                name: text("u"),
                mechanism: 1,
                salt: Bytes::from_static(&[1]),
                stored_key: Bytes::from_static(&[2, 3]),
                server_key: Bytes::new(),
                iterations: 4096,
            }),
            "010b000275010201030203010000100000",
        ),
        (
            record!(RemoveUserScramCredentialRecord { name: text("u"), mechanism: 1 }),
            "01160002750100",
        ),
        (
            record!(AccessControlEntryRecord {
                id: uuid(1),
                resource_type: 2,
                resource_name: text("t"),
                pattern_type: 3,
                principal: text("User:u"),
                host: text("*"),
                operation: 3,
                permission_type: 3,
            }),
            "0112000102030405060708090a0b0c0d0e0f100202740307557365723a75022a030300",
        ),
        (
            record!(RemoveAccessControlEntryRecord { id: uuid(1) }),
            "0113000102030405060708090a0b0c0d0e0f1000",
        ),
    ]
}

#[test]
fn every_type_is_written_as_kafka_writes_it() {
    for (record, expected) in golden() {
        assert_eq!(record.encode(LEVEL).unwrap(), unhex(expected), "{}", record.name());
    }
}

#[test]
fn every_type_is_read_as_kafka_wrote_it() {
    for (expected, bytes) in golden() {
        assert_eq!(MetadataRecord::decode(&unhex(bytes)).unwrap(), expected);
    }
}

#[test]
fn golden_table_has_all_26_types() {
    let mut keys: Vec<_> = golden().iter().map(|(record, _)| record.api_key()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 26);
}

#[test]
fn version_follows_metadata_version() {
    let cases = [
        (record!(RegisterBrokerRecord {}), [(7, 1), (8, 2), (17, 3), (29, 3), (30, 4)].as_slice()),
        (record!(PartitionRecord {}), &[(16, 0), (17, 1), (22, 1), (23, 2), (30, 2)]),
        (record!(PartitionChangeRecord {}), &[(16, 0), (17, 1), (22, 1), (23, 2), (30, 2)]),
        (record!(TopicRecord {}), &[(7, 0), (30, 0)]),
    ];
    for (record, levels) in cases {
        for &(level, version) in levels {
            let bytes = record.encode(level).unwrap();
            assert_eq!(bytes[2], version, "{} at level {level}", record.name());
        }
    }
}

#[test]
fn broken_frames_are_refused() {
    let cases: [(&[u8], &str); 9] = [
        (&[], "ends inside"),
        (&[1, 20], "ends inside"),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 1], "ends inside"),
        (&[0xff, 0xff, 0xff, 0xff, 0x7f, 1], "ends inside"),
        (&[0, 20, 0, 0], "frame version 0"),
        (&[2, 20, 0, 0], "frame version 2"),
        (&[1, 6, 0, 0], "unknown type 6"),
        (&[1, 20, 1, 0], "version 1"),
        (&[1, 20, 0, 0, 0], "type 20"),
    ];
    for (bytes, expected) in cases {
        let error = MetadataRecord::decode(&Bytes::copy_from_slice(bytes)).unwrap_err();
        assert!(error.to_string().contains(expected), "{bytes:?}: {error}");
    }
}

#[test]
fn cut_records_never_panic() {
    for (_, bytes) in golden() {
        let bytes = unhex(bytes);
        for end in 0..bytes.len() {
            let error = MetadataRecord::decode(&bytes.slice(..end)).unwrap_err();
            assert!(matches!(error, FrameError::Truncated(_) | FrameError::Message { .. }));
        }
    }
}
