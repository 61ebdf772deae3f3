//! The next request, and what its session is told. Not here: answers of one partition (`follower`).

use super::*;

fn key(partition: i32) -> TopicIdPartition {
    TopicIdPartition { topic: Uuid::from_bytes([1; 16]), partition }
}

fn want(offset: i64) -> Want {
    Want {
        leader_epoch: LeaderEpoch(3),
        fetch_offset: Offset::new(offset),
        last_fetched_epoch: Some(LeaderEpoch(2)),
        log_start: Offset::ZERO,
        high_watermark: Offset::ZERO,
    }
}

/// A fetcher of partitions 0, 1 and 2 whose session 7 knows them.
fn with_session() -> Fetcher {
    let mut fetcher = Fetcher::default();
    for partition in 0..3 {
        fetcher.set(key(partition), want(10));
    }
    let plan = fetcher.next(Millis(0)).unwrap();
    assert_eq!((plan.session_id, plan.session_epoch, plan.wants.len()), (0, 0, 3));
    fetcher.answered(ErrorCode::None, 7);
    fetcher
}

#[test]
fn one_request_is_under_way_at_a_time() {
    let mut fetcher = with_session();
    assert!(fetcher.next(Millis(0)).is_some());
    assert_eq!(fetcher.next(Millis(0)), None);
}

#[test]
fn a_session_is_told_what_changed_and_no_more() {
    let mut fetcher = with_session();
    fetcher.set(key(1), want(12));
    fetcher.hold(key(2));
    let plan = fetcher.next(Millis(0)).unwrap();
    assert_eq!((plan.session_id, plan.session_epoch), (7, 1));
    assert_eq!((plan.wants, plan.forgotten), (vec![(key(1), want(12))], vec![key(2)]));
    assert_eq!(fetcher.asked(key(1)), Some(want(12)));
    assert_eq!(fetcher.asked(key(2)), None);
    fetcher.answered(ErrorCode::None, 7);
    let plan = fetcher.next(Millis(0)).unwrap();
    assert_eq!((plan.session_epoch, plan.wants, plan.forgotten), (2, vec![], vec![]));
}

#[test]
fn a_delayed_partition_comes_back_by_itself_and_a_held_one_when_set() {
    let mut fetcher = with_session();
    fetcher.delay(key(0), want(10), Millis(50));
    fetcher.hold(key(1));
    assert_eq!(fetcher.next_due(), Some(Millis(50)));
    let plan = fetcher.next(Millis(49)).unwrap();
    assert_eq!(plan.forgotten, [key(0), key(1)]);
    fetcher.answered(ErrorCode::None, 7);
    fetcher.set(key(1), want(11));
    let plan = fetcher.next(Millis(50)).unwrap();
    assert_eq!(plan.wants, [(key(0), want(10)), (key(1), want(11))]);
    assert_eq!(fetcher.next_due(), None);
}

#[test]
fn what_became_ready_too_late_is_lacking_until_the_next_request() {
    let mut fetcher = with_session();
    fetcher.hold(key(2));
    fetcher.next(Millis(0)).unwrap();
    // Asked for as it was, or not to be asked for.
    fetcher.set(key(0), want(12));
    fetcher.delay(key(3), want(10), Millis(50));
    assert!(!fetcher.lacks_some());
    fetcher.set(key(2), want(10));
    assert!(fetcher.lacks_some());
    fetcher.failed();
    fetcher.next(Millis(0)).unwrap();
    assert!(!fetcher.lacks_some());
}

#[test]
fn a_partition_is_new_until_it_was_followed_and_once_it_is_followed_no_more() {
    let mut fetcher = with_session();
    fetcher.remove(key(1));
    let new = (0..4).map(|at| fetcher.is_new(key(at)));
    assert_eq!(new.collect::<Vec<_>>(), [false, true, false, true]);
}

#[test]
fn nothing_ready_means_no_request() {
    let mut fetcher = with_session();
    for partition in 0..3 {
        fetcher.hold(key(partition));
    }
    assert_eq!(fetcher.next(Millis(0)), None);
    fetcher.set(key(0), want(10));
    assert_eq!(fetcher.next(Millis(0)).unwrap().forgotten, [key(1), key(2)]);
}

#[test]
fn a_removed_partition_is_forgotten_on_both_sides() {
    let mut fetcher = with_session();
    fetcher.remove(key(0));
    fetcher.remove(key(9));
    assert_eq!(fetcher.next(Millis(0)).unwrap().forgotten, [key(0)]);
    fetcher.answered(ErrorCode::None, 7);
    fetcher.remove(key(1));
    fetcher.set(key(1), want(10));
    let plan = fetcher.next(Millis(0)).unwrap();
    assert_eq!((plan.wants, plan.forgotten), (vec![], vec![]));
}

#[test]
fn a_lost_session_is_opened_anew_with_everything() {
    let cases = [
        ("unknown there", Some((ErrorCode::FetchSessionIdNotFound, 0)), 0),
        ("out of step", Some((ErrorCode::InvalidFetchSessionEpoch, 0)), 7),
        ("another session's answer", Some((ErrorCode::None, 8)), 7),
        ("no answer", None, 7),
    ];
    for (name, answer, session_id) in cases {
        let mut fetcher = with_session();
        fetcher.set(key(2), want(12));
        fetcher.next(Millis(0)).unwrap();
        match answer {
            Some((error, id)) => fetcher.answered(error, id),
            None => fetcher.failed(),
        }
        let plan = fetcher.next(Millis(0)).unwrap();
        assert_eq!((plan.session_id, plan.session_epoch), (session_id, 0), "{name}");
        assert_eq!(plan.wants, [(key(0), want(10)), (key(1), want(10)), (key(2), want(12))]);
        assert!(plan.forgotten.is_empty(), "{name}");
    }
}

#[test]
fn without_room_for_a_session_everything_is_named_each_time() {
    let mut fetcher = Fetcher::default();
    fetcher.set(key(0), want(10));
    for _ in 0..2 {
        let plan = fetcher.next(Millis(0)).unwrap();
        assert_eq!((plan.session_id, plan.session_epoch, plan.wants.len()), (0, 0, 1));
        fetcher.answered(ErrorCode::None, 0);
    }
}
