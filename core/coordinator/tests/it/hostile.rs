//! Bytes from a damaged or hostile log: nothing panics, and a refused record changes nothing.

use proptest::prelude::*;
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use thalweg_coordinator::{Coordinator, Logged, Now, Record, Request, Response, Settings};
use types::Millis;

use crate::world::{World, join_request, sync_request};

/// Records of groups that have lived, to be damaged.
fn log() -> Vec<Record> {
    let mut world = World::new(Settings::default());
    _ = world.stable_group("g", &["t"]);
    let mut request = join_request("s", "", &[("range", &["t"])]);
    request.group_instance_id = Some("i".to_owned());
    _ = world.join(request, 9, "c");
    _ = world.wait(3_000);
    let member_id = "i-00000000-0000-0000-0000-000000000002";
    _ = world.ask(Request::Sync(sync_request("s", member_id, 1, &[])), 5);
    world.log
}

/// Serves whatever was loaded for a day.
fn serve(logged: Logged) {
    let mut now = Now::default();
    let mut coordinator = Coordinator::new(Settings::default(), logged, now);
    while let Some(next) = coordinator.next_deadline().filter(|next| *next < Millis(86_400_000)) {
        now.monotonic = now.monotonic.max(next);
        now.wall = now.monotonic;
        while let Some(outcome) = coordinator.tick(now) {
            for record in &outcome.records {
                coordinator.replay(record).expect("own records are well-formed");
            }
        }
    }
}

#[test]
fn every_truncated_record_is_refused_or_served() {
    for record in log() {
        let value = record.value.unwrap();
        for length in 0..value.len() {
            let mut logged = Logged::default();
            let cut = Record { key: record.key.clone(), value: Some(value.slice(..length)) };
            assert!(logged.replay(&cut).is_err(), "{length} bytes of {}", value.len());
            assert_eq!(logged, Logged::default());
        }
        for length in 0..record.key.len() {
            let cut = Record { key: record.key.slice(..length), value: Some(value.clone()) };
            assert!(Logged::default().replay(&cut).is_err(), "{length} bytes of the key");
        }
    }
}

#[test]
fn every_flipped_byte_is_refused_or_served() {
    for record in log() {
        let value = record.value.unwrap();
        for at in 0..value.len() {
            for flip in [0x01, 0x7f, 0x80, 0xff] {
                let mut damaged = value.to_vec();
                damaged[at] ^= flip;
                let damaged = Record { key: record.key.clone(), value: Some(damaged.into()) };
                let mut logged = Logged::default();
                if logged.replay(&damaged).is_ok() {
                    serve(logged);
                }
            }
        }
    }
}

/// The longest string that a request can carry, and longer in UTF-8 than in characters.
fn longest() -> String {
    "ä".repeat(i16::MAX as usize / 2)
}

#[test]
fn the_longest_strings_of_a_request_fit_into_records() {
    for instance_id in [None, Some(longest())] {
        let settings =
            Settings { offset_metadata_size_max: i32::MAX as usize, ..Settings::default() };
        let mut world = World::new(settings);
        let longest = longest();
        let mut request = join_request(&longest, "", &[(&longest, &[&longest])]);
        request.group_instance_id = instance_id;
        request.protocol_type = longest.clone();
        _ = world.join(request, 3, &longest);
        let happened = world.wait(3_000);
        let (_, Response::Join(joined)) = &happened[0].1.replies[0] else { panic!("joined") };
        let member_id = joined.member_id.clone();
        let request = sync_request(&longest, &member_id, 1, &[(&member_id, &longest)]);
        _ = world.ask(Request::Sync(request), 5);
        let partition = OffsetCommitRequestPartition {
            committed_metadata: Some(longest.clone()),
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: longest.clone(),
            member_id,
            generation_id_or_member_epoch: 1,
            topics: vec![OffsetCommitRequestTopic {
                name: longest.clone(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        _ = world.ask(Request::OffsetCommit(request), 9);
        _ = world.fail_over();
        assert!(world.coordinator.logged().offsets().get(&longest, &longest, 0).is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_bytes_are_refused_or_served(
        record_type in 0u8..4,
        version in 0u8..6,
        key in prop::collection::vec(any::<u8>(), 0..40),
        value in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let key = [&[0, record_type], &key[..]].concat();
        let value = [&[0, version], &value[..]].concat();
        let mut logged = Logged::default();
        let record = Record { key: key.into(), value: Some(value.into()) };
        if logged.replay(&record).is_ok() {
            serve(logged);
        }
    }
}
