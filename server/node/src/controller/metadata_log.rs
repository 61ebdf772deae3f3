//! The `__cluster_metadata` log on disk: opened and replayed, appended to, read, cut. What the
//! quorum asks of it is its [`LogView`].
//!
//! Not here: its snapshots (`snapshots`), who may append and what is committed (`core/raft`,
//! `driver`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::metadata::{Image, Loader, MetadataRecord};
use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use config::QuorumConfig;
use log::{AppendOrigin, Log, LogConfig, RealDisk};
use protocol::Message;
use raft::{ControlRecord, Election, LogPosition, LogView, VoterHistory, VoterSet};
use records::{BatchBuilder, Compression, ControlRecordType, split_batches};
use types::{LeaderEpoch, Millis, Offset, Uuid};

use super::checkpoints::Checkpoints;
use super::images::Images;
use super::reserve::Reserve;
use super::{quorum_state, snapshot};
use crate::clock;

/// Folder of the one partition of the metadata log.
pub const METADATA_FOLDER: &str = "__cluster_metadata-0";
/// What a format leaves for the first start, beside the folder.
const BOOTSTRAP_NAME: &str = "bootstrap.checkpoint";
/// The id of the metadata topic, the same in every cluster.
pub const METADATA_TOPIC_ID: Uuid =
    Uuid::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
/// Bytes read at once in a replay.
const REPLAY_BYTES: usize = 4 << 20;

/// Where the log lies, and what it begins with.
pub struct Setup<'a> {
    /// The directory that holds the metadata folder.
    pub dir: &'a Path,
    /// Settings of the quorum.
    pub quorum: &'a QuorumConfig,
    /// Voters that hold until the log names others.
    pub fixed: VoterSet,
    /// The voters of a cluster that begins here, where it does.
    pub first: Option<VoterSet>,
    /// Whether the directory was stopped cleanly.
    pub is_clean: bool,
    /// Wall time.
    pub now: Millis,
}

/// What the disk says.
pub struct Found {
    /// States of the cluster: the snapshot's is committed.
    pub images: Images,
    /// The voters at every point of the log.
    pub voters: VoterHistory,
    /// Epoch, leader and vote.
    pub election: Election,
    /// What a format left for the cluster to begin with.
    pub formatted: Option<Vec<MetadataRecord>>,
}

/// The log and its snapshots.
pub struct MetadataLog {
    pub(super) log: Log,
    pub(super) folder: PathBuf,
    pub(super) checkpoints: Checkpoints,
    /// A snapshot of the leader that is being taken over.
    pub(super) taking: Option<snapshot::Taking>,
}

impl MetadataLog {
    /// Opens or makes the log and replays it.
    ///
    /// A folder that is not there is a new log; one that cannot be read is an error.
    ///
    /// # Errors
    /// If files are damaged.
    pub fn open(setup: Setup<'_>) -> anyhow::Result<(Self, Found)> {
        let folder = setup.dir.join(METADATA_FOLDER);
        let is_new = !folder.exists();
        let mut checkpoints = Checkpoints::open(folder.clone(), setup.quorum, clock::monotonic())?;
        let log = open_log(&folder, &setup, checkpoints.settled_end())?;
        // Not written again: a node whose disk is full could not start to make room.
        if log::read_topic_id(&RealDisk, &folder).ok().flatten() != Some(METADATA_TOPIC_ID) {
            log::write_topic_id(&RealDisk, &folder, METADATA_TOPIC_ID)?;
        }
        if is_new && let Some(first) = &setup.first {
            let (voters, image) = (Some(first.to_record()), Arc::new(Image::default()));
            let now = (clock::monotonic(), setup.now);
            checkpoints.begin(LogPosition::default(), voters, image, now)?;
            checkpoints.finish(true, now.0)?;
        }
        let election = quorum_state::read(&folder)?;
        let mut this = Self { log, folder, checkpoints, taking: None };
        this.agree_on_start(setup.now)?;
        let mut voters = VoterHistory::new(setup.fixed);
        let images = this.replay(&mut voters)?;
        // It was written before the first record. Where others vote, this node may have promised
        // one of them something that it no longer knows.
        if election.is_none() && this.log.end_offset() > Offset::ZERO && voters.latest().len() > 1 {
            let folder = this.folder.display();
            bail!(
                "quorum-state is missing in {folder}, so that the vote of this node is not known"
            );
        }
        let election = election.unwrap_or_default();
        let formatted = formatted_records(setup.dir)?;
        Ok((this, Found { images, voters, election, formatted }))
    }

    /// What a crash while a snapshot replaced the log left undone; and where the log begins, which
    /// may be within a segment.
    fn agree_on_start(&mut self, now: Millis) -> anyhow::Result<()> {
        let newest = self.checkpoints.newest().map(|(at, _)| at).unwrap_or_default();
        let snapshot = newest.offset;
        let epoch = || self.position_of(snapshot).epoch;
        let is_other = self.log.start_offset() < snapshot && epoch() != newest.epoch;
        if self.log.end_offset() < snapshot || is_other {
            self.log.truncate_fully_and_start_at(snapshot, now)?;
        }
        if let Some((_, start)) = self.log.leader_epochs().entries().first() {
            self.log.move_start(*start);
        }
        if self.log.start_offset() > snapshot {
            let start = self.log.start_offset();
            bail!("the metadata log begins at {start}, and no snapshot covers what was before");
        }
        Ok(())
    }

    /// Whether a tool has formatted the directory, so that it also named the first voters.
    pub fn is_formatted(dir: &Path) -> bool {
        dir.join(BOOTSTRAP_NAME).exists()
    }

    /// The state before the log and after it, and the voters.
    fn replay(&mut self, voters: &mut VoterHistory) -> anyhow::Result<Images> {
        let mut loader = Loader::default();
        let snapshot = self.checkpoints.newest().map(|(at, path)| (at, path.to_owned()));
        if let Some((at, path)) = &snapshot {
            let contents = snapshot::read(path)?;
            apply(&mut loader, &contents)?;
            voters.reset(at.offset, newest_voters(&contents));
        }
        let mut images = Images::new(loader, snapshot.map_or(Offset::ZERO, |(at, _)| at.offset));
        self.replay_rest(&mut images, |offset, set| voters.push(offset, set))?;
        Ok(images)
    }

    /// Takes what the log has behind the newest state.
    ///
    /// # Errors
    /// If the log cannot be read or understood.
    pub fn replay_rest(
        &mut self,
        images: &mut Images,
        mut voters: impl FnMut(Offset, VoterSet),
    ) -> anyhow::Result<()> {
        let end = self.log.end_offset();
        let mut next = images.end();
        while next < end {
            let batches = self.log.read_blocking(next, REPLAY_BYTES, end, true)?;
            self.checkpoints.note(batches.bytes.len());
            if batches.next_offset <= next {
                bail!("the metadata log cannot be read at offset {next}");
            }
            next = batches.next_offset;
            let mut contents = snapshot::Contents::default();
            contents.read_batches(&batches.bytes).context("the metadata log is damaged")?;
            for (offset, record) in &contents.voters {
                voters(*offset, VoterSet::from_record(record));
            }
            images.append(&contents.records, next)?;
        }
        Ok(())
    }

    /// Appends one decision's records as one batch.
    ///
    /// # Errors
    /// If the log cannot take them; the controller must stop then.
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
        self.append_batch(&batch.build(), epoch, now)
    }

    /// Appends what the quorum says of itself as one batch.
    ///
    /// # Errors
    /// As [`MetadataLog::append`].
    pub fn append_control(
        &mut self,
        epoch: LeaderEpoch,
        records: &[ControlRecord],
        now: Millis,
    ) -> anyhow::Result<()> {
        let encode = |record: &ControlRecord| {
            Ok(match record {
                // Kafka's tools read version 0 alone, which has no directory ids.
                ControlRecord::LeaderChange(change) => {
                    let mut change = change.clone();
                    let voters = change.voters.iter_mut().chain(&mut change.granting_voters);
                    voters.for_each(|voter| voter.voter_directory_id = Uuid::ZERO);
                    (ControlRecordType::LeaderChange, change.to_bytes(0)?)
                }
                ControlRecord::KRaftVersion(version) => {
                    (ControlRecordType::KRaftVersion, version.to_bytes(0)?)
                }
                ControlRecord::Voters(voters) => {
                    (ControlRecordType::KRaftVoters, voters.to_bytes(0)?)
                }
            })
        };
        let records: Vec<_> = records.iter().map(encode).collect::<anyhow::Result<_>>()?;
        self.append_batch(&snapshot::control_batch(&records, epoch, now), epoch, now)
    }

    fn append_batch(
        &mut self,
        batch: &Bytes,
        epoch: LeaderEpoch,
        now: Millis,
    ) -> anyhow::Result<()> {
        self.log.append_as_leader(
            BytesMut::from(&batch[..]),
            epoch,
            AppendOrigin::Metadata,
            now,
        )?;
        self.checkpoints.note(batch.len());
        Ok(())
    }

    /// The whole batches of what the leader sent, and what they say.
    ///
    /// # Errors
    /// If they are damaged, do not follow the log, or are of a later epoch than the leader's.
    pub fn check_fetched(
        &self,
        bytes: &Bytes,
        epoch: LeaderEpoch,
    ) -> anyhow::Result<(Bytes, snapshot::Contents)> {
        let (mut next, mut until) = (self.log.end_offset().get(), 0);
        for cut in split_batches(bytes) {
            // An answer may end within a batch.
            let Ok((range, header)) = cut else { break };
            if header.base_offset != next || header.partition_leader_epoch > epoch.0 {
                let (at, of) = (header.base_offset, header.partition_leader_epoch);
                bail!("a batch at {at} of epoch {of} cannot follow at {next} in epoch {epoch}");
            }
            next = header.next_offset().get();
            until = range.end;
        }
        if until == 0 {
            bail!("they hold no whole batch");
        }
        let bytes = bytes.slice(..until);
        let mut contents = snapshot::Contents::default();
        contents.read_batches(&bytes)?;
        Ok((bytes, contents))
    }

    /// Appends what [`MetadataLog::check_fetched`] has found right.
    ///
    /// # Errors
    /// If the log cannot take them.
    pub fn append_fetched(&mut self, bytes: &Bytes, now: Millis) -> anyhow::Result<()> {
        // What an attempt without room has appended is here.
        let end = self.log.end_offset().get();
        let mut cuts = split_batches(bytes).map_while(Result::ok);
        let new = cuts.find(|(_, header)| header.base_offset >= end);
        let bytes = bytes.slice(new.map_or(bytes.len(), |(range, _)| range.start)..);
        self.log.append_as_follower(&bytes, now)?;
        self.checkpoints.note(bytes.len());
        Ok(())
    }

    /// Makes everything appended durable; whether there was something.
    ///
    /// # Errors
    /// If writing or syncing fails; it is not tried again.
    pub fn sync(&mut self) -> anyhow::Result<bool> {
        let Some(ticket) = self.log.sync_ticket()? else { return Ok(false) };
        let outcome = ticket.sync();
        self.log.synced(outcome)?;
        Ok(true)
    }

    /// Whole batches from `from` on, for a replica that reads.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read(&mut self, from: Offset, bytes_max: usize) -> anyhow::Result<Bytes> {
        let end = self.log.end_offset();
        Ok(self.log.read_blocking(from, bytes_max, end, true)?.bytes)
    }

    /// Cuts the log.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn truncate(&mut self, end: Offset, now: Millis) -> anyhow::Result<()> {
        self.log.truncate_to(end, now)?;
        Ok(())
    }

    /// Room beside the log.
    pub fn reserve(&self) -> Reserve {
        Reserve::new(&self.folder)
    }

    /// Writes down epoch, leader and vote; `fixed` are static voters.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn persist(&self, election: &Election, fixed: Option<&VoterSet>) -> anyhow::Result<()> {
        quorum_state::write(&self.folder, election, fixed)
    }
}

impl LogView for MetadataLog {
    fn start(&self) -> Offset {
        self.log.start_offset()
    }

    fn end(&self) -> LogPosition {
        let epoch = self.log.leader_epochs().latest();
        let snapshot = || self.checkpoints.newest().map(|(at, _)| at.epoch);
        let epoch = epoch.or_else(snapshot).unwrap_or_default();
        LogPosition { offset: self.log.end_offset(), epoch }
    }

    fn durable_end(&self) -> Offset {
        self.log.durable_end()
    }

    fn end_of_epoch(&self, epoch: LeaderEpoch) -> LogPosition {
        let entries = self.log.leader_epochs().entries();
        let above = entries.partition_point(|(known, _)| *known <= epoch);
        let offset = entries.get(above).map_or(self.log.end_offset(), |(_, start)| *start);
        let Some(at) = above.checked_sub(1) else {
            // What lies before the log is the snapshot's that it begins with.
            let epoch = self.checkpoints.ending_at(offset).map(|at| at.epoch);
            let epoch = epoch.or(entries.first().map(|(epoch, _)| *epoch)).unwrap_or_default();
            let is_whole = offset == Offset::ZERO;
            return LogPosition { offset, epoch: if is_whole { LeaderEpoch(0) } else { epoch } };
        };
        LogPosition { offset, epoch: entries[at].0 }
    }

    fn latest_snapshot(&self) -> Option<LogPosition> {
        // What a format leaves covers nothing.
        self.checkpoints.newest().map(|(at, _)| at).filter(|at| at.offset > Offset::ZERO)
    }
}

/// The records that a format left in `bootstrap.checkpoint`, if it did.
fn formatted_records(dir: &Path) -> anyhow::Result<Option<Vec<MetadataRecord>>> {
    let path = dir.join(BOOTSTRAP_NAME);
    let exists = path.exists();
    exists.then(|| snapshot::read_bootstrap(&path).map(|contents| contents.records)).transpose()
}

pub(super) fn apply(loader: &mut Loader, contents: &snapshot::Contents) -> anyhow::Result<()> {
    for record in &contents.records {
        loader.apply(record).with_context(|| format!("{} does not fit", record.name()))?;
    }
    Ok(())
}

pub(super) fn newest_voters(contents: &snapshot::Contents) -> Option<VoterSet> {
    contents.voters.last().map(|(_, record)| VoterSet::from_record(record))
}

fn open_log(folder: &Path, setup: &Setup<'_>, recovery_point: Offset) -> anyhow::Result<Log> {
    let config = LogConfig {
        segment_bytes: u32::try_from(setup.quorum.segment_bytes).unwrap_or(u32::MAX),
        segment_ms: setup.quorum.segment_ms,
        // A segment goes only when a checkpoint covers it.
        delete: false,
        // Nobody else reads them: the removal follows the deletion at once.
        file_delete_delay_ms: Millis::ZERO,
        // On a full disk there is room for what makes some: the deletion of a topic.
        reserve_from_bytes: 0,
        ..LogConfig::default()
    };
    let state = log::Opening {
        start_offset: Offset::ZERO,
        recovery_point,
        is_clean: setup.is_clean,
        ..log::Opening::NEW
    };
    let disk = Arc::new(RealDisk);
    let log = Log::open(disk, folder.to_owned(), Arc::new(config), state, setup.now)?;
    Ok(log)
}

#[cfg(test)]
mod tests;
