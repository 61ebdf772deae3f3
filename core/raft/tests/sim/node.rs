//! A node of the simulation: a disk with a log in memory, and the replica on top of it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thalweg_raft::{
    Config, ControlRecord, Election, Endpoint, LogPosition, LogView, Raft, ReplicaKey, Voter,
    VoterHistory, VoterSet,
};
use types::{BrokerId, LeaderEpoch, Millis, Offset, Rng, Uuid};

/// What a record holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Something that a client asked for.
    Value(u64),
    /// The first record of an epoch.
    LeaderChange,
    /// The voters from here on.
    Voters(VoterSet),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub epoch: LeaderEpoch,
    pub payload: Payload,
}

/// What a node has written, and how much of it a crash leaves.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub election: Election,
    /// Where the log begins, which is where the snapshot ends.
    pub snapshot: LogPosition,
    pub snapshot_voters: Option<VoterSet>,
    pub entries: Vec<Entry>,
    pub synced: usize,
}

impl Disk {
    pub fn entry(&self, offset: Offset) -> Option<&Entry> {
        self.entries.get(index(offset - self.snapshot.offset))
    }

    pub fn truncate(&mut self, end: Offset) {
        let keep = index(end - self.snapshot.offset);
        self.entries.truncate(keep);
        self.synced = self.synced.min(keep);
    }

    /// The voters that the log names, beginning with the snapshot's.
    pub fn history(&self, first: &VoterSet) -> VoterHistory {
        let mut history = VoterHistory::new(first.clone());
        history.reset(self.snapshot.offset, self.snapshot_voters.clone());
        for (at, entry) in self.entries.iter().enumerate() {
            if let Payload::Voters(voters) = &entry.payload {
                history.push(self.end_offset(at), voters.clone());
            }
        }
        history
    }

    fn end_offset(&self, entries: usize) -> Offset {
        self.snapshot.offset + i64::try_from(entries).expect("logs are short")
    }
}

impl LogView for Disk {
    fn start(&self) -> Offset {
        self.snapshot.offset
    }

    fn end(&self) -> LogPosition {
        let epoch = self.entries.last().map_or(self.snapshot.epoch, |entry| entry.epoch);
        LogPosition { offset: self.end_offset(self.entries.len()), epoch }
    }

    fn durable_end(&self) -> Offset {
        self.end_offset(self.synced)
    }

    fn end_of_epoch(&self, epoch: LeaderEpoch) -> LogPosition {
        let count = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let last = self.entries[..count].last().map_or(self.snapshot.epoch, |entry| entry.epoch);
        LogPosition { offset: self.end_offset(count), epoch: last }
    }

    fn latest_snapshot(&self) -> Option<LogPosition> {
        (self.snapshot.offset > Offset::ZERO).then_some(self.snapshot)
    }
}

pub struct Node {
    pub disk: Disk,
    /// `None` while it is down.
    pub raft: Option<Raft>,
    pub next_poll: Millis,
    /// A pause of the process: nothing is done until then.
    pub paused_until: Millis,
    pub committed: Offset,
    /// Up to where its records were compared with what others have committed.
    pub checked: Offset,
    pub key: ReplicaKey,
}

/// A number of the log as a place in memory.
pub fn index(number: i64) -> usize {
    usize::try_from(number).expect("it counts from 0")
}

/// A number under `bound`, by chance.
pub fn below(rng: &mut Rng, bound: usize) -> usize {
    rng.below(u32::try_from(bound).expect("there are few of everything")) as usize
}

pub fn key(at: usize) -> ReplicaKey {
    let id = u8::try_from(at).expect("few nodes");
    ReplicaKey { id: BrokerId(id.into()), directory: Some(Uuid::from_bytes([id + 1; 16])) }
}

pub fn endpoints(at: usize) -> Vec<Endpoint> {
    let port = u16::try_from(at).expect("few nodes");
    vec![Endpoint { listener: "CONTROLLER".into(), host: "node".into(), port }]
}

pub fn voter(at: usize) -> Voter {
    Voter { key: key(at), endpoints: endpoints(at), kraft_versions: (0, 1) }
}

impl Node {
    pub fn new(at: usize) -> Self {
        Self {
            disk: Disk::default(),
            raft: None,
            next_poll: Millis::ZERO,
            paused_until: Millis::ZERO,
            committed: Offset::ZERO,
            checked: Offset::ZERO,
            key: key(at),
        }
    }

    pub fn start(&mut self, at: usize, first: &VoterSet, now: Millis, seed: u64) {
        let history = self.disk.history(first);
        let (disk, rng) = (&self.disk, Rng::new(seed));
        // Some make themselves voters, and come back when they are removed.
        let config = Config { auto_join: seed.is_multiple_of(2), ..Config::DEFAULT };
        let raft = Raft::new(config, voter(at), disk.election, history, disk, now, rng);
        self.raft = Some(raft);
        // What it has promised to keep is compared once more.
        (self.committed, self.checked) = (self.disk.snapshot.offset, Offset::ZERO);
        self.next_poll = now;
    }

    /// Loses what was not synced: all of it, or all but some of it.
    pub fn crash(&mut self, rng: &mut Rng) {
        let unsynced = self.disk.entries.len() - self.disk.synced;
        let kept = self.disk.synced + below(rng, unsynced + 1);
        self.disk.entries.truncate(kept);
        self.disk.synced = kept;
        self.raft = None;
    }
}

pub fn payload_of(record: &ControlRecord) -> Payload {
    match record {
        ControlRecord::LeaderChange(_) => Payload::LeaderChange,
        ControlRecord::Voters(voters) => Payload::Voters(VoterSet::from_record(voters)),
        ControlRecord::KRaftVersion(_) => panic!("nobody raises the version here"),
    }
}

/// Records on their way: epoch, kind, value. Sets of voters travel by their place in `sets`.
pub fn encode(entries: &[Entry], sets: &mut Vec<VoterSet>) -> Bytes {
    let mut bytes = BytesMut::new();
    for Entry { epoch, payload } in entries {
        bytes.put_i32(epoch.0);
        let (kind, value) = match payload {
            Payload::Value(value) => (0, *value),
            Payload::LeaderChange => (1, 0),
            Payload::Voters(voters) => {
                sets.push(voters.clone());
                (2, sets.len() as u64 - 1)
            }
        };
        bytes.put_u8(kind);
        bytes.put_u64(value);
    }
    bytes.freeze()
}

pub fn decode(mut bytes: Bytes, sets: &[VoterSet]) -> Vec<Entry> {
    let mut entries = vec![];
    while bytes.has_remaining() {
        let epoch = LeaderEpoch(bytes.get_i32());
        let (kind, value) = (bytes.get_u8(), bytes.get_u64());
        let payload = match kind {
            0 => Payload::Value(value),
            1 => Payload::LeaderChange,
            _ => Payload::Voters(sets[index(value.cast_signed())].clone()),
        };
        entries.push(Entry { epoch, payload });
    }
    entries
}
