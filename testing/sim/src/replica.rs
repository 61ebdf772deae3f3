//! One replica of a partition on a machine: its log, its role, and who waits for it.

use std::sync::Arc;

use bytes::Bytes;
use log::{Disk, FaultyDisk, Log, LogConfig, LogError, Opening, SyncTicket};
use records::{Batch, DecompressLimits, split_batches};
use replication::{AlterPartition, EpochEnd, Follower, Leader, OwnLog};
use types::{LeaderEpoch, Millis, Offset};

use crate::bug::Bug;
use crate::clock::Now;
use crate::message::{Peer, Slot};

const LIMITS: DecompressLimits = DecompressLimits { bytes_max: 1 << 20 };
const READ_BYTES: usize = 1 << 20;
/// A segment is rolled at this age, by what its batches say.
const SEGMENT_MS: Millis = Millis(5000);
/// So much of the end of a log is kept; what producers write within the longest pause is less.
const RETENTION_BYTES: u64 = 8 << 10;
/// Files that are deleted are removed after so long.
const DELETE_DELAY: Millis = Millis(1000);
pub const TOPIC: &str = "t";

#[derive(Debug)]
pub enum Role {
    None,
    Leader(Leader),
    Follower(Follower),
}

/// A producer that waits for its batch to be committed.
pub struct Waiting {
    pub base: Offset,
    /// The end of the batch.
    pub end: Offset,
    pub peer: Peer,
    pub id: u64,
}

/// A change of the ISR that is under way.
pub struct Altering {
    pub sent: AlterPartition,
    pub id: u64,
    /// When it is given up.
    pub until: Millis,
}

pub struct Replica {
    pub slot: Slot,
    pub log: Log,
    pub role: Role,
    /// Up to where its committed records were compared with everybody's.
    pub served: Offset,
    /// What its own retention has dropped was before this offset.
    pub dropped: Offset,
    pub waiting: Vec<Waiting>,
    pub altering: Option<Altering>,
    pub syncing: Option<(SyncTicket, Millis)>,
    /// What is not on the disk counts, too, which it must not.
    pub counts_all: bool,
    bug: Option<Bug>,
}

/// A record as it lies in a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    pub offset: Offset,
    pub epoch: LeaderEpoch,
    /// The producer, and how many it had sent before.
    pub value: (u32, u32),
}

impl Replica {
    pub fn open(
        slot: Slot,
        disk: &FaultyDisk,
        opening: Opening,
        wall: Millis,
        bug: Option<Bug>,
    ) -> Result<Self, LogError> {
        let config = LogConfig {
            segment_bytes: 2 << 10,
            segment_ms: SEGMENT_MS,
            // By size alone: wall clocks are wrong here, and the node goes by better ones.
            retention_ms: None,
            retention_bytes: Some(RETENTION_BYTES),
            file_delete_delay_ms: DELETE_DELAY,
            // Brokers' clocks may be wrong by hours.
            timestamp_after_max_ms: Millis::MAX,
            ..LogConfig::default()
        };
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let log = Log::open(disk, folder(slot).into(), Arc::new(config), opening, wall)?;
        Ok(Self {
            slot,
            log,
            role: Role::None,
            served: Offset::ZERO,
            dropped: Offset::ZERO,
            waiting: vec![],
            altering: None,
            syncing: None,
            counts_all: false,
            bug,
        })
    }

    /// How far the log may be counted on.
    pub fn counted_end(&self) -> Offset {
        let counts_all = match self.role {
            Role::Leader(_) => self.bug == Some(Bug::AckBeforeSync),
            Role::Follower(_) => self.bug == Some(Bug::ConfirmBeforeSync),
            Role::None => false,
        };
        if counts_all || self.counts_all { self.log.end_offset() } else { self.log.durable_end() }
    }

    pub fn own(&self) -> OwnLog {
        let (start, end) = (self.log.start_offset(), self.log.end_offset());
        // An epoch that has begun and written nothing is not that of the last record.
        let last = Offset::from_wire(end.get() - 1).filter(|last| *last >= start);
        let last_epoch = last.and_then(|last| self.log.leader_epochs().epoch_of(last));
        OwnLog { start, end, counted_end: self.counted_end(), last_epoch }
    }

    pub fn end_of(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        let end = self.log.leader_epochs().end_offset(epoch, self.log.end_offset());
        end.map(|(epoch, end)| EpochEnd { epoch, end })
    }

    pub fn high_watermark(&self) -> Option<Offset> {
        match &self.role {
            Role::None => None,
            Role::Leader(leader) => Some(leader.high_watermark()),
            Role::Follower(follower) => Some(follower.high_watermark()),
        }
    }

    /// Drops what need not be kept; whether anything was dropped.
    pub fn retain(&mut self, now: Now) -> Result<bool, LogError> {
        let Some(high_watermark) = self.high_watermark() else { return Ok(false) };
        let before = self.log.start_offset();
        // What was not compared with everybody's stays until it was.
        let count = self.log.delete_old_segments(high_watermark.min(self.served), now.wall)?;
        if let Some(removal) = self.log.take_removal(now.monotonic) {
            removal.run()?;
        }
        let (slot, start, bytes) = (self.slot, self.log.start_offset(), self.log.bytes());
        assert!(start <= high_watermark.max(before), "{slot} drops what is not committed");
        let keeps_enough = start == before || bytes >= RETENTION_BYTES;
        assert!(keeps_enough, "{slot} keeps {bytes} bytes from {start} on, and had {before}");
        if start > before {
            self.dropped = start;
        }
        Ok(count > 0)
    }

    /// What is told to a leader whose log has become durable.
    pub fn count_own(&mut self) {
        let end = self.counted_end();
        if let Role::Leader(leader) = &mut self.role {
            leader.advance(end);
        }
    }

    /// The same for one that counts what is written.
    pub fn count_own_if_written(&mut self) {
        if self.bug == Some(Bug::AckBeforeSync) {
            self.count_own();
        }
    }

    /// Whole batches from `from` on, before `until`.
    pub fn read(&mut self, from: Offset, until: Offset) -> anyhow::Result<Bytes> {
        Ok(self.log.read_blocking(from, READ_BYTES, until, true)?.bytes)
    }

    pub fn describe(&self) -> String {
        let (slot, end, durable) = (self.slot, self.log.end_offset(), self.log.durable_end());
        let altering = self.altering.as_ref().map(|one| &one.sent);
        format!("\n  {slot} ends at {end}, durable {durable}: {:?} {altering:?}", self.role)
    }

    /// All bytes of the log from an offset on.
    pub fn read_all(&mut self, from: Offset) -> anyhow::Result<Bytes> {
        let (mut all, mut next) = (bytes::BytesMut::new(), from);
        while next < self.log.end_offset() {
            let end = self.log.end_offset();
            let batches = self.log.read_blocking(next, READ_BYTES, end, true)?;
            all.extend_from_slice(&batches.bytes);
            next = batches.next_offset;
        }
        Ok(all.freeze())
    }

    /// All records from `from` on, before `until`.
    pub fn entries(&mut self, from: Offset, until: Offset) -> anyhow::Result<Vec<Entry>> {
        let mut entries = vec![];
        let mut next = from;
        while next < until {
            let batches = self.log.read_blocking(next, READ_BYTES, until, true)?;
            assert!(batches.next_offset > next, "{} cannot be read at {next}", folder(self.slot));
            next = batches.next_offset;
            entries.extend(parse(&batches.bytes)?);
        }
        entries.retain(|entry| (from..until).contains(&entry.offset));
        Ok(entries)
    }
}

pub fn folder(slot: Slot) -> String {
    format!("/data/{TOPIC}-{slot}")
}

pub fn parse(bytes: &Bytes) -> anyhow::Result<Vec<Entry>> {
    let mut entries = vec![];
    for cut in split_batches(bytes) {
        let (range, header) = cut?;
        for record in Batch::open(&bytes[range], LIMITS)?.records() {
            let record = record?;
            let value = record.value.unwrap_or_default();
            let number = |at: usize| {
                let four = value.get(at..at + 4).and_then(|four| four.try_into().ok());
                u32::from_be_bytes(four.expect("values have two numbers"))
            };
            let epoch = LeaderEpoch(header.partition_leader_epoch);
            let value = (number(0), number(4));
            entries.push(Entry { offset: record.offset, epoch, value });
        }
    }
    Ok(entries)
}
