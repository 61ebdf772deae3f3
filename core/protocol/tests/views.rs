//! Borrowed views say what the owned messages say.

#![allow(clippy::unwrap_used, reason = "tests")]

mod schema;

use bytes::Bytes;
use schema::Wishes;
use schema::model::Message as Schema;
use thalweg_protocol::messages::produce::ProduceRequest;
use thalweg_protocol::views::{
    ConsumerGroupHeartbeatRequestView, FetchRequestView, HeartbeatRequestView,
    ListOffsetsRequestView, MetadataRequestView, OffsetCommitRequestView, OffsetFetchRequestView,
    ProduceRequestView,
};
use thalweg_protocol::wire::Reader;
use thalweg_protocol::{Message, View};
use types::Rng;

/// Calls `check` with random requests of the named API, in all versions.
fn for_random(name: &str, unknown_tags: bool, mut check: impl FnMut(&Bytes, i16)) {
    let files = schema::read();
    let api = files.iter().flat_map(|file| &file.apis).find(|api| api.name == name).unwrap();
    let message: &Schema = &api.request;
    let mut rng = Rng::new(7);
    for version in api.versions.first..=api.versions.last {
        for _ in 0..4 {
            let wishes = Wishes { unknown_tags, ..Wishes::default() };
            let bytes = schema::write(message, version, &mut rng, wishes).unwrap();
            check(&bytes.into(), version);
        }
    }
}

/// The text of a message, without what views do not have.
fn text_of(message: &impl std::fmt::Debug) -> String {
    format!("{message:?}").replace("View {", " {").replace(", unknown_tags: {}", "")
}

macro_rules! view_agrees {
    ($($test:ident $api:literal $view:ident;)+) => {
        $(#[test]
        fn $test() {
            for_random($api, false, |bytes, version| {
                let view = $view::from_bytes(bytes, version).unwrap();
                let owned = owned_of(&view, bytes, version);
                assert_eq!(text_of(&view), text_of(&owned), "{} {version}", $api);
            });
        })+
    };
}

/// The owned message from the bytes that `view` was read from.
fn owned_of<'a, V: View<'a>>(_: &V, bytes: &Bytes, version: i16) -> V::Owned {
    V::Owned::from_bytes(bytes, version).unwrap()
}

view_agrees! {
    fetch_view_agrees_with_the_owned_request "Fetch" FetchRequestView;
    list_offsets_view_agrees_with_the_owned_request "ListOffsets" ListOffsetsRequestView;
    metadata_view_agrees_with_the_owned_request "Metadata" MetadataRequestView;
    offset_commit_view_agrees_with_the_owned_request "OffsetCommit" OffsetCommitRequestView;
    offset_fetch_view_agrees_with_the_owned_request "OffsetFetch" OffsetFetchRequestView;
    heartbeat_view_agrees_with_the_owned_request "Heartbeat" HeartbeatRequestView;
    consumer_group_heartbeat_view_agrees_with_the_owned_request
        "ConsumerGroupHeartbeat" ConsumerGroupHeartbeatRequestView;
}

#[test]
fn produce_view_agrees_with_the_owned_request() {
    for_random("Produce", true, |bytes, version| {
        let view = ProduceRequestView::from_bytes(bytes, version).unwrap();
        let owned = ProduceRequest::from_bytes(bytes, version).unwrap();
        assert_eq!(view.transactional_id, owned.transactional_id.as_deref());
        assert_eq!((view.acks, view.timeout_ms), (owned.acks, owned.timeout_ms));
        assert_eq!(view.topic_data.len(), owned.topic_data.len());
        for (view, owned) in view.topic_data.iter().zip(&owned.topic_data) {
            assert_eq!((view.name, view.topic_id), (&*owned.name, owned.topic_id));
            let left = view.partition_data.iter().map(|data| (data.index, data.records));
            let right = owned.partition_data.iter();
            let right = right.map(|data| (data.index, data.records.as_deref()));
            assert!(left.eq(right), "version {version}");
        }
    });
}

#[test]
fn produce_view_reads_a_slice_that_is_not_shared() {
    for_random("Produce", true, |bytes, version| {
        let slice: &[u8] = bytes;
        let mut reader = Reader::over(slice);
        let view = ProduceRequestView::decode(&mut reader, version).unwrap();
        assert_eq!(reader.remaining(), 0);
        assert_eq!(view, ProduceRequestView::from_bytes(bytes, version).unwrap());
    });
}
