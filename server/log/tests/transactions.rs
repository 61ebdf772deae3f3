//! Transactions on disk against a naive model: several producers with hand-made markers, over
//! segments, cuts, deletions, restarts and power cuts. At any time the log must tell the last
//! stable offset and, for any range, which aborted transactions touch it.

#![allow(clippy::unwrap_used, reason = "all of this file is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use records::{BatchBuilder, Compression, ControlRecordType, EndTxnMarker};
use thalweg_log::{AppendOrigin, Disk, FaultyDisk, Log, LogConfig, Loss, Opening};
use types::{LeaderEpoch, Millis, Offset, ProducerId, Rng};

const SEEDS: std::ops::Range<u64> = 0..60;
const STEPS: u32 = 150;
const PRODUCERS: u32 = 4;
const NOW: Millis = Millis(1_000);

/// What was appended at an offset: data of a producer's transaction, or its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Entry {
    Data(i64),
    End { producer: i64, is_abort: bool },
}

/// Producer, first offset, offset of the marker.
type Aborted = (i64, i64, i64);

struct World {
    rng: Rng,
    disk: FaultyDisk,
    dir: PathBuf,
    config: Arc<LogConfig>,
    log: Option<Log>,
    /// Whether it gets its batches from a leader; consumers may read it all the same.
    is_follower: bool,
    /// By base offset; what belongs to no transaction is left out.
    entries: BTreeMap<i64, Entry>,
    /// Where batches begin.
    bases: BTreeSet<i64>,
    sequences: BTreeMap<i64, i32>,
    high_watermark: Offset,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = FaultyDisk::new(seed);
        disk.create_dir_all(Path::new("/d")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let mut rng = Rng::new(seed);
        let config = LogConfig {
            segment_bytes: 400 + rng.below(1500),
            file_delete_delay_ms: Millis(0),
            ..LogConfig::default()
        };
        let mut world = Self {
            rng,
            disk,
            dir: PathBuf::from("/d/t-0"),
            config: Arc::new(config),
            log: None,
            is_follower: seed % 2 == 1,
            entries: BTreeMap::new(),
            bases: BTreeSet::new(),
            sequences: BTreeMap::new(),
            high_watermark: Offset::ZERO,
        };
        world.open(Opening::NEW);
        world
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn open(&mut self, opening: Opening) {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let log = Log::open(disk, self.dir.clone(), Arc::clone(&self.config), opening, NOW);
        self.log = Some(log.unwrap());
        self.follow_the_log();
    }

    /// What the log has lost, the model loses; one replica commits all that it has.
    fn follow_the_log(&mut self) {
        let end = self.log().end_offset();
        self.high_watermark = end;
        self.entries.split_off(&end.get());
        self.bases.split_off(&end.get());
        let log = self.log.as_ref().unwrap();
        let known = log.producers().iter();
        self.sequences = known.map(|(id, entry)| (id.0, entry.last_sequence() + 1)).collect();
    }

    fn step(&mut self) {
        match self.rng.below(24) {
            0 => {
                let log = self.log.take().unwrap();
                let start_offset = log.start_offset();
                let recovery_point = log.close().unwrap();
                self.open(Opening { start_offset, recovery_point, is_clean: true, ..Opening::NEW });
            }
            1 => {
                let loss = [Loss::Process, Loss::Whole, Loss::Sectors, Loss::Pages];
                let loss = loss[self.rng.below(4) as usize];
                let log = self.log.take().unwrap();
                let (start_offset, recovery_point) = (log.start_offset(), log.durable_end());
                self.disk.crash(loss);
                self.open(Opening { start_offset, recovery_point, ..Opening::NEW });
                assert!(self.log().end_offset() >= recovery_point);
            }
            2 => {
                if let Some(ticket) = self.log().sync_ticket().unwrap() {
                    let outcome = ticket.sync();
                    self.log().synced(outcome).unwrap();
                }
            }
            3 => self.log().roll(NOW).unwrap(),
            4 => self.delete_records(),
            5 => self.truncate(),
            6..9 => {
                let known = self.high_watermark.get();
                let mut later: Vec<i64> = self.bases.range(known..).copied().collect();
                later.push(self.log().end_offset().get());
                let at = self.rng.below(later.len() as u32) as usize;
                self.high_watermark = Offset::new(later[at]);
            }
            9..14 => self.end_transaction(),
            _ => self.append_data(),
        }
        self.log().flush_writes().unwrap();
    }

    fn append_data(&mut self) {
        let producer = i64::from(self.rng.below(PRODUCERS + 1));
        let mut builder = BatchBuilder::new(Compression::None);
        let count = 1 + self.rng.below(3);
        // The last one writes without transactions.
        let is_transactional = producer < i64::from(PRODUCERS);
        if is_transactional {
            let next = self.sequences.entry(producer).or_default();
            builder = builder.producer(ProducerId(producer), 0, *next).transactional();
            *next += count as i32;
        }
        let value = vec![b'v'; self.rng.below(60) as usize];
        (0..count).for_each(|_| builder.append(1, None, Some(&value), &[]));
        let base = self.append(builder, AppendOrigin::Client);
        if is_transactional {
            self.entries.insert(base, Entry::Data(producer));
        }
    }

    /// Sometimes of a producer that has nothing open: such a marker says nothing.
    fn end_transaction(&mut self) {
        let producer = i64::from(self.rng.below(PRODUCERS));
        let is_abort = self.rng.below(3) > 0;
        let kind = if is_abort { ControlRecordType::Abort } else { ControlRecordType::Commit };
        let builder = BatchBuilder::new(Compression::None).transactional().control();
        let mut builder = builder.producer(ProducerId(producer), 0, -1);
        let value = EndTxnMarker { coordinator_epoch: 0 }.to_bytes();
        builder.append(1, Some(&kind.to_key()), Some(&value), &[]);
        let base = self.append(builder, AppendOrigin::Coordinator);
        self.entries.insert(base, Entry::End { producer, is_abort });
    }

    fn append(&mut self, builder: BatchBuilder, origin: AppendOrigin) -> i64 {
        let base = self.log().end_offset();
        if self.is_follower {
            let copied = builder.base_offset(base).build();
            self.log().append_as_follower(&copied, NOW).unwrap();
        } else {
            let batch = BytesMut::from(builder.build());
            self.log().append_as_leader(batch, LeaderEpoch(0), origin, NOW).unwrap();
        }
        self.bases.insert(base.get());
        base.get()
    }

    fn delete_records(&mut self) {
        let (start, stable) = (self.log().start_offset(), self.stable().0);
        let span = u32::try_from((stable - start.get()).max(0)).unwrap();
        let to = start + i64::from(self.rng.below(span / 3 + 1));
        let high_watermark = self.high_watermark;
        self.log().delete_records(to, high_watermark).unwrap();
        self.log().delete_old_segments(high_watermark, NOW).unwrap();
        if let Some(removal) = self.log().take_removal(NOW) {
            removal.run().unwrap();
        }
    }

    fn truncate(&mut self) {
        let from = self.high_watermark.max(self.log().start_offset()).get();
        let later: Vec<i64> = self.bases.range(from..).copied().collect();
        if let Some(last) = later.len().checked_sub(1) {
            let to = later[self.rng.below(last as u32 + 1) as usize];
            self.log().truncate_to(Offset::new(to), NOW).unwrap();
            self.follow_the_log();
        }
    }

    /// By the model: the last stable offset, and all aborted transactions.
    fn stable(&self) -> (i64, Vec<Aborted>) {
        let mut open = BTreeMap::new();
        let (mut aborted, mut unstable) = (Vec::new(), vec![self.high_watermark.get()]);
        for (&at, entry) in &self.entries {
            match *entry {
                Entry::Data(producer) => _ = open.entry(producer).or_insert(at),
                Entry::End { producer, is_abort } => {
                    let Some(first) = open.remove(&producer) else { continue };
                    if at >= self.high_watermark.get() {
                        unstable.push(first);
                    }
                    if is_abort {
                        aborted.push((producer, first, at));
                    }
                }
            }
        }
        unstable.extend(open.values());
        (unstable.into_iter().min().unwrap(), aborted)
    }

    fn check(&mut self, place: &str) {
        let (stable, aborted) = self.stable();
        let high_watermark = self.high_watermark;
        assert_eq!(self.log().last_stable_offset(high_watermark).get(), stable, "{place}: LSO");
        let (start, end) = (self.log().start_offset().get(), self.log().end_offset().get());
        for _ in 0..4 {
            let from = start + i64::from(self.rng.below((end - start) as u32 + 1));
            let until = from + i64::from(self.rng.below((end - from) as u32 + 1));
            let touches = |txn: &&Aborted| txn.2 >= from && txn.1 < until;
            let expected: BTreeSet<Aborted> = aborted.iter().filter(touches).copied().collect();
            let found = self.log().aborted_transactions(Offset::new(from), Offset::new(until));
            let found: Vec<Aborted> = found.unwrap().iter().map(aborted_of).collect();
            let distinct: BTreeSet<Aborted> = found.iter().copied().collect();
            assert_eq!(distinct.len(), found.len(), "{place}: each once");
            assert_eq!(distinct, expected, "{place}: aborted in {from}..{until}");
        }
    }
}

fn aborted_of(txn: &thalweg_log::AbortedTxn) -> Aborted {
    (txn.producer.0, txn.first_offset.get(), txn.last_offset.get())
}

#[test]
fn stable_offset_and_aborted_lists_are_those_of_the_model() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        for at in 0..STEPS {
            world.step();
            world.check(&format!("seed {seed} step {at}"));
        }
    }
}
