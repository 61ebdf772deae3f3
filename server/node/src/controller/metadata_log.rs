//! The `__cluster_metadata` log of a quorum of one: opened, replayed, appended to, checkpointed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ::metadata::{Image, Loader, MetadataRecord};
use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use config::{HostPort, Listener, QuorumConfig};
use log::{AppendOrigin, Log, LogConfig, RealDisk};
use protocol::Message;
use protocol::internal::raft::{
    LeaderChangeMessage, VotersRecord, leader_change_message, voters_record,
};
use records::{BatchBuilder, Compression, ControlRecordType};
use types::{BrokerId, LeaderEpoch, Millis, Offset, Uuid};

use super::checkpoints::Checkpoints;
use super::{Active, quorum_state, snapshot};
use crate::clock;

/// Folder of the one partition of the metadata log.
pub const METADATA_FOLDER: &str = "__cluster_metadata-0";
/// What a format leaves for the first start, beside the folder.
const BOOTSTRAP_NAME: &str = "bootstrap.checkpoint";
/// The id of the metadata topic, the same in every cluster.
const METADATA_TOPIC_ID: Uuid = Uuid::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
/// Bytes read at once in a replay.
const REPLAY_BYTES: usize = 4 << 20;

/// Who this node is and where its metadata lives.
pub struct Opening<'a> {
    /// The directory that holds the metadata folder.
    pub dir: &'a Path,
    /// This node.
    pub node: BrokerId,
    /// Id of that directory.
    pub directory_id: Uuid,
    /// Where the controller is reached.
    pub endpoints: &'a [Listener],
    /// Settings of the quorum.
    pub quorum: &'a QuorumConfig,
    /// Whether the directory was stopped cleanly.
    pub is_clean: bool,
    /// Wall time.
    pub now: Millis,
}

/// A voter, for DescribeQuorum.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Voter {
    /// The node.
    pub id: BrokerId,
    /// Its metadata directory; zero with static voters.
    pub directory_id: Uuid,
    /// Where it is reached: listener name, host and port.
    pub endpoints: Vec<(String, HostPort)>,
}

/// The state of the quorum at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QuorumFacts {
    /// Who leads: this node.
    pub leader: BrokerId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// End of what is committed.
    pub high_watermark: Offset,
    /// Offset that the next record gets.
    pub end: Offset,
    /// All voters: this node alone.
    pub voters: Vec<Voter>,
    /// 1 with voters in the log, 0 with static ones.
    pub kraft_version: i16,
}

impl QuorumFacts {
    /// Who leads, and where.
    pub fn active(&self) -> Active {
        let voter = self.voters.iter().find(|voter| voter.id == self.leader);
        let endpoints = voter.map_or_else(Vec::new, |voter| voter.endpoints.clone());
        Active { leader: Some(self.leader), epoch: self.epoch, endpoints }
    }
}

/// The log and what the quorum knows.
pub struct MetadataLog {
    log: Log,
    folder: PathBuf,
    facts: QuorumFacts,
    voters: Option<VotersRecord>,
    checkpoints: Checkpoints,
}

impl MetadataLog {
    /// Opens or makes the log, replays it and becomes the leader of a new epoch.
    ///
    /// A folder that is not there is a new cluster; one that cannot be read is an error.
    ///
    /// # Errors
    /// If files are damaged, or the log names other voters than this node.
    pub fn open(opening: &Opening<'_>) -> anyhow::Result<(Self, Image)> {
        let folder = opening.dir.join(METADATA_FOLDER);
        let is_new = !folder.exists();
        let checkpoint = snapshot::newest(&folder)?;
        let mut contents = snapshot::Contents::default();
        if let Some((_, _, path)) = &checkpoint {
            contents = snapshot::read(path)?;
        }
        let checkpoint_end = checkpoint.map_or(Offset::ZERO, |(end, _, _)| end);
        let log = open_log(&folder, opening, checkpoint_end)?;
        log::write_topic_id(&RealDisk, &folder, METADATA_TOPIC_ID)?;
        let mut this = Self {
            facts: QuorumFacts {
                leader: opening.node,
                epoch: LeaderEpoch(0),
                high_watermark: log.end_offset(),
                end: log.end_offset(),
                voters: vec![],
                kraft_version: 0,
            },
            log,
            folder: folder.clone(),
            voters: None,
            checkpoints: Checkpoints::open(folder, opening.quorum, clock::monotonic())?,
        };
        let image = this.replay(contents)?;
        if is_new && opening.quorum.voters.is_empty() {
            this.voters = Some(only_voter(opening));
            let first = (Offset::ZERO, LeaderEpoch(0));
            let image = Arc::new(Image::default());
            let now = (clock::monotonic(), opening.now);
            this.checkpoints.begin(first, this.voters.clone(), image, now)?;
            this.checkpoints.finish(true, now.0)?;
        }
        this.check_voters(opening)?;
        this.lead(opening)?;
        Ok((this, image))
    }

    /// The records that a format left in `bootstrap.checkpoint`, if it did.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn formatted_records(dir: &Path) -> anyhow::Result<Option<Vec<MetadataRecord>>> {
        let path = dir.join(BOOTSTRAP_NAME);
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(snapshot::read(&path)?.records))
    }

    /// The state of the quorum.
    pub fn facts(&self) -> QuorumFacts {
        self.facts.clone()
    }

    /// Appends one decision's records as one batch. Not committed before [`MetadataLog::commit`].
    ///
    /// # Errors
    /// If the log cannot take them; the controller must stop then.
    pub fn append(
        &mut self,
        records: &[MetadataRecord],
        level: i16,
        now: Millis,
    ) -> anyhow::Result<()> {
        let mut batch = BatchBuilder::new(Compression::None);
        for record in records {
            batch.append(now.get(), None, Some(&record.encode(level)?), &[]);
        }
        self.append_batch(&batch.build(), now)
    }

    fn append_batch(&mut self, batch: &Bytes, now: Millis) -> anyhow::Result<()> {
        self.checkpoints.note(batch.len());
        let batch = BytesMut::from(&batch[..]);
        self.log.append_as_leader(batch, self.facts.epoch, AppendOrigin::Metadata, now)?;
        self.facts.end = self.log.end_offset();
        Ok(())
    }

    /// Makes everything appended durable, and thereby committed.
    ///
    /// # Errors
    /// If writing or syncing fails; it is not tried again.
    pub fn commit(&mut self) -> anyhow::Result<()> {
        if let Some(ticket) = self.log.sync_ticket()? {
            let outcome = ticket.sync();
            self.log.synced(outcome)?;
        }
        self.facts.high_watermark = self.log.end_offset();
        Ok(())
    }

    /// How long [`MetadataLog::keep_checkpoints`] has nothing to do, unless something is appended.
    pub fn checkpoint_wait(&self) -> Option<Duration> {
        let wait = self.checkpoints.wait(clock::monotonic())?;
        Some(Duration::from_millis(u64::try_from(wait.get()).unwrap_or(0)))
    }

    /// Begins the checkpoint of what is committed if one is due, and lets go of what is covered
    /// by one that was written. What takes long is done on other threads.
    ///
    /// # Errors
    /// If the log fails. A checkpoint that fails is tried again.
    pub fn keep_checkpoints(&mut self, image: &Arc<Image>) -> anyhow::Result<()> {
        let now = (clock::monotonic(), clock::wall());
        match self.checkpoints.finish(false, now.0) {
            Ok(false) => {}
            Ok(true) => self.let_go(clock::earliest())?,
            Err(fault) => tracing::error!("no checkpoint of the metadata log: {fault:#}"),
        }
        if self.checkpoints.is_due(now.0) {
            let at = (self.facts.high_watermark, self.facts.epoch);
            let begun = self.checkpoints.begin(at, self.voters.clone(), Arc::clone(image), now);
            if let Err(fault) = begun {
                tracing::error!("no checkpoint of the metadata log: {fault:#}");
            }
        }
        Ok(())
    }

    /// Deletes the oldest checkpoints and what of the log lies before those that are kept.
    fn let_go(&mut self, wall: Millis) -> anyhow::Result<()> {
        let spent = self.checkpoints.take_spent(self.log.bytes(), wall);
        if spent.is_empty() {
            return Ok(());
        }
        // The log first: without the checkpoint it would begin with a hole.
        self.log.move_start(self.checkpoints.oldest_end());
        self.log.delete_old_segments(self.facts.high_watermark, wall)?;
        let removal = self.log.take_removal(clock::monotonic());
        let remove = move || {
            let removed = removal.map_or(Ok(()), |removal| removal.run());
            let removed = removed.map_err(anyhow::Error::from);
            removed.and_then(|()| Ok(spent.iter().try_for_each(fs::remove_file)?))
        };
        let report = move || {
            if let Err(fault) = remove() {
                tracing::warn!("cannot remove old files of the metadata log: {fault:#}");
            }
        };
        let thread = thread::Builder::new().name("checkpoint".to_owned());
        thread.spawn(report).map(|_| ()).context("cannot start a thread")
    }

    /// Leaves a checkpoint, so that the next start replays nothing, and closes the log.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn close(mut self, image: &Image, now: Millis) -> anyhow::Result<()> {
        if let Err(fault) = self.checkpoints.finish(true, clock::monotonic()) {
            tracing::error!("no checkpoint of the metadata log: {fault:#}");
        }
        let end = self.log.end_offset();
        if end > self.checkpoints.newest_end() {
            snapshot::write(
                &self.folder,
                (end, self.facts.epoch),
                self.voters.as_ref(),
                image,
                now,
            )?;
        }
        self.log.close()?;
        Ok(())
    }

    /// Applies a checkpoint's contents and everything in the log behind it.
    fn replay(&mut self, contents: snapshot::Contents) -> anyhow::Result<Image> {
        let mut loader = Loader::default();
        self.take(contents, &mut loader)?;
        let end = self.log.end_offset();
        let mut next = self.checkpoints.newest_end().max(self.log.start_offset());
        while next < end {
            let batches = self.log.read_blocking(next, REPLAY_BYTES, end, true)?;
            self.checkpoints.note(batches.bytes.len());
            let mut contents = snapshot::Contents::default();
            contents.read_batches(&batches.bytes).context("the metadata log is damaged")?;
            self.take(contents, &mut loader)?;
            if batches.next_offset <= next {
                bail!("the metadata log cannot be read at offset {next}");
            }
            next = batches.next_offset;
        }
        // A transaction that its controller did not end has never happened.
        Ok(loader.image().clone())
    }

    fn take(&mut self, contents: snapshot::Contents, loader: &mut Loader) -> anyhow::Result<()> {
        if let Some(version) = contents.kraft_version {
            self.facts.kraft_version = version;
        }
        if let Some(voters) = contents.voters {
            self.voters = Some(voters);
        }
        for record in &contents.records {
            loader.apply(record).with_context(|| format!("{} does not fit", record.name()))?;
        }
        Ok(())
    }

    /// This build leads a quorum of one and nothing else.
    fn check_voters(&mut self, opening: &Opening<'_>) -> anyhow::Result<()> {
        let node = opening.node;
        let ids: Vec<i32> = match &self.voters {
            Some(voters) => voters.voters.iter().map(|voter| voter.voter_id).collect(),
            None if opening.quorum.voters.is_empty() => vec![node.0],
            None => opening.quorum.voters.iter().map(|voter| voter.id.0).collect(),
        };
        if ids != [node.0] {
            bail!("the quorum's voters are {ids:?}: only node {node} by itself can be served yet");
        }
        self.facts.kraft_version = i16::from(self.voters.is_some());
        self.facts.voters = vec![Voter {
            id: node,
            directory_id: if self.voters.is_some() { opening.directory_id } else { Uuid::ZERO },
            endpoints: opening.endpoints.iter().map(endpoint).collect(),
        }];
        Ok(())
    }

    /// Begins a new epoch: remembered first, then told in the log.
    fn lead(&mut self, opening: &Opening<'_>) -> anyhow::Result<()> {
        let seen = quorum_state::read(&self.folder)?.leader_epoch;
        let written = self.log.leader_epochs().latest().map_or(0, |epoch| epoch.0);
        let epoch = seen.max(written) + 1;
        let dynamic = self.voters.is_some();
        quorum_state::write(&self.folder, opening.node, epoch, dynamic)?;
        self.facts.epoch = LeaderEpoch(epoch);
        let voters = self.facts.voters.iter().map(|voter| leader_change_message::Voter {
            voter_id: voter.id.0,
            ..Default::default()
        });
        let voters: Vec<_> = voters.collect();
        let change = LeaderChangeMessage {
            leader_id: opening.node.0,
            granting_voters: voters.clone(),
            voters,
            ..Default::default()
        };
        // Kafka's tools read version 0 alone, which has no directory ids.
        let record = (ControlRecordType::LeaderChange, change.to_bytes(0)?);
        let batch = snapshot::control_batch(&[record], self.facts.epoch, opening.now);
        self.append_batch(&batch, opening.now)?;
        self.commit()
    }
}

fn open_log(folder: &Path, opening: &Opening<'_>, checkpoint_end: Offset) -> anyhow::Result<Log> {
    let config = LogConfig {
        segment_bytes: u32::try_from(opening.quorum.segment_bytes).unwrap_or(u32::MAX),
        segment_ms: opening.quorum.segment_ms,
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
        recovery_point: checkpoint_end,
        is_clean: opening.is_clean,
        ..log::Opening::NEW
    };
    let disk = Arc::new(RealDisk);
    let log = Log::open(disk, folder.to_owned(), Arc::new(config), state, opening.now)?;
    Ok(log)
}

fn only_voter(opening: &Opening<'_>) -> VotersRecord {
    let endpoints = opening.endpoints.iter().map(endpoint).map(|(name, at)| {
        voters_record::Endpoint { name, host: at.host, port: at.port, ..Default::default() }
    });
    let voter = voters_record::Voter {
        voter_id: opening.node.0,
        voter_directory_id: opening.directory_id,
        endpoints: endpoints.collect(),
        kraft_version_feature: voters_record::KRaftVersionFeature {
            min_supported_version: 0,
            max_supported_version: 1,
            ..Default::default()
        },
        ..Default::default()
    };
    VotersRecord { version: 0, voters: vec![voter], ..Default::default() }
}

fn endpoint(listener: &Listener) -> (String, HostPort) {
    let host = listener.host.clone().unwrap_or_else(|| "localhost".to_owned());
    (listener.name.clone(), HostPort { host, port: listener.port })
}
