//! A machine's replica of the metadata log: what comes in is told to `raft`, what comes out of it is
//! done in its order, on the machine's own disk.
//!
//! Not here: what a leader decides (`controller`), snapshots on the disk (`snapshots`).

use anyhow::Context;
use bytes::Bytes;
use metadata::Image;
use raft::{
    Config, EpochAnswer, Fetch, FetchAnswer, FetchReply, FetchSnapshot, FetchSnapshotAnswer,
    LogPosition, LogView, Output, Raft, ReplicaKey, Request, RequestId, Response, Role, Voter,
    VoterChange, VoterHistory, VoterSet,
};
use types::{ErrorCode, LeaderEpoch, Millis, Offset, Rng, Uuid};

use crate::bug::Bug;
use crate::clock::Now;
use crate::dirs::Dir;
use crate::happening::Happening;
use crate::images::Images;
use crate::message::{Message, Peer, Sending, address, broker_id};
use crate::metadata_log::{Contents, MetadataLog};
use crate::trace::Trace;

/// How long a leader keeps a fetch for which it has nothing.
const FETCH_WAIT: Millis = Millis(40);

pub struct Quorum {
    pub raft: Raft,
    pub log: MetadataLog,
    pub images: Images,
    pub out: Vec<Sending>,
    pub rng: Rng,
    pub machines: usize,
    trace: Trace,
    /// Up to where this process has seen its records committed.
    pub committed: Offset,
    sync_at: Option<Millis>,
    next_poll: Millis,
}

/// A machine as a voter, by the id of its directory.
pub fn voter(at: usize, directory: Uuid) -> Voter {
    let key = ReplicaKey { id: broker_id(at), directory: Some(directory) };
    Voter { key, endpoints: vec![endpoint(at)], kraft_versions: (0, 1) }
}

fn endpoint(at: usize) -> raft::Endpoint {
    let port = u16::try_from(at).expect("there are few machines");
    raft::Endpoint { listener: "CONTROLLER".into(), host: "machine".into(), port }
}

impl Quorum {
    /// Starts with what the disk says. `first` are the voters that the cluster begins with, where it
    /// began on this disk.
    pub fn start(
        (at, machines): (usize, usize),
        dir: &Dir,
        first: Option<&VoterSet>,
        now: Now,
        mut rng: Rng,
        (bug, trace): (Option<Bug>, Trace),
    ) -> anyhow::Result<Self> {
        let (mut log, election) = MetadataLog::open(dir, now.wall, bug)?;
        let mut voters = VoterHistory::new(VoterSet::default());
        let (mut images, named) = log.read_newest()?;
        let committed = images.committed().1;
        voters.reset(committed, named.or_else(|| first.cloned()));
        for (offset, set) in replay(&mut log, &mut images)? {
            voters.push(offset, set);
        }
        let seed = Rng::new(rng.next_u64());
        // Some make themselves voters, and come back when they are removed.
        let config = Config { auto_join: rng.below(3) == 0, ..Config::DEFAULT };
        let raft =
            Raft::new(config, voter(at, dir.id), election, voters, &log, now.monotonic, seed);
        let out = vec![];
        let sync_at = None;
        Ok(Self {
            raft,
            log,
            images,
            out,
            rng,
            machines,
            trace,
            committed,
            sync_at,
            next_poll: now.monotonic,
        })
    }

    /// The epoch, if this machine leads the quorum.
    pub fn leading(&self) -> Option<LeaderEpoch> {
        self.raft.leading()
    }

    /// The active controller, as far as is known.
    pub fn leader(&self) -> Option<usize> {
        self.raft.election().leader.map(address)
    }

    /// The voters that count.
    pub fn voters(&self) -> Vec<ReplicaKey> {
        self.raft.voters().latest().iter().map(|voter| voter.key).collect()
    }

    /// Whether those are known to be committed.
    pub fn has_committed_voters(&self) -> bool {
        self.raft.voters().latest_offset().is_some_and(|at| at < self.committed)
    }

    /// What everybody may act on, and the end of the log that it stands for.
    pub fn committed(&self) -> (&Image, Offset) {
        self.images.committed()
    }

    /// Whether that is what the cluster has, and not what this machine once knew.
    pub fn has_caught_up(&self) -> bool {
        let committed = match self.raft.role() {
            Role::Leader(state) => Some(state.epoch_start().next()),
            Role::Follower(state) => state.committed(),
            Role::Unattached(_) | Role::Prospective(_) | Role::Candidate(_) => None,
            Role::Resigned(_) => None,
        };
        committed.is_some_and(|end| end <= self.committed().1)
    }

    pub fn next(&self) -> Millis {
        self.sync_at.map_or(self.next_poll, |at| at.min(self.next_poll))
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) -> anyhow::Result<()> {
        if self.sync_at.is_some_and(|at| at <= now.monotonic) {
            self.sync_at = None;
            self.log.sync()?;
            self.raft.synced(&self.log, now.monotonic);
        }
        self.settle(now)?;
        if self.log.keep_snapshots(&self.images, self.raft.voters(), now)? {
            self.raft.trimmed(&self.log);
            self.trace.happens(Happening::Snapshot);
        }
        Ok(())
    }

    pub fn responded(&mut self, id: RequestId, response: Response, now: Now) -> anyhow::Result<()> {
        self.raft.responded(id, response, &self.log, now.monotonic);
        self.settle(now)
    }

    pub fn failed(&mut self, id: RequestId, now: Now) -> anyhow::Result<()> {
        self.raft.failed(id, now.monotonic);
        self.settle(now)
    }

    /// The log has grown, and is to be synced in a while.
    pub fn appended(&mut self, now: Millis) {
        let takes = Millis(1 + i64::from(self.rng.below(self.log.dir.sync_max.get())));
        self.sync_at.get_or_insert(now + takes);
    }

    /// Carries out all that follows, until nothing is left to do before [`Quorum::next`].
    pub fn settle(&mut self, now: Now) -> anyhow::Result<()> {
        self.carry_out(now)?;
        let polled = self.raft.poll(&self.log, now.monotonic);
        self.next_poll = polled.max(now.monotonic + Millis(1));
        self.carry_out(now)
    }

    fn carry_out(&mut self, now: Now) -> anyhow::Result<()> {
        loop {
            let outputs = self.raft.outputs();
            if outputs.is_empty() {
                return Ok(());
            }
            for output in outputs {
                self.carry_out_one(output, now)?;
            }
        }
    }

    fn carry_out_one(&mut self, output: Output, now: Now) -> anyhow::Result<()> {
        match output {
            Output::Persist(election) => self.log.persist(&election)?,
            Output::AppendControl { epoch, records } => {
                self.log.append_control(epoch, &records, now.wall)?;
                self.images.append(&[], self.log.end().offset)?;
                self.appended(now.monotonic);
            }
            Output::AppendFetched(bytes) => {
                let contents = self.log.append_fetched(&bytes, now.wall)?;
                for (offset, voters) in contents.voters {
                    self.raft.replay(offset, voters);
                }
                self.images.append(&contents.records, self.log.end().offset)?;
                self.appended(now.monotonic);
                self.raft.synced(&self.log, now.monotonic);
            }
            Output::Truncate(end) => {
                self.log.log.truncate_to(end, now.wall)?;
                self.log.sync()?;
                self.images.truncate(end);
                replay(&mut self.log, &mut self.images)?;
            }
            Output::EpochRefused { epoch, own } => {
                panic!("no election can have led from {own} to {epoch}")
            }
            Output::Refused { end, committed, .. } => {
                panic!("a controller lacks what is committed: {end} is before {committed}")
            }
            Output::WriteSnapshot { snapshot, position, bytes, is_last } => {
                self.log.take_piece(snapshot, position, &bytes)?;
                if is_last {
                    self.install(snapshot, now)?;
                }
            }
            Output::Send { id, to, request, .. } => {
                let others = u32::try_from(self.machines).expect("there are few machines");
                let to = to.map_or_else(|| self.rng.below(others) as usize, address);
                self.out.push(Sending::request(to, Message::Raft { id, request }));
            }
            Output::Committed(end) => {
                assert!(end >= self.committed, "what is committed only grows");
                self.committed = end;
                self.images.commit(end);
            }
            Output::Changed => {}
        }
        Ok(())
    }

    /// Serves a request of another replica.
    pub fn serve(
        &mut self,
        from: Peer,
        id: RequestId,
        request: &Request,
        now: Now,
    ) -> anyhow::Result<()> {
        let mut kept = Millis::ZERO;
        let monotonic = now.monotonic;
        let response = match request {
            Request::Vote(vote) => Response::Vote(self.raft.vote(vote, &self.log, monotonic)),
            Request::BeginQuorumEpoch(begin) => {
                Response::BeginQuorumEpoch(self.raft.begin_quorum_epoch(begin, monotonic))
            }
            Request::EndQuorumEpoch(end) => {
                Response::EndQuorumEpoch(self.raft.end_quorum_epoch(end, monotonic))
            }
            Request::Fetch(fetch) => {
                let answer = self.raft.fetched(fetch, &self.log, monotonic);
                // What it has proved may have committed something.
                self.settle(now)?;
                let reply = self.fetch_reply(fetch, answer)?;
                let has_news = reply.high_watermark > fetch.high_watermark;
                if reply.answer.error.is_none() && reply.records.is_empty() && !has_news {
                    kept = FETCH_WAIT;
                }
                Response::Fetch(reply)
            }
            Request::FetchSnapshot(fetch) => {
                Response::FetchSnapshot(self.snapshot_piece(fetch, monotonic)?)
            }
            Request::ChangeVoters(change) => {
                let (raft, log) = (&mut self.raft, &self.log);
                let changed = match change.clone() {
                    VoterChange::Add(voter) => raft.add_voter(voter, log, monotonic).map(Some),
                    VoterChange::Remove(key) => raft.remove_voter(key, log).map(Some),
                    VoterChange::Update { voter, .. } => raft.update_voter(voter, log),
                };
                Response::ChangeVoters(changed.err().unwrap_or(ErrorCode::None))
            }
        };
        self.settle(now)?;
        let message = Message::RaftAnswer { id, response };
        self.out.push(Sending { kept, ..Sending::answer(from, message) });
        Ok(())
    }

    fn fetch_reply(&mut self, fetch: &Fetch, answer: FetchAnswer) -> anyhow::Result<FetchReply> {
        let known = self.known(ErrorCode::None);
        let election = self.raft.election();
        let endpoints = election.leader.map(|leader| vec![endpoint(address(leader))]);
        let mut reply = FetchReply {
            answer: known,
            endpoints: endpoints.unwrap_or_default(),
            diverging: None,
            snapshot: None,
            high_watermark: None,
            records: Bytes::new(),
        };
        match answer {
            FetchAnswer::Refused(refused) => reply.answer = refused,
            FetchAnswer::Diverging(at) => reply.diverging = Some(at),
            FetchAnswer::Snapshot(at) => reply.snapshot = Some(at),
            FetchAnswer::Records => {
                reply.high_watermark = self.raft.told_high_watermark();
                reply.records = self.log.read(fetch.end.offset)?.0;
            }
        }
        Ok(reply)
    }

    /// Replaces the log by the leader's snapshot.
    fn install(&mut self, snapshot: LogPosition, now: Now) -> anyhow::Result<()> {
        let (images, voters) = self.log.install_snapshot(snapshot, now.wall)?;
        self.images = images;
        self.raft.installed(snapshot, voters);
        self.trace.happens(Happening::SnapshotTaken);
        Ok(())
    }

    /// A piece of a snapshot for a replica that is too far behind for the log.
    fn snapshot_piece(
        &mut self,
        fetch: &FetchSnapshot,
        now: Millis,
    ) -> anyhow::Result<FetchSnapshotAnswer> {
        let position = fetch.position;
        let refused =
            |answer| Ok(FetchSnapshotAnswer { answer, size: 0, position, bytes: Bytes::new() });
        if let Err(answer) = self.raft.fetch_snapshot(fetch, now) {
            return refused(answer);
        }
        match self.log.read_snapshot(fetch.snapshot, position)? {
            None => refused(self.known(ErrorCode::SnapshotNotFound)),
            Some((_, size)) if position >= size => {
                refused(self.known(ErrorCode::PositionOutOfRange))
            }
            Some((bytes, size)) => {
                let answer = self.known(ErrorCode::None);
                Ok(FetchSnapshotAnswer { answer, size, position, bytes })
            }
        }
    }

    fn known(&self, error: ErrorCode) -> EpochAnswer {
        let election = self.raft.election();
        EpochAnswer { error, leader: election.leader, epoch: election.epoch }
    }

    /// Hands the leadership of the quorum over, as before a stop.
    pub fn step_down(&mut self, now: Now) -> anyhow::Result<()> {
        self.raft.step_down(now.monotonic);
        self.settle(now)
    }

    /// Makes a machine a voter, or takes its vote away. A refusal is an answer, too.
    pub fn change_voter(&mut self, key: ReplicaKey, now: Now) -> anyhow::Result<()> {
        let former = self.raft.voters().latest().get(key.id).map(|voter| voter.key);
        _ = match (former, key.directory) {
            (Some(former), _) => self.raft.remove_voter(former, &self.log),
            (None, Some(directory)) => {
                let voter = voter(address(key.id), directory);
                self.raft.add_voter(voter, &self.log, now.monotonic)
            }
            (None, None) => panic!("machines know their directories"),
        };
        self.settle(now)
    }
}

/// Takes what the log has behind the newest state, and gives the voters that it names.
fn replay(log: &mut MetadataLog, images: &mut Images) -> anyhow::Result<Vec<(Offset, VoterSet)>> {
    let mut voters = vec![];
    while images.end() < log.log.end_offset() {
        let (bytes, next) = log.read(images.end())?;
        assert!(next > images.end(), "the metadata log cannot be read at {}", images.end());
        let contents = Contents::read(&bytes).context("the metadata log is damaged")?;
        voters.extend(contents.voters);
        images.append(&contents.records, next)?;
    }
    Ok(voters)
}
