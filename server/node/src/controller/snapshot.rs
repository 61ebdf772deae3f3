//! Checkpoints of the metadata log: `<end offset>-<epoch>.checkpoint` (KIP-630).
//!
//! A checkpoint is a file of record batches: a control batch with the header, with dynamic voters
//! also their version and set, the records of the image, and a control batch with the footer.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ::metadata::{Image, MetadataRecord};
use anyhow::{Context, bail};
use bytes::Bytes;
use protocol::Message;
use protocol::internal::raft::{
    KRaftVersionRecord, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
};
use raft::LogPosition;
use records::{
    Batch, BatchBuilder, Compression, ControlRecordType, DecompressLimits, check_crc, split_batches,
};
use types::{LeaderEpoch, Millis, Offset};

/// A batch of a checkpoint is closed when it has this size.
const BATCH_BYTES: usize = 1 << 20;
/// The metadata log is never compressed by Kafka or by us; this bounds what somebody else made.
const LIMITS: DecompressLimits = DecompressLimits { bytes_max: 64 << 20 };

/// No first batch of a checkpoint is larger: it holds the header and the voters.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// What a checkpoint holds, or what one batch of the log says to the quorum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// Each set of voters that is said, with the offset of its record.
    pub voters: Vec<(Offset, VotersRecord)>,
    /// Records of the cluster's state.
    pub records: Vec<MetadataRecord>,
    /// Whether a checkpoint's last record was there.
    has_footer: bool,
}

/// The checkpoints in a folder, in no order: where each ends and its file.
///
/// # Errors
/// If the folder cannot be listed.
pub fn list(folder: &Path) -> anyhow::Result<Vec<(LogPosition, PathBuf)>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error).context("cannot list the metadata folder"),
    };
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(at) = parse_name(name) else { continue };
        found.push((at, path));
    }
    Ok(found)
}

/// Wall time of the newest record that a checkpoint covers, as its header says.
///
/// # Errors
/// If its beginning cannot be read.
pub fn timestamp(path: &Path) -> anyhow::Result<Millis> {
    let read = || -> anyhow::Result<Millis> {
        let mut bytes = Vec::new();
        File::open(path)?.take(HEADER_BYTES_MAX).read_to_end(&mut bytes)?;
        let (range, header) = split_batches(&bytes).next().context("it is empty")??;
        let batch = &bytes[range];
        check_crc(batch, &header)?;
        let opened = Batch::open(batch, LIMITS)?;
        let first = opened.records().next().context("it has no header")??;
        let is_header = first.key.and_then(ControlRecordType::parse_key)
            == Some(ControlRecordType::SnapshotHeader);
        let value = first.value.filter(|_| is_header).context("it has no header")?;
        let value = SnapshotHeaderRecord::from_bytes(&Bytes::copy_from_slice(value), 0)?;
        Ok(Millis(value.last_contained_log_timestamp))
    };
    read().with_context(|| format!("{} is damaged", path.display()))
}

/// Removes what a crash has left half written.
///
/// # Errors
/// If the folder cannot be listed or a file not removed.
pub fn remove_parts(folder: &Path) -> anyhow::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).context("cannot list the metadata folder")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "part") {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn parse_name(name: &str) -> Option<LogPosition> {
    let (end, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
    let offset = Offset::from_wire(end.parse().ok()?)?;
    Some(LogPosition { offset, epoch: LeaderEpoch(epoch.parse().ok()?) })
}

fn name_of(at: LogPosition) -> String {
    format!("{:020}-{:010}.checkpoint", at.offset.get(), at.epoch.0)
}

/// Reads a checkpoint. One without its end would be a cluster without its last topics.
///
/// # Errors
/// If the file cannot be read or any of it is broken or missing.
pub fn read(path: &Path) -> anyhow::Result<Contents> {
    let contents = read_bootstrap(path)?;
    if !contents.has_footer {
        bail!("{} is damaged: its end is missing", path.display());
    }
    Ok(contents)
}

/// Reads the `bootstrap.checkpoint` that a format leaves, which needs no footer.
///
/// # Errors
/// If the file cannot be read or any of it is broken.
pub fn read_bootstrap(path: &Path) -> anyhow::Result<Contents> {
    let bytes =
        Bytes::from(fs::read(path).with_context(|| format!("cannot read {}", path.display()))?);
    let mut contents = Contents::default();
    contents.read_batches(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
    Ok(contents)
}

impl Contents {
    /// Adds what these batches say.
    ///
    /// # Errors
    /// If one of them is broken or holds what Kafka 4.3 does not know.
    pub fn read_batches(&mut self, bytes: &Bytes) -> anyhow::Result<()> {
        for cut in split_batches(bytes) {
            let (range, header) = cut?;
            let batch = &bytes[range];
            check_crc(batch, &header)?;
            for record in Batch::open(batch, LIMITS)?.records() {
                let record = record?;
                if header.attributes.is_control() {
                    self.read_control(record.offset, record.key, record.value)?;
                } else {
                    let value = record.value.context("a metadata record has no value")?;
                    self.records.push(MetadataRecord::decode(&Bytes::copy_from_slice(value))?);
                }
            }
        }
        Ok(())
    }

    fn read_control(
        &mut self,
        offset: Offset,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> anyhow::Result<()> {
        let kind =
            key.and_then(ControlRecordType::parse_key).context("a control record has no type")?;
        let value = Bytes::copy_from_slice(value.context("a control record has no value")?);
        match kind {
            ControlRecordType::KRaftVoters => {
                self.voters.push((offset, VotersRecord::from_bytes(&value, 0)?));
            }
            ControlRecordType::SnapshotFooter => self.has_footer = true,
            // With the voters comes their version; without them it is 0.
            ControlRecordType::KRaftVersion
            | ControlRecordType::LeaderChange
            | ControlRecordType::SnapshotHeader => {}
            ControlRecordType::Abort
            | ControlRecordType::Commit
            | ControlRecordType::Unknown(_) => {
                bail!("a control record of type {kind:?} does not belong into a metadata log")
            }
        }
        Ok(())
    }
}

/// Writes the checkpoint that ends at `at` and gives its file; a crash leaves all of it or none.
///
/// # Errors
/// If the file system refuses.
pub fn write(
    folder: &Path,
    at: LogPosition,
    voters: Option<&VotersRecord>,
    image: &Image,
    now: Millis,
) -> anyhow::Result<PathBuf> {
    let (name, epoch) = (name_of(at), at.epoch);
    let temporary = folder.join(format!("{name}.part"));
    let write = || -> anyhow::Result<PathBuf> {
        let mut file = File::create(&temporary)?;
        let mut next = Offset::ZERO;
        for batch in batches(voters, image, epoch, now)? {
            let mut batch = bytes::BytesMut::from(&batch[..]);
            let header = records::BatchHeader::parse(&batch)?;
            records::stamp(&mut batch, next, epoch);
            next += i64::from(header.record_count);
            file.write_all(&batch)?;
        }
        file.sync_all()?;
        let path = folder.join(&name);
        fs::rename(&temporary, &path)?;
        File::open(folder)?.sync_all()?;
        Ok(path)
    };
    write().with_context(|| format!("cannot write {name} in {}", folder.display()))
}

/// A checkpoint of another node that comes piece by piece.
pub struct Taking {
    at: LogPosition,
    temporary: PathBuf,
    file: File,
}

impl Taking {
    /// Begins anew; what came before of the same one goes.
    ///
    /// # Errors
    /// If the file system refuses, as for the rest of it.
    pub fn begin(folder: &Path, at: LogPosition) -> anyhow::Result<Self> {
        // Apart from the one that this node may be writing itself.
        let temporary = folder.join(format!("{}.fetched.part", name_of(at)));
        let file = File::create(&temporary)?;
        Ok(Self { at, temporary, file })
    }

    /// Which one it is.
    pub fn at(&self) -> LogPosition {
        self.at
    }

    /// Adds a piece.
    pub fn write(&self, position: u64, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.file.write_all_at(bytes, position)?)
    }

    /// What it says, now that all of it is here.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn contents(&self) -> anyhow::Result<Contents> {
        read(&self.temporary)
    }

    /// Removes it. One that stays takes room, and goes with the next start.
    pub fn give_up(self) {
        if let Err(fault) = fs::remove_file(&self.temporary) {
            tracing::warn!("cannot remove {}: {fault}", self.temporary.display());
        }
    }

    /// Puts it in its place and gives its file.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn finish(self, folder: &Path) -> anyhow::Result<PathBuf> {
        self.file.sync_all()?;
        let path = folder.join(name_of(self.at));
        fs::rename(&self.temporary, &path)?;
        File::open(folder)?.sync_all()?;
        Ok(path)
    }
}

fn batches(
    voters: Option<&VotersRecord>,
    image: &Image,
    epoch: LeaderEpoch,
    now: Millis,
) -> anyhow::Result<Vec<Bytes>> {
    let header =
        SnapshotHeaderRecord { last_contained_log_timestamp: now.get(), ..Default::default() };
    let mut controls = vec![(ControlRecordType::SnapshotHeader, header.to_bytes(0)?)];
    if let Some(voters) = voters {
        let version = KRaftVersionRecord { kraft_version: 1, ..Default::default() };
        controls.push((ControlRecordType::KRaftVersion, version.to_bytes(0)?));
        controls.push((ControlRecordType::KRaftVoters, voters.to_bytes(0)?));
    }
    let mut batches = vec![control_batch(&controls, epoch, now)];
    let level = image.metadata_version();
    let fresh = || BatchBuilder::new(Compression::None).leader_epoch(epoch);
    let mut open = fresh();
    for record in image.snapshot_records() {
        open.append(now.get(), None, Some(&record.encode(level)?), &[]);
        if open.uncompressed_bytes() >= BATCH_BYTES {
            batches.push(std::mem::replace(&mut open, fresh()).build());
        }
    }
    if open.record_count() > 0 {
        batches.push(open.build());
    }
    let footer = SnapshotFooterRecord::default().to_bytes(0)?;
    batches.push(control_batch(&[(ControlRecordType::SnapshotFooter, footer)], epoch, now));
    Ok(batches)
}

/// One control batch of these records.
pub fn control_batch(
    controls: &[(ControlRecordType, Bytes)],
    epoch: LeaderEpoch,
    now: Millis,
) -> Bytes {
    let mut batch = BatchBuilder::new(Compression::None).leader_epoch(epoch).control();
    for (kind, value) in controls {
        batch.append(now.get(), Some(&kind.to_key()), Some(value), &[]);
    }
    batch.build()
}
