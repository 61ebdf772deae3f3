//! What a stranger or a broken node says: a replica neither panics nor gives up what is committed,
//! and what it remembers is bounded.

use thalweg_raft::{
    BeginQuorumEpoch, Config, Election, EndQuorumEpoch, Endpoint, EpochAnswer, Fetch, FetchReply,
    LogPosition, LogView, Output, Raft, ReplicaKey, RequestId, Response, Role, Vote, Voter,
    VoterHistory, VoterSet,
};
use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset, Rng, Uuid};

const NOW: Millis = Millis(0);

/// A log of 100 records of epoch 5, of which a snapshot covers 50.
struct Log;

impl LogView for Log {
    fn start(&self) -> Offset {
        Offset::ZERO
    }

    fn end(&self) -> LogPosition {
        at(100, 5)
    }

    fn durable_end(&self) -> Offset {
        Offset::new(100)
    }

    fn end_of_epoch(&self, epoch: LeaderEpoch) -> LogPosition {
        if epoch < LeaderEpoch(5) { at(0, 0) } else { self.end() }
    }

    fn latest_snapshot(&self) -> Option<LogPosition> {
        Some(at(50, 5))
    }
}

fn at(offset: i64, epoch: i32) -> LogPosition {
    LogPosition { offset: Offset::new(offset), epoch: LeaderEpoch(epoch) }
}

fn key(id: i32) -> ReplicaKey {
    ReplicaKey { id: BrokerId(id), directory: None }
}

fn voter(id: i32) -> Voter {
    let endpoint = Endpoint { listener: "C".into(), host: "h".into(), port: 9093 };
    Voter { key: key(id), endpoints: vec![endpoint], kraft_versions: (0, 1) }
}

/// Node 1 of so many voters, in this epoch.
fn replica(voters: i32, epoch: i32) -> Raft {
    let set = VoterHistory::new(VoterSet::new((1..=voters).map(voter)));
    let election = Election { epoch: LeaderEpoch(epoch), ..Election::default() };
    Raft::new(Config::DEFAULT, voter(1), election, set, &Log, NOW, Rng::new(1))
}

/// Follows node 2, and has asked it for more.
fn follower() -> (Raft, RequestId) {
    let mut raft = replica(3, 7);
    let begin = begin(2, 8);
    assert_eq!(raft.begin_quorum_epoch(&begin, NOW).error, ErrorCode::None);
    raft.poll(&Log, NOW);
    let sent = raft.outputs().into_iter().rev().find_map(|output| match output {
        Output::Send { id, .. } => Some(id),
        _ => None,
    });
    (raft, sent.expect("a follower asks at once"))
}

fn begin(leader: i32, epoch: i32) -> BeginQuorumEpoch {
    let (leader, epoch) = (BrokerId(leader), LeaderEpoch(epoch));
    BeginQuorumEpoch { voter: None, leader, epoch, endpoints: voter(leader.0).endpoints }
}

fn reply() -> FetchReply {
    let leader = Some(BrokerId(2));
    FetchReply {
        answer: EpochAnswer { error: ErrorCode::None, leader, epoch: LeaderEpoch(8) },
        endpoints: vec![],
        diverging: None,
        snapshot: None,
        high_watermark: None,
        records: Default::default(),
    }
}

#[test]
fn a_senseless_epoch_is_refused_and_leaves_the_epoch_as_it_is() {
    for epoch in [i32::MIN, -1, i32::MAX - 1, i32::MAX] {
        let mut raft = replica(3, 7);
        let vote = |is_pre_vote| Vote {
            voter: None,
            epoch: LeaderEpoch(epoch),
            candidate: key(2),
            end: at(100, 5),
            is_pre_vote,
        };
        assert!(!raft.vote(&vote(false), &Log, NOW).is_granted, "{epoch}");
        assert!(!raft.vote(&vote(true), &Log, NOW).is_granted, "{epoch}");
        assert_ne!(raft.begin_quorum_epoch(&begin(2, epoch), NOW).error, ErrorCode::None);
        let (leader, epoch) = (BrokerId(2), LeaderEpoch(epoch));
        let end = EndQuorumEpoch { leader, epoch, preferred: vec![], endpoints: vec![] };
        assert_ne!(raft.end_quorum_epoch(&end, NOW).error, ErrorCode::None);
        assert_eq!(raft.election().epoch, LeaderEpoch(7));
    }
}

#[test]
fn many_small_steps_do_not_use_the_epochs_up() {
    let mut raft = replica(3, 7);
    let mut refused = 0;
    for step in 1..=20 {
        let epoch = raft.election().epoch.0 + 100_000;
        refused += i32::from(!raft.begin_quorum_epoch(&begin(2, epoch), NOW).error.is_none());
        let told = |output: &Output| matches!(output, Output::EpochRefused { .. });
        assert_eq!(raft.outputs().iter().filter(|one| told(one)).count(), usize::from(step > 1));
    }
    assert_eq!((refused, raft.election().epoch), (19, LeaderEpoch(100_007)));
    // An hour later elections are believed as before.
    let epoch = raft.election().epoch.0 + 30_000;
    let later = Millis(3_600_000);
    assert_eq!(raft.begin_quorum_epoch(&begin(2, epoch), later).error, ErrorCode::None);
}

#[test]
fn a_replica_that_was_away_for_many_elections_still_votes() {
    let mut raft = replica(3, 7);
    let (candidate, epoch) = (key(2), LeaderEpoch(100_000));
    let vote = Vote { voter: None, epoch, candidate, end: at(100, 5), is_pre_vote: false };
    assert!(raft.vote(&vote, &Log, NOW).is_granted);
}

#[test]
fn behind_the_last_epoch_nobody_stands_for_election() {
    for voters in [1, 3] {
        let mut raft = replica(voters, i32::MAX);
        for seconds in 0..10 {
            raft.poll(&Log, Millis(seconds * 1000));
        }
        assert!(!matches!(raft.role(), Role::Candidate(_) | Role::Leader(_)), "{voters}");
    }
}

#[test]
fn a_leader_that_lacks_what_is_committed_is_not_followed() {
    let diverging = FetchReply { diverging: Some(at(49, 4)), ..reply() };
    let older = FetchReply { snapshot: Some(at(49, 4)), ..reply() };
    for wrong in [diverging, older] {
        let (mut raft, id) = follower();
        raft.responded(id, Response::Fetch(wrong.clone()), &Log, NOW);
        let outputs = raft.outputs();
        assert!(matches!(outputs[..], [Output::Refused { .. }]), "{wrong:?}: {outputs:?}");
    }
}

#[test]
fn a_leader_may_cut_what_is_not_committed() {
    let (mut raft, id) = follower();
    let parted = FetchReply { diverging: Some(at(60, 5)), ..reply() };
    raft.responded(id, Response::Fetch(parted), &Log, NOW);
    assert_eq!(raft.outputs(), [Output::Truncate(Offset::new(60))]);
}

#[test]
fn readers_without_number_are_not_all_remembered() {
    let mut raft = replica(1, 7);
    raft.poll(&Log, NOW);
    assert!(raft.leading().is_some(), "a voter alone leads at once");
    let epoch = raft.election().epoch;
    for reader in 0..11_000_u64 {
        let mut directory = [1; 16];
        directory[..8].copy_from_slice(&reader.to_be_bytes());
        let replica = ReplicaKey { id: BrokerId(9), directory: Some(Uuid::from_bytes(directory)) };
        let fetch = Fetch { replica, epoch, end: at(100, 5), high_watermark: None };
        raft.fetched(&fetch, &Log, NOW);
        raft.outputs();
    }
    let Role::Leader(state) = raft.role() else { unreachable!() };
    assert_eq!(state.progress(raft.voters().latest(), NOW).count(), 10_000);
}

#[test]
fn a_reader_that_is_gone_is_forgotten_though_nobody_else_reads() {
    let mut raft = replica(1, 7);
    raft.poll(&Log, NOW);
    let replica = ReplicaKey { id: BrokerId(9), directory: Some(Uuid::from_bytes([1; 16])) };
    let epoch = raft.election().epoch;
    let fetch = Fetch { replica, epoch, end: at(100, 5), high_watermark: None };
    raft.fetched(&fetch, &Log, NOW);
    let Role::Leader(state) = raft.role() else { unreachable!() };
    let voters = raft.voters().latest();
    let known = |minutes: i64| state.progress(voters, NOW + Millis(60_000 * minutes)).count();
    assert_eq!([known(4), known(5)], [1, 0]);
}
