//! The replica: what all roles share, and the ways from one role to another.

use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset, Rng};

use crate::election::Election;
use crate::headroom::Headroom;
use crate::history::VoterHistory;
use crate::log_view::{LogPosition, LogView};
use crate::message::{EpochAnswer, Output, Request, Response};
use crate::requests::{RequestId, Requests};
use crate::role::{Follower, Role, Unattached};
use crate::voters::{Endpoint, ReplicaKey, Voter, VoterSet};

/// How this replica takes part: the quorum's times and more, all `controller.quorum.*`.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// `election.timeout.ms`: how long a voter waits for a leader or for votes, once more as long at
    /// most by chance.
    pub election_timeout: Millis,
    /// `fetch.timeout.ms`: how long a follower trusts a leader that does not answer.
    pub fetch_timeout: Millis,
    /// `election.backoff.max.ms`: how long a voter rests at most after a lost election.
    pub election_backoff_max: Millis,
    /// `request.timeout.ms`: how long a request may take.
    pub request_timeout: Millis,
    /// `retry.backoff.ms`: how long a node is left alone after a failure.
    pub retry_backoff: Millis,
    /// `auto.join.enable`: whether a replica that reads the log makes itself a voter; for nodes that
    /// can be controllers.
    pub auto_join: bool,
    /// Whether the node is a controller (`process.roles`). One that is none gives no vote and asks for
    /// none, even on the directory of a voter: nobody could reach it if it led.
    pub is_controller: bool,
}

impl Config {
    /// The defaults of Kafka's keys.
    pub const DEFAULT: Self = Self {
        election_timeout: Millis(1000),
        fetch_timeout: Millis(2000),
        election_backoff_max: Millis(1000),
        request_timeout: Millis(2000),
        retry_backoff: Millis(20),
        auto_join: false,
        is_controller: true,
    };
}

/// One replica of the metadata log. See the crate's own page for how it is driven.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) local: ReplicaKey,
    /// Where this node's controller listens, to tell others once it leads.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) kraft_versions: (i16, i16),
    pub(crate) election: Election,
    pub(crate) role: Role,
    /// Whether the leader of this epoch has said that it leads no more.
    pub(crate) leader_has_ended: bool,
    pub(crate) voters: VoterHistory,
    pub(crate) headroom: Headroom,
    pub(crate) high_watermark: Option<Offset>,
    pub(crate) requests: Requests,
    pub(crate) outputs: Vec<Output>,
    pub(crate) rng: Rng,
}

impl Raft {
    /// A replica that starts with what it finds on disk. `local` says who it is, and where its
    /// controller listens. `now` is monotonic.
    ///
    /// A leader that restarts has lost what it knew of its epoch, and resigns.
    pub fn new(
        config: Config,
        local: Voter,
        election: Election,
        voters: VoterHistory,
        log: &impl LogView,
        now: Millis,
        rng: Rng,
    ) -> Self {
        let mut raft = Self {
            config,
            local: local.key,
            endpoints: local.endpoints,
            kraft_versions: local.kraft_versions,
            election,
            role: Role::Unattached(Unattached { deadline: now }),
            leader_has_ended: false,
            voters,
            headroom: Headroom::new(now),
            high_watermark: log.latest_snapshot().map(|snapshot| snapshot.offset),
            requests: Requests::default(),
            outputs: vec![],
            rng,
        };
        let written = log.end().epoch;
        if written > election.epoch {
            raft.become_unattached(written, None, now);
        } else if election.leader == Some(local.key.id) && config.is_controller {
            raft.resign(now);
        } else if let Some(leader) = election.leader.filter(|leader| *leader != local.key.id)
            && let Some(voter) = raft.voters.latest().get(leader)
        {
            let endpoints = voter.endpoints.clone();
            raft.become_follower(election.epoch, leader, endpoints, now);
        } else {
            raft.become_unattached(election.epoch, None, now);
        }
        if raft.voters.latest().is_only(local.key) && config.is_controller {
            // Nobody else can lead: there is nothing to wait for.
            raft.become_prospective(now);
        }
        raft
    }

    /// What this replica is now.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// Epoch, leader and vote.
    pub fn election(&self) -> Election {
        self.election
    }

    /// This replica.
    pub fn local(&self) -> ReplicaKey {
        self.local
    }

    /// The voters that count.
    pub fn voters(&self) -> &VoterHistory {
        &self.voters
    }

    /// The end of what is known to be committed.
    pub fn high_watermark(&self) -> Option<Offset> {
        self.high_watermark
    }

    /// What a leader tells those who read from it: the end of what is committed, once something of
    /// its own epoch is. Before, a follower may know of more than the leader does, and Kafka's
    /// voters die of one that goes back.
    pub fn told_high_watermark(&self) -> Option<Offset> {
        let Role::Leader(state) = &self.role else { return None };
        self.high_watermark.filter(|end| *end > state.epoch_start())
    }

    /// The epoch, if this replica leads it.
    pub fn leading(&self) -> Option<LeaderEpoch> {
        matches!(self.role, Role::Leader(_)).then_some(self.election.epoch)
    }

    /// Takes what has to be done, in its order.
    pub fn outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Does what is due; says when to call again at the latest. To be called after everything that
    /// was told, and when that time has come.
    pub fn poll(&mut self, log: &impl LogView, now: Millis) -> Millis {
        loop {
            let before = (std::mem::discriminant(&self.role), self.election.epoch);
            let next = match &self.role {
                Role::Unattached(_) => self.poll_unattached(log, now),
                Role::Prospective(_) => self.poll_prospective(log, now),
                Role::Candidate(_) => self.poll_candidate(log, now),
                Role::Leader(_) => self.poll_leader(log, now),
                Role::Follower(_) => self.poll_follower(log, now),
                Role::Resigned(_) => self.poll_resigned(now),
            };
            if before == (std::mem::discriminant(&self.role), self.election.epoch) {
                return next;
            }
        }
    }

    /// Takes the response to a request; one that nobody waits for any more is dropped.
    pub fn responded(
        &mut self,
        id: RequestId,
        response: Response,
        log: &impl LogView,
        now: Millis,
    ) {
        let Some(from) = self.requests.end(id) else { return };
        match response {
            Response::Vote(answer) => self.vote_answered(from, answer, now),
            Response::BeginQuorumEpoch(answer) => self.begin_answered(from, answer, now),
            Response::EndQuorumEpoch(answer) => self.end_answered(from, answer, now),
            Response::Fetch(reply) => self.fetch_answered(from, reply, log, now),
            Response::FetchSnapshot(answer) => self.snapshot_answered(from, answer, now),
            Response::ChangeVoters(error) => self.change_answered(from, error, now),
        }
    }

    /// A request could not be sent, or its answer never came.
    pub fn failed(&mut self, id: RequestId, now: Millis) {
        if let Some(to) = self.requests.end(id) {
            self.requests.rest(to, now + self.config.retry_backoff);
        }
    }

    /// As [`Raft::failed`], where nobody listens any more. If that was the leader it has most likely
    /// ended, and who follows it waits no longer than it takes the others to see that, too: an
    /// election still needs a majority that has lost it (KIP-996).
    pub fn unreachable(&mut self, id: RequestId, now: Millis) {
        let Some(to) = self.requests.end(id) else { return };
        self.requests.rest(to, now + self.config.retry_backoff);
        let timeout = self.config.election_timeout.get();
        let by = now + Millis(timeout / 20) + self.chance(Millis(timeout / 4));
        if let Role::Follower(state) = &mut self.role
            && to == Some(state.leader())
            && state.has_fetched()
        {
            state.hurry(by);
        }
    }

    /// A record with the voters is in the log at `offset`: it counts from now on.
    pub fn replay(&mut self, offset: Offset, voters: VoterSet) {
        if self.voters.latest_offset().is_none_or(|latest| latest < offset) {
            self.voters.push(offset, voters);
        }
    }

    /// More of the log is on disk.
    pub fn synced(&mut self, log: &impl LogView, now: Millis) {
        self.advance_leader(log, now);
        self.commit_fetched(log);
    }

    /// Hands leadership over, as before a stop.
    pub fn step_down(&mut self, now: Millis) {
        if matches!(self.role, Role::Leader(_)) {
            self.resign(now);
        }
    }

    pub(crate) fn is_voter(&self) -> bool {
        self.voters.latest().contains(self.local)
    }

    /// Whether this replica may be elected. One that a change leaves out still may until the change
    /// is committed: it may be the only one that has the record of it.
    pub(crate) fn is_electable(&self) -> bool {
        let is_open = self.voters.latest_offset() >= self.high_watermark;
        let is_known = self.is_voter() || (is_open && self.voters.previous().contains(self.local));
        self.config.is_controller && is_known
    }

    /// Voters but this one, as whom to send something to.
    pub(crate) fn other_voters(&self) -> Vec<(ReplicaKey, Vec<Endpoint>)> {
        let others = self.voters.latest().iter().filter(|voter| voter.key.id != self.local.id);
        others.map(|voter| (voter.key, voter.endpoints.clone())).collect()
    }

    /// A moment after the election timeout: by chance, so that two voters seldom choose the same.
    pub(crate) fn election_deadline(&mut self, now: Millis) -> Millis {
        let timeout = self.config.election_timeout;
        now + timeout + self.chance(timeout)
    }

    /// Between 0 and `bound`, which it does not reach.
    pub(crate) fn chance(&mut self, bound: Millis) -> Millis {
        let bound = u32::try_from(bound.get()).unwrap_or(0).max(1);
        Millis(self.rng.below(bound).into())
    }

    pub(crate) fn send(
        &mut self,
        to: Option<BrokerId>,
        endpoints: Vec<Endpoint>,
        request: Request,
        now: Millis,
    ) {
        let id = self.requests.begin(to, now + self.config.request_timeout);
        self.outputs.push(Output::Send { id, to, endpoints, request });
    }

    /// What this replica says of epoch and leader.
    pub(crate) fn answer(&self, error: ErrorCode) -> EpochAnswer {
        EpochAnswer { error, leader: self.election.leader, epoch: self.election.epoch }
    }

    /// Learns from what another replica says of epoch and leader; false where it is behind, so that
    /// the rest of its answer means nothing.
    pub(crate) fn observe(
        &mut self,
        answer: &EpochAnswer,
        endpoints: Vec<Endpoint>,
        now: Millis,
    ) -> bool {
        let EpochAnswer { leader, epoch, .. } = *answer;
        if epoch < self.election.epoch {
            return false;
        }
        let leader = leader.filter(|leader| *leader != self.local.id);
        if epoch == self.election.epoch {
            // Another leader of the same epoch cannot be.
            let agrees = self.election.leader.is_none() || self.election.leader == leader;
            let may_follow = match self.role {
                Role::Unattached(_) => true,
                // Who knows the leader has stopped trusting it: that others know it is no news.
                Role::Prospective(_) | Role::Candidate(_) => self.election.leader.is_none(),
                Role::Leader(_) | Role::Follower(_) | Role::Resigned(_) => false,
            };
            if let Some(leader) = leader
                && agrees
                && may_follow
                && !self.leader_has_ended
            {
                self.follow_if_known(epoch, leader, endpoints, now);
            }
            return true;
        }
        match leader {
            Some(leader) => self.follow_if_known(epoch, leader, endpoints, now),
            None => self.become_unattached(epoch, None, now),
        }
        true
    }

    /// Follows the leader if anybody knows where it is, else keeps its name.
    fn follow_if_known(
        &mut self,
        epoch: LeaderEpoch,
        leader: BrokerId,
        endpoints: Vec<Endpoint>,
        now: Millis,
    ) {
        let known = || self.voters.latest().get(leader).map(|voter| voter.endpoints.clone());
        let endpoints = Some(endpoints).filter(|given| !given.is_empty()).or_else(known);
        match endpoints {
            Some(endpoints) => self.become_follower(epoch, leader, endpoints, now),
            None if epoch > self.election.epoch => {
                self.become_unattached(epoch, Some(leader), now);
            }
            None => {}
        }
    }

    pub(crate) fn persist(&mut self, next: Election) {
        assert!(self.election.allows(&next), "{next:?} does not follow {:?}", self.election);
        if next != self.election {
            self.leader_has_ended &= next.epoch == self.election.epoch;
            self.election = next;
            self.outputs.push(Output::Persist(next));
        }
    }

    /// Takes a role; requests of the one before mean nothing any more.
    pub(crate) fn enter(&mut self, role: Role) {
        self.role = role;
        self.requests.clear();
        self.outputs.push(Output::Changed);
    }

    pub(crate) fn become_unattached(
        &mut self,
        epoch: LeaderEpoch,
        leader: Option<BrokerId>,
        now: Millis,
    ) {
        let next = if epoch == self.election.epoch {
            Election { leader: self.election.leader.or(leader), ..self.election }
        } else {
            Election { epoch, leader, voted: None }
        };
        self.persist(next);
        let deadline = self.election_deadline(now);
        self.enter(Role::Unattached(Unattached { deadline }));
    }

    pub(crate) fn become_follower(
        &mut self,
        epoch: LeaderEpoch,
        leader: BrokerId,
        endpoints: Vec<Endpoint>,
        now: Millis,
    ) {
        assert!(leader != self.local.id, "nobody follows itself");
        let voted = self.election.voted.filter(|_| epoch == self.election.epoch);
        self.persist(Election { epoch, leader: Some(leader), voted });
        let deadline = now + self.config.fetch_timeout;
        self.enter(Role::Follower(Follower::new(leader, endpoints, deadline)));
    }

    /// Whether a reader whose log ends at `theirs` has nothing that this log lacks or has
    /// otherwise; else where they part.
    pub(crate) fn diverging(theirs: LogPosition, log: &impl LogView) -> Option<LogPosition> {
        if theirs.offset == Offset::ZERO {
            return None;
        }
        let ours = log.end_of_epoch(theirs.epoch);
        (ours.epoch != theirs.epoch || ours.offset < theirs.offset).then_some(ours)
    }

    /// Notes what is committed; it never moves back.
    pub(crate) fn commit(&mut self, end: Offset) {
        if self.high_watermark.is_none_or(|known| known < end) {
            self.high_watermark = Some(end);
            self.outputs.push(Output::Committed(end));
        }
    }
}
