//! A machine's replica of the metadata log: what comes in is told to `raft`, what comes out of it is
//! done in its order, on the machine's own disk.
//!
//! Not here: what a leader decides (`controller`).

use anyhow::Context;
use log::FaultyDisk;
use metadata::Image;
use raft::{
    Config, EpochAnswer, Fetch, FetchAnswer, FetchReply, LogView, Output, Raft, Request, RequestId,
    Response, Voter, VoterChange, VoterHistory, VoterSet,
};
use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset, Rng};

use crate::bug::Bug;
use crate::images::Images;
use crate::message::{Message, Peer, Sending, address, broker_id};
use crate::metadata_log::{Contents, MetadataLog, key};

const CONFIG: Config = Config {
    election_timeout: Millis(1000),
    fetch_timeout: Millis(2000),
    election_backoff_max: Millis(1000),
    request_timeout: Millis(2000),
    retry_backoff: Millis(20),
    auto_join: false,
};
/// How long a leader keeps a fetch for which it has nothing.
const FETCH_WAIT: Millis = Millis(40);
/// A leader's disk takes up to this long to sync.
const SYNC_MAX: u32 = 30;

pub struct Quorum {
    pub raft: Raft,
    pub log: MetadataLog,
    pub images: Images,
    pub out: Vec<Sending>,
    pub rng: Rng,
    pub machines: usize,
    /// Up to where this process has seen its records committed.
    pub committed: Offset,
    sync_at: Option<Millis>,
    next_poll: Millis,
}

pub fn voter(at: usize) -> Voter {
    Voter { key: key(broker_id(at)), endpoints: vec![endpoint(at)], kraft_versions: (0, 1) }
}

fn endpoint(at: usize) -> raft::Endpoint {
    let port = u16::try_from(at).expect("there are few machines");
    raft::Endpoint { listener: "CONTROLLER".into(), host: "machine".into(), port }
}

impl Quorum {
    /// Starts with what the disk says. `first` are the voters until the log names others.
    pub fn start(
        (at, machines): (usize, usize),
        disk: &FaultyDisk,
        first: &VoterSet,
        now: Millis,
        mut rng: Rng,
        bug: Option<Bug>,
    ) -> anyhow::Result<Self> {
        let (mut log, election) = MetadataLog::open(disk, now, bug)?;
        let mut voters = VoterHistory::new(first.clone());
        let mut images = Images::default();
        for (offset, set) in replay(&mut log, &mut images)? {
            voters.push(offset, set);
        }
        let seed = Rng::new(rng.next_u64());
        // Some make themselves voters, and come back when they are removed.
        let config = Config { auto_join: rng.below(3) == 0, ..CONFIG };
        let raft = Raft::new(config, voter(at), election, voters, &log, now, seed);
        let out = vec![];
        let committed = Offset::ZERO;
        let sync_at = None;
        Ok(Self { raft, log, images, out, rng, machines, committed, sync_at, next_poll: now })
    }

    /// The epoch, if this machine leads the quorum.
    pub fn leading(&self) -> Option<LeaderEpoch> {
        self.raft.leading()
    }

    /// The active controller, as far as is known.
    pub fn leader(&self) -> Option<usize> {
        self.raft.election().leader.map(address)
    }

    /// What everybody may act on, and the end of the log that it stands for.
    pub fn committed(&self) -> (&Image, Offset) {
        self.images.committed()
    }

    pub fn next(&self) -> Millis {
        self.sync_at.map_or(self.next_poll, |at| at.min(self.next_poll))
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Millis) -> anyhow::Result<()> {
        if self.sync_at.is_some_and(|at| at <= now) {
            self.sync_at = None;
            self.log.sync()?;
            self.raft.synced(&self.log, now);
        }
        self.settle(now)
    }

    pub fn responded(
        &mut self,
        id: RequestId,
        response: Response,
        now: Millis,
    ) -> anyhow::Result<()> {
        self.raft.responded(id, response, &self.log, now);
        self.settle(now)
    }

    pub fn failed(&mut self, id: RequestId, now: Millis) -> anyhow::Result<()> {
        self.raft.failed(id, now);
        self.settle(now)
    }

    /// The leader's log has grown, and is to be synced in a while.
    pub fn appended(&mut self, now: Millis) {
        let takes = Millis(1 + i64::from(self.rng.below(SYNC_MAX)));
        self.sync_at.get_or_insert(now + takes);
    }

    /// Carries out all that follows, until nothing is left to do before [`Quorum::next`].
    pub fn settle(&mut self, now: Millis) -> anyhow::Result<()> {
        self.carry_out(now)?;
        self.next_poll = self.raft.poll(&self.log, now).max(now + Millis(1));
        self.carry_out(now)
    }

    fn carry_out(&mut self, now: Millis) -> anyhow::Result<()> {
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

    fn carry_out_one(&mut self, output: Output, now: Millis) -> anyhow::Result<()> {
        match output {
            Output::Persist(election) => self.log.persist(&election)?,
            Output::AppendControl { epoch, records } => {
                self.log.append_control(epoch, &records, now)?;
                self.images.append(&[], self.log.end().offset)?;
                self.appended(now);
            }
            Output::AppendFetched(bytes) => {
                let contents = self.log.append_fetched(&bytes, now)?;
                for (offset, voters) in contents.voters {
                    self.raft.replay(offset, voters);
                }
                self.images.append(&contents.records, self.log.end().offset)?;
                if self.log.counts_unsynced() {
                    self.appended(now);
                }
                self.raft.synced(&self.log, now);
            }
            Output::Truncate(end) => {
                self.log.log.truncate_to(end, now)?;
                self.log.sync()?;
                self.images.truncate(end);
                replay(&mut self.log, &mut self.images)?;
            }
            Output::Refused { end, committed, .. } => {
                panic!("a controller lacks what is committed: {end} is before {committed}")
            }
            Output::WriteSnapshot { .. } => panic!("nobody has a snapshot"),
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
        now: Millis,
    ) -> anyhow::Result<()> {
        let mut kept = Millis::ZERO;
        let response = match request {
            Request::Vote(vote) => Response::Vote(self.raft.vote(vote, &self.log, now)),
            Request::BeginQuorumEpoch(begin) => {
                Response::BeginQuorumEpoch(self.raft.begin_quorum_epoch(begin, now))
            }
            Request::EndQuorumEpoch(end) => {
                Response::EndQuorumEpoch(self.raft.end_quorum_epoch(end, now))
            }
            Request::Fetch(fetch) => {
                let answer = self.raft.fetched(fetch, &self.log, now);
                // What it has proved may have committed something.
                self.settle(now)?;
                let reply = self.fetch_reply(fetch, answer)?;
                let has_news = reply.high_watermark > fetch.high_watermark;
                if reply.answer.error.is_none() && reply.records.is_empty() && !has_news {
                    kept = FETCH_WAIT;
                }
                Response::Fetch(reply)
            }
            Request::FetchSnapshot(_) => panic!("nobody has a snapshot"),
            Request::ChangeVoters(change) => {
                let (raft, log) = (&mut self.raft, &self.log);
                let changed = match change.clone() {
                    VoterChange::Add(voter) => raft.add_voter(voter, log, now).map(Some),
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
        let election = self.raft.election();
        let known =
            EpochAnswer { error: ErrorCode::None, leader: election.leader, epoch: election.epoch };
        let endpoints = election.leader.map(|leader| vec![endpoint(address(leader))]);
        let mut reply = FetchReply {
            answer: known,
            endpoints: endpoints.unwrap_or_default(),
            diverging: None,
            snapshot: None,
            high_watermark: None,
            records: bytes::Bytes::new(),
        };
        match answer {
            FetchAnswer::Refused(refused) => reply.answer = refused,
            FetchAnswer::Diverging(at) => reply.diverging = Some(at),
            FetchAnswer::Snapshot(_) => panic!("nobody has a snapshot"),
            FetchAnswer::Records => {
                reply.high_watermark = self.raft.told_high_watermark();
                reply.records = self.log.read(fetch.end.offset)?.0;
            }
        }
        Ok(reply)
    }

    /// Hands the leadership of the quorum over, as before a stop.
    pub fn step_down(&mut self, now: Millis) -> anyhow::Result<()> {
        self.raft.step_down(now);
        self.settle(now)
    }

    /// Makes a machine a voter, or takes its vote away. A refusal is an answer, too.
    pub fn change_voter(&mut self, id: BrokerId, now: Millis) -> anyhow::Result<()> {
        _ = match self.raft.voters().latest().contains(key(id)) {
            true => self.raft.remove_voter(key(id), &self.log),
            false => self.raft.add_voter(voter(address(id)), &self.log, now),
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
