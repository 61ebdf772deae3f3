//! The leader of an epoch: what is committed, whether a majority still listens, and the one change
//! of voters that may be under way.
//!
//! Not here: the account of how far each replica is (`progress`).

use std::collections::BTreeSet;

use protocol::internal::raft::{KRaftVersionRecord, LeaderChangeMessage, leader_change_message};
use types::{BrokerId, ErrorCode, Millis, Offset, Uuid};

use crate::election::Election;
use crate::log_view::LogView;
use crate::message::{BeginQuorumEpoch, ControlRecord, EpochAnswer, Output, Request};
use crate::progress::Leader;
use crate::quorum::Raft;
use crate::role::Role;
use crate::voters::{ReplicaKey, Voter, VoterSet, VoterSetError};

/// A replica that did not catch up for longer than this cannot become a voter.
const CAUGHT_UP_MAX: Millis = Millis(3_600_000);

impl Raft {
    pub(crate) fn become_leader(&mut self, log: &impl LogView, now: Millis) {
        let Role::Candidate(state) = &self.role else { return };
        let granting: Vec<BrokerId> = state.tally.granted().collect();
        self.persist(Election { leader: Some(self.local.id), ..self.election });
        let epoch_start = log.end().offset;
        let voters = self.voters.latest();
        let all = voters.iter().map(|voter| told(voter.key));
        let granted = granting.iter().filter_map(|id| voters.get(*id)).map(|voter| told(voter.key));
        let change = LeaderChangeMessage {
            leader_id: self.local.id.0,
            voters: all.collect(),
            granting_voters: granted.collect(),
            ..Default::default()
        };
        let epoch = self.election.epoch;
        let half = Millis(self.config.fetch_timeout.get() / 2);
        let deadline = now + self.config.fetch_timeout + half;
        // A change that another leader began commits with this epoch, or never.
        let changing = self.voters.latest_offset().map(Offset::next);
        self.enter(Role::Leader(Leader::new(epoch_start, changing, deadline)));
        let mut records = vec![ControlRecord::LeaderChange(change)];
        records.extend(self.first_voters(epoch_start));
        self.outputs.push(Output::AppendControl { epoch, records });
    }

    /// Voters that only the snapshot of a format names go into the log, where others find them.
    fn first_voters(&mut self, epoch_start: Offset) -> Vec<ControlRecord> {
        // A log begins with a leader's record, so no record of voters has this offset.
        if self.voters.latest_offset() != Some(Offset::ZERO) {
            return vec![];
        }
        let voters = self.voters.latest().clone();
        let record = ControlRecord::Voters(voters.to_record());
        let offset = epoch_start.next().next();
        self.voters.push(offset, voters);
        if let Role::Leader(state) = &mut self.role {
            state.changing = Some(offset.next());
        }
        let version = KRaftVersionRecord { kraft_version: 1, ..Default::default() };
        vec![ControlRecord::KRaftVersion(version), record]
    }

    pub(crate) fn poll_leader(&mut self, log: &impl LogView, now: Millis) -> Millis {
        if self.is_outdated() && self.check_changing().is_ok() {
            // A leader has nobody to tell but its own log.
            _ = self.update_voter(self.own(), log);
        }
        let Role::Leader(state) = &self.role else { return now };
        let others = self.other_voters();
        let needs_others = self.voters.latest().majority() > usize::from(self.is_voter());
        let deadline = if needs_others { state.deadline } else { Millis::MAX };
        if deadline <= now {
            self.resign(now);
            return now;
        }
        let quiet = Millis(self.config.fetch_timeout.get() / 2);
        let silent: BTreeSet<BrokerId> = others
            .iter()
            .map(|(key, _)| key.id)
            .filter(|id| {
                let last = state.progress.iter().filter(|(key, _)| key.id == *id);
                let last = last.filter_map(|(_, one)| one.last_fetch).max();
                last.is_none_or(|at| now - at >= quiet)
            })
            .collect();
        let mut next = deadline.min(now + quiet);
        for (key, endpoints) in others {
            if !silent.contains(&key.id) {
                continue;
            }
            if self.requests.is_free(Some(key.id), now) {
                let request = BeginQuorumEpoch {
                    voter: Some(key),
                    leader: self.local.id,
                    epoch: self.election.epoch,
                    endpoints: self.endpoints.clone(),
                };
                self.send(Some(key.id), endpoints, Request::BeginQuorumEpoch(request), now);
            }
            next = next.min(self.requests.free_at(Some(key.id)));
        }
        next
    }

    pub(crate) fn begin_answered(
        &mut self,
        from: Option<BrokerId>,
        answer: EpochAnswer,
        now: Millis,
    ) {
        self.observe(&answer, vec![], now);
        if matches!(self.role, Role::Leader(_)) {
            // It knows now, and will fetch.
            self.requests.rest(from, now + Millis(self.config.fetch_timeout.get() / 2));
        }
    }

    /// Moves the high watermark to what a majority has on disk.
    pub(crate) fn advance_leader(&mut self, log: &impl LogView, now: Millis) {
        let is_voter = self.is_voter();
        let voters = self.voters.latest();
        let majority = voters.majority();
        let Role::Leader(state) = &self.role else { return };
        let end = |voter: &Voter| {
            let is_self = is_voter && voter.key.id == self.local.id;
            if is_self { Some(log.durable_end()) } else { state.end_of(voter) }
        };
        let mut ends: Vec<Offset> = voters.iter().filter_map(end).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let Some(&reached) = majority.checked_sub(1).and_then(|at| ends.get(at)) else { return };
        // Records of earlier epochs commit only together with one of this epoch.
        if reached > state.epoch_start {
            self.commit(reached);
        }
        self.end_change(now);
    }

    /// Once a change of voters is committed the next may begin, and a leader that it left out goes.
    fn end_change(&mut self, now: Millis) {
        let (committed, is_voter) = (self.high_watermark, self.is_voter());
        let Role::Leader(state) = &mut self.role else { return };
        if state.changing.is_some_and(|end| committed >= Some(end)) {
            state.changing = None;
        }
        if state.changing.is_none() && !is_voter {
            self.resign(now);
        }
    }

    /// Whether a voter could be added, as far as its own node need not be asked.
    ///
    /// # Errors
    /// As [`Raft::add_voter`].
    pub fn check_new_voter(&self, voter: Voter) -> Result<(), ErrorCode> {
        self.check_changing()?;
        self.voters.latest().with(voter).map(|_| ()).map_err(refusal)
    }

    /// Makes an observer a voter (KIP-853). The driver answers once the returned offset is
    /// committed; it has asked the new voter for its versions before.
    ///
    /// # Errors
    /// NOT_LEADER_OR_FOLLOWER, REQUEST_TIMED_OUT while nothing of the epoch or another change is
    /// not committed, DUPLICATE_VOTER, INVALID_REQUEST for one that has not caught up.
    pub fn add_voter(
        &mut self,
        voter: Voter,
        log: &impl LogView,
        now: Millis,
    ) -> Result<Offset, ErrorCode> {
        let state = self.check_changing()?;
        let caught_up = state.progress.get(&voter.key).and_then(|one| one.last_caught_up);
        let next = self.voters.latest().with(voter).map_err(refusal)?;
        if caught_up.is_none_or(|at| now - at > CAUGHT_UP_MAX) {
            return Err(ErrorCode::RequestTimedOut);
        }
        Ok(self.change_voters(next, log))
    }

    /// Takes a voter's vote away.
    ///
    /// # Errors
    /// As [`Raft::add_voter`]; VOTER_NOT_FOUND, for the last voter, too.
    pub fn remove_voter(
        &mut self,
        key: ReplicaKey,
        log: &impl LogView,
    ) -> Result<Offset, ErrorCode> {
        self.check_changing()?;
        let next = self.voters.latest().without(key).map_err(refusal)?;
        Ok(self.change_voters(next, log))
    }

    /// Replaces a voter's endpoints and versions; `None` where the log does not change. Of static
    /// voters the leader remembers it for [`Raft::make_dynamic`].
    ///
    /// # Errors
    /// As [`Raft::add_voter`]; VOTER_NOT_FOUND.
    pub fn update_voter(
        &mut self,
        voter: Voter,
        log: &impl LogView,
    ) -> Result<Option<Offset>, ErrorCode> {
        self.check_changing()?;
        if self.voters.latest_offset().is_none() {
            if !self.voters.latest().contains(voter.key) {
                return Err(ErrorCode::VoterNotFound);
            }
            if let Role::Leader(state) = &mut self.role {
                state.told.insert(voter.key.id, voter);
            }
            return Ok(None);
        }
        let next = self.voters.latest().updated(voter).map_err(refusal)?;
        if next == *self.voters.latest() {
            return Ok(None);
        }
        Ok(Some(self.change_voters(next, log)))
    }

    /// Writes static voters into the log (`kraft.version` 1), so that they can change from here on;
    /// the offset that has to be committed.
    ///
    /// # Errors
    /// As [`Raft::add_voter`]; INVALID_UPDATE_VERSION while a voter has not said in this epoch which
    /// directory it has and that it supports this.
    pub fn make_dynamic(&mut self, log: &impl LogView) -> Result<Offset, ErrorCode> {
        let state = self.check_changing()?;
        let own = self.own();
        let told = |id| if id == own.key.id { Some(&own) } else { state.told.get(&id) };
        let voters = self.voters.latest().iter().map(|voter| told(voter.key.id));
        let voters: Option<Vec<Voter>> = voters.map(|voter| voter.cloned()).collect();
        let can = |voter: &Voter| voter.kraft_versions.1 >= 1 && voter.key.directory.is_some();
        let voters = voters.filter(|all| all.iter().all(can));
        let next = VoterSet::new(voters.ok_or(ErrorCode::InvalidUpdateVersion)?);
        let version = KRaftVersionRecord { kraft_version: 1, ..Default::default() };
        Ok(self.write_voters(vec![ControlRecord::KRaftVersion(version)], next, log))
    }

    /// A change may begin when this epoch has committed something and no other change is open:
    /// then any two majorities, before and after, share a voter.
    fn check_changing(&self) -> Result<&Leader, ErrorCode> {
        let Role::Leader(state) = &self.role else { return Err(ErrorCode::NotLeaderOrFollower) };
        let has_committed = self.high_watermark.is_some_and(|end| end > state.epoch_start);
        if !has_committed || state.changing.is_some() {
            return Err(ErrorCode::RequestTimedOut);
        }
        Ok(state)
    }

    fn change_voters(&mut self, next: VoterSet, log: &impl LogView) -> Offset {
        self.write_voters(vec![], next, log)
    }

    /// Appends the voters behind other records, in one batch.
    fn write_voters(
        &mut self,
        mut records: Vec<ControlRecord>,
        next: VoterSet,
        log: &impl LogView,
    ) -> Offset {
        let at = records.iter().fold(log.end().offset, |at, _| at.next());
        let epoch = self.election.epoch;
        records.push(ControlRecord::Voters(next.to_record()));
        self.voters.push(at, next);
        self.outputs.push(Output::AppendControl { epoch, records });
        if let Role::Leader(state) = &mut self.role {
            state.changing = Some(at.next());
        }
        at.next()
    }
}

fn refusal(error: VoterSetError) -> ErrorCode {
    match error {
        VoterSetError::Duplicate(_) => ErrorCode::DuplicateVoter,
        VoterSetError::NotFound(_) | VoterSetError::Last(_) => ErrorCode::VoterNotFound,
    }
}

fn told(key: ReplicaKey) -> leader_change_message::Voter {
    leader_change_message::Voter {
        voter_id: key.id.0,
        voter_directory_id: key.directory.unwrap_or(Uuid::ZERO),
        ..Default::default()
    }
}
