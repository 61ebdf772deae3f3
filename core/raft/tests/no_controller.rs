//! A node that is no controller any more, on the directory of a voter: it reads, and does not vote.

mod empty;

use thalweg_raft::{
    Config, Election, LogPosition, Output, Raft, ReplicaKey, Request, Role, Vote, Voter,
    VoterHistory, VoterSet,
};
use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Rng};

use empty::Empty;

fn voter(id: i32) -> Voter {
    let key = ReplicaKey { id: BrokerId(id), directory: None };
    Voter { key, endpoints: vec![], kraft_versions: (0, 1) }
}

/// Node 1, which votes as far as its log knows.
fn node(is_controller: bool, voters: &[i32], leader: Option<i32>) -> Raft {
    let config = Config { is_controller, ..Config::DEFAULT };
    let voters = VoterHistory::new(VoterSet::new(voters.iter().map(|id| voter(*id))));
    let election = Election { epoch: LeaderEpoch(5), leader: leader.map(BrokerId), voted: None };
    Raft::new(config, voter(1), election, voters, &Empty, Millis(0), Rng::new(1))
}

/// Whether it stands for election, or asks anything but to read, within a minute.
fn stands(raft: &mut Raft) -> bool {
    (0..600).any(|tenth| {
        raft.poll(&Empty, Millis(tenth * 100));
        let asks = raft.outputs().into_iter().any(|output| match output {
            Output::Send { request, .. } => !matches!(request, Request::Fetch(_)),
            _ => false,
        });
        asks || matches!(raft.role(), Role::Prospective(_) | Role::Candidate(_) | Role::Leader(_))
    })
}

#[test]
fn only_a_controller_stands_for_election() {
    let cases: [(&str, &[i32], Option<i32>); 4] = [
        ("nobody leads", &[1, 2, 3], None),
        ("another one led", &[1, 2, 3], Some(2)),
        ("it led itself", &[1, 2, 3], Some(1)),
        ("it is the only voter", &[1], Some(1)),
    ];
    for (name, voters, leader) in cases {
        assert!(stands(&mut node(true, voters, leader)), "{name}");
        assert!(!stands(&mut node(false, voters, leader)), "{name}");
    }
}

#[test]
fn only_a_controller_gives_its_vote() {
    for (is_controller, is_pre_vote) in [(true, true), (true, false), (false, true), (false, false)]
    {
        let request = Vote {
            candidate: ReplicaKey { id: BrokerId(2), directory: None },
            voter: None,
            epoch: LeaderEpoch(6),
            end: LogPosition::default(),
            is_pre_vote,
        };
        let answer = node(is_controller, &[1, 2, 3], None).vote(&request, &Empty, Millis(0));
        assert_eq!((answer.error, answer.is_granted), (ErrorCode::None, is_controller));
    }
}
