//! Comparing a log with what must be in it.

use std::collections::{BTreeMap, BTreeSet};

use records::{check_crc, split_batches};
use thalweg_log::{Disk, Log, OpenMode};
use types::{Offset, ProducerId};

use crate::model::{Aborted, Version};
use crate::support::reads;
use crate::world::{World, folder};

/// All bytes of the log from its start on.
fn content(log: &mut Log) -> Vec<u8> {
    reads(log, 1000).concat()
}

impl World {
    /// Contents of the log files, in the order of their offsets.
    fn log_files(&self) -> Vec<Vec<u8>> {
        let files = self.disk.list(&folder()).unwrap_or_default().into_iter();
        let files = files.filter(|file| file.name.ends_with(".log"));
        let content = |file: thalweg_log::DirEntry| {
            let mut content = vec![0; usize::try_from(file.bytes).unwrap()];
            let file = self.disk.open(&folder().join(&file.name), OpenMode::Read).unwrap();
            assert_eq!(file.read_at(&mut content, 0).unwrap(), content.len());
            content
        };
        files.map(content).collect()
    }

    /// The batches that Apache Kafka would keep of what a crash has left: all before the first one
    /// that is broken in whatever way.
    pub fn kept_by_kafka(&self) -> BTreeSet<Vec<u8>> {
        let mut kept = BTreeSet::new();
        for content in self.log_files() {
            for cut in split_batches(&content) {
                let Ok((range, header)) = cut else { return kept };
                let batch = &content[range];
                if check_crc(batch, &header).is_err() {
                    return kept;
                }
                kept.insert(batch.to_vec());
            }
        }
        kept
    }

    /// What is durable Kafka would have kept, too, and the files hold nothing but batches.
    pub fn check_files(&mut self, kept_by_kafka: &BTreeSet<Vec<u8>>) {
        let start = self.log().start_offset().get();
        let durable = self.now.must.min(self.now.end());
        for batch in &self.now.batches {
            if batch.base >= start && batch.next <= durable {
                assert!(kept_by_kafka.contains(batch.bytes.as_ref()), "{} is lost", batch.base);
            }
        }
        let bytes: usize = self.log_files().iter().map(Vec::len).sum();
        assert_eq!(bytes as u64, self.log().bytes(), "nothing stands behind the last batch");
    }

    /// The log after a crash is what it was at some time since it was last durable, with all that
    /// was told to be durable; from here on it is that.
    pub fn check_recovered(&mut self) {
        let log = self.log.as_mut().unwrap();
        let (start, end) = (log.start_offset().get(), log.end_offset().get());
        let bytes = content(log);
        let durable = self.told_durable;
        self.now.must = durable;
        let versions: Vec<&Version> = [&self.now].into_iter().chain(&self.former).collect();
        let fits = |version: &&Version| {
            let cut = version.until(end);
            // A log of which less is left than was deleted begins anew.
            let is_whole = cut.end() == end || (start == end && end <= version.end());
            is_whole && end >= version.must && cut.bytes_from(start) == bytes
        };
        // Versions that differ in what was deleted only are alike: the one that explains most.
        let found = versions.iter().copied().filter(fits);
        let Some(found) = found.max_by_key(|version| version.until(end).batches.len()) else {
            let ends: Vec<_> = versions.iter().map(|v| (v.begin, v.end(), v.must)).collect();
            panic!("the log from {start} to {end} is none of {ends:?} (begin, end, durable)");
        };
        let mut found = found.until(end);
        if found.end() < end {
            found = Version { begin: end, ..Version::default() };
        }
        assert!(start >= self.told_start.min(end), "deleted records are back");
        assert!(log.durable_end().get() <= end);
        let former = std::mem::replace(&mut self.now, found);
        self.former.push(former);
        self.told_durable = self.told_durable.min(end);
        self.tell("found");
        self.check();
    }

    /// Everything that the log says agrees with the model.
    pub fn check(&mut self) {
        let Self { log, now, .. } = self;
        let log = log.as_mut().unwrap();
        let (start, end) = (log.start_offset().get(), log.end_offset().get());
        assert_eq!(end, now.end().max(start), "end");
        assert_eq!(content(log), now.bytes_from(start), "content from {start} to {end}");
        self.check_epochs(start, end);
        self.check_producers(start);
        self.check_transactions(start, end);
        self.check_look_ups(start, end);
    }

    fn check_epochs(&mut self, start: i64, end: i64) {
        let (furthest, expected) = (self.start.max(start), self.now.epochs());
        let log = self.log();
        for (epoch, begin) in log.leader_epochs().entries() {
            let is_ours = expected.iter().any(|(known, from)| {
                *known == epoch.0 && (*from == begin.get() || begin.get() <= furthest)
            });
            // A leader may have written nothing yet.
            assert!(is_ours || begin.get() == end, "epoch {epoch} at {begin} of {expected:?}");
        }
        for batch in self.now.batches.iter().filter(|batch| batch.base >= furthest) {
            let known = self.log.as_ref().unwrap().leader_epochs();
            let epoch = known.epoch_of(Offset::new(batch.base)).map(|epoch| epoch.0);
            assert_eq!(epoch, Some(batch.epoch), "epoch of {} in {known:?}", batch.base);
        }
    }

    fn check_producers(&mut self, start: i64) {
        let expected = self.now.producers();
        let log = self.log();
        for (producer, state) in &expected {
            let entry = log.producers().entry(ProducerId(*producer));
            // What was deleted may be forgotten.
            if entry.is_none() && state.since < start {
                continue;
            }
            let entry = entry.unwrap_or_else(|| panic!("producer {producer} is unknown"));
            if state.since >= start {
                assert_eq!(entry.last_sequence(), state.last_sequence, "producer {producer}");
            }
            let first = |first: Option<i64>| first.map(|first| first.max(start));
            let txn_first = entry.txn_first_offset.map(|first| first.get());
            match state.txn_first {
                // Its first records were deleted, and with them where it began.
                Some(first) if first < start => {}
                expected => assert_eq!(first(txn_first), first(expected), "producer {producer}"),
            }
        }
        for (producer, _) in log.producers().iter() {
            assert!(expected.contains_key(&producer.0), "producer {producer} never wrote");
        }
    }

    fn check_transactions(&mut self, start: i64, end: i64) {
        // Where the first records of a transaction were deleted, the log knows what it knows.
        let open = self.now.producers().into_iter().filter_map(|(producer, state)| {
            let known = self.log.as_ref().unwrap().producers().entry(ProducerId(producer));
            let known = known.and_then(|entry| entry.txn_first_offset).map(|first| first.get());
            state.txn_first.and_then(|first| if first < start { known } else { Some(first) })
        });
        let stable = open.min().unwrap_or(end).max(start);
        let found = self.log().last_stable_offset(Offset::new(end)).get().max(start);
        assert_eq!(found, stable, "last stable offset");
        let from = start + self.below(end - start + 1);
        let until = from + self.below(end - from + 1);
        for (from, until) in [(start, end), (from, until)] {
            let found = self.log().aborted_transactions(Offset::new(from), Offset::new(until));
            let found = found.unwrap().into_iter();
            let found =
                found.map(|txn| (txn.producer.0, txn.first_offset.get(), txn.last_offset.get()));
            // Where the first records were deleted, the log knows what it knows.
            let (gone, there): (Vec<Aborted>, Vec<Aborted>) =
                self.now.aborted().into_iter().partition(|txn| txn.first < start);
            let found: Vec<_> =
                found.filter(|found| !gone.iter().any(|gone| gone.marker == found.2)).collect();
            let fits = |txn: &&Aborted| txn.marker >= from && txn.first < until;
            let plain = |txn: &Aborted| (txn.producer, txn.first, txn.marker);
            let expected: Vec<_> = there.iter().filter(fits).map(plain).collect();
            assert_eq!(found, expected, "aborted from {from} until {until}");
        }
    }

    fn check_look_ups(&mut self, start: i64, end: i64) {
        for _ in 0..3 {
            if end == start {
                return;
            }
            let offset = start + self.below(end - start);
            let read = self.log().read_blocking(Offset::new(offset), 1, Offset::MAX, true).unwrap();
            let batch = self.now.batches.iter().find(|batch| batch.next > offset).unwrap();
            assert_eq!(read.bytes, batch.bytes, "the batch at {offset}");
        }
        let times: Vec<i64> = self.now.batches.iter().flat_map(|b| b.timestamps.clone()).collect();
        let time = times[self.rng.below(u32::try_from(times.len()).unwrap()) as usize];
        let found = self.log().look_up_time(thalweg_log::TimeWanted::Since(time)).unwrap();
        let found = found.map(|found| (found.offset.get(), found.timestamp));
        assert_eq!(found, self.now.first_at(start, time), "first record since {time}");
    }

    /// What must not change when nothing happens but a restart.
    pub fn facts(&mut self) -> impl PartialEq + std::fmt::Debug + use<> {
        let log = self.log();
        let epochs = log.leader_epochs().entries().to_vec();
        // How many batches of a producer are remembered depends on where the snapshot lies.
        let facts_of = |entry: &thalweg_log::ProducerEntry| {
            (entry.epoch, entry.coordinator_epoch, entry.last_sequence(), entry.txn_first_offset)
        };
        let producers: BTreeMap<i64, _> =
            log.producers().iter().map(|(id, entry)| (id.0, facts_of(entry))).collect();
        (log.start_offset(), log.end_offset(), content(log), epochs, producers)
    }
}
