//! The metadata log of a machine on its faulty disk, and its file `quorum-state`.
//!
//! Not here: its snapshots (`snapshots`).

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use log::{AppendOrigin, Disk, Log, LogConfig, OpenMode, Opening};
use metadata::MetadataRecord;
use protocol::Message;
use protocol::internal::raft::VotersRecord;
use raft::{ControlRecord, Election, LogPosition, LogView, ReplicaKey, VoterSet};
use records::{
    Batch, BatchBuilder, Compression, ControlRecordType, DecompressLimits, split_batches,
};
use types::{BrokerId, LeaderEpoch, Millis, Offset, Uuid};

use crate::bug::Bug;
use crate::dirs::Dir;
use crate::snapshots::Snapshots;

pub const FOLDER: &str = "/data/__cluster_metadata-0";
const STATE: &str = "quorum-state";
const LIMITS: DecompressLimits = DecompressLimits { bytes_max: 1 << 20 };
const READ_BYTES: usize = 1 << 20;
/// A segment is rolled at this age, by what its batches say: other leaders have other clocks.
const SEGMENT_MS: Millis = Millis(5000);

pub struct MetadataLog {
    pub dir: Dir,
    pub log: Log,
    pub snapshots: Snapshots,
    pub bug: Option<Bug>,
}

/// What batches say.
#[derive(Default)]
pub struct Contents {
    pub voters: Vec<(Offset, VoterSet)>,
    pub records: Vec<MetadataRecord>,
    /// Whether the last record of a snapshot was there.
    pub has_footer: bool,
}

impl MetadataLog {
    pub fn open(dir: &Dir, wall: Millis, bug: Option<Bug>) -> anyhow::Result<(Self, Election)> {
        let config = LogConfig {
            segment_bytes: 2 << 10,
            segment_ms: SEGMENT_MS,
            // A segment goes only when a snapshot covers it, and then at once.
            delete: false,
            file_delete_delay_ms: Millis::ZERO,
            ..LogConfig::default()
        };
        let snapshots = Snapshots::open(dir)?;
        let opening = Opening { recovery_point: snapshots.settled_end(), ..Opening::NEW };
        let shared: Arc<dyn Disk> = Arc::new(dir.disk.clone());
        let log = Log::open(shared, FOLDER.into(), Arc::new(config), opening, wall)?;
        let election = match bug {
            Some(Bug::VoteNotPersisted) => Election::default(),
            _ => read_state(dir)?,
        };
        let mut this = Self { dir: dir.clone(), log, snapshots, bug };
        this.agree_on_start(wall)?;
        // As the node does, which syncs its volumes first.
        this.sync()?;
        Ok((this, election))
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
        wall: Millis,
    ) -> anyhow::Result<()> {
        let mut batch = BatchBuilder::new(Compression::None);
        for record in records {
            batch.append(wall.get(), None, Some(&record.encode(level)?), &[]);
        }
        self.append_batch(batch, epoch, wall)
    }

    pub fn append_control(
        &mut self,
        epoch: LeaderEpoch,
        records: &[ControlRecord],
        wall: Millis,
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
            batch.append(wall.get(), Some(&kind.to_key()), Some(&value), &[]);
        }
        self.append_batch(batch, epoch, wall)
    }

    fn append_batch(
        &mut self,
        batch: BatchBuilder,
        epoch: LeaderEpoch,
        wall: Millis,
    ) -> anyhow::Result<()> {
        let batch = BytesMut::from(batch.build());
        self.snapshots.uncovered_bytes += batch.len() as u64;
        self.log.append_as_leader(batch, epoch, AppendOrigin::Metadata, wall)?;
        Ok(())
    }

    pub fn append_fetched(&mut self, bytes: &Bytes, wall: Millis) -> anyhow::Result<Contents> {
        let contents = Contents::read(bytes)?;
        self.log.append_as_follower(bytes, wall)?;
        self.snapshots.uncovered_bytes += bytes.len() as u64;
        Ok(contents)
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
        let directory = election.voted.and_then(|voted| voted.directory).unwrap_or(Uuid::ZERO);
        let text = format!("{} {leader} {voted} {directory}", election.epoch.0);
        let (path, temporary) = (state_path(), state_path().with_extension("tmp"));
        let file = self.dir.disk.open(&temporary, OpenMode::Create)?;
        file.set_len(0)?;
        let written = file.write_vectored_at(&[IoSlice::new(text.as_bytes())], 0)?;
        assert_eq!(written, text.len(), "short writes are not on");
        file.sync_data()?;
        self.dir.disk.rename(&temporary, &path)?;
        Ok(self.dir.disk.sync_dir(Path::new(FOLDER))?)
    }
}

fn state_path() -> PathBuf {
    Path::new(FOLDER).join(STATE)
}

fn read_state(dir: &Dir) -> anyhow::Result<Election> {
    let file = match dir.disk.open(&state_path(), OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Election::default());
        }
        Err(error) => return Err(error.into()),
    };
    let mut bytes = vec![0; usize::try_from(file.len()?)?];
    file.read_at(&mut bytes, 0)?;
    let text = String::from_utf8(bytes)?;
    let words: Vec<&str> = text.split(' ').collect();
    let [epoch, leader, voted, directory] = words[..] else { bail!("{STATE} says {text:?}") };
    let node =
        |word: &str| anyhow::Ok(Some(word.parse::<i32>()?).filter(|id| *id >= 0).map(BrokerId));
    let directory = Some(directory.parse::<Uuid>()?);
    let voted = node(voted)?.map(|id| ReplicaKey { id, directory });
    Ok(Election { epoch: LeaderEpoch(epoch.parse()?), leader: node(leader)?, voted })
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
                    continue;
                }
                let kind = record.key.and_then(ControlRecordType::parse_key);
                if kind == Some(ControlRecordType::KRaftVoters) {
                    let voters = VotersRecord::from_bytes(&value, 0)?;
                    contents.voters.push((record.offset, VoterSet::from_record(&voters)));
                }
                contents.has_footer |= kind == Some(ControlRecordType::SnapshotFooter);
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
        let snapshot = || self.snapshots.newest().map(|at| at.epoch);
        let epoch = self.log.leader_epochs().latest().or_else(snapshot).unwrap_or_default();
        LogPosition { offset: self.log.end_offset(), epoch }
    }

    fn durable_end(&self) -> Offset {
        // What is not synced must not count.
        let counts_all = self.bug == Some(Bug::QuorumBeforeSync);
        if counts_all { self.log.end_offset() } else { self.log.durable_end() }
    }

    fn end_of_epoch(&self, epoch: LeaderEpoch) -> LogPosition {
        let entries = self.log.leader_epochs().entries();
        let above = entries.partition_point(|(known, _)| *known <= epoch);
        let offset = entries.get(above).map_or(self.log.end_offset(), |(_, start)| *start);
        let Some(at) = above.checked_sub(1) else {
            // What lies before the log is the snapshot's that it begins with.
            let first = self.snapshots.ending_at(offset);
            let epoch = first.map(|at| at.epoch).or(entries.first().map(|(epoch, _)| *epoch));
            let is_whole = offset == Offset::ZERO;
            let epoch = epoch.filter(|_| !is_whole).unwrap_or_default();
            return LogPosition { offset, epoch };
        };
        LogPosition { offset, epoch: entries[at].0 }
    }

    fn latest_snapshot(&self) -> Option<LogPosition> {
        self.snapshots.newest()
    }
}
