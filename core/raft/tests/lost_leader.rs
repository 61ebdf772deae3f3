//! A leader that is lost: where nobody listens at its address any more it is given up before the fetch
//! timeout, and who loses it at the same moment elects one at the first try.

mod empty;

use bytes::Bytes;
use thalweg_raft::{
    Config, Election, EpochAnswer, FetchReply, Output, Raft, ReplicaKey, Request, RequestId,
    Response, Role, Vote, Voter, VoterHistory, VoterSet,
};
use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Rng};

use empty::Empty;

const EPOCH: LeaderEpoch = LeaderEpoch(5);
const LEADER: BrokerId = BrokerId(2);

/// A node that follows node 2 of three.
fn follower(id: i32) -> Raft {
    let voter = |id| Voter {
        key: ReplicaKey { id: BrokerId(id), directory: None },
        endpoints: vec![],
        kraft_versions: (0, 1),
    };
    let voters = VoterHistory::new(VoterSet::new([1, 2, 3].map(voter)));
    let election = Election { epoch: EPOCH, leader: Some(LEADER), voted: None };
    Raft::new(Config::DEFAULT, voter(id), election, voters, &Empty, Millis(0), Rng::new(1))
}

fn sent(raft: &mut Raft, now: Millis) -> RequestId {
    raft.poll(&Empty, now);
    let sent = raft.outputs().into_iter().find_map(|output| match output {
        Output::Send { id, to: Some(LEADER), .. } => Some(id),
        _ => None,
    });
    sent.expect("the leader is asked")
}

/// The leader has nothing new.
fn hear(raft: &mut Raft, id: RequestId) {
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
}

/// Whether it follows still after 300 ms in which nobody listens at the leader's address.
fn follows_after(was_heard: bool) -> bool {
    let mut raft = follower(1);
    let mut id = sent(&mut raft, Millis(0));
    if was_heard {
        hear(&mut raft, id);
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

/// What a replica asks of the other of two that are left.
fn votes_asked(raft: &mut Raft, now: Millis) -> Vec<(RequestId, Vote)> {
    raft.poll(&Empty, now);
    let votes = raft.outputs().into_iter().filter_map(|output| match output {
        Output::Send { id, to, request: Request::Vote(vote), .. } if to != Some(LEADER) => {
            Some((id, vote))
        }
        _ => None,
    });
    votes.collect()
}

#[test]
fn two_that_lose_their_leader_at_the_same_moment_elect_one_of_them_at_the_first_try() {
    let mut rivals = [follower(1), follower(3)];
    for raft in &mut rivals {
        let id = sent(raft, Millis(0));
        hear(raft, id);
    }
    let now = Config::DEFAULT.fetch_timeout;
    // What they ask crosses on its way, and so do the answers.
    for _ in 0..3 {
        let [one, other] = &mut rivals;
        let asked = [votes_asked(one, now), votes_asked(other, now)];
        let answer = |(id, vote): (RequestId, Vote), by: &mut Raft| {
            (id, Response::Vote(by.vote(&vote, &Empty, now)))
        };
        let [by_one, by_other] = asked;
        let to_one: Vec<_> = by_one.into_iter().map(|vote| answer(vote, other)).collect();
        let to_other: Vec<_> = by_other.into_iter().map(|vote| answer(vote, one)).collect();
        to_one.into_iter().for_each(|(id, vote)| one.responded(id, vote, &Empty, now));
        to_other.into_iter().for_each(|(id, vote)| other.responded(id, vote, &Empty, now));
    }
    assert_eq!(rivals.map(|raft| raft.leading()), [Some(LeaderEpoch(EPOCH.0 + 1)), None]);
}
