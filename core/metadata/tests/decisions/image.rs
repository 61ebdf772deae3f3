//! Images: applying records, transactions, changes, checkpoints.

use bytes::Bytes;
use protocol::internal::metadata::*;
use thalweg_metadata::image::{ApplyError, LoaderError};
use thalweg_metadata::{Changes, Image, Loader, MetadataRecord};
use types::{BrokerId, Uuid};

use crate::world::{World, ids};

macro_rules! record {
    ($message:ident { $($field:ident: $value:expr),* $(,)? }) => {
        MetadataRecord::from($message { $($field: $value,)* ..Default::default() })
    };
}

fn id(byte: u8) -> Uuid {
    Uuid::from_bytes([byte; 16])
}

/// The image that the log of checkpoint records makes.
fn replayed(image: &Image) -> Image {
    let mut copy = Image::default();
    for record in image.snapshot_records() {
        let bytes = record.encode(30).unwrap();
        copy.apply(&MetadataRecord::decode(&bytes).unwrap()).unwrap();
    }
    copy
}

/// One of each thing that an image can hold.
fn full() -> Image {
    let mut world = World::of(3);
    world.made("a.b", 3, 2);
    world.made("c", 1, 3);
    let text = str::to_owned;
    world.apply(vec![
        record!(ConfigRecord {
            resource_type: 2,
            resource_name: text("c"),
            name: text("retention.ms"),
            value: Some(text("5")),
        }),
        record!(RegisterControllerRecord { controller_id: 9 }),
        record!(ProducerIdsRecord { broker_id: 1, next_producer_id: 4000 }),
        record!(ClientQuotaRecord {
            entity: vec![client_quota_record::EntityData {
                entity_type: text("user"),
                ..Default::default()
            }],
            key: text("producer_byte_rate"),
            value: 1.5,
        }),
        record!(AccessControlEntryRecord { id: id(4), resource_name: text("c") }),
        record!(UserScramCredentialRecord {
            name: text("u"),
            mechanism: 1,
            salt: Bytes::from_static(b"s"),
        }),
        record!(DelegationTokenRecord {
            token_id: text("i"),
            owner: text("User:u"),
            requester: text("User:u")
        }),
    ]);
    world.image().clone()
}

#[test]
fn checkpoint_replays_to_an_equal_image() {
    let image = full();
    assert_eq!(replayed(&image), image);
    assert_eq!(replayed(&Image::default()), Image::default());
}

#[test]
fn checkpoint_begins_with_the_metadata_version() {
    let first = full().snapshot_records().next().unwrap();
    assert!(
        matches!(first, MetadataRecord::FeatureLevel(level) if level.name == "metadata.version")
    );
}

#[test]
fn removals_undo_additions() {
    let mut image = full();
    let text = str::to_owned;
    let removals = [
        record!(ClientQuotaRecord {
            entity: vec![client_quota_record::EntityData {
                entity_type: text("user"),
                ..Default::default()
            }],
            key: text("producer_byte_rate"),
            remove: true,
        }),
        record!(RemoveAccessControlEntryRecord { id: id(4) }),
        record!(RemoveUserScramCredentialRecord { name: text("u"), mechanism: 1 }),
        record!(RemoveDelegationTokenRecord { token_id: text("i") }),
    ];
    for removal in &removals {
        image.apply(removal).unwrap();
    }
    assert_eq!(image.quotas().count(), 0);
    assert_eq!(image.acls().count(), 0);
    assert_eq!(image.scram_credentials().count(), 0);
    assert_eq!(image.delegation_tokens().count(), 0);
}

#[test]
fn misfit_records_change_nothing() {
    let stranger = id(200);
    let image = full();
    let existing = image.topic("c").unwrap().id;
    let epoch = image.broker(BrokerId(1)).unwrap().epoch;
    let cases = [
        (record!(RemoveTopicRecord { topic_id: stranger }), ApplyError::UnknownTopicId(stranger)),
        (record!(PartitionRecord { topic_id: stranger }), ApplyError::UnknownTopicId(stranger)),
        (
            record!(PartitionChangeRecord { topic_id: existing, partition_id: 5 }),
            ApplyError::UnknownPartition { topic: "c".into(), partition: 5 },
        ),
        (
            record!(TopicRecord { name: "c".to_owned(), topic_id: stranger }),
            ApplyError::TopicExists { name: "c".to_owned(), existing, given: stranger },
        ),
        (
            record!(ClearElrRecord { topic_name: "x".to_owned() }),
            ApplyError::UnknownTopic("x".to_owned()),
        ),
        (record!(FenceBrokerRecord { id: 7 }), ApplyError::UnknownBroker(BrokerId(7))),
        (
            record!(UnregisterBrokerRecord { broker_id: 1, broker_epoch: 999 }),
            ApplyError::StaleBrokerEpoch { broker: BrokerId(1), registered: epoch, given: 999 },
        ),
        (
            record!(ProducerIdsRecord { next_producer_id: 3999 }),
            ApplyError::ProducerIdsGoBack { present: 4000, given: 3999 },
        ),
        (record!(ConfigRecord { resource_type: 3 }), ApplyError::UnknownResourceType(3)),
    ];
    for (record, expected) in cases {
        let mut changed = image.clone();
        assert_eq!(changed.apply(&record), Err(expected));
        assert_eq!(changed, image, "{record:?}");
    }
}

#[test]
fn clear_elr_clears_one_topic_or_all() {
    let mut world = World::of(1);
    let [a, b] = ["a", "b"].map(|name| world.made(name, 1, 1));
    let eligible = |topic_id| {
        record!(PartitionChangeRecord {
            topic_id: topic_id,
            partition_id: 0,
            eligible_leader_replicas: Some(vec![1]),
        })
    };
    world.apply(vec![eligible(a), eligible(b)]);
    let elr = |world: &World, name: &str| {
        ids(&world.image().topic(name).unwrap().partition(0).unwrap().elr)
    };
    world.apply(vec![record!(ClearElrRecord { topic_name: "a".to_owned() })]);
    assert_eq!((elr(&world, "a"), elr(&world, "b")), (vec![], vec![1]));
    world.apply(vec![record!(ClearElrRecord {})]);
    assert_eq!(elr(&world, "b"), []);
}

#[test]
fn kraft_version_is_no_feature_of_the_image() {
    let mut image = Image::default();
    let record = record!(FeatureLevelRecord { name: "kraft.version".to_owned(), feature_level: 1 });
    image.apply(&record).unwrap();
    assert_eq!(image.features().count(), 0);
}

#[test]
fn partitions_without_directories_get_the_placeholder() {
    let mut image = Image::default();
    image.apply(&record!(TopicRecord { name: "t".to_owned(), topic_id: id(1) })).unwrap();
    let partition =
        record!(PartitionRecord { topic_id: id(1), partition_id: 0, replicas: vec![1, 2] });
    image.apply(&partition).unwrap();
    let made = image.topic("t").unwrap().partition(0).unwrap();
    assert_eq!(made.directories[..], [Uuid::ZERO; 2]);
}

#[test]
fn transaction_is_seen_whole_or_not_at_all() {
    let topic =
        |number: u8| record!(TopicRecord { name: format!("t{number}"), topic_id: id(number) });
    let mut loader = Loader::default();
    loader.apply(&record!(BeginTransactionRecord {})).unwrap();
    loader.apply(&topic(1)).unwrap();
    assert_eq!((loader.image().topic_count(), loader.latest().topic_count()), (0, 1));
    assert!(loader.in_transaction());
    loader.apply(&record!(EndTransactionRecord {})).unwrap();
    assert_eq!(loader.image().topic_count(), 1);

    loader.apply(&record!(BeginTransactionRecord {})).unwrap();
    loader.apply(&topic(2)).unwrap();
    loader.apply(&record!(AbortTransactionRecord {})).unwrap();
    assert_eq!((loader.image().topic_count(), loader.latest().topic_count()), (1, 1));
    assert!(!loader.in_transaction());
}

#[test]
fn transactions_out_of_order_are_refused() {
    let mut loader = Loader::default();
    let end = record!(EndTransactionRecord {});
    let abort = record!(AbortTransactionRecord {});
    let begin = record!(BeginTransactionRecord {});
    assert_eq!(loader.apply(&end), Err(LoaderError::NotBegun));
    assert_eq!(loader.apply(&abort), Err(LoaderError::NotBegun));
    loader.apply(&begin).unwrap();
    assert_eq!(loader.apply(&begin), Err(LoaderError::Nested));
}

#[test]
fn changes_name_what_differs_and_nothing_else() {
    let mut world = World::of(2);
    let [kept, gone] = ["kept", "gone"].map(|name| world.made(name, 2, 1));
    let before = world.image().clone();
    world.apply(vec![
        record!(RemoveTopicRecord { topic_id: gone }),
        record!(PartitionChangeRecord { topic_id: kept, partition_id: 1, leader: -1 }),
        record!(ConfigRecord {
            resource_type: 2,
            resource_name: "kept".to_owned(),
            name: "retention.ms".to_owned(),
            value: Some("5".to_owned()),
        }),
    ]);
    world.made("new", 1, 1);
    let changes = Changes::between(&before, world.image());

    let names = |topics: &[std::sync::Arc<thalweg_metadata::image::Topic>]| {
        topics.iter().map(|topic| topic.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&changes.topics_created), ["new"]);
    assert_eq!(names(&changes.topics_deleted), ["gone"]);
    let mut partitions: Vec<_> = changes
        .partitions
        .iter()
        .map(|one| (one.topic.as_ref(), one.partition, one.before.is_some(), one.after.is_some()))
        .collect();
    partitions.sort_unstable();
    assert_eq!(
        partitions,
        [
            ("gone", 0, true, false),
            ("gone", 1, true, false),
            ("kept", 1, true, true),
            ("new", 0, false, true),
        ]
    );
    let configs: Vec<_> = changes.configs.iter().map(|one| one.name.as_ref()).collect();
    assert_eq!(configs, ["kept"]);
    assert_eq!(changes.brokers, []);
    assert!(!changes.features && !changes.producer_ids && !changes.quotas && !changes.acls);
}

#[test]
fn changes_tell_of_the_rest() {
    let changes = Changes::between(&Image::default(), &full());
    assert!(changes.features && changes.producer_ids && changes.quotas);
    assert!(changes.acls && changes.credentials);
    assert_eq!(changes.brokers, [1, 2, 3].map(BrokerId));
    assert_eq!(changes.controllers, [BrokerId(9)]);
    assert!(Changes::between(&full(), &full()).is_empty());
}

#[test]
fn topic_made_again_is_another_one() {
    let mut world = World::of(1);
    let old = world.made("t", 1, 1);
    let before = world.image().clone();
    world.apply(vec![record!(RemoveTopicRecord { topic_id: old })]);
    let new = world.made("t", 1, 1);
    let changes = Changes::between(&before, world.image());
    assert_eq!(changes.topics_created[0].id, new);
    assert_eq!(changes.topics_deleted[0].id, old);
    assert_eq!(changes.partitions.len(), 2);
}
