//! A replica tells its leader of no record that its disk does not have, since leaders count what they
//! are told.

use thalweg_raft::{
    BeginQuorumEpoch, Config, Election, Endpoint, LogPosition, LogView, Output, Raft, ReplicaKey,
    Request, Voter, VoterHistory, VoterSet,
};
use types::{BrokerId, LeaderEpoch, Millis, Offset, Rng};

/// A log of 100 records of epoch 5, of which the disk has so many.
struct Log(i64);

impl LogView for Log {
    fn start(&self) -> Offset {
        Offset::ZERO
    }

    fn end(&self) -> LogPosition {
        LogPosition { offset: Offset::new(100), epoch: LeaderEpoch(5) }
    }

    fn durable_end(&self) -> Offset {
        Offset::new(self.0)
    }

    fn end_of_epoch(&self, _: LeaderEpoch) -> LogPosition {
        self.end()
    }

    fn latest_snapshot(&self) -> Option<LogPosition> {
        None
    }
}

fn voter(id: i32) -> Voter {
    let endpoint = Endpoint { listener: "C".into(), host: "h".into(), port: 9093 };
    let key = ReplicaKey { id: BrokerId(id), directory: None };
    Voter { key, endpoints: vec![endpoint], kraft_versions: (0, 1) }
}

/// Whether node 1 of 3 asks for more at `now`.
fn fetches(raft: &mut Raft, log: &Log, now: Millis) -> bool {
    raft.poll(log, now);
    let is_fetch =
        |output: &Output| matches!(output, Output::Send { request: Request::Fetch(_), .. });
    raft.outputs().iter().any(is_fetch)
}

#[test]
fn a_replica_asks_for_more_only_once_its_disk_has_all() {
    for follows in [false, true] {
        let voters = VoterHistory::new(VoterSet::new((1..=3).map(voter)));
        let election = Election { epoch: LeaderEpoch(5), ..Election::default() };
        let (rng, now) = (Rng::new(1), Millis(0));
        let mut raft = Raft::new(Config::DEFAULT, voter(1), election, voters, &Log(90), now, rng);
        if follows {
            let (leader, epoch) = (BrokerId(2), LeaderEpoch(5));
            let endpoints = voter(2).endpoints;
            let begin = BeginQuorumEpoch { voter: None, leader, epoch, endpoints };
            assert!(raft.begin_quorum_epoch(&begin, now).error.is_none());
        }
        assert!(!fetches(&mut raft, &Log(90), now), "follows: {follows}");
        assert!(!fetches(&mut raft, &Log(99), Millis(100)), "follows: {follows}");
        raft.synced(&Log(100), Millis(200));
        assert!(fetches(&mut raft, &Log(100), Millis(200)), "follows: {follows}");
    }
}
