//! The world of the simulation: nodes, the network between them, faults, and what must hold.

use std::collections::BTreeMap;

use bytes::Bytes;
use thalweg_raft::{
    EpochAnswer, Fetch, FetchAnswer, FetchReply, FetchSnapshotAnswer, LogPosition, LogView, Output,
    Raft, Request, RequestId, Response, Role, VoterChange, VoterSet,
};
use types::{ErrorCode, LeaderEpoch, Millis, Offset, Rng};

use crate::node::{
    Disk, Entry, Node, Payload, below, decode, encode, endpoints, index, key, payload_of, voter,
};

/// Records in one answer.
const RECORDS_MAX: usize = 4;

enum Message {
    Request { id: RequestId, request: Request },
    Response { id: RequestId, response: Response },
    Failed { id: RequestId },
}

struct Travelling {
    from: usize,
    to: usize,
    message: Message,
}

pub struct World {
    now: Millis,
    rng: Rng,
    nodes: Vec<Node>,
    first: VoterSet,
    network: BTreeMap<(Millis, u64), Travelling>,
    sent: u64,
    /// Pairs of nodes, in one direction, between which nothing gets through.
    cut: Vec<(usize, usize)>,
    loss_percent: u32,
    delay_max: u32,
    /// A disk syncs about once in so many milliseconds.
    sync_every: u32,
    /// Something goes wrong about once in so many milliseconds.
    fault_every: u32,
    sets: Vec<VoterSet>,
    values: u64,
    /// What has been seen as committed, by offset.
    committed: Vec<Entry>,
    leaders: BTreeMap<LeaderEpoch, usize>,
}

impl World {
    /// So many voters, and so many nodes beside them that may become voters.
    pub fn new(seed: u64, voters: usize, observers: usize) -> Self {
        let first = VoterSet::new((0..voters).map(voter));
        let mut world = Self {
            now: Millis(1),
            rng: Rng::new(seed),
            nodes: (0..voters + observers).map(Node::new).collect(),
            first,
            network: BTreeMap::new(),
            sent: 0,
            cut: vec![],
            loss_percent: 0,
            delay_max: 10,
            sync_every: 4,
            fault_every: 300,
            sets: vec![],
            values: 0,
            committed: vec![],
            leaders: BTreeMap::new(),
        };
        for at in 0..world.nodes.len() {
            world.start(at);
        }
        world
    }

    fn start(&mut self, at: usize) {
        let seed = self.rng.next_u64();
        let (first, now) = (self.first.clone(), self.now);
        self.nodes[at].start(at, &first, now, seed);
    }

    pub fn run(&mut self, millis: i64) {
        let end = self.now + Millis(millis);
        while self.now < end {
            self.step();
            if self.rng.below(50) == 0 {
                self.propose();
            }
        }
    }

    /// Runs on a slow or fast network and disk, with seldom or frequent faults.
    pub fn run_with_faults(&mut self, millis: i64) {
        self.delay_max = 1 << (1 + self.rng.below(9));
        self.sync_every = 1 << self.rng.below(9);
        self.fault_every = 30 << self.rng.below(4);
        let end = self.now + Millis(millis);
        while self.now < end {
            self.step();
            if self.rng.below(50) == 0 {
                self.propose();
            }
            if self.rng.below(self.fault_every) == 0 {
                self.disturb();
            }
        }
    }

    fn step(&mut self) {
        self.now = self.now + Millis(1);
        while let Some(((due, number), _)) = self.network.first_key_value() {
            if *due > self.now {
                break;
            }
            let at = (*due, *number);
            let travelling = self.network.remove(&at).expect("it was seen");
            self.deliver(travelling);
        }
        for at in 0..self.nodes.len() {
            if self.nodes[at].next_poll <= self.now && self.is_up(at) {
                self.act(at, |_, _, _| ());
            }
            // A disk takes its time.
            if self.is_up(at) && self.rng.below(self.sync_every) == 0 {
                self.sync(at);
            }
        }
    }

    fn is_up(&self, at: usize) -> bool {
        self.nodes[at].raft.is_some() && self.nodes[at].paused_until <= self.now
    }

    fn disturb(&mut self) {
        let count = self.nodes.len();
        let at = below(&mut self.rng, count);
        let other = below(&mut self.rng, count);
        match self.rng.below(11) {
            0 | 1 if self.nodes[at].raft.is_some() => {
                let Self { nodes, rng, .. } = self;
                nodes[at].crash(rng);
            }
            0..=3 => {
                if self.nodes[at].raft.is_none() {
                    self.start(at);
                }
            }
            4 => self.cut.push((at, other)),
            5 => self.cut_off(at),
            6 => self.cut.clear(),
            7 => {
                let pause = Millis(self.rng.below(5000).into());
                self.nodes[at].paused_until = self.now + pause;
            }
            8 => self.loss_percent = self.rng.below(30),
            9 => self.snapshot(at),
            _ => self.change_voters(other),
        }
    }

    pub fn cut_off(&mut self, at: usize) {
        self.cut.extend((0..self.nodes.len()).flat_map(|other| [(at, other), (other, at)]));
    }

    pub fn heal(&mut self) {
        (self.delay_max, self.sync_every) = (10, 4);
        self.cut.clear();
        self.loss_percent = 0;
        for at in 0..self.nodes.len() {
            self.nodes[at].paused_until = self.now;
            if self.nodes[at].raft.is_none() {
                self.start(at);
            }
        }
    }

    pub fn step_down(&mut self, at: usize) {
        self.act(at, |raft, _, now| raft.step_down(now));
    }

    /// Who leads the latest epoch.
    pub fn leader(&self) -> Option<(usize, LeaderEpoch)> {
        let leads = |(at, node): (usize, &Node)| Some((at, node.raft.as_ref()?.leading()?));
        self.nodes.iter().enumerate().filter_map(leads).max_by_key(|(_, epoch)| *epoch)
    }

    /// Whether a node believes that it leads.
    pub fn leads(&self, at: usize) -> bool {
        self.nodes[at].raft.as_ref().is_some_and(|raft| raft.leading().is_some())
    }

    /// A client hands a value to whoever leads.
    fn propose(&mut self) {
        let Some((at, epoch)) = self.leader().filter(|(at, _)| self.is_up(*at)) else { return };
        self.values += 1;
        let payload = Payload::Value(self.values);
        self.nodes[at].disk.entries.push(Entry { epoch, payload });
    }

    fn change_voters(&mut self, other: usize) {
        let Some((at, _)) = self.leader().filter(|(at, _)| self.is_up(*at)) else { return };
        self.act(at, |raft, disk, now| {
            // A refusal is an answer, too.
            _ = match raft.voters().latest().contains(key(other)) {
                true => raft.remove_voter(key(other), disk),
                false => raft.add_voter(voter(other), disk, now),
            };
        });
    }

    /// Replaces what is committed by a snapshot.
    fn snapshot(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let end = node.committed;
        if end <= node.disk.snapshot.offset || node.raft.is_none() || node.disk.durable_end() < end
        {
            return;
        }
        let voters = node.disk.history(&self.first).before(end).cloned();
        let last = node.disk.entry(Offset::new(end.get() - 1)).expect("it is committed").epoch;
        let count = index(end - node.disk.snapshot.offset);
        node.disk.entries.drain(..count);
        node.disk.synced -= count;
        node.disk.snapshot = LogPosition { offset: end, epoch: last };
        node.disk.snapshot_voters = voters;
        self.act(at, |raft, disk, _| raft.trimmed(disk));
    }

    fn sync(&mut self, at: usize) {
        let disk = &mut self.nodes[at].disk;
        if disk.synced < disk.entries.len() {
            disk.synced = disk.entries.len();
            self.act(at, |raft, disk, now| raft.synced(disk, now));
        }
    }

    /// Has a replica do something, and carries out what it asks for.
    fn act<R>(&mut self, at: usize, what: impl FnOnce(&mut Raft, &Disk, Millis) -> R) -> R {
        let now = self.now;
        let node = &mut self.nodes[at];
        let raft = node.raft.as_mut().expect("it is up");
        let result = what(raft, &node.disk, now);
        self.carry_out(at);
        let node = &mut self.nodes[at];
        let raft = node.raft.as_mut().expect("it is up");
        node.next_poll = raft.poll(&node.disk, now).max(now + Millis(1));
        self.carry_out(at);
        self.check(at);
        result
    }

    fn carry_out(&mut self, at: usize) {
        loop {
            let outputs = self.nodes[at].raft.as_mut().expect("it is up").outputs();
            if outputs.is_empty() {
                return;
            }
            outputs.into_iter().for_each(|output| self.carry_out_one(at, output));
        }
    }

    fn carry_out_one(&mut self, at: usize, output: Output) {
        let node = &mut self.nodes[at];
        match output {
            Output::Persist(election) => node.disk.election = election,
            Output::AppendControl { epoch, records } => {
                let entry = |record| Entry { epoch, payload: payload_of(record) };
                node.disk.entries.extend(records.iter().map(entry));
            }
            Output::AppendFetched(bytes) => self.append(at, bytes),
            Output::Truncate(end) => node.disk.truncate(end),
            Output::EpochRefused { epoch, own } => {
                panic!("no election can have led from {own} to {epoch}")
            }
            Output::Refused { end, committed, .. } => {
                panic!("a leader lacks what was committed: {end} is before {committed}")
            }
            Output::WriteSnapshot { snapshot, is_last, .. } => {
                assert!(is_last, "snapshots are one piece here");
                let end = index(snapshot.offset.get());
                let voters = self.committed[..end].iter().rev().find_map(|entry| {
                    if let Payload::Voters(voters) = &entry.payload { Some(voters) } else { None }
                });
                let disk = &mut node.disk;
                (disk.snapshot, disk.snapshot_voters) = (snapshot, voters.cloned());
                (disk.entries, disk.synced) = (vec![], 0);
                node.raft.as_mut().expect("it is up").installed(snapshot, voters.cloned());
            }
            Output::Send { id, to, request, .. } => {
                let chosen = below(&mut self.rng, self.nodes.len());
                let to = to.map_or(chosen, |to| index(to.0.into()));
                self.send(at, to, Message::Request { id, request });
            }
            Output::Committed(end) => {
                assert!(end > node.committed, "what is committed only grows");
                node.committed = end;
            }
            Output::Changed => {}
        }
    }

    fn append(&mut self, at: usize, bytes: Bytes) {
        let entries = decode(bytes, &self.sets);
        let node = &mut self.nodes[at];
        for entry in entries {
            let offset = node.disk.end().offset;
            assert!(entry.epoch >= node.disk.end().epoch, "epochs never go back in a log");
            if let Payload::Voters(voters) = &entry.payload {
                node.raft.as_mut().expect("it is up").replay(offset, voters.clone());
            }
            node.disk.entries.push(entry);
        }
        // A follower fetches on only when it has synced.
        node.disk.synced = node.disk.entries.len();
        let raft = node.raft.as_mut().expect("it is up");
        raft.synced(&node.disk, self.now);
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        self.sent += 1;
        let due = self.now + Millis(i64::from(1 + self.rng.below(self.delay_max)));
        let is_lost = self.cut.contains(&(from, to)) || self.rng.below(100) < self.loss_percent;
        let travelling = Travelling { from, to, message };
        if !is_lost {
            self.network.insert((due, self.sent), travelling);
        } else if let Message::Request { id, .. } = travelling.message
            && self.rng.below(2) == 0
        {
            // Some connections break so that the sender hears of it.
            let back = Travelling { from: to, to: from, message: Message::Failed { id } };
            self.network.insert((due, self.sent), back);
        }
    }

    fn deliver(&mut self, travelling: Travelling) {
        let Travelling { from, to, message } = travelling;
        if !self.is_up(to) {
            return;
        }
        match message {
            Message::Request { id, request } => {
                let response = self.serve(to, &request);
                self.send(to, from, Message::Response { id, response });
            }
            Message::Response { id, response } => {
                self.act(to, |raft, disk, now| raft.responded(id, response, disk, now));
            }
            // Nobody listens there, or so it seems.
            Message::Failed { id } if id.0.is_multiple_of(2) => {
                self.act(to, |raft, _, now| raft.unreachable(id, now));
            }
            Message::Failed { id } => self.act(to, |raft, _, now| raft.failed(id, now)),
        }
    }

    fn serve(&mut self, at: usize, request: &Request) -> Response {
        self.act(at, |raft, disk, now| match request {
            Request::Vote(vote) => Served::Done(Response::Vote(raft.vote(vote, disk, now))),
            Request::BeginQuorumEpoch(begin) => {
                Served::Done(Response::BeginQuorumEpoch(raft.begin_quorum_epoch(begin, now)))
            }
            Request::EndQuorumEpoch(end) => {
                Served::Done(Response::EndQuorumEpoch(raft.end_quorum_epoch(end, now)))
            }
            Request::Fetch(fetch) => Served::Fetch(*fetch, raft.fetched(fetch, disk, now)),
            Request::ChangeVoters(change) => {
                let changed = match change.clone() {
                    VoterChange::Add(voter) => raft.add_voter(voter, disk, now).map(Some),
                    VoterChange::Remove(key) => raft.remove_voter(key, disk).map(Some),
                    VoterChange::Update { voter, .. } => raft.update_voter(voter, disk),
                };
                Served::Done(Response::ChangeVoters(changed.err().unwrap_or(ErrorCode::None)))
            }
            Request::FetchSnapshot(fetch) => {
                let answer = match raft.fetch_snapshot(fetch, now) {
                    Err(answer) => answer,
                    Ok(()) if disk.snapshot != fetch.snapshot => {
                        EpochAnswer { error: ErrorCode::SnapshotNotFound, ..known(raft) }
                    }
                    Ok(()) => known(raft),
                };
                let bytes = Bytes::from_static(b"snapshot");
                let size = bytes.len() as u64;
                let piece = FetchSnapshotAnswer { answer, size, position: fetch.position, bytes };
                Served::Done(Response::FetchSnapshot(piece))
            }
        })
        .finish(self, at)
    }

    fn fetch_reply(&mut self, at: usize, fetch: Fetch, answer: FetchAnswer) -> FetchReply {
        let node = &self.nodes[at];
        let raft = node.raft.as_ref().expect("it is up");
        let mut reply = FetchReply {
            answer: known(raft),
            endpoints: vec![],
            diverging: None,
            snapshot: None,
            high_watermark: None,
            records: Bytes::new(),
        };
        let leader = reply.answer.leader.map(|id| index(id.0.into()));
        reply.endpoints = leader.map(endpoints).unwrap_or_default();
        match answer {
            FetchAnswer::Refused(refused) => reply.answer = refused,
            FetchAnswer::Diverging(at) => reply.diverging = Some(at),
            FetchAnswer::Snapshot(snapshot) => reply.snapshot = Some(snapshot),
            FetchAnswer::Records => {
                let from = index(fetch.end.offset - node.disk.start());
                let rest = &node.disk.entries[from..];
                let some = rest[..rest.len().min(RECORDS_MAX)].to_vec();
                reply.high_watermark = raft.told_high_watermark();
                let told = reply.high_watermark.or(fetch.high_watermark);
                assert!(told >= fetch.high_watermark, "a high watermark goes back: {fetch:?}");
                reply.records = encode(&some, &mut self.sets);
            }
        }
        reply
    }

    /// What must hold at every moment.
    fn check(&mut self, at: usize) {
        let node = &self.nodes[at];
        let raft = node.raft.as_ref().expect("it is up");
        if let Some(epoch) = raft.leading() {
            let known = *self.leaders.entry(epoch).or_insert(at);
            assert_eq!(known, at, "two leaders in epoch {epoch}");
        }
        let committed = index(node.committed.get());
        // It never cuts what it knows to be committed: the replica itself makes sure of that.
        let start = index(node.disk.start().max(node.checked).get());
        for offset in start..committed {
            let at = i64::try_from(offset).expect("logs are short");
            let entry = node.disk.entry(Offset::new(at));
            let entry = entry.unwrap_or_else(|| panic!("{offset} is committed and not there"));
            match self.committed.get(offset) {
                Some(seen) => assert_eq!(seen, entry, "another record is committed at {offset}"),
                None => self.committed.push(entry.clone()),
            }
        }
        let node = &mut self.nodes[at];
        node.checked = node.committed;
    }

    fn roles(&self) -> String {
        let role = |node: &Node| {
            let raft = node.raft.as_ref();
            let state = raft.map(|raft| (raft.election(), raft.role().clone()));
            format!("\n{:?} ends at {:?}: {state:?}", node.key.id, node.disk.end())
        };
        self.nodes.iter().map(role).collect()
    }

    /// What must hold once everything is well again.
    pub fn check_settled(&mut self) {
        let (leader, epoch) =
            self.leader().unwrap_or_else(|| panic!("nobody leads: {}", self.roles()));
        assert!(self.nodes[leader].committed.get() > 0, "nothing is committed in epoch {epoch}");
        let end = self.nodes[leader].disk.end().offset;
        assert!(end - self.nodes[leader].committed < 20, "the leader's log is not committed");
        for node in &self.nodes {
            let lag = end - node.committed;
            assert!(lag < 20, "{:?} lags by {lag}", node.key);
            let role = node.raft.as_ref().expect("all are up").role();
            assert!(matches!(role, Role::Leader(_) | Role::Follower(_)), "{role:?}");
        }
        assert!(self.committed.len() > 20, "only {} records", self.committed.len());
    }
}

/// An answer, or what is left to be read for it.
enum Served {
    Done(Response),
    Fetch(Fetch, FetchAnswer),
}

impl Served {
    fn finish(self, world: &mut World, at: usize) -> Response {
        match self {
            Self::Done(response) => response,
            Self::Fetch(fetch, answer) => Response::Fetch(world.fetch_reply(at, fetch, answer)),
        }
    }
}

fn known(raft: &Raft) -> EpochAnswer {
    let election = raft.election();
    EpochAnswer { error: ErrorCode::None, leader: election.leader, epoch: election.epoch }
}
