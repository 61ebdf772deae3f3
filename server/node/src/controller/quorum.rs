//! What users ask of the quorum: who is in it and how far each replica is, and other voters.

use raft::{Endpoint, LogView, Progress, ReplicaKey, Role, Voter};
use tokio::sync::oneshot;
use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset};

use super::driver::Driver;
use super::{Controller, NotController, QuorumFacts};
use crate::clock;

/// Most bytes of the names and hosts of one voter: every snapshot begins with all voters.
const VOTER_BYTES_MAX: usize = 4096;

/// The quorum as its leader sees it.
#[derive(Clone, Debug)]
pub struct Description {
    /// Epoch, high watermark, version.
    pub facts: QuorumFacts,
    /// The voters, by id.
    pub voters: Vec<Replica>,
    /// Who else reads the log.
    pub observers: Vec<Replica>,
    /// Where each voter listens.
    pub endpoints: Vec<(BrokerId, Vec<Endpoint>)>,
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Replica {
    /// Node and directory.
    pub key: ReplicaKey,
    /// The end of its log, once it has fetched in this epoch.
    pub end: Option<Offset>,
    /// Wall time of its last fetch.
    pub last_fetch: Option<Millis>,
    /// Wall time at which it had everything last.
    pub last_caught_up: Option<Millis>,
}

/// A change of the voters.
#[derive(Clone, Debug)]
pub enum Change {
    /// None yet: whether this voter could be added.
    Check(Voter),
    /// One more.
    Add {
        /// The new voter.
        voter: Voter,
        /// Whether the answer waits for a majority, and not for this node's log alone.
        waits: bool,
    },
    /// One less.
    Remove(ReplicaKey),
    /// Other endpoints or versions, if the epoch is the leader's.
    Update(Voter, LeaderEpoch),
    /// Static voters go into the log, so that they can change: `kraft.version` 1.
    MakeDynamic,
}

/// Why the voters stay as they are, and who they are.
#[derive(Clone, Debug)]
pub struct Unchanged {
    /// The code for the client.
    pub code: ErrorCode,
    /// The voters.
    pub voters: Vec<ReplicaKey>,
}

impl Controller {
    /// The quorum, as its leader sees it.
    ///
    /// # Errors
    /// [`NotController`].
    pub async fn describe_quorum(&self) -> Result<Description, NotController> {
        let (reply, answer) = oneshot::channel();
        self.look(move |driver| {
            if let Some(description) = driver.describe() {
                // Who does not wait any more needs no answer.
                _ = reply.send(description);
            }
        });
        answer.await.map_err(|_| NotController)
    }

    /// Has this node make itself a voter, if it is none.
    pub fn start_joining(&self) {
        self.look(|driver| driver.raft.start_joining());
    }

    /// Changes the voters, and answers when that is committed.
    ///
    /// # Errors
    /// Kafka's codes, as `core/raft` gives them; [`NotController`] where another node leads.
    pub async fn change_voters(
        &self,
        change: Change,
    ) -> Result<Result<(), Unchanged>, NotController> {
        let (reply, answer) = oneshot::channel();
        self.look(move |driver| driver.change_voters(change, reply));
        answer.await.map_err(|_| NotController)
    }
}

impl Driver {
    fn describe(&self) -> Option<Description> {
        let Role::Leader(state) = self.raft.role() else { return None };
        let (now, wall) = (clock::monotonic(), clock::wall());
        let told = |key: ReplicaKey, progress: Progress| {
            let at = |then: Millis| wall - (now - then);
            let (last_fetch, caught_up) = (progress.last_fetch, progress.last_caught_up);
            let (last_fetch, last_caught_up) = (last_fetch.map(at), caught_up.map(at));
            Replica { key, end: progress.end, last_fetch, last_caught_up }
        };
        let voters = self.raft.voters().latest();
        let local = self.raft.local();
        let voter = |voter: &Voter| {
            let key = voter.key;
            if key.id == local.id && voters.contains(local) {
                // The leader is never behind itself.
                let (end, now) = (Some(self.log.end().offset), Some(wall));
                return Replica { key, end, last_fetch: now, last_caught_up: now };
            }
            let is_it = |(other, _): &(ReplicaKey, Progress)| {
                other.id == key.id && (key.directory.is_none() || other.directory == key.directory)
            };
            let none = Replica { key, end: None, last_fetch: None, last_caught_up: None };
            let progress = state.progress(voters, now).filter(is_it);
            let progress = progress.max_by_key(|(_, one)| one.last_fetch);
            progress.map_or(none, |(_, progress)| told(key, progress))
        };
        let observers = state.progress(voters, now).filter(|(key, _)| !voters.contains(*key));
        Some(Description {
            facts: self.facts(),
            voters: voters.iter().map(voter).collect(),
            observers: observers.map(|(key, progress)| told(key, progress)).collect(),
            endpoints: voters.iter().map(|one| (one.key.id, one.endpoints.clone())).collect(),
        })
    }

    fn change_voters(&mut self, change: Change, reply: oneshot::Sender<Result<(), Unchanged>>) {
        let now = clock::monotonic();
        if self.raft.leading().is_none() {
            // Dropping the reply says so.
            return;
        }
        let is_fixed = self.raft.voters().latest_offset().is_none();
        let is_for_fixed = matches!(change, Change::Update(..) | Change::MakeDynamic);
        let raft = &mut self.raft;
        let mut waits_for_commit = true;
        let changed = match change {
            _ if is_fixed && !is_for_fixed => Err(ErrorCode::UnsupportedVersion),
            Change::Check(voter) | Change::Add { voter, .. } | Change::Update(voter, _)
                if is_too_large(&voter) =>
            {
                Err(ErrorCode::InvalidRequest)
            }
            Change::Check(voter) => raft.check_new_voter(voter).map(|()| None),
            Change::MakeDynamic if is_fixed => raft.make_dynamic(&self.log).map(Some),
            Change::MakeDynamic => Ok(None),
            Change::Add { voter, waits } => {
                waits_for_commit = waits;
                raft.add_voter(voter, &self.log, now).map(Some)
            }
            Change::Remove(key) => raft.remove_voter(key, &self.log).map(Some),
            Change::Update(_, epoch) if epoch < raft.election().epoch => {
                Err(ErrorCode::FencedLeaderEpoch)
            }
            Change::Update(_, epoch) if epoch > raft.election().epoch => {
                Err(ErrorCode::UnknownLeaderEpoch)
            }
            Change::Update(voter, _) => {
                // The majority may need this voter, which reads nothing until it has the answer.
                waits_for_commit = false;
                raft.update_voter(voter, &self.log)
            }
        };
        match changed {
            Ok(Some(end)) if waits_for_commit => {
                self.waiting.push_back((end, Box::new(move || _ = reply.send(Ok(())))));
            }
            Ok(_) => _ = reply.send(Ok(())),
            Err(code) => {
                let voters = self.raft.voters().latest().iter().map(|voter| voter.key).collect();
                _ = reply.send(Err(Unchanged { code, voters }));
            }
        }
    }
}

fn is_too_large(voter: &Voter) -> bool {
    // A port, lengths.
    const EACH: usize = 8;
    let bytes = |one: &Endpoint| one.listener.len() + one.host.len() + EACH;
    voter.endpoints.iter().map(bytes).sum::<usize>() > VOTER_BYTES_MAX
}
