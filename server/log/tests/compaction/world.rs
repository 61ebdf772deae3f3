//! A log of keyed records and, beside it, what must be in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use records::{
    Batch, BatchBuilder, Compression, ControlRecordType, DecompressLimits, EndTxnMarker,
    split_batches,
};
use thalweg_log::{
    AppendOrigin, CleanerBuffers, Compaction, CompactionError, Disk, FaultyDisk, Log, LogConfig,
    Loss, Opening, Rewritten,
};
use types::{LeaderEpoch, Millis, Offset, ProducerId, Rng};

const IDEMPOTENT: ProducerId = ProducerId(70);
const LIMITS: DecompressLimits = DecompressLimits { bytes_max: 1 << 20 };
pub const DELETE_RETENTION: Millis = Millis(500);

/// A record that was appended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    pub key: u32,
    pub value: Option<Vec<u8>>,
    pub timestamp: i64,
    /// Whose transaction it belongs to.
    pub producer: Option<i64>,
}

pub struct World {
    pub rng: Rng,
    dir: PathBuf,
    pub disk: FaultyDisk,
    log: Option<Log>,
    config: Arc<LogConfig>,
    pub now: Millis,
    pub high_watermark: Offset,
    /// Every record ever appended and not cut, by offset.
    records: BTreeMap<i64, Record>,
    aborted: BTreeSet<i64>,
    /// Offsets written by the open transaction of each producer.
    open: BTreeMap<i64, Vec<i64>>,
    /// Next sequence of the idempotent producer and of the transactional ones.
    sequences: BTreeMap<i64, i32>,
    /// Where batches begin, for truncations.
    bases: Vec<i64>,
    last_idempotent: Option<BytesMut>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let disk = FaultyDisk::new(seed);
        disk.create_dir_all(Path::new("/d")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let config = LogConfig {
            segment_bytes: 300 + rng.below(2000),
            index_interval_bytes: rng.below(300),
            compact: true,
            delete: false,
            delete_retention_ms: DELETE_RETENTION,
            min_cleanable_dirty_ratio: 0.0,
            file_delete_delay_ms: Millis(0),
            ..LogConfig::default()
        };
        let mut world = Self {
            rng,
            dir: PathBuf::from("/d/t-0"),
            disk,
            log: None,
            config: Arc::new(config),
            now: Millis(1_000_000),
            high_watermark: Offset::ZERO,
            records: BTreeMap::new(),
            aborted: BTreeSet::new(),
            open: BTreeMap::new(),
            sequences: BTreeMap::new(),
            bases: Vec::new(),
            last_idempotent: None,
        };
        world.open_log(false);
        world
    }

    pub fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("it is open between the steps")
    }

    fn open_log(&mut self, is_clean: bool) {
        let (opening, compacted) = self.checkpoints(is_clean);
        self.log = None;
        self.reopen(opening, compacted);
    }

    /// What the checkpoints say of the log, and up to where it was compacted.
    fn checkpoints(&self, is_clean: bool) -> (Opening, Offset) {
        let Some(log) = &self.log else {
            return (Opening { is_clean, ..Opening::NEW }, Offset::ZERO);
        };
        let (start_offset, recovery_point) = (log.start_offset(), log.durable_end());
        (Opening { start_offset, recovery_point, is_clean, ..Opening::NEW }, log.compacted_end())
    }

    /// As a crash, with another one after so many changes of the recovery.
    pub fn crash_twice(&mut self, loss: Loss, changes: u64) {
        self.disk.crash(loss);
        self.disk.die_after(changes);
        let (opening, _) = self.checkpoints(false);
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        // Whether it comes that far or not.
        _ = Log::open(disk, self.dir.clone(), Arc::clone(&self.config), opening, self.now);
        self.crash(loss, false);
    }

    fn reopen(&mut self, opening: Opening, compacted_end: Offset) {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let config = Arc::clone(&self.config);
        let mut log = Log::open(disk, self.dir.clone(), config, opening, self.now).unwrap();
        log.set_compacted_end(compacted_end);
        // A leader without followers, as producer snapshots do not keep what is uncommitted.
        self.high_watermark = log.end_offset();
        self.log = Some(log);
    }

    pub fn restart(&mut self) {
        let log = self.log.take().unwrap();
        let (start, compacted) = (log.start_offset(), log.compacted_end());
        let recovery_point = log.close().unwrap();
        let opening =
            Opening { start_offset: start, recovery_point, is_clean: true, ..Opening::NEW };
        self.reopen(opening, compacted);
    }

    /// The process dies or the power goes; what was not synced must not count for anything then.
    /// Without its snapshots, the log itself must tell the state of its producers.
    pub fn crash(&mut self, loss: Loss, lose_snapshots: bool) {
        self.disk.crash(loss);
        if lose_snapshots {
            for entry in self.disk.list(&self.dir).unwrap() {
                if entry.name.ends_with(".snapshot") {
                    self.disk.remove_file(&self.dir.join(entry.name)).unwrap();
                }
            }
        }
        self.open_log(false);
    }

    pub fn append(&mut self) {
        let codec = Compression::ALL[self.rng.below(5) as usize];
        let mut builder = BatchBuilder::new(codec);
        let kind = self.rng.below(4);
        let producer = match kind {
            0 => None,
            1 => Some(IDEMPOTENT),
            _ => Some(ProducerId(80 + i64::from(self.rng.below(2)))),
        };
        let count = 1 + self.rng.below(4);
        if let Some(producer) = producer {
            let next = self.sequences.entry(producer.0).or_default();
            builder = builder.producer(producer, 0, *next);
            *next += count as i32;
        }
        if kind > 1 {
            builder = builder.transactional();
        }
        let base = self.log().end_offset().get();
        for n in 0..count {
            let record = Record {
                key: self.rng.below(8),
                value: (self.rng.below(4) > 0).then(|| vec![b'v'; self.rng.below(40) as usize]),
                timestamp: self.now.get() + i64::from(self.rng.below(5)),
                producer: (kind > 1).then(|| producer.unwrap().0),
            };
            let key = record.key.to_be_bytes();
            builder.append(record.timestamp, Some(&key), record.value.as_deref(), &[]);
            let offset = base + i64::from(n);
            if let Some(producer) = record.producer {
                self.open.entry(producer).or_default().push(offset);
            }
            self.records.insert(offset, record);
        }
        let batch = BytesMut::from(builder.build());
        if producer == Some(IDEMPOTENT) {
            self.last_idempotent = Some(batch.clone());
        }
        self.append_bytes(batch, AppendOrigin::Client);
    }

    fn append_bytes(&mut self, batch: BytesMut, origin: AppendOrigin) {
        let now = self.now;
        let info = self.log().append_as_leader(batch, LeaderEpoch(1), origin, now).unwrap();
        assert!(!info.is_duplicate);
        // Only what was written outlives the process.
        self.log().flush_writes().unwrap();
        self.bases.push(info.base_offset.get());
    }

    /// Ends one of the open transactions, if there are any.
    pub fn end_transaction(&mut self) -> bool {
        let Some((producer, offsets)) = self.open.pop_first() else { return false };
        let is_abort = self.rng.below(2) == 0;
        if is_abort {
            self.aborted.extend(offsets);
        }
        let kind = if is_abort { ControlRecordType::Abort } else { ControlRecordType::Commit };
        let builder = BatchBuilder::new(Compression::None).transactional().control();
        let mut builder = builder.producer(ProducerId(producer), 0, -1);
        let value = EndTxnMarker { coordinator_epoch: 0 }.to_bytes();
        builder.append(self.now.get(), Some(&kind.to_key()), Some(&value), &[]);
        self.append_bytes(BytesMut::from(builder.build()), AppendOrigin::Coordinator);
        true
    }

    /// The idempotent producer got no answer and sends its last batch again.
    pub fn send_again(&mut self) {
        let Some(batch) = self.last_idempotent.clone() else { return };
        let (now, origin) = (self.now, AppendOrigin::Client);
        let info = self.log().append_as_leader(batch, LeaderEpoch(1), origin, now).unwrap();
        assert!(info.is_duplicate);
    }

    /// Replicas catch up, by whole batches.
    pub fn commit(&mut self) {
        let end = self.log().end_offset().get();
        let known = self.high_watermark.get();
        let later = self.bases.iter().copied().chain([end]).filter(|offset| *offset >= known);
        let later: Vec<i64> = later.collect();
        let to = later[self.rng.below(later.len() as u32) as usize];
        self.high_watermark = Offset::new(to);
    }

    pub fn sync(&mut self) {
        if let Some(ticket) = self.log().sync_ticket().unwrap() {
            let outcome = ticket.sync();
            self.log().synced(outcome).unwrap();
        }
    }

    pub fn delete_records(&mut self) {
        let (start, end) = (self.log().start_offset(), self.high_watermark);
        let span = u32::try_from((end - start).max(0)).unwrap();
        let to = start + i64::from(self.rng.below(span / 4 + 1));
        let now = self.now;
        self.log().delete_records(to, end.max(to)).unwrap();
        self.log().delete_old_segments(end, now).unwrap();
        if let Some(removal) = self.log().take_removal(now) {
            removal.run().unwrap();
        }
    }

    /// Names of the files.
    pub fn files(&self) -> Vec<String> {
        let entries = self.disk.list(&self.dir).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    /// Cuts what is not committed, as a follower does.
    pub fn truncate(&mut self) {
        let high_watermark = self.high_watermark.get();
        let later: Vec<i64> = self.bases.iter().copied().filter(|b| *b >= high_watermark).collect();
        let Some(last) = later.len().checked_sub(1) else { return };
        let to = later[self.rng.below(last as u32 + 1) as usize];
        let now = self.now;
        self.log().truncate_to(Offset::new(to), now).unwrap();
        self.records.split_off(&to);
        self.bases.retain(|base| *base < to);
        self.last_idempotent = None;
        // The producers begin where the log knows them, and their transactions are open again.
        self.open.clear();
        self.sequences.clear();
        let log = self.log.as_ref().unwrap();
        for (producer, entry) in log.producers().iter() {
            self.sequences.insert(producer.0, entry.last_sequence() + 1);
            if let Some(first) = entry.txn_first_offset {
                let own = self.records.range(first.get()..);
                let own = own.filter(|(_, record)| record.producer == Some(producer.0));
                let own: Vec<i64> = own.map(|(offset, _)| *offset).collect();
                for offset in &own {
                    self.aborted.remove(offset);
                }
                self.open.insert(producer.0, own);
            }
        }
        self.aborted.split_off(&to);
    }

    pub fn memory(&mut self) -> CleanerBuffers {
        // Sometimes so little that a compaction ends before the dirty part does.
        let bytes_max = if self.rng.below(4) == 0 { 24 * 9 } else { 1 << 20 };
        CleanerBuffers { dedupe_bytes: bytes_max, load_factor: 0.9, io_bytes: 1 << 16 }
    }

    /// Compacts, with `between` at work while the compaction is on another thread. Gives the
    /// end of what is compacted.
    pub fn compact(
        &mut self,
        memory: CleanerBuffers,
        mut between: impl FnMut(&mut World),
    ) -> Result<Option<Offset>, CompactionError> {
        let (high_watermark, now) = (self.high_watermark, self.now);
        let Some(mut compaction) = self.log().plan_compaction(high_watermark, now)? else {
            return Ok(None);
        };
        while let Some(rewritten) = rewrite(&mut compaction, memory)? {
            between(self);
            if !self.swap(rewritten, &mut between)? {
                return Ok(None);
            }
        }
        self.log().end_compaction(&compaction);
        Ok(Some(compaction.end()))
    }

    fn swap(
        &mut self,
        rewritten: Rewritten,
        between: &mut impl FnMut(&mut World),
    ) -> Result<bool, CompactionError> {
        let Some(step) = self.log().begin_swap(&rewritten)? else {
            rewritten.discard()?;
            return Ok(false);
        };
        between(self);
        let outcome = step.run();
        between(self);
        let Some(step) = self.log().replace_segments(rewritten, outcome)? else {
            return Ok(false);
        };
        between(self);
        let outcome = step.run();
        between(self);
        self.log().end_swap(&step, outcome)?;
        Ok(true)
    }

    /// All bytes from `from` to before `until`, as one fetch after the other gets them.
    fn fetch_all(&mut self, from: Offset, until: Offset) -> Bytes {
        let bytes_max = 100 + self.rng.below(2000) as usize;
        let mut at = from;
        let mut all = BytesMut::new();
        while at < until {
            let read = self.log().read_blocking(at, bytes_max, until, true).unwrap();
            if read.bytes.is_empty() {
                break;
            }
            assert!(read.next_offset > at, "reads go on");
            all.extend_from_slice(&read.bytes);
            at = read.next_offset;
        }
        all.freeze()
    }

    /// What a consumer of committed records sees from `from` on, by the rules of Kafka's client.
    pub fn consume(&mut self, from: Offset) -> Vec<(i64, Record)> {
        let high_watermark = self.high_watermark;
        let until = self.log().last_stable_offset(high_watermark);
        let bytes = self.fetch_all(from, until);
        let mut aborted = self.log().aborted_transactions(from, until).unwrap();
        aborted.sort_by_key(|txn| txn.first_offset);
        let mut aborted = aborted.into_iter().peekable();
        let mut skipping = BTreeSet::new();
        let mut seen = Vec::new();
        for cut in split_batches(&bytes) {
            let (range, header) = cut.unwrap();
            while let Some(txn) = aborted.next_if(|txn| txn.first_offset <= header.last_offset()) {
                skipping.insert(txn.producer.0);
            }
            let batch = Batch::open(&bytes[range.clone()], LIMITS).unwrap();
            records::check_crc(&bytes[range], &header).unwrap();
            if header.attributes.is_control() {
                let first = batch.records().next().map(Result::unwrap);
                let kind = first.and_then(|record| ControlRecordType::parse_key(record.key?));
                if kind == Some(ControlRecordType::Abort) {
                    skipping.remove(&header.producer_id);
                }
                continue;
            }
            let is_transactional = header.attributes.is_transactional();
            if is_transactional && skipping.contains(&header.producer_id) {
                continue;
            }
            for record in batch.records().map(Result::unwrap).filter(|r| r.offset >= from) {
                let key = u32::from_be_bytes(record.key.unwrap().try_into().unwrap());
                let record_seen = Record {
                    key,
                    value: record.value.map(<[u8]>::to_vec),
                    timestamp: record.timestamp,
                    producer: is_transactional.then_some(header.producer_id),
                };
                seen.push((record.offset.get(), record_seen));
            }
        }
        seen
    }

    /// The committed records from the log's start on, before any compaction.
    pub fn committed(&mut self) -> Vec<(i64, Record)> {
        let (start, high_watermark) = (self.log().start_offset().get(), self.high_watermark);
        let until = self.log().last_stable_offset(high_watermark).get();
        let range = self.records.range(start..until.max(start));
        let visible = range.filter(|(offset, _)| !self.aborted.contains(offset));
        visible.map(|(offset, record)| (*offset, record.clone())).collect()
    }

    /// Everything that a reader sees agrees with what was appended.
    pub fn check(&mut self, place: &str) {
        let expected = self.committed();
        let start = self.log().start_offset();
        let seen = self.consume(start);
        let all: BTreeMap<i64, Record> = expected.iter().cloned().collect();
        for (offset, record) in &seen {
            assert_eq!(all.get(offset), Some(record), "{place}: offset {offset}");
        }
        assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "{place}: order");
        assert_eq!(state(&seen), state(&expected), "{place}: latest of each key");
        let span = u32::try_from(self.log().end_offset() - start).unwrap();
        let from = start + i64::from(self.rng.below(span + 1));
        let behind: Vec<_> = seen.iter().filter(|(o, _)| *o >= from.get()).cloned().collect();
        assert_eq!(self.consume(from), behind, "{place}: from {from}");
        for (producer, next) in &self.sequences {
            let entry = self.log.as_ref().unwrap().producers().entry(ProducerId(*producer));
            let last = entry.map_or(-1, |entry| entry.last_sequence());
            assert_eq!(last + 1, *next, "{place}: producer {producer}");
        }
    }
}

fn rewrite(
    compaction: &mut Compaction,
    memory: CleanerBuffers,
) -> Result<Option<Rewritten>, CompactionError> {
    compaction.rewrite_next(memory, &mut |_| ControlFlow::Continue(()))
}

/// The value of each key that has one.
pub fn state(records: &[(i64, Record)]) -> BTreeMap<u32, (i64, Vec<u8>)> {
    let mut state = BTreeMap::new();
    for (offset, record) in records {
        match &record.value {
            Some(value) => _ = state.insert(record.key, (*offset, value.clone())),
            None => _ = state.remove(&record.key),
        }
    }
    state
}
