//! The metadata log of a machine on its faulty disk, and its file `quorum-state`.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use log::{AppendOrigin, Disk, FaultyDisk, Log, LogConfig, OpenMode, Opening};
use metadata::MetadataRecord;
use protocol::Message;
use protocol::internal::raft::VotersRecord;
use raft::{ControlRecord, Election, LogPosition, LogView, ReplicaKey, VoterSet};
use records::{
    Batch, BatchBuilder, Compression, ControlRecordType, DecompressLimits, split_batches,
};
use types::{BrokerId, LeaderEpoch, Millis, Offset};

use crate::bug::Bug;

const FOLDER: &str = "/data/__cluster_metadata-0";
const STATE: &str = "quorum-state";
const LIMITS: DecompressLimits = DecompressLimits { bytes_max: 1 << 20 };
const READ_BYTES: usize = 1 << 20;

pub struct MetadataLog {
    disk: FaultyDisk,
    pub log: Log,
    bug: Option<Bug>,
}

/// What batches say.
#[derive(Default)]
pub struct Contents {
    pub voters: Vec<(Offset, VoterSet)>,
    pub records: Vec<MetadataRecord>,
}

impl MetadataLog {
    pub fn open(
        disk: &FaultyDisk,
        now: Millis,
        bug: Option<Bug>,
    ) -> anyhow::Result<(Self, Election)> {
        let config = LogConfig { segment_bytes: 16 << 10, ..LogConfig::default() };
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let log = Log::open(shared, FOLDER.into(), Arc::new(config), Opening::NEW, now)?;
        let election = match bug {
            Some(Bug::VoteNotPersisted) => Election::default(),
            _ => read_state(disk)?,
        };
        Ok((Self { disk: disk.clone(), log, bug }, election))
    }

    /// Whole batches from `from` on.
    pub fn read(&mut self, from: Offset) -> anyhow::Result<(Bytes, Offset)> {
        let end = self.log.end_offset();
        let batches = self.log.read_blocking(from, READ_BYTES, end, true)?;
        Ok((batches.bytes, batches.next_offset))
    }

    pub fn append(
        &mut self,
        records: &[MetadataRecord],
        level: i16,
        epoch: LeaderEpoch,
        now: Millis,
    ) -> anyhow::Result<()> {
        let mut batch = BatchBuilder::new(Compression::None);
        for record in records {
            batch.append(now.get(), None, Some(&record.encode(level)?), &[]);
        }
        self.append_batch(batch, epoch, now)
    }

    pub fn append_control(
        &mut self,
        epoch: LeaderEpoch,
        records: &[ControlRecord],
        now: Millis,
    ) -> anyhow::Result<()> {
        let mut batch = BatchBuilder::new(Compression::None).control();
        for record in records {
            let (kind, value) = match record {
                ControlRecord::LeaderChange(change) => {
                    (ControlRecordType::LeaderChange, change.to_bytes(1)?)
                }
                ControlRecord::KRaftVersion(version) => {
                    (ControlRecordType::KRaftVersion, version.to_bytes(0)?)
                }
                ControlRecord::Voters(voters) => {
                    (ControlRecordType::KRaftVoters, voters.to_bytes(0)?)
                }
            };
            batch.append(now.get(), Some(&kind.to_key()), Some(&value), &[]);
        }
        self.append_batch(batch, epoch, now)
    }

    fn append_batch(
        &mut self,
        batch: BatchBuilder,
        epoch: LeaderEpoch,
        now: Millis,
    ) -> anyhow::Result<()> {
        let batch = BytesMut::from(batch.build());
        self.log.append_as_leader(batch, epoch, AppendOrigin::Metadata, now)?;
        Ok(())
    }

    pub fn append_fetched(&mut self, bytes: &Bytes, now: Millis) -> anyhow::Result<Contents> {
        let contents = Contents::read(bytes)?;
        self.log.append_as_follower(bytes, now)?;
        if !self.counts_unsynced() {
            self.sync()?;
        }
        Ok(contents)
    }

    /// Whether what is not synced counts, which it must not.
    pub fn counts_unsynced(&self) -> bool {
        self.bug == Some(Bug::QuorumBeforeSync)
    }

    pub fn sync(&mut self) -> anyhow::Result<()> {
        if let Some(ticket) = self.log.sync_ticket()? {
            let outcome = ticket.sync();
            self.log.synced(outcome)?;
        }
        Ok(())
    }

    /// Writes down epoch, leader and vote so that a crash leaves the old or the new.
    pub fn persist(&self, election: &Election) -> anyhow::Result<()> {
        let leader = election.leader.map_or(-1, |leader| leader.0);
        let voted = election.voted.map_or(-1, |voted| voted.id.0);
        let text = format!("{} {leader} {voted}", election.epoch.0);
        let (path, temporary) = (state_path(), state_path().with_extension("tmp"));
        let file = self.disk.open(&temporary, OpenMode::Create)?;
        file.set_len(0)?;
        let written = file.write_vectored_at(&[IoSlice::new(text.as_bytes())], 0)?;
        assert_eq!(written, text.len(), "short writes are not on");
        file.sync_data()?;
        self.disk.rename(&temporary, &path)?;
        Ok(self.disk.sync_dir(Path::new(FOLDER))?)
    }
}

fn state_path() -> PathBuf {
    Path::new(FOLDER).join(STATE)
}

fn read_state(disk: &FaultyDisk) -> anyhow::Result<Election> {
    let file = match disk.open(&state_path(), OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Election::default());
        }
        Err(error) => return Err(error.into()),
    };
    let mut bytes = vec![0; usize::try_from(file.len()?)?];
    file.read_at(&mut bytes, 0)?;
    let text = String::from_utf8(bytes)?;
    let numbers: Vec<i32> = text.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [epoch, leader, voted] = numbers[..] else { bail!("{STATE} says {text:?}") };
    let node = |id: i32| (id >= 0).then_some(BrokerId(id));
    Ok(Election { epoch: LeaderEpoch(epoch), leader: node(leader), voted: node(voted).map(key) })
}

/// Each machine has one directory, whose id follows from its number.
pub fn key(id: BrokerId) -> ReplicaKey {
    ReplicaKey { id, directory: Some(directory(id)) }
}

pub fn directory(id: BrokerId) -> types::Uuid {
    let number = u8::try_from(id.0).expect("there are few machines");
    types::Uuid::from_bytes([number + 1; 16])
}

impl Contents {
    pub fn read(bytes: &Bytes) -> anyhow::Result<Self> {
        let mut contents = Self::default();
        for cut in split_batches(bytes) {
            let (range, header) = cut?;
            for record in Batch::open(&bytes[range], LIMITS)?.records() {
                let record = record?;
                let value = record.value.context("a record has no value")?;
                let value = Bytes::copy_from_slice(value);
                if !header.attributes.is_control() {
                    contents.records.push(MetadataRecord::decode(&value)?);
                } else if record.key.and_then(ControlRecordType::parse_key)
                    == Some(ControlRecordType::KRaftVoters)
                {
                    let voters = VotersRecord::from_bytes(&value, 0)?;
                    contents.voters.push((record.offset, VoterSet::from_record(&voters)));
                }
            }
        }
        Ok(contents)
    }
}

impl LogView for MetadataLog {
    fn start(&self) -> Offset {
        self.log.start_offset()
    }

    fn end(&self) -> LogPosition {
        let epoch = self.log.leader_epochs().latest().unwrap_or_default();
        LogPosition { offset: self.log.end_offset(), epoch }
    }

    fn durable_end(&self) -> Offset {
        if self.counts_unsynced() { self.log.end_offset() } else { self.log.durable_end() }
    }

    fn end_of_epoch(&self, epoch: LeaderEpoch) -> LogPosition {
        let entries = self.log.leader_epochs().entries();
        let above = entries.partition_point(|(known, _)| *known <= epoch);
        let offset = entries.get(above).map_or(self.log.end_offset(), |(_, start)| *start);
        let epoch = above.checked_sub(1).map_or(LeaderEpoch(0), |at| entries[at].0);
        LogPosition { offset, epoch }
    }

    /// There are none: the logs of a run are short.
    fn latest_snapshot(&self) -> Option<LogPosition> {
        None
    }
}
