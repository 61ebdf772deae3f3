//! A leader that is the only voter: others come, change and go, one at a time.

use thalweg_raft::{
    Config, ControlRecord, Election, Endpoint, Fetch, LogPosition, LogView, Output, Raft,
    ReplicaKey, Voter, VoterHistory, VoterSet,
};
use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset, Rng, Uuid};

/// A log of one epoch whose records are on disk at once.
#[derive(Default)]
struct Log {
    records: i64,
    epoch: LeaderEpoch,
}

impl LogView for Log {
    fn start(&self) -> Offset {
        Offset::ZERO
    }

    fn end(&self) -> LogPosition {
        LogPosition { offset: self.durable_end(), epoch: self.epoch }
    }

    fn durable_end(&self) -> Offset {
        Offset::new(self.records)
    }

    fn end_of_epoch(&self, _: LeaderEpoch) -> LogPosition {
        self.end()
    }

    fn latest_snapshot(&self) -> Option<LogPosition> {
        None
    }
}

/// The leader and its log.
struct Quorum {
    raft: Raft,
    log: Log,
    now: Millis,
}

impl Quorum {
    fn of_one() -> Self {
        let (log, now) = (Log::default(), Millis::ZERO);
        let voters = VoterHistory::new(VoterSet::new([voter(1, 9093)]));
        let election = Election::default();
        let (config, rng) = (Config::DEFAULT, Rng::new(1));
        let raft = Raft::new(config, voter(1, 9093), election, voters, &log, now, rng);
        let mut quorum = Self { raft, log, now };
        quorum.settle();
        quorum
    }

    /// Carries out what the leader wants, and gives the sets of voters that it has written.
    fn settle(&mut self) -> Vec<VoterSet> {
        let mut written = vec![];
        loop {
            self.raft.poll(&self.log, self.now);
            let outputs = self.raft.outputs();
            if outputs.is_empty() {
                return written;
            }
            for output in outputs {
                let Output::AppendControl { epoch, records } = output else { continue };
                self.log.epoch = epoch;
                for record in records {
                    self.log.records += 1;
                    if let ControlRecord::Voters(voters) = record {
                        written.push(VoterSet::from_record(&voters));
                    }
                }
            }
            self.raft.synced(&self.log, self.now);
        }
    }

    /// A replica reads at the end of the log.
    fn fetch(&mut self, id: i32) {
        let (epoch, end) = (self.log.epoch, self.log.end());
        let request = Fetch { replica: key(id), epoch, end, high_watermark: None };
        self.raft.fetched(&request, &self.log, self.now);
    }
}

fn key(id: i32) -> ReplicaKey {
    let directory = Uuid::from_bytes([u8::try_from(id).expect("few voters"); 16]);
    ReplicaKey { id: BrokerId(id), directory: Some(directory) }
}

fn voter(id: i32, port: u16) -> Voter {
    let endpoint = Endpoint { listener: "CONTROLLER".into(), host: "node".into(), port };
    Voter { key: key(id), endpoints: vec![endpoint], kraft_versions: (0, 1) }
}

#[test]
fn a_voter_is_added_updated_and_removed() {
    let mut quorum = Quorum::of_one();
    assert!(quorum.raft.leading().is_some());
    let refused = quorum.raft.add_voter(voter(2, 9093), &quorum.log, quorum.now);
    assert_eq!(refused, Err(ErrorCode::RequestTimedOut), "it has not caught up");
    quorum.fetch(2);

    let end = quorum.raft.add_voter(voter(2, 9093), &quorum.log, quorum.now).unwrap();
    assert_eq!(quorum.settle(), [VoterSet::new([voter(1, 9093), voter(2, 9093)])]);
    assert!(quorum.raft.high_watermark() < Some(end), "the new voter has not got it");
    let early = quorum.raft.update_voter(voter(2, 9094), &quorum.log);
    assert_eq!(early, Err(ErrorCode::RequestTimedOut), "one change at a time");
    quorum.fetch(2);
    assert_eq!(quorum.raft.high_watermark(), Some(end));

    let end = quorum.raft.update_voter(voter(2, 9094), &quorum.log).unwrap().unwrap();
    assert_eq!(quorum.settle(), [VoterSet::new([voter(1, 9093), voter(2, 9094)])]);
    quorum.fetch(2);
    assert_eq!(quorum.raft.high_watermark(), Some(end));
    assert_eq!(quorum.raft.update_voter(voter(2, 9094), &quorum.log), Ok(None), "as it is");
    let unknown = quorum.raft.update_voter(voter(3, 9093), &quorum.log);
    assert_eq!(unknown, Err(ErrorCode::VoterNotFound));

    let end = quorum.raft.remove_voter(key(2), &quorum.log).unwrap();
    assert_eq!(quorum.settle(), [VoterSet::new([voter(1, 9093)])]);
    assert_eq!(quorum.raft.high_watermark(), Some(end), "the leader alone is a majority again");
    let last = quorum.raft.remove_voter(key(1), &quorum.log);
    assert_eq!(last, Err(ErrorCode::VoterNotFound));
    assert!(quorum.raft.leading().is_some());
}
