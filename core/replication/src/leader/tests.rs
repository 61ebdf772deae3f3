//! The high watermark, the ISR, and what followers may read, with three replicas and no log.

use super::*;
use crate::divergence::EpochEnd;

const ME: BrokerId = BrokerId(1);
const ALL: [BrokerId; 3] = [ME, BrokerId(2), BrokerId(3)];
const LAG_MAX: Millis = Millis(30_000);

/// A leader of epoch 5 whose log ends at 10, all on its disk, with a high watermark of 4.
fn leader(isr: &[i32]) -> Leader {
    let isr: Vec<_> = isr.iter().copied().map(BrokerId).collect();
    let term =
        Term { epoch: LeaderEpoch(5), partition_epoch: 7, replicas: &ALL, isr: &isr, min_isr: 1 };
    Leader::new(ME, &term, (Offset::new(10), Offset::new(10)), Offset::new(4), Millis(0))
}

fn asks(replica: i32, offset: i64) -> ReplicaFetch {
    ReplicaFetch {
        replica: BrokerId(replica),
        broker_epoch: Some(i64::from(replica) * 100),
        leader_epoch: Some(LeaderEpoch(5)),
        fetch_offset: Offset::new(offset),
        last_fetched_epoch: Some(LeaderEpoch(4)),
        log_start: Some(Offset::ZERO),
        high_watermark: None,
    }
}

/// Every broker is active, as its first incarnation.
fn active(id: BrokerId) -> Option<i64> {
    Some(i64::from(id.0) * 100)
}

/// A fetch at `now`, of a leader whose log ends at `end` and whose epoch 5 begins at 10.
fn fetch_at(leader: &mut Leader, fetch: &ReplicaFetch, end: i64, now: i64) -> FetchVerdict {
    let end_of = |epoch: LeaderEpoch| match epoch.0 {
        ..=4 => Some(EpochEnd { epoch: LeaderEpoch(4), end: Offset::new(10) }),
        5 => Some(EpochEnd { epoch, end: Offset::new(end) }),
        _ => None,
    };
    let log = (Offset::ZERO, Offset::new(end));
    leader.follower_fetch(fetch, log, end_of, (Millis(now), LAG_MAX), active)
}

fn fetch(leader: &mut Leader, replica: i32, offset: i64) -> FetchVerdict {
    fetch_at(leader, &asks(replica, offset), 10, 0)
}

fn poll_at(leader: &mut Leader, now: i64) -> Option<AlterPartition> {
    leader.poll(Offset::new(10), (Millis(now), LAG_MAX), active).alter
}

fn followers(alter: &AlterPartition) -> Vec<i32> {
    alter.followers.iter().map(|(id, _)| id.0).collect()
}

fn altered(partition_epoch: i32, isr: &[i32]) -> AlterAnswer {
    let isr = isr.iter().copied().map(BrokerId).collect();
    AlterAnswer::Altered { leader_epoch: LeaderEpoch(5), partition_epoch, isr }
}

#[test]
fn single_replica_commits_what_it_made_durable() {
    let mut leader = Leader::alone(ME, LeaderEpoch(3), Offset::new(10));
    assert_eq!(leader.high_watermark(), Offset::new(10));
    assert!(leader.advance(Offset::new(12)));
    assert!(!leader.advance(Offset::new(12)));
    assert_eq!(leader.latest_offset(), Some(Offset::new(12)));
    assert_eq!(leader.check_min_isr(), Ok(()));
    assert_eq!(poll_at(&mut leader, i64::MAX), None);
}

#[test]
fn high_watermark_is_the_smallest_end_in_sync_and_never_goes_back() {
    let mut leader = leader(&[1, 2, 3]);
    assert_eq!(fetch(&mut leader, 2, 9), FetchVerdict::Read { moved: false, at_once: false });
    assert_eq!(leader.high_watermark(), Offset::new(4), "3 has not shown what it has");
    assert_eq!(fetch(&mut leader, 3, 7), FetchVerdict::Read { moved: true, at_once: false });
    assert_eq!(leader.high_watermark(), Offset::new(7));
    fetch(&mut leader, 3, 2);
    assert_eq!(leader.high_watermark(), Offset::new(7));
}

#[test]
fn own_log_counts_only_as_far_as_it_may_be_acknowledged() {
    let mut leader = leader(&[1, 2, 3]);
    for replica in [2, 3] {
        fetch_at(
            &mut leader,
            &ReplicaFetch { last_fetched_epoch: Some(LeaderEpoch(5)), ..asks(replica, 12) },
            12,
            0,
        );
    }
    assert_eq!(leader.high_watermark(), Offset::new(10));
    assert!(leader.advance(Offset::new(12)));
    assert_eq!(leader.high_watermark(), Offset::new(12));
}

#[test]
fn latest_offset_is_unknown_until_former_epochs_are_committed() {
    let mut leader = leader(&[1, 2]);
    assert_eq!(leader.latest_offset(), None);
    fetch(&mut leader, 2, 10);
    assert_eq!(leader.latest_offset(), Some(Offset::new(10)));
}

#[test]
fn below_min_isr_nothing_is_taken_and_nothing_committed() {
    let mut leader = leader(&[1, 2]);
    leader.set_min_isr(3);
    assert_eq!(leader.check_min_isr(), Err(ErrorCode::NotEnoughReplicas));
    fetch(&mut leader, 2, 10);
    assert_eq!(leader.high_watermark(), Offset::new(4));
    assert!(leader.set_min_isr(2));
    assert_eq!((leader.check_min_isr(), leader.high_watermark()), (Ok(()), Offset::new(10)));
}

#[test]
fn fetches_that_prove_nothing_count_for_nothing() {
    let refused = FetchVerdict::Refused;
    let parts = EpochEnd { epoch: LeaderEpoch(4), end: Offset::new(10) };
    let epoch = |epoch| ReplicaFetch { leader_epoch: Some(LeaderEpoch(epoch)), ..asks(2, 10) };
    let cases = [
        ("older epoch", epoch(4), refused(ErrorCode::FencedLeaderEpoch)),
        ("newer epoch", epoch(6), refused(ErrorCode::UnknownLeaderEpoch)),
        ("no replica", asks(9, 10), refused(ErrorCode::UnknownLeaderEpoch)),
        (
            "no replica, no epoch",
            ReplicaFetch { leader_epoch: None, ..asks(9, 10) },
            refused(ErrorCode::NotLeaderOrFollower),
        ),
        ("longer in a former epoch", asks(2, 11), FetchVerdict::Diverging(parts)),
        (
            "an epoch from nowhere",
            ReplicaFetch { last_fetched_epoch: Some(LeaderEpoch(6)), ..asks(2, 10) },
            refused(ErrorCode::OffsetOutOfRange),
        ),
        (
            "past the end",
            ReplicaFetch { last_fetched_epoch: None, ..asks(2, 11) },
            refused(ErrorCode::OffsetOutOfRange),
        ),
    ];
    for (name, fetch, expected) in cases {
        let mut leader = leader(&[1, 2]);
        let before = leader.clone();
        assert_eq!(fetch_at(&mut leader, &fetch, 10, 0), expected, "{name}");
        assert_eq!(leader, before, "{name}");
    }
}

#[test]
fn a_former_incarnation_is_refused() {
    let mut leader = leader(&[1, 2]);
    fetch(&mut leader, 2, 8);
    let late = ReplicaFetch { broker_epoch: Some(199), ..asks(2, 10) };
    let refused = FetchVerdict::Refused(ErrorCode::NotLeaderOrFollower);
    assert_eq!(fetch_at(&mut leader, &late, 10, 0), refused);
}

#[test]
fn an_old_high_watermark_is_answered_at_once() {
    let knows = |offset, known| ReplicaFetch {
        high_watermark: Some(Offset::new(known)),
        ..asks(2, offset)
    };
    for (offset, known, at_once) in [(10, 9, true), (10, 10, false), (6, 6, false), (6, 5, true)] {
        let mut leader = leader(&[1]);
        leader.advance(Offset::new(10));
        let verdict = fetch_at(&mut leader, &knows(offset, known), 10, 0);
        assert_eq!(verdict, FetchVerdict::Read { moved: false, at_once }, "{offset} {known}");
    }
}

#[test]
fn who_falls_behind_is_proposed_to_go_and_waited_for_until_it_is_gone() {
    let mut leader = leader(&[1, 2, 3]);
    fetch_at(&mut leader, &asks(2, 10), 10, 20_000);
    fetch_at(&mut leader, &asks(3, 8), 10, 20_000);
    assert_eq!(poll_at(&mut leader, 30_000), None);
    let alter = poll_at(&mut leader, 30_001).unwrap();
    assert_eq!((alter.partition_epoch, followers(&alter)), (7, vec![2]));
    assert_eq!(poll_at(&mut leader, 40_000), None, "one is under way");
    assert_eq!(leader.high_watermark(), Offset::new(8));
    assert!(leader.altered(&alter, &altered(8, &[1, 2]), Millis(40_000)));
    assert_eq!(leader.high_watermark(), Offset::new(10));
    assert_eq!(leader.isr().collect::<Vec<_>>(), [ME, BrokerId(2)]);
}

#[test]
fn a_follower_that_keeps_up_with_a_growing_log_stays() {
    let mut leader = leader(&[1, 2]);
    for (now, end) in [(20_000, 12), (40_000, 14), (60_000, 16)] {
        // It has what was there when it asked before.
        let asks = ReplicaFetch { last_fetched_epoch: Some(LeaderEpoch(5)), ..asks(2, end - 2) };
        fetch_at(&mut leader, &asks, end, now);
    }
    let poll = |leader: &mut Leader, now| {
        leader.poll(Offset::new(16), (Millis(now), LAG_MAX), active).alter
    };
    assert_eq!(poll(&mut leader, 70_000), None);
    assert!(poll(&mut leader, 70_001).is_some());
}

#[test]
fn who_has_all_is_proposed_and_waited_for_before_the_controller_agrees() {
    let mut leader = leader(&[1]);
    leader.advance(Offset::new(10));
    assert_eq!(leader.high_watermark(), Offset::new(10));
    fetch(&mut leader, 2, 9);
    assert!(!leader.may_expand(BrokerId(2)));
    assert_eq!(poll_at(&mut leader, 0), None);
    fetch(&mut leader, 2, 10);
    assert!(leader.may_expand(BrokerId(2)));
    let alter = poll_at(&mut leader, 0).unwrap();
    assert_eq!(alter.followers, [(BrokerId(2), 200)]);
    assert!(!leader.advance(Offset::new(12)), "2 may be in sync already");
    assert_eq!(leader.isr().collect::<Vec<_>>(), [ME], "not committed");
    leader.altered(&alter, &altered(8, &[1, 2]), Millis(0));
    assert_eq!(leader.isr().count(), 2);
}

#[test]
fn only_active_brokers_of_a_known_incarnation_are_proposed() {
    let cases = [
        ("fenced or unknown", None, Some(200), false),
        ("another incarnation", Some(201), Some(200), false),
        ("the same", Some(200), Some(200), true),
        ("it does not say", Some(200), None, true),
    ];
    for (name, active, broker_epoch, expected) in cases {
        let mut leader = leader(&[1]);
        fetch_at(&mut leader, &ReplicaFetch { broker_epoch, ..asks(2, 10) }, 10, 0);
        let poll = leader.poll(Offset::new(10), (Millis(0), LAG_MAX), |_| active);
        assert_eq!(poll.alter.is_some(), expected, "{name}");
    }
}

#[test]
fn a_follower_that_nearly_has_all_is_waited_for() {
    let mut leader = leader(&[1]);
    leader.advance(Offset::new(10));
    fetch(&mut leader, 2, 10);
    assert!(!leader.advance(Offset::new(11)));
    // It is dead: the high watermark waits no longer than for a member of the ISR.
    let poll = leader.poll(Offset::new(11), (Millis(0), LAG_MAX), |_| None);
    assert!(poll.moved);
    assert_eq!(leader.high_watermark(), Offset::new(11));
}

#[test]
fn each_answer_of_the_controller_has_its_consequence() {
    // Whether it is proposed again at once, after a while, and how far the high watermark may go.
    let lost = AlterAnswer::Lost;
    let refused = AlterAnswer::Refused;
    let cases = [
        ("ineligible", refused(ErrorCode::IneligibleReplica), [false, true], 12),
        ("not attempted", refused(ErrorCode::OperationNotAttempted), [false, true], 12),
        ("lost", lost, [false, true], 10),
        ("other controller", refused(ErrorCode::NotController), [false, true], 10),
        ("older state", refused(ErrorCode::InvalidUpdateVersion), [false, false], 10),
        ("older epoch", refused(ErrorCode::FencedLeaderEpoch), [false, false], 10),
        ("deposed by it", refused(ErrorCode::NewLeaderElected), [false, false], 10),
    ];
    for (name, answer, again, high_watermark) in cases {
        let mut leader = leader(&[1]);
        leader.advance(Offset::new(10));
        fetch(&mut leader, 2, 10);
        let alter = poll_at(&mut leader, 0).unwrap();
        leader.altered(&alter, &answer, Millis(0));
        // While it is refused, the follower is seen as fenced, so that nobody waits for it.
        leader.poll(Offset::new(10), (Millis(0), LAG_MAX), |_| None);
        leader.advance(Offset::new(12));
        assert_eq!(leader.high_watermark(), Offset::new(high_watermark), "{name}");
        fetch_at(
            &mut leader,
            &ReplicaFetch { last_fetched_epoch: Some(LeaderEpoch(5)), ..asks(2, 12) },
            12,
            0,
        );
        for (now, expected) in [(499, again[0]), (500, again[1])] {
            let alter = leader.poll(Offset::new(12), (Millis(now), LAG_MAX), active).alter;
            assert_eq!(alter.is_some(), expected, "{name} at {now}");
        }
    }
}

#[test]
fn newer_metadata_overrides_what_was_proposed() {
    let mut leader = leader(&[1]);
    leader.advance(Offset::new(10));
    fetch(&mut leader, 2, 10);
    let alter = poll_at(&mut leader, 0).unwrap();
    let term = |partition_epoch, isr| Term {
        epoch: LeaderEpoch(5),
        partition_epoch,
        replicas: &ALL,
        isr,
        min_isr: 1,
    };
    leader.learn(&term(7, &ALL), Offset::new(10), Millis(0));
    assert_eq!(leader.isr().count(), 1, "known already");
    leader.learn(&term(8, &[ME, BrokerId(3)]), Offset::new(10), Millis(0));
    assert_eq!(leader.isr().collect::<Vec<_>>(), [ME, BrokerId(3)]);
    assert!(!leader.altered(&alter, &altered(8, &[1, 2]), Millis(0)), "overtaken");
    assert_eq!(leader.isr().collect::<Vec<_>>(), [ME, BrokerId(3)]);
}

#[test]
fn a_later_epoch_counts_from_nothing() {
    let mut leader = leader(&[1, 2]);
    let has_all = ReplicaFetch { last_fetched_epoch: Some(LeaderEpoch(5)), ..asks(2, 12) };
    fetch_at(&mut leader, &has_all, 12, 0);
    let term = Term {
        epoch: LeaderEpoch(6),
        partition_epoch: 8,
        replicas: &ALL,
        isr: &ALL[..2],
        min_isr: 1,
    };
    leader.learn(&term, Offset::new(12), Millis(0));
    leader.advance(Offset::new(12));
    assert_eq!((leader.high_watermark(), leader.latest_offset()), (Offset::new(10), None));
}

#[test]
fn records_are_gone_once_all_alive_replicas_have_given_them_up() {
    let mut leader = leader(&[1, 2]);
    let start =
        |replica, start| ReplicaFetch { log_start: Some(Offset::new(start)), ..asks(replica, 10) };
    fetch_at(&mut leader, &start(2, 3), 10, 0);
    assert_eq!(leader.low_watermark(Offset::new(5), |_| true), None);
    assert_eq!(leader.low_watermark(Offset::new(5), |id| id.0 != 3), Some(Offset::new(3)));
    fetch_at(&mut leader, &start(3, 6), 10, 0);
    assert_eq!(leader.low_watermark(Offset::new(5), |_| true), Some(Offset::new(3)));
}

#[test]
fn readers_are_sent_to_the_replica_in_sync_in_their_rack_that_has_most() {
    let mut leader = leader(&[1, 2, 3]);
    fetch(&mut leader, 2, 8);
    fetch(&mut leader, 3, 9);
    let near = |ids: &'static [i32]| move |id: BrokerId| ids.contains(&id.0);
    let cases: [(&str, i64, &[i32], Option<i32>); 5] = [
        ("the leader is near", 5, &[1, 2, 3], None),
        ("nobody is near", 5, &[], None),
        ("one is", 5, &[2], Some(2)),
        ("two are", 5, &[2, 3], Some(3)),
        ("it does not have the offset", 9, &[2], None),
    ];
    for (name, offset, ids, expected) in cases {
        let chosen = leader.preferred_read_replica(Offset::new(offset), near(ids));
        assert_eq!(chosen.map(|id| id.0), expected, "{name}");
    }
}
