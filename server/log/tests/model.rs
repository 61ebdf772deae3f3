//! A log against a list of batches, under random operations, clean stops and crashes.

#![allow(clippy::unwrap_used, reason = "all of this file is a test")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use records::{BatchBuilder, Compression};
use thalweg_log::{
    AppendOrigin, Disk, Log, LogConfig, Opening, RealDisk, checkpoint::OffsetCheckpoint,
};
use types::{LeaderEpoch, Millis, Offset, ProducerId, Rng};

const SEEDS: std::ops::Range<u64> = 0..20;
const STEPS: u32 = 120;
const PRODUCER: ProducerId = ProducerId(77);

/// A batch that the log must hold.
#[derive(Clone, Debug)]
struct Batch {
    base: i64,
    next: i64,
    epoch: i32,
    /// As the log has it.
    bytes: Bytes,
    /// First sequence, where the idempotent producer wrote it.
    sequence: Option<i32>,
}

struct World {
    rng: Rng,
    dir: PathBuf,
    log: Option<Log>,
    config: Arc<LogConfig>,
    batches: Vec<Batch>,
    start: i64,
    durable: i64,
    epoch: i32,
    /// What the producer sent last, whatever was deleted since.
    last_sent: Option<Batch>,
}

impl World {
    fn new(seed: u64, dir: &Path) -> Self {
        let mut rng = Rng::new(seed);
        let config = LogConfig {
            segment_bytes: 300 + rng.below(2000),
            index_interval_bytes: rng.below(300),
            segment_index_bytes: 64 + rng.below(200),
            file_delete_delay_ms: Millis(0),
            ..LogConfig::default()
        };
        let mut world = Self {
            rng,
            dir: dir.join("t-0"),
            log: None,
            config: Arc::new(config),
            batches: Vec::new(),
            start: 0,
            durable: 0,
            epoch: 0,
            last_sent: None,
        };
        world.open(false);
        world
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("it is open between the steps")
    }

    fn open(&mut self, is_clean: bool) {
        let opening = Opening {
            start_offset: Offset::new(self.start),
            recovery_point: Offset::new(self.durable),
            is_clean,
            ..Opening::NEW
        };
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let config = Arc::clone(&self.config);
        self.log = Some(Log::open(disk, self.dir.clone(), config, opening, Millis(0)).unwrap());
    }

    fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |last| last.next).max(self.start)
    }

    fn append(&mut self) {
        let records = 1 + self.rng.below(5);
        let codec = Compression::ALL[self.rng.below(5) as usize];
        let mut builder = BatchBuilder::new(codec);
        let is_idempotent = self.rng.below(2) == 0;
        let sequence = self.last_sent.as_ref().map_or(0, |last| {
            last.sequence.unwrap() + i32::try_from(last.next - last.base).unwrap()
        });
        if is_idempotent {
            builder = builder.producer(PRODUCER, 0, sequence);
        }
        for _ in 0..records {
            let value = vec![b'x'; self.rng.below(60) as usize];
            builder.append(i64::from(self.rng.below(1000)), None, Some(&value), &[]);
        }
        let mut bytes = BytesMut::from(builder.build());
        let (epoch, origin) = (LeaderEpoch(self.epoch), AppendOrigin::Client);
        let info = self.log().append_as_leader(bytes.clone(), epoch, origin, Millis(0)).unwrap();
        let base = self.end();
        assert_eq!((info.base_offset.get(), info.is_duplicate), (base, false));
        records::stamp(&mut bytes, info.base_offset, epoch);
        let batch = Batch {
            base,
            next: base + i64::from(records),
            epoch: self.epoch,
            bytes: bytes.freeze(),
            sequence: is_idempotent.then_some(sequence),
        };
        if is_idempotent {
            self.last_sent = Some(batch.clone());
        }
        self.batches.push(batch);
    }

    /// The producer got no answer and sends its last batch again.
    fn send_again(&mut self) {
        let Some(last) = self.last_sent.clone().filter(|last| last.base >= self.start) else {
            return;
        };
        let mut again = BytesMut::from(&last.bytes[..]);
        records::stamp(&mut again, Offset::ZERO, LeaderEpoch(-1));
        let (epoch, origin) = (LeaderEpoch(self.epoch), AppendOrigin::Client);
        let info = self.log().append_as_leader(again, epoch, origin, Millis(0)).unwrap();
        assert_eq!((info.base_offset.get(), info.is_duplicate), (last.base, true));
    }

    fn sync(&mut self) {
        if let Some(ticket) = self.log().sync_ticket().unwrap() {
            let outcome = ticket.sync();
            self.log().synced(outcome).unwrap();
        }
        self.durable = self.end();
        assert_eq!(self.log().durable_end().get(), self.durable);
    }

    fn truncate(&mut self) {
        let kept: Vec<i64> =
            self.batches.iter().map(|b| b.base).filter(|b| *b >= self.start).collect();
        if kept.is_empty() {
            return;
        }
        let to = kept[self.rng.below(u32::try_from(kept.len()).unwrap()) as usize];
        self.log().truncate_to(Offset::new(to), Millis(0)).unwrap();
        self.forget_from(to);
        self.durable = self.durable.min(to);
    }

    fn forget_from(&mut self, end: i64) {
        self.batches.retain(|batch| batch.base < end);
        if self.last_sent.as_ref().is_some_and(|last| last.base >= end) {
            self.last_sent = self.batches.iter().rfind(|b| b.sequence.is_some()).cloned();
        }
    }

    fn delete_records(&mut self) {
        let span = u32::try_from(self.end() - self.start).unwrap();
        let to = self.start + i64::from(self.rng.below(span / 4 + 1));
        let end = Offset::new(self.end());
        self.log().delete_records(Offset::new(to), end).unwrap();
        self.start = to;
        self.log().delete_old_segments(end, Millis(0)).unwrap();
        if let Some(removal) = self.log().take_removal(Millis(0)) {
            removal.run().unwrap();
        }
    }

    fn restart(&mut self) {
        let point = self.log.take().unwrap().close().unwrap();
        self.durable = self.end();
        assert_eq!(point.get(), self.durable);
        self.open(true);
    }

    /// Kills the process, and tears what was not synced of the last segment.
    fn crash(&mut self) {
        drop(self.log.take());
        let (base, path) = last_segment(&self.dir);
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let written = file.metadata().unwrap().len();
        let bytes = |batches: &[Batch], below: i64| -> u64 {
            let inside = batches.iter().filter(|b| b.base >= base && b.next <= below);
            inside.map(|b| b.bytes.len() as u64).sum()
        };
        let synced = bytes(&self.batches, self.durable);
        let torn = u32::try_from(written - synced).unwrap();
        let kept = synced + u64::from(self.rng.below(torn + 1));
        file.set_len(kept).unwrap();
        let mut at = 0;
        let whole = self.batches.iter().take_while(|batch| {
            at += if batch.base >= base { batch.bytes.len() as u64 } else { 0 };
            at <= kept
        });
        let end = whole.last().map_or(0, |last| last.next);
        self.forget_from(end);
        if end < self.start {
            // Less is left than was deleted: the log begins anew at its start.
            self.batches.clear();
        }
        self.durable = self.durable.min(self.end());
        self.open(false);
    }

    fn read(&mut self) {
        let span = u32::try_from(self.end() - self.start + 1).unwrap();
        let from = self.start + i64::from(self.rng.below(span));
        let until = from + i64::from(self.rng.below(span));
        let bytes_max = self.rng.below(1500) as usize;
        let read = self
            .log()
            .read_blocking(Offset::new(from), bytes_max, Offset::new(until), true)
            .unwrap();
        let expected: Vec<&Batch> =
            self.batches.iter().filter(|b| b.next > from && b.next <= until).collect();
        let first = expected.first().map_or(0, |batch| batch.bytes.len());
        let may_read = until > from && expected.first().is_some_and(|b| b.base <= from);
        let all: Vec<u8> = expected.iter().flat_map(|b| b.bytes.to_vec()).collect();
        assert!(all.starts_with(&read.bytes), "from {from} until {until}");
        assert!(!read.bytes.is_empty() || !may_read, "from {from} until {until} gives nothing");
        assert!(read.bytes.len() <= bytes_max.max(first));
    }

    /// Everything that the log says agrees with the list.
    fn check(&mut self, seed: u64, step: u32) {
        let (start, end) = (self.start, self.end());
        let log = self.log.as_mut().unwrap();
        assert_eq!(log.start_offset().get(), start, "seed {seed} step {step}");
        assert_eq!(log.end_offset().get(), end, "seed {seed} step {step}");
        let all = support::reads(log, 700).concat();
        let expected = self.batches.iter().filter(|batch| batch.next > start);
        let expected: Vec<u8> = expected.flat_map(|batch| batch.bytes.to_vec()).collect();
        assert_eq!(all, expected, "seed {seed} step {step}");
        for batch in self.batches.iter().filter(|batch| batch.base >= start) {
            let epoch = log.leader_epochs().epoch_of(Offset::new(batch.base));
            assert_eq!(epoch, Some(LeaderEpoch(batch.epoch)), "seed {seed} step {step}");
        }
    }
}

fn last_segment(dir: &Path) -> (i64, PathBuf) {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let last = names.filter(|path| path.extension().is_some_and(|e| e == "log")).max().unwrap();
    (last.file_stem().unwrap().to_str().unwrap().parse().unwrap(), last)
}

#[test]
fn log_agrees_with_a_list_of_batches() {
    for seed in SEEDS {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::new(seed, dir.path());
        for step in 0..STEPS {
            match world.rng.below(24) {
                0 => world.restart(),
                1 => world.crash(),
                2 => world.truncate(),
                3 => world.delete_records(),
                4 => world.log().roll(Millis(0)).unwrap(),
                5 => world.epoch += 1,
                6 | 7 => world.sync(),
                8 => world.send_again(),
                9..12 => world.read(),
                _ => world.append(),
            }
            world.check(seed, step);
        }
    }
}

#[test]
fn checkpoints_of_a_directory_survive() {
    let dir = tempfile::tempdir().unwrap();
    let open = || thalweg_log::LogDir::open(Arc::new(RealDisk), dir.path().to_owned()).unwrap();
    let offsets = OffsetCheckpoint::from([(types::TopicPartition::new("t", 0), Offset::new(9))]);
    let log_dir = open();
    log_dir.write_high_watermarks(&offsets).unwrap();
    log_dir.write_start_offsets(&OffsetCheckpoint::new()).unwrap();
    drop(log_dir);
    let log_dir = open();
    assert_eq!(log_dir.high_watermarks().unwrap(), offsets);
    assert_eq!(log_dir.start_offsets().unwrap(), OffsetCheckpoint::new());
    assert_eq!(log_dir.recovery_points().unwrap(), OffsetCheckpoint::new());
}
