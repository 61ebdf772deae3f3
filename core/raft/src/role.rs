//! What a replica is at the moment, and what it knows as such.
//!
//! Not here: what it does then, which is a file for each role; what a leader knows (`progress`).

use std::collections::BTreeSet;

use types::{BrokerId, Millis, Offset};

use crate::log_view::LogPosition;
use crate::progress::Leader;
use crate::tally::Tally;
use crate::voters::{Endpoint, ReplicaKey};

/// What a replica is at the moment.
#[derive(Clone, Debug)]
pub enum Role {
    /// It knows of no leader that it could follow.
    Unattached(Unattached),
    /// It asks whether it would be elected (KIP-996).
    Prospective(Prospective),
    /// It wants to be elected.
    Candidate(Candidate),
    /// It was elected.
    Leader(Leader),
    /// It follows a leader.
    Follower(Follower),
    /// It has led this epoch and does no more.
    Resigned(Resigned),
}

/// What a replica without a leader knows.
#[derive(Clone, Debug)]
pub struct Unattached {
    /// When a voter stops waiting for a leader.
    pub(crate) deadline: Millis,
}

/// What a voter knows that asks whether it would be elected.
#[derive(Clone, Debug)]
pub struct Prospective {
    pub(crate) tally: Tally,
    /// When it gives up.
    pub(crate) deadline: Millis,
    /// Until then it lets a rival go first.
    pub(crate) yields_until: Millis,
}

/// What a voter knows that wants to be elected.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub(crate) tally: Tally,
    /// When it begins again.
    pub(crate) deadline: Millis,
    /// Set once the election is lost: the rest before the next one.
    pub(crate) is_resting: bool,
}

/// What a replica knows that follows.
#[derive(Clone, Debug)]
pub struct Follower {
    pub(crate) leader: BrokerId,
    pub(crate) endpoints: Vec<Endpoint>,
    /// When a voter stops trusting the leader.
    pub(crate) deadline: Millis,
    has_fetched: bool,
    /// What the leader has committed, as far as it said.
    pub(crate) committed: Option<Offset>,
    /// The snapshot that is being taken over.
    pub(crate) taking: Option<Taking>,
    pub(crate) asking: Asking,
}

/// When a follower asks its leader for a change of the voters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    /// Not before.
    pub(crate) at: Millis,
    pub(crate) has_asked: bool,
    /// Whether the leader has taken it. One that leads static voters keeps what they say in memory.
    pub(crate) has_told: bool,
}

/// A snapshot that is being taken over, and how much of it is here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Taking {
    pub(crate) snapshot: LogPosition,
    pub(crate) position: u64,
}

/// What a leader knows that leads no more.
#[derive(Clone, Debug)]
pub struct Resigned {
    /// Voters that do not know yet.
    pub(crate) untold: BTreeSet<BrokerId>,
    /// Who should lead next, the most complete log first.
    pub(crate) preferred: Vec<ReplicaKey>,
    /// When this epoch is given up.
    pub(crate) deadline: Millis,
}

impl Follower {
    pub(crate) fn new(leader: BrokerId, endpoints: Vec<Endpoint>, deadline: Millis) -> Self {
        Self {
            leader,
            endpoints,
            deadline,
            has_fetched: false,
            committed: None,
            taking: None,
            asking: Asking::new(deadline),
        }
    }

    /// Whom it follows.
    pub fn leader(&self) -> BrokerId {
        self.leader
    }

    /// Where the leader listens.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// What the leader has committed, as far as it said.
    pub fn committed(&self) -> Option<Offset> {
        self.committed
    }

    /// Whether the leader has answered in this epoch.
    pub(crate) fn has_fetched(&self) -> bool {
        self.has_fetched
    }

    pub(crate) fn hurry(&mut self, by: Millis) {
        self.deadline = self.deadline.min(by);
        // It has said itself that it leads no more, or is gone.
        self.has_fetched = false;
    }

    pub(crate) fn heard(&mut self, deadline: Millis) {
        self.deadline = deadline;
        self.has_fetched = true;
    }
}

impl Asking {
    /// A new leader is left alone until this log has everything, or for a while.
    pub(crate) fn new(at: Millis) -> Self {
        Self { at, has_asked: false, has_told: false }
    }

    /// The leader had nothing that this log lacks, and knows that.
    pub(crate) fn caught_up(&mut self, now: Millis) {
        if !self.has_asked {
            self.at = self.at.min(now);
        }
    }
}
