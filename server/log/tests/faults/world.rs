//! A directory with one log on a faulty disk and, beside it, what must be there.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use records::{BatchBuilder, Compression, ControlRecordType, EndTxnMarker};
use thalweg_log::checkpoint::OffsetCheckpoint;
use thalweg_log::{
    AppendOrigin, Disk, FaultyDisk, Log, LogConfig, LogDir, Loss, Opening, read_topic_id,
    write_topic_id,
};
use types::{LeaderEpoch, Millis, Offset, ProducerId, Rng, TopicPartition, Uuid};

use crate::model::{Batch, Kind, Version};

/// Why a step did not end.
pub type Failure = Box<dyn std::error::Error>;

const TOPIC_ID: Uuid = Uuid::from_bytes([7; 16]);
const IDEMPOTENT: i64 = 70;
/// Four records of the usual size fit into it, with the batch's header and that of compression.
const SEGMENT_BYTES_MIN: u32 = 320;

pub struct World {
    pub rng: Rng,
    pub disk: FaultyDisk,
    pub log_dir: Option<LogDir>,
    pub log: Option<Log>,
    pub config: Arc<LogConfig>,
    /// What the log holds.
    pub now: Version,
    /// What it held before cuts that may not be durable.
    pub former: Vec<Version>,
    /// What the log has told, or the operator was told.
    pub told_durable: i64,
    pub told_start: i64,
    has_topic_id: bool,
    wrote_topic_id: bool,
    /// The furthest that the start has been moved.
    pub start: i64,
    /// What may be in the recovery-point checkpoint.
    points: Vec<i64>,
    epoch: i32,
    clock: i64,
    /// Whether a marker of a clean stop may be there.
    may_be_clean: bool,
    /// Bound of most values.
    value_bytes: u32,
    /// Whether what happens is printed: one run is looked at.
    pub tells: bool,
}

pub fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn root() -> PathBuf {
    PathBuf::from("/data")
}

pub fn folder() -> PathBuf {
    root().join("t-0")
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let config = LogConfig {
            segment_bytes: SEGMENT_BYTES_MIN + rng.below(1500),
            index_interval_bytes: rng.below(300),
            segment_index_bytes: 64 + rng.below(200),
            file_delete_delay_ms: Millis(0),
            retention_ms: None,
            retention_bytes: (rng.below(2) == 0).then(|| 800 + u64::from(rng.below(3000))),
            ..LogConfig::default()
        };
        Self {
            disk: FaultyDisk::new(rng.next_u64()),
            rng,
            log_dir: None,
            log: None,
            config: Arc::new(config),
            now: Version::default(),
            former: Vec::new(),
            told_durable: 0,
            told_start: 0,
            has_topic_id: false,
            wrote_topic_id: false,
            start: 0,
            points: vec![0],
            epoch: 0,
            clock: 1000,
            may_be_clean: false,
            value_bytes: 50,
            tells: crate::simulation::is_replay(),
        }
    }

    /// One whose batches soon fill as much as has zeros written ahead of it, with acknowledgements
    /// that wait for syncs or do not.
    pub fn with_zeros(seed: u64) -> Self {
        let mut world = Self::new(seed);
        let config = world.config.as_ref().clone();
        world.value_bytes = 20_000;
        world.config = Arc::new(LogConfig {
            segment_bytes: 300_000 + world.rng.below(600_000),
            segment_index_bytes: 1 << 20,
            retention_bytes: config.retention_bytes.map(|bytes| bytes * 500),
            sync_before_ack: seed % 2 == 1,
            reserve_from_bytes: 100_000,
            ..config
        });
        world
    }

    pub fn tell(&mut self, what: impl std::fmt::Display) {
        if self.tells {
            let files = self.disk.list(&folder()).unwrap_or_default();
            let files: Vec<_> = files.iter().map(|file| (&file.name, file.bytes)).collect();
            let (changes, durable) = (self.disk.changes(), self.told_durable);
            let (begin, end, epoch) = (self.now.begin, self.now.end(), self.epoch);
            println!(
                "{changes:4} {what}: {begin} to {end}, durable {durable}, epoch {epoch} {files:?}"
            );
        }
    }

    pub fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("it is open between the steps")
    }

    fn dir(&self) -> &LogDir {
        self.log_dir.as_ref().expect("it is open between the steps")
    }

    pub fn below(&mut self, bound: i64) -> i64 {
        i64::from(self.rng.below(u32::try_from(bound).unwrap()))
    }

    /// Opens directory and log as a node does at its start.
    pub fn open(&mut self) -> Result<(), Failure> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let log_dir = LogDir::open(Arc::clone(&disk), root())?;
        let is_clean = log_dir.take_clean_shutdown()?.is_some();
        assert!(!is_clean || self.may_be_clean, "a crash passes for a clean stop");
        self.may_be_clean = false;
        let offset = |known: OffsetCheckpoint| known.get(&partition()).map_or(0, |o| o.get());
        let point = offset(log_dir.recovery_points()?);
        assert!(self.points.contains(&point), "recovery point {point} of {:?}", self.points);
        self.points = vec![point];
        let start_offset = Offset::new(offset(log_dir.start_offsets()?));
        let start = start_offset.get();
        assert!((self.told_start..=self.start).contains(&start), "start {start}");
        let recovery_point = Offset::new(point);
        let opening = Opening { start_offset, recovery_point, is_clean, ..Opening::NEW };
        let config = Arc::clone(&self.config);
        self.log = Some(Log::open(Arc::clone(&disk), folder(), config, opening, self.now_ms())?);
        self.log_dir = Some(log_dir);
        let topic_id = read_topic_id(disk.as_ref(), &folder())?;
        match topic_id {
            Some(id) => assert_eq!(id, TOPIC_ID),
            None => {
                assert!(!self.has_topic_id, "partition.metadata is lost");
                self.wrote_topic_id = false;
                write_topic_id(disk.as_ref(), &folder(), TOPIC_ID)?;
                self.wrote_topic_id = true;
            }
        }
        Ok(())
    }

    /// Ends the process or the machine. What was open is of no use any more.
    pub fn crash(&mut self, loss: Loss) {
        self.disk.crash(loss);
        self.log = None;
        self.log_dir = None;
    }

    fn now_ms(&self) -> Millis {
        Millis(self.clock)
    }

    /// A batch of a producer, and what the model keeps of it but for base and bytes.
    fn build(&mut self, kind: Kind) -> (BytesMut, Vec<i64>) {
        self.clock += self.below(5);
        let codec = if self.rng.below(4) == 0 { Compression::Lz4 } else { Compression::None };
        let mut builder = BatchBuilder::new(codec);
        let mut count = 1 + self.rng.below(4);
        match kind {
            Kind::Plain => {}
            Kind::Sequenced { producer, first, is_transactional } => {
                builder = builder.producer(ProducerId(producer), 0, first);
                if is_transactional {
                    builder = builder.transactional();
                }
            }
            Kind::Marker { producer, .. } => {
                builder = BatchBuilder::new(Compression::None).transactional().control();
                builder = builder.producer(ProducerId(producer), 0, -1);
                count = 1;
            }
        }
        let mut timestamps = Vec::new();
        for _ in 0..count {
            // Producers' clocks are not in step.
            let timestamp = (self.clock + self.below(40) - 20).max(0);
            timestamps.push(timestamp);
            if let Kind::Marker { is_abort, .. } = kind {
                let end =
                    if is_abort { ControlRecordType::Abort } else { ControlRecordType::Commit };
                let value = EndTxnMarker { coordinator_epoch: 0 }.to_bytes();
                builder.append(timestamp, Some(&end.to_key()), Some(&value), &[]);
            } else {
                let large = (self.config.segment_bytes - 120) / 4;
                let large = if self.rng.below(12) == 0 { large } else { self.value_bytes };
                let value: Vec<u8> = (0..self.rng.below(large)).map(|n| n as u8).collect();
                builder.append(timestamp, None, Some(&value), &[]);
            }
        }
        (BytesMut::from(builder.build()), timestamps)
    }

    /// What some producer sends next.
    fn kind(&mut self) -> Kind {
        let open: Vec<i64> = self.now.open_transactions().into_iter().collect();
        let draw = self.rng.below(8);
        if draw < 2 {
            return Kind::Plain;
        }
        if draw < 4
            && let Some(&producer) = open.first()
        {
            return Kind::Marker { producer, is_abort: self.rng.below(2) == 0 };
        }
        let producer = if draw < 6 { IDEMPOTENT } else { 80 + self.below(3) };
        // As far as the log knows it: what was deleted may be forgotten.
        let known = self.log().producers().entry(ProducerId(producer));
        let known = known.map(|entry| entry.last_sequence() + 1);
        let sent = self.now.producers().get(&producer).map_or(0, |sent| sent.last_sequence + 1);
        let first = known.unwrap_or(sent);
        Kind::Sequenced { producer, first, is_transactional: producer != IDEMPOTENT }
    }

    fn note(&mut self, base: i64, bytes: Bytes, kind: Kind, timestamps: Vec<i64>) {
        let next = base + i64::try_from(timestamps.len()).unwrap();
        let epoch = self.epoch;
        self.now.batches.push(Batch { base, next, epoch, bytes, kind, timestamps });
    }

    pub fn append_as_leader(&mut self) -> Result<(), Failure> {
        let kind = self.kind();
        let (mut bytes, timestamps) = self.build(kind);
        let origin = match kind {
            Kind::Marker { .. } => AppendOrigin::Coordinator,
            _ => AppendOrigin::Client,
        };
        let (epoch, now) = (LeaderEpoch(self.epoch), self.now_ms());
        let info = self.log().append_as_leader(bytes.clone(), epoch, origin, now)?;
        let base = self.now.end();
        assert_eq!((info.base_offset.get(), info.is_duplicate), (base, false));
        records::stamp(&mut bytes, info.base_offset, epoch);
        self.note(base, bytes.freeze(), kind, timestamps);
        Ok(())
    }

    /// Some batches in one response of a leader.
    pub fn append_as_follower(&mut self) -> Result<(), Failure> {
        let mut response = BytesMut::new();
        let known = self.now.batches.len();
        for _ in 0..1 + self.rng.below(3) {
            let kind = self.kind();
            let (mut bytes, timestamps) = self.build(kind);
            let base = self.now.end();
            records::stamp(&mut bytes, Offset::new(base), LeaderEpoch(self.epoch));
            response.extend_from_slice(&bytes);
            self.note(base, bytes.freeze(), kind, timestamps);
        }
        let now = self.now_ms();
        let appended = self.log().append_as_follower(&response.freeze(), now);
        if appended.is_err() {
            let end = self.log().end_offset().get();
            let kept = self.now.batches.iter().take_while(|batch| batch.next <= end).count();
            self.now.batches.truncate(kept.max(known));
        }
        assert_eq!(appended?.get(), self.now.end());
        Ok(())
    }

    /// A new leader, which may not write anything.
    pub fn begin_epoch(&mut self) {
        self.epoch += 1;
        if self.rng.below(2) == 0 {
            let epoch = LeaderEpoch(self.epoch);
            self.log().begin_leader_epoch(epoch);
        }
    }

    pub fn roll(&mut self) -> Result<(), Failure> {
        let now = self.now_ms();
        Ok(self.log().roll(now)?)
    }

    /// What "another thread" does for the log: it makes the files of a roll, or renames those of
    /// what was dropped.
    pub fn do_errands(&mut self) -> Result<(), Failure> {
        let (rolling, deletion) = (self.log().rolling(), self.log().deletion());
        if let Some(rolling) = rolling.filter(|_| self.rng.below(2) == 0) {
            let outcome = rolling.run();
            self.log().end_roll(&rolling, outcome)?;
        }
        if let Some(deletion) = deletion.filter(|_| self.rng.below(2) == 0) {
            let outcome = deletion.run();
            self.log().end_deletion(&deletion, outcome)?;
        }
        Ok(())
    }

    /// Syncs on "another thread", with `meanwhile` going on here.
    pub fn sync(
        &mut self,
        meanwhile: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let formers = self.former.len();
        let Some(ticket) = self.log().sync_ticket()? else {
            // After a failure the outcome of a ticket may never be told.
            let log = self.log();
            assert!(log.is_syncing() || log.is_offline() || log.durable_end() == log.end_offset());
            return Ok(());
        };
        let end = ticket.end_offset().get();
        self.hear();
        meanwhile(self)?;
        self.hear();
        let synced = ticket.sync();
        self.log().synced(synced)?;
        let has_cut = self.former.len() > formers;
        // Cuts before the ticket are as durable as what it told.
        self.former.drain(..formers);
        self.has_topic_id |= self.wrote_topic_id;
        self.told_durable = self.log().durable_end().get();
        let expected = end.min(self.now.end());
        assert!(has_cut || self.told_durable == expected, "{} {expected}", self.told_durable);
        assert!(self.told_durable <= expected, "what was cut or never synced is no durable end");
        Ok(())
    }

    /// Whoever asks is told that so much is durable, at any time.
    pub fn hear(&mut self) {
        if let Some(log) = &self.log {
            let durable = log.durable_end().get().min(self.now.end());
            self.told_durable = self.told_durable.max(durable);
        }
    }

    /// Writes the recovery points and starts, as a node does now and then.
    pub fn checkpoint(&mut self) -> Result<(), Failure> {
        let point = self.log().durable_end();
        self.write_point(point)?;
        let start = self.log().start_offset();
        self.write_start(start)
    }

    fn write_point(&mut self, point: Offset) -> Result<(), Failure> {
        self.points.push(point.get());
        let points = OffsetCheckpoint::from([(partition(), point)]);
        self.dir().write_recovery_points(&points)?;
        self.points = vec![point.get()];
        Ok(())
    }

    fn write_start(&mut self, start: Offset) -> Result<(), Failure> {
        let starts = OffsetCheckpoint::from([(partition(), start)]);
        self.start = self.start.max(start.get());
        self.dir().write_start_offsets(&starts)?;
        self.told_start = start.get();
        Ok(())
    }

    pub fn truncate(&mut self) -> Result<(), Failure> {
        let start = self.log().start_offset().get();
        let kept = self.now.batches.iter().map(|batch| batch.base).filter(|base| *base >= start);
        let kept: Vec<i64> = kept.collect();
        let Some(last) = kept.len().checked_sub(1) else { return Ok(()) };
        // Mostly a little is cut.
        let back = self.rng.below(4).min(u32::try_from(last).unwrap()) as usize;
        let at = if self.rng.below(4) == 0 { last / 2 } else { last - back };
        self.cut_to(kept[at])
    }

    /// As a follower cuts what its leader does not have.
    pub fn cut_to(&mut self, end: i64) -> Result<(), Failure> {
        // Behind the cut nothing is synced any more, and the checkpoint must not say so.
        if self.points[0] > end {
            self.write_point(Offset::new(end))?;
        }
        self.leave_version(end);
        let now = self.now_ms();
        self.log().truncate_to(Offset::new(end), now)?;
        assert_eq!(self.log().end_offset().get(), self.now.end());
        Ok(())
    }

    fn leave_version(&mut self, end: i64) {
        let must = self.told_durable.min(end);
        let cut = self.now.until(end);
        self.former.push(Version { must, ..std::mem::replace(&mut self.now, cut) });
        self.told_durable = must;
    }

    /// The leader has nothing of what is here.
    pub fn begin_anew(&mut self) -> Result<(), Failure> {
        // A crash may leave a log that is empty and begins at its old start.
        if self.points[0] > 0 {
            self.write_point(Offset::ZERO)?;
        }
        let begin = self.now.end() + self.below(20);
        self.former.push(Version { must: 0, ..std::mem::take(&mut self.now) });
        self.now.begin = begin;
        self.start = begin;
        self.told_durable = 0;
        let now = self.now_ms();
        Ok(self.log().truncate_fully_and_start_at(Offset::new(begin), now)?)
    }

    pub fn delete_records(&mut self) -> Result<(), Failure> {
        let start = self.log().start_offset().get();
        // A transaction may be open again whose marker was cut.
        let span = (self.now.last_stable() - start).max(0);
        let to = Offset::new(start + self.below(span / 2 + 1));
        let end = self.log().end_offset();
        let moved = self.log().delete_records(to, end)?;
        assert_eq!(moved, to);
        self.write_start(to)
    }

    pub fn retain(&mut self) -> Result<(), Failure> {
        let (now, stable) = (self.now_ms(), Offset::new(self.now.last_stable()));
        let leaves_files = self.rng.below(2) == 0;
        let retained = match leaves_files {
            true => self.log().drop_old_segments(stable, now),
            false => self.log().delete_old_segments(stable, now),
        };
        self.start = self.start.max(self.log().start_offset().get());
        retained?;
        if let Some(removal) = self.log().take_removal(now) {
            removal.run()?;
        }
        Ok(())
    }

    /// Stops as a node does, and starts again.
    pub fn restart(&mut self) -> Result<(), Failure> {
        let log = self.log.take().unwrap();
        let start = log.start_offset();
        let point = log.close()?;
        assert_eq!(point.get(), self.now.end(), "everything is durable at a clean stop");
        self.told_durable = point.get();
        self.former.clear();
        self.write_point(point)?;
        self.write_start(start)?;
        self.may_be_clean = true;
        self.dir().mark_clean_shutdown(1)?;
        self.log_dir = None;
        self.open()?;
        let (end, durable) = (self.log().end_offset().get(), self.log().durable_end().get());
        assert_eq!((end, durable), (self.now.end(), self.now.end()), "after a clean stop");
        Ok(())
    }
}
