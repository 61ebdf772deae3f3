//! Snapshots of the metadata log (KIP-630): written of what is committed, read at a start, handed to
//! others piece by piece, and taken over in place of a log that is too far behind.
//!
//! As in the node the log begins where the oldest one that is kept ends, and whatever a crash leaves
//! half done the next start makes good.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use log::{Disk, OpenMode};
use metadata::{Image, Loader, MetadataRecord};
use protocol::Message;
use protocol::internal::raft::{SnapshotFooterRecord, SnapshotHeaderRecord};
use raft::{LogPosition, LogView, VoterHistory, VoterSet};
use records::{BatchBuilder, Compression, ControlRecordType};
use types::{LeaderEpoch, Millis, Offset};

use crate::bug::Bug;
use crate::clock::Now;
use crate::dirs::Dir;
use crate::images::Images;
use crate::metadata_log::{Contents, FOLDER, MetadataLog};

/// One is written after so many bytes of the log.
const AFTER_BYTES: u64 = 2 << 10;
/// So many are kept.
const KEPT: usize = 2;
const PIECE_BYTES: usize = 900;
const SUFFIX: &str = ".checkpoint";
const PART: &str = ".part";

/// The snapshots on a disk.
#[derive(Default)]
pub struct Snapshots {
    /// Oldest first.
    taken: Vec<LogPosition>,
    /// Bytes of the log that none covers.
    pub uncovered_bytes: u64,
}

impl Snapshots {
    /// Those that the disk has; what is there in part goes.
    pub fn open(dir: &Dir) -> anyhow::Result<Self> {
        dir.disk.create_dir_all(Path::new(FOLDER))?;
        let mut taken = vec![];
        for entry in dir.disk.list(Path::new(FOLDER))? {
            if entry.name.ends_with(PART) {
                dir.disk.remove_file(&Path::new(FOLDER).join(entry.name))?;
            } else if let Some(at) = parse_name(&entry.name) {
                taken.push(at);
            }
        }
        taken.sort_by_key(|at| (at.offset, at.epoch));
        Ok(Self { taken, uncovered_bytes: 0 })
    }

    pub fn newest(&self) -> Option<LogPosition> {
        self.taken.last().copied()
    }

    pub fn oldest(&self) -> Option<LogPosition> {
        self.taken.first().copied()
    }

    /// The one that ends at an offset.
    pub fn ending_at(&self, offset: Offset) -> Option<LogPosition> {
        self.taken.iter().copied().find(|at| at.offset == offset)
    }

    /// Where the one before the newest ends: when that was complete, the log reached so far.
    pub fn settled_end(&self) -> Offset {
        let before = self.taken.len().checked_sub(2).map(|at| self.taken[at].offset);
        before.unwrap_or(Offset::ZERO)
    }
}

impl MetadataLog {
    /// What a crash while a snapshot replaced the log left undone; and where the log begins, which
    /// may be within a segment.
    pub fn agree_on_start(&mut self, wall: Millis) -> anyhow::Result<()> {
        let newest = self.snapshots.newest().unwrap_or_default();
        let is_other = self.log.start_offset() < newest.offset
            && self.position_of(newest.offset).epoch != newest.epoch;
        if self.log.end_offset() < newest.offset || is_other {
            self.log.truncate_fully_and_start_at(newest.offset, wall)?;
        }
        if let Some((_, start)) = self.log.leader_epochs().entries().first() {
            self.log.move_start(*start);
        }
        let start = self.log.start_offset();
        ensure!(start <= newest.offset, "no snapshot covers what was before {start}");
        Ok(())
    }

    /// The state of the newest snapshot, and the voters that it names.
    pub fn read_newest(&self) -> anyhow::Result<(Images, Option<VoterSet>)> {
        let Some(at) = self.snapshots.newest() else { return Ok((Images::default(), None)) };
        self.load(&path(at), at)
    }

    fn load(&self, path: &Path, at: LogPosition) -> anyhow::Result<(Images, Option<VoterSet>)> {
        let contents = Contents::read(&read(&self.dir, path)?)?;
        if !contents.has_footer {
            bail!("the end of {} is missing", path.display());
        }
        let mut loader = Loader::default();
        for record in &contents.records {
            loader.apply(record).with_context(|| format!("{} does not fit", record.name()))?;
        }
        let voters = contents.voters.into_iter().next_back().map(|(_, voters)| voters);
        Ok((Images::new(loader, at.offset), voters))
    }

    /// Writes a snapshot of what is committed if one is due, and lets go of what is covered; whether
    /// it did.
    pub fn keep_snapshots(
        &mut self,
        images: &Images,
        voters: &VoterHistory,
        now: Now,
    ) -> anyhow::Result<bool> {
        let (image, end) = images.committed();
        let is_due = self.snapshots.uncovered_bytes >= AFTER_BYTES
            && self.snapshots.newest().is_none_or(|newest| newest.offset < end)
            // As in the node, where what is appended is synced before anything else is done.
            && self.log.durable_end() >= end;
        if !is_due || images.in_committed_transaction() {
            return Ok(false);
        }
        let at = self.position_of(end);
        let bytes = encode(image, voters.before(end), at.epoch, self.bug)?;
        let part = part_of(at);
        self.write_piece(&part, 0, &bytes)?;
        self.put_in_place(&part, at)?;
        self.snapshots.taken.push(at);
        self.snapshots.uncovered_bytes = 0;
        self.let_go(end, now)?;
        Ok(true)
    }

    /// Deletes the oldest snapshots, and what of the log lies before those that are kept.
    fn let_go(&mut self, committed: Offset, now: Now) -> anyhow::Result<()> {
        let spent = self.snapshots.taken.len().saturating_sub(KEPT);
        let spent: Vec<_> = self.snapshots.taken.drain(..spent).collect();
        if let (Some(oldest), false) = (self.snapshots.oldest(), spent.is_empty()) {
            self.log.move_start(oldest.offset);
            self.log.delete_old_segments(committed, now.wall)?;
            if let Some(removal) = self.log.take_removal(now.monotonic) {
                removal.run()?;
            }
        }
        for at in spent {
            self.dir.disk.remove_file(&path(at))?;
        }
        Ok(())
    }

    /// A piece of a snapshot, and the size of the whole; `None` where there is no such snapshot.
    pub fn read_snapshot(
        &self,
        at: LogPosition,
        position: u64,
    ) -> anyhow::Result<Option<(Bytes, u64)>> {
        if !self.snapshots.taken.contains(&at) {
            return Ok(None);
        }
        let all = read(&self.dir, &path(at))?;
        let from = usize::try_from(position)?.min(all.len());
        let to = (from + PIECE_BYTES).min(all.len());
        Ok(Some((all.slice(from..to), all.len() as u64)))
    }

    /// Takes a piece of the leader's snapshot.
    pub fn take_piece(&self, at: LogPosition, position: u64, bytes: &[u8]) -> anyhow::Result<()> {
        self.write_piece(&fetched_part_of(at), position, bytes)
    }

    /// Replaces the log by the snapshot whose pieces are here, and gives its state and voters.
    pub fn install_snapshot(
        &mut self,
        at: LogPosition,
        wall: Millis,
    ) -> anyhow::Result<(Images, Option<VoterSet>)> {
        let part = fetched_part_of(at);
        let installed = self.load(&part, at)?;
        self.put_in_place(&part, at)?;
        // The next start sees to the rest, should the machine crash here.
        self.log.truncate_fully_and_start_at(at.offset, wall)?;
        for former in std::mem::replace(&mut self.snapshots.taken, vec![at]) {
            if former != at {
                self.dir.disk.remove_file(&path(former))?;
            }
        }
        self.snapshots.uncovered_bytes = 0;
        Ok(installed)
    }

    /// An end within the log with the epoch of the record before it.
    fn position_of(&self, end: Offset) -> LogPosition {
        let last = Offset::new((end.get() - 1).max(0));
        let epoch = self.log.leader_epochs().epoch_of(last).unwrap_or(self.end().epoch);
        LogPosition { offset: end, epoch }
    }

    /// The first piece begins the file anew.
    fn write_piece(&self, part: &Path, position: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let file = self.dir.disk.open(part, OpenMode::Create)?;
        if position == 0 {
            file.set_len(0)?;
        }
        let written = file.write_vectored_at(&[IoSlice::new(bytes)], position)?;
        assert_eq!(written, bytes.len(), "short writes are not on");
        Ok(())
    }

    fn put_in_place(&self, part: &Path, at: LogPosition) -> anyhow::Result<()> {
        self.dir.disk.open(part, OpenMode::Write)?.sync_data()?;
        self.dir.disk.rename(part, &path(at))?;
        Ok(self.dir.disk.sync_dir(Path::new(FOLDER))?)
    }
}

/// A snapshot: its voters, the records of the image, and a footer.
fn encode(
    image: &Image,
    voters: Option<&VoterSet>,
    epoch: LeaderEpoch,
    bug: Option<Bug>,
) -> anyhow::Result<Vec<u8>> {
    let fresh = || BatchBuilder::new(Compression::None).leader_epoch(epoch);
    let mut head = fresh().control();
    let header = SnapshotHeaderRecord::default().to_bytes(0)?;
    head.append(0, Some(&ControlRecordType::SnapshotHeader.to_key()), Some(&header), &[]);
    if let Some(voters) = voters {
        let voters = voters.to_record().to_bytes(0)?;
        head.append(0, Some(&ControlRecordType::KRaftVoters.to_key()), Some(&voters), &[]);
    }
    let mut body = fresh();
    let mut records: Vec<_> = image.snapshot_records().collect();
    if bug == Some(Bug::SnapshotLacksPartition) {
        let is_partition = |one: &MetadataRecord| matches!(one, MetadataRecord::Partition(_));
        if let Some(last) = records.iter().rposition(is_partition) {
            records.remove(last);
        }
    }
    for record in records {
        body.append(0, None, Some(&record.encode(image.metadata_version())?), &[]);
    }
    let mut foot = fresh().control();
    let footer = SnapshotFooterRecord::default().to_bytes(0)?;
    foot.append(0, Some(&ControlRecordType::SnapshotFooter.to_key()), Some(&footer), &[]);
    let mut bytes = head.build().to_vec();
    if body.record_count() > 0 {
        bytes.extend_from_slice(&body.build());
    }
    bytes.extend_from_slice(&foot.build());
    Ok(bytes)
}

fn read(dir: &Dir, path: &Path) -> anyhow::Result<Bytes> {
    let file = dir.disk.open(path, OpenMode::Read)?;
    let mut bytes = vec![0; usize::try_from(file.len()?)?];
    let read = file.read_at(&mut bytes, 0)?;
    assert_eq!(read, bytes.len(), "short reads are not on");
    Ok(bytes.into())
}

fn name_of(at: LogPosition) -> String {
    format!("{:020}-{:010}", at.offset.get(), at.epoch.0)
}

fn path(at: LogPosition) -> PathBuf {
    Path::new(FOLDER).join(name_of(at) + SUFFIX)
}

fn part_of(at: LogPosition) -> PathBuf {
    Path::new(FOLDER).join(name_of(at) + PART)
}

/// Apart from the one that this machine may be writing itself.
fn fetched_part_of(at: LogPosition) -> PathBuf {
    Path::new(FOLDER).join(name_of(at) + ".fetched" + PART)
}

fn parse_name(name: &str) -> Option<LogPosition> {
    let (offset, epoch) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let offset = Offset::from_wire(offset.parse().ok()?)?;
    Some(LogPosition { offset, epoch: LeaderEpoch(epoch.parse().ok()?) })
}
