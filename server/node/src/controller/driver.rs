//! The controller's thread: it drives the quorum over the metadata log.
//!
//! What comes in is told to `raft::Raft`, what comes out of that is done in its order, what was
//! appended is synced once for all that waits, and only then answers leave. A leader decides on the
//! newest state; who waits for a decision hears of it once a majority has it and every shard acts
//! on it, or that this node is no controller any more.
//!
//! Not here: the log's files (`metadata_log`), sockets (`remote`), replicas that read (`readers`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use ::metadata::{Changes, Image, MetadataRecord};
use config::StaticConfig;
use raft::{Endpoint, LogPosition, LogView, Output, Raft, Role};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use types::{BrokerId, LeaderEpoch, Millis, Offset, Rng};

use super::epochs::EpochWords;
use super::images::Images;
use super::leading::Idle;
use super::metadata_log::MetadataLog;
use super::patience::Patience;
use super::readers::Readers;
use super::remote::Remote;
use super::waiting::Waiting;
use super::{Active, Answer, Message, Publish, QuorumFacts};
use crate::clock;

/// Messages that share one sync at most.
const MESSAGES_PER_SYNC: usize = 256;
/// How long a leader that stops waits for the other voters to hear of it.
const STOP_GRACE: Millis = Millis(1000);

/// All that the thread owns.
pub struct Driver {
    pub raft: Raft,
    pub log: MetadataLog,
    pub images: Images,
    pub readers: Readers,
    pub remote: Remote,
    /// Where this node's controller listens.
    pub endpoints: Vec<Endpoint>,
    pub desk: Desk,
    pub patience: Patience,
    /// What the cluster begins with, should it begin here.
    pub formatted: Option<Vec<MetadataRecord>>,
    /// The epoch that this node leads and has begun to decide in.
    pub activated: Option<LeaderEpoch>,
    /// Answers that wait for the log to be committed up to an offset; rising.
    pub waiting: VecDeque<(Offset, Answer)>,
    pub committed: Arc<Image>,
    pub publishing: Option<Publishing>,
    /// Who waits for the state that the node starts with.
    pub starting: Option<oneshot::Sender<Arc<Image>>>,
    /// What that waits for.
    pub waits_for: Waiting,
    /// Offset of the last record that every shard acts on.
    pub applied: Arc<AtomicI64>,
    pub active: watch::Sender<Active>,
    pub stopping: Option<Millis>,
    /// The election that the log of this node has named last.
    pub told: Option<(LeaderEpoch, Option<BrokerId>)>,
    pub epoch_words: EpochWords,
    pub idle: Idle,
}

/// What decisions need beside the state.
pub struct Desk {
    pub rng: Rng,
    pub fixed: Arc<StaticConfig>,
    pub node: BrokerId,
}

/// The shards, and what they act on.
pub struct Publishing {
    pub publish: Publish,
    pub seen: Arc<Image>,
}

impl Driver {
    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// If the log fails, or says what cannot be.
    pub fn run(mut self, inbox: &mpsc::Receiver<Message>) -> anyhow::Result<()> {
        loop {
            let next = self.settle()?;
            if self.is_done() {
                break;
            }
            self.keep_checkpoints()?;
            let mut message = match inbox.recv_timeout(self.wait(next)) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut taken = 0;
            while let Some(one) = message {
                self.take(one)?;
                self.carry_out()?;
                taken += 1;
                message = if taken < MESSAGES_PER_SYNC { inbox.try_recv().ok() } else { None };
            }
        }
        let end = self.images.committed_end();
        self.log.close(self.images.committed().image(), end, self.raft.voters())
    }

    fn wait(&self, next: Millis) -> Duration {
        let next = self.readers.next().map_or(next, |until| until.min(next));
        let next = self.stopping.map_or(next, |until| until.min(next));
        let millis = (next - clock::monotonic()).get().max(1);
        let wait = Duration::from_millis(u64::try_from(millis).unwrap_or(1));
        self.log.checkpoint_wait().map_or(wait, |checkpoint| wait.min(checkpoint))
    }

    fn take(&mut self, message: Message) -> anyhow::Result<()> {
        let now = clock::monotonic();
        match message {
            Message::Decide(task) => self.decide(task),
            Message::Asked(asked) => self.serve(asked),
            Message::Answered { id, response } => {
                self.remote.ended();
                self.raft.responded(id, response, &self.log, now);
                Ok(())
            }
            Message::Unanswered { id, fault, is_unreachable } => {
                self.remote.ended();
                if self.starting.is_some()
                    && let Some((address, why)) = fault
                {
                    self.waits_for.note(address, why, now);
                }
                match is_unreachable {
                    true => self.raft.unreachable(id, now),
                    false => self.raft.failed(id, now),
                }
                Ok(())
            }
            Message::Look(look) => {
                look(self);
                Ok(())
            }
            Message::Stop => {
                self.stop(now);
                Ok(())
            }
        }
    }

    /// Does all that follows from what was told, until nothing is left to do before the time that
    /// is given.
    fn settle(&mut self) -> anyhow::Result<Millis> {
        loop {
            let next = self.raft.poll(&self.log, clock::monotonic());
            let mut has_more = self.carry_out()?;
            has_more |= self.activate()?;
            let idle = self.keep_moving()?;
            // Replicas write while this one syncs.
            has_more |= self.answer_readers()?;
            has_more |= self.carry_out()?;
            if self.sync()? {
                self.raft.synced(&self.log, clock::monotonic());
                has_more = true;
            }
            if !has_more {
                self.tell();
                return Ok(idle.map_or(next, |idle| idle.min(next)));
            }
        }
    }

    fn sync(&mut self) -> anyhow::Result<bool> {
        let mut has_synced = false;
        self.patience.with(|| {
            has_synced = self.log.sync()?;
            Ok(())
        })?;
        Ok(has_synced)
    }

    /// Does what the quorum wants, in its order; whether there was something.
    pub(super) fn carry_out(&mut self) -> anyhow::Result<bool> {
        let mut did = false;
        loop {
            let outputs = self.raft.outputs();
            if outputs.is_empty() {
                return Ok(did);
            }
            did = true;
            for output in outputs {
                self.carry_out_one(output)?;
            }
        }
    }

    fn carry_out_one(&mut self, output: Output) -> anyhow::Result<()> {
        let wall = clock::wall();
        match output {
            Output::Persist(election) => {
                let voters = self.raft.voters();
                let fixed = voters.latest_offset().is_none().then(|| voters.latest());
                self.patience.with(|| self.log.persist(&election, fixed))?;
            }
            Output::AppendControl { epoch, records } => {
                self.patience.with(|| self.log.append_control(epoch, &records, wall))?;
                self.images.append(&[], self.log.end().offset)?;
            }
            Output::AppendFetched(bytes) => self.append_fetched(&bytes)?,
            Output::EpochRefused { epoch, own } => {
                if let Some(word) = self.epoch_words.refused(epoch, own, Instant::now()) {
                    tracing::warn!("{word}");
                }
            }
            Output::Refused { leader, end, committed } => tracing::error!(
                "node {leader} leads the metadata quorum and has nothing behind offset {end}, but \
                 everything before {committed} is committed: it is not followed"
            ),
            Output::Truncate(end) => {
                self.log.truncate(end, wall)?;
                self.images.truncate(end);
                self.log.replay_rest(&mut self.images, |_, _| ())?;
            }
            Output::WriteSnapshot { snapshot, position, bytes, is_last } => {
                self.patience.with(|| self.log.take_piece(snapshot, position, &bytes))?;
                if is_last {
                    self.install_snapshot(snapshot)?;
                }
            }
            Output::Send { id, to, endpoints, request } => {
                self.remote.send(id, to, &endpoints, request);
            }
            Output::Committed(end) => {
                if self.images.commit(end) {
                    self.committed = Arc::new(self.images.committed().image().clone());
                }
            }
            Output::Changed => self.changed(),
        }
        Ok(())
    }

    fn install_snapshot(&mut self, snapshot: LogPosition) -> anyhow::Result<()> {
        let Some((images, voters)) = self.log.install_snapshot(clock::wall())? else {
            self.raft.rejected(clock::monotonic());
            return Ok(());
        };
        tracing::info!("took over the snapshot that ends at {}", snapshot.offset);
        self.images = images;
        self.committed = Arc::new(self.images.committed().image().clone());
        self.raft.installed(snapshot, voters);
        Ok(())
    }

    fn append_fetched(&mut self, bytes: &bytes::Bytes) -> anyhow::Result<()> {
        // The network or the leader's disk may have damaged them: nothing is lost by asking again.
        let epoch = self.raft.election().epoch;
        let checked = self.log.check_fetched(bytes, epoch).and_then(|(bytes, contents)| {
            Ok((bytes, self.images.with(&contents.records)?, contents.voters))
        });
        let (bytes, next, voters) = match checked {
            Ok(checked) => checked,
            Err(fault) => {
                tracing::error!("the leader's batches are not taken: {fault:#}");
                self.raft.rejected(clock::monotonic());
                return Ok(());
            }
        };
        self.patience.with(|| self.log.append_fetched(&bytes, clock::wall()))?;
        for (offset, voters) in &voters {
            self.raft.replay(*offset, raft::VoterSet::from_record(voters));
        }
        self.images.push(next, self.log.end().offset);
        Ok(())
    }

    /// The role, the epoch or the leader is another one. What was decided in an epoch that is over
    /// may still be committed by another leader, but nobody here will know.
    fn changed(&mut self) {
        let leading = self.raft.leading();
        if self.activated.is_some() && self.activated != leading {
            self.answer_committed();
            self.waiting.clear();
            self.activated = None;
        }
        let election = self.raft.election();
        let (role, epoch) = (name(self.raft.role()), election.epoch);
        tracing::debug!("{role} in epoch {epoch} of the metadata quorum");
        let leader = election.leader.filter(|_| self.told != Some((epoch, election.leader)));
        if let Some(leader) = leader {
            tracing::info!("node {leader} leads the metadata quorum in epoch {epoch}");
            self.told = Some((epoch, election.leader));
        }
        if let Some(word) = self.epoch_words.entered(epoch, election.leader.is_some()) {
            tracing::error!("{word}");
        }
    }

    /// Lets everybody know what is new: the shards first, then who waits for an answer.
    fn tell(&mut self) {
        if self.starting.is_some()
            && self.has_caught_up()
            && let Some(starting) = self.starting.take()
        {
            // Nobody listens where the start was given up.
            _ = starting.send(Arc::clone(&self.committed));
        }
        if self.starting.is_some()
            && self.raft.election().leader.is_none()
            && let Some(word) = self.waits_for.word(clock::monotonic())
        {
            tracing::warn!("{word}");
        }
        if let Some(publishing) = &mut self.publishing
            && !Arc::ptr_eq(&publishing.seen, &self.committed)
        {
            let before = std::mem::replace(&mut publishing.seen, Arc::clone(&self.committed));
            let changes = Changes::between(&before, &self.committed);
            // Most records of an idle quorum say nothing.
            if changes != Changes::default() {
                let (partitions, begun) = (changes.partitions.len(), clock::monotonic());
                (publishing.publish)(&self.committed, &Arc::new(changes));
                let took = (clock::monotonic() - begun).get();
                tracing::debug!("{partitions} changed partitions reached all shards in {took} ms");
            }
        }
        if self.publishing.is_some() {
            self.applied.store(self.images.committed_end().get() - 1, Ordering::SeqCst);
        }
        self.answer_committed();
        let active = self.known_leader();
        self.active.send_if_modified(|told| {
            let is_new = *told != active;
            *told = active;
            is_new
        });
    }

    fn answer_committed(&mut self) {
        let end = self.images.committed_end();
        while let Some((_, answer)) = self.waiting.pop_front_if(|(needed, _)| *needed <= end) {
            answer();
        }
    }

    /// Whether the committed state is that of the cluster, and not what this node once knew.
    fn has_caught_up(&self) -> bool {
        let committed = match self.raft.role() {
            Role::Leader(state) => Some(state.epoch_start().next()),
            Role::Follower(state) => state.committed(),
            Role::Unattached(_) | Role::Prospective(_) | Role::Candidate(_) => None,
            Role::Resigned(_) => None,
        };
        committed.is_some_and(|end| end <= self.images.committed_end())
            && self.committed.metadata_version() > 0
    }

    fn known_leader(&self) -> Active {
        let election = self.raft.election();
        let endpoints = self.leader_endpoints().iter().map(|one| {
            let at = config::HostPort { host: one.host.clone(), port: one.port };
            (one.listener.clone(), at)
        });
        Active {
            leader: election.leader,
            epoch: election.epoch,
            endpoints: endpoints.collect(),
            kraft_version: self.facts().kraft_version,
        }
    }

    /// The state of the quorum.
    pub fn facts(&self) -> QuorumFacts {
        QuorumFacts {
            leader: self.raft.election().leader,
            epoch: self.raft.election().epoch,
            high_watermark: self.raft.high_watermark().unwrap_or(Offset::ZERO),
            end: self.log.end().offset,
            kraft_version: i16::from(self.raft.voters().latest_offset().is_some()),
        }
    }

    fn keep_checkpoints(&mut self) -> anyhow::Result<()> {
        let (image, end) = (&self.committed, self.images.committed_end());
        // Within a transaction the committed state lacks what that has written so far.
        let is_whole = !self.images.committed().in_transaction();
        if self.log.keep_checkpoints(image, end, is_whole, self.raft.voters())? {
            self.raft.trimmed(&self.log);
            self.patience.reserve.fill();
        }
        Ok(())
    }

    fn stop(&mut self, now: Millis) {
        let is_alone = self.raft.voters().latest().is_only(self.raft.local());
        let hands_over = self.raft.leading().is_some() && !is_alone;
        if hands_over {
            self.raft.step_down(now);
        }
        self.stopping = Some(if hands_over { now + STOP_GRACE } else { now });
    }

    fn is_done(&self) -> bool {
        let is_told = matches!(self.raft.role(), Role::Resigned(_)) && self.remote.is_idle();
        self.stopping.is_some_and(|until| until <= clock::monotonic() || is_told)
    }
}

fn name(role: &Role) -> &'static str {
    match role {
        Role::Unattached(_) => "unattached",
        Role::Prospective(_) => "prospective",
        Role::Candidate(_) => "candidate",
        Role::Leader(_) => "leader",
        Role::Follower(_) => "follower",
        Role::Resigned(_) => "resigned",
    }
}
