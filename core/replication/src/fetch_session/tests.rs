//! Sessions as clients open, change, use and close them, and what each response may leave out.

use super::*;

fn key(name: &str, partition: i32) -> PartitionKey {
    PartitionKey { topic: TopicKey::Name(name.into()), partition }
}

fn target(name: &str, partition: i32) -> FetchTarget {
    let want = FetchPartition {
        fetch_offset: 0,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        partition_max_bytes: 1024,
        log_start_offset: -1,
        high_watermark: i64::MAX,
    };
    FetchTarget { key: key(name, partition), want }
}

fn quiet(high_watermark: i64) -> Answered {
    Answered {
        error: ErrorCode::None,
        high_watermark: Offset::from_wire(high_watermark),
        log_start: Some(Offset::ZERO),
        has_data: false,
    }
}

const T0: Millis = Millis(0);

#[test]
fn request_without_session_gets_none_when_no_slot_is_free() {
    let mut sessions = FetchSessions::new(0, 100);
    let open = sessions.open((0, 0), vec![target("a", 0)], &[], T0, 7).unwrap();
    assert_eq!((open.session_id, open.incremental), (0, false));
}

#[test]
fn session_remembers_partitions_and_forgets_on_request() {
    let mut sessions = FetchSessions::new(2, 100);
    let first = vec![target("a", 0), target("a", 1)];
    assert_eq!(sessions.open((0, 0), first, &[], T0, 7).unwrap().session_id, 7);

    let second = sessions.open((7, 1), vec![target("b", 0)], &[key("a", 0)], T0, 8).unwrap();
    let names: Vec<_> = second.targets.iter().map(|t| t.key.clone()).collect();
    assert_eq!(names, [key("a", 1), key("b", 0)]);
    assert!(second.incremental);
}

#[test]
fn wrong_epoch_unknown_session_and_mixed_keys_are_refused() {
    let mut sessions = FetchSessions::new(2, 100);
    sessions.open((0, 0), vec![target("a", 0)], &[], T0, 7).unwrap();
    let by_id = FetchTarget {
        key: PartitionKey { topic: TopicKey::Id(Uuid::ZERO), partition: 0 },
        ..target("a", 0)
    };
    let cases = [
        ((7, 2), vec![], ErrorCode::InvalidFetchSessionEpoch),
        ((9, 1), vec![], ErrorCode::FetchSessionIdNotFound),
        ((7, 1), vec![by_id], ErrorCode::FetchSessionTopicIdError),
    ];
    for (session, changed, code) in cases {
        let refused = sessions.open(session, changed, &[], T0, 1).unwrap_err();
        assert_eq!(refused.code(), code, "{session:?}");
    }
}

#[test]
fn incremental_response_carries_only_what_changed() {
    let mut sessions = FetchSessions::new(2, 100);
    let full = sessions.open((0, 0), vec![target("a", 0)], &[], T0, 7).unwrap();
    assert!(sessions.answer(&full, &key("a", 0), quiet(5)));
    let again = sessions.open((7, 1), vec![], &[], T0, 0).unwrap();
    assert!(!sessions.answer(&again, &key("a", 0), quiet(5)));
    assert!(sessions.answer(&again, &key("a", 0), quiet(6)));
    assert!(sessions.answer(&again, &key("a", 0), Answered { has_data: true, ..quiet(6) }));
}

/// A follower drops the answer to a question of a former epoch, and with it the high watermark.
#[test]
fn a_follower_that_knows_less_than_it_was_told_is_told_again() {
    let mut sessions = FetchSessions::new(2, 100);
    let knows = |high_watermark| {
        let mut target = target("a", 0);
        (target.want.fetch_offset, target.want.high_watermark) = (8, high_watermark);
        target
    };
    let full = sessions.open((0, 0), vec![knows(3)], &[], T0, 7).unwrap();
    assert!(sessions.answer(&full, &key("a", 0), quiet(5)));
    let again = sessions.open((7, 1), vec![], &[], T0, 0).unwrap();
    assert!(sessions.answer(&again, &key("a", 0), quiet(5)));
    let learned = sessions.open((7, 2), vec![knows(5)], &[], T0, 0).unwrap();
    assert!(!sessions.answer(&learned, &key("a", 0), quiet(5)));
    // Beyond its own log it knows nothing: it could not use more.
    assert!(sessions.answer(&learned, &key("a", 0), quiet(9)));
    let at_end = sessions.open((7, 3), vec![knows(8)], &[], T0, 0).unwrap();
    assert!(!sessions.answer(&at_end, &key("a", 0), quiet(9)));
}

#[test]
fn next_fetch_begins_behind_the_partition_that_had_data() {
    let mut sessions = FetchSessions::new(2, 100);
    let all = vec![target("a", 0), target("a", 1), target("a", 2)];
    let full = sessions.open((0, 0), all, &[], T0, 7).unwrap();
    sessions.answer(&full, &key("a", 0), Answered { has_data: true, ..quiet(1) });
    let next = sessions.open((7, 1), vec![], &[], T0, 0).unwrap();
    assert_eq!(next.targets[0].key, key("a", 1));
}

#[test]
fn final_epoch_closes_the_session() {
    let mut sessions = FetchSessions::new(2, 100);
    sessions.open((0, 0), vec![target("a", 0)], &[], T0, 7).unwrap();
    sessions.open((7, -1), vec![], &[], T0, 0).unwrap();
    assert_eq!(sessions.sizes(), (0, 0));
}

#[test]
fn only_an_idle_session_makes_room() {
    let mut sessions = FetchSessions::new(1, 100);
    sessions.open((0, 0), vec![target("a", 0)], &[], T0, 7).unwrap();
    let soon = sessions.open((0, 0), vec![target("a", 0)], &[], Millis(1000), 8).unwrap();
    assert_eq!(soon.session_id, 0);
    let late = sessions.open((0, 0), vec![target("a", 0)], &[], EVICTION_AGE, 9).unwrap();
    assert_eq!(late.session_id, 9);
}

#[test]
fn sessions_remember_no_more_partitions_than_they_may_together() {
    let mut sessions = FetchSessions::new(10, 5);
    let targets = |range: std::ops::Range<i32>| range.map(|at| target("t", at)).collect::<Vec<_>>();
    let mut open = |session, range, now, id| {
        let opened = sessions.open(session, targets(range), &[], Millis(now), id);
        (opened.map(|open| open.session_id), sessions.sizes())
    };
    assert_eq!(open((0, 0), 0..6, 0, 1), (Ok(0), (0, 0)), "too many at once");
    assert_eq!(open((0, 0), 0..3, 0, 1), (Ok(1), (1, 3)));
    assert_eq!(open((0, 0), 0..3, 0, 2), (Ok(0), (1, 3)), "too many with the other's");
    assert_eq!(open((1, 1), 3..5, 1, 0), (Ok(1), (1, 5)));
    let gone = Err(FetchRefused::UnknownSession(1));
    assert_eq!(open((1, 2), 5..6, 2, 0), (gone, (0, 0)), "one that grows");
    assert_eq!(open((0, 0), 0..5, 3, 3), (Ok(3), (1, 5)));
    let later = EVICTION_AGE.get() + 3;
    assert_eq!(open((0, 0), 0..5, later, 4), (Ok(4), (1, 5)), "in the place of an idle one");
}
