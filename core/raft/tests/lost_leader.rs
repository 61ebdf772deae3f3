//! A leader at whose address nobody listens any more is given up before the fetch timeout.

use bytes::Bytes;
use thalweg_raft::{
    Config, Election, EpochAnswer, FetchReply, LogPosition, LogView, Output, Raft, ReplicaKey,
    RequestId, Response, Role, Voter, VoterHistory, VoterSet,
};
use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset, Rng};

const CONFIG: Config = Config {
    election_timeout: Millis(1000),
    fetch_timeout: Millis(2000),
    election_backoff_max: Millis(1000),
    request_timeout: Millis(2000),
    retry_backoff: Millis(20),
    auto_join: false,
};
const EPOCH: LeaderEpoch = LeaderEpoch(5);
const LEADER: BrokerId = BrokerId(2);

struct Empty;

impl LogView for Empty {
    fn start(&self) -> Offset {
        Offset::ZERO
    }

    fn end(&self) -> LogPosition {
        LogPosition::default()
    }

    fn durable_end(&self) -> Offset {
        Offset::ZERO
    }

    fn end_of_epoch(&self, _: LeaderEpoch) -> LogPosition {
        LogPosition::default()
    }

    fn latest_snapshot(&self) -> Option<LogPosition> {
        None
    }
}

/// Node 1, which follows node 2 of three, and what it asks next.
fn follower() -> Raft {
    let voter = |id| Voter {
        key: ReplicaKey { id: BrokerId(id), directory: None },
        endpoints: vec![],
        kraft_versions: (0, 1),
    };
    let voters = VoterHistory::new(VoterSet::new([1, 2, 3].map(voter)));
    let election = Election { epoch: EPOCH, leader: Some(LEADER), voted: None };
    Raft::new(CONFIG, voter(1), election, voters, &Empty, Millis(0), Rng::new(1))
}

fn sent(raft: &mut Raft, now: Millis) -> RequestId {
    raft.poll(&Empty, now);
    let sent = raft.outputs().into_iter().find_map(|output| match output {
        Output::Send { id, to: Some(LEADER), .. } => Some(id),
        _ => None,
    });
    sent.expect("the leader is asked")
}

/// Whether it follows still after 300 ms in which nobody listens at the leader's address.
fn follows_after(was_heard: bool) -> bool {
    let mut raft = follower();
    let mut id = sent(&mut raft, Millis(0));
    if was_heard {
        let answer = EpochAnswer { error: ErrorCode::None, leader: Some(LEADER), epoch: EPOCH };
        let reply = FetchReply {
            answer,
            endpoints: vec![],
            diverging: None,
            snapshot: None,
            high_watermark: None,
            records: Bytes::new(),
        };
        raft.responded(id, Response::Fetch(reply), &Empty, Millis(0));
        id = sent(&mut raft, Millis(0));
    }
    raft.unreachable(id, Millis(0));
    raft.poll(&Empty, Millis(300));
    matches!(raft.role(), Role::Follower(_))
}

#[test]
fn a_leader_that_is_gone_is_given_up_soon() {
    assert!(!follows_after(true));
}

#[test]
fn a_leader_that_was_not_heard_of_yet_may_still_be_starting() {
    assert!(follows_after(false));
}
