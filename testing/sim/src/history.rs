//! What was promised to whom, and whether it holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use metadata::{Image, image};
use records::split_batches;
use types::{LeaderEpoch, Offset};

use crate::broker::Ack;
use crate::machine::Process;
use crate::message::{Slot, address};
use crate::replica::{Entry, Role, TOPIC};

/// All that was seen, by anybody.
#[derive(Default)]
pub struct History {
    partitions: BTreeMap<Slot, Partition>,
    /// Committed batches of the metadata log by their offset.
    metadata: BTreeMap<i64, Bytes>,
    /// Who led the quorum.
    controllers: BTreeMap<LeaderEpoch, (usize, u32)>,
    /// Topics whose creators were told that they exist.
    pub topics: Vec<String>,
}

/// What was seen of one partition.
#[derive(Default)]
struct Partition {
    /// What some replica has served as committed, by offset.
    committed: Vec<Entry>,
    /// Somebody's retention has dropped what is before, and nobody's more.
    begin: Offset,
    /// Base and end of the batches whose producers were told that they are committed.
    acknowledged: Vec<(Offset, Offset)>,
    /// Who led.
    leaders: BTreeMap<LeaderEpoch, (usize, u32)>,
    /// What the metadata says of it, as it was committed last.
    newest: Option<Arc<image::Partition>>,
}

/// A number of the log as a place in memory.
fn index(offset: Offset) -> usize {
    usize::try_from(offset.get()).expect("offsets count from 0")
}

impl History {
    pub fn acknowledged(&self) -> usize {
        self.partitions.values().map(|one| one.acknowledged.len()).sum()
    }

    /// Takes note of what the retention of a process has dropped, also of one that cannot go on.
    pub fn note_dropped(&mut self, process: &Process) {
        for (&slot, replica) in &process.broker.replicas {
            let seen = self.partitions.entry(slot).or_default();
            seen.begin = seen.begin.max(replica.dropped);
        }
    }

    /// Looks at a process after it has done something.
    pub fn look(&mut self, who: (usize, u32), process: &mut Process) -> anyhow::Result<()> {
        if let Some(epoch) = process.quorum.leading() {
            let first = *self.controllers.entry(epoch).or_insert(who);
            assert_eq!(first, who, "two controllers in epoch {epoch:?}");
        }
        self.look_at_metadata(process)?;
        self.look_at_image(process.quorum.committed().0);
        for (&slot, replica) in &mut process.broker.replicas {
            if replica.log.is_offline() {
                // With a planted bug alone is such a one still in use.
                continue;
            }
            let seen = self.partitions.entry(slot).or_default();
            let start = replica.log.start_offset();
            let begin = seen.begin;
            assert!(
                start <= begin,
                "{slot} begins at {start} on {}, and is kept from {begin}",
                who.0
            );
            if let Role::Leader(leader) = &replica.role {
                let epoch = leader.epoch();
                let begins = seen.leaders.keys().next_back().is_none_or(|latest| *latest < epoch);
                let first = *seen.leaders.entry(epoch).or_insert(who);
                assert_eq!(first.0, who.0, "two leaders of {slot} in epoch {epoch:?}");
                if begins {
                    let entries = replica.entries(start, replica.log.end_offset())?;
                    let all = seen.whole(slot, start, &entries);
                    assert!(
                        all.starts_with(&seen.committed),
                        "leader {} of {slot} in epoch {epoch:?} lacks what is committed: {}",
                        who.0,
                        differs(&all, &seen.committed)
                    );
                }
            }
            let Some(high_watermark) = replica.high_watermark() else { continue };
            let served = replica.served;
            assert!(served <= high_watermark, "high watermark of {slot} goes back from {served}");
            if served < high_watermark {
                replica.served = high_watermark;
                // What was deleted before was compared by whoever decided that.
                let from = served.max(start);
                if from < high_watermark {
                    let entries = replica.entries(from, high_watermark)?;
                    seen.serves(who.0, slot, (from, high_watermark), &entries);
                }
            }
        }
        Ok(())
    }

    /// Whether all replicas of all partitions are in sync, by the newest that is committed.
    pub fn is_all_in_sync(&self) -> bool {
        self.partitions.values().all(|seen| {
            seen.newest.as_ref().is_some_and(|newest| {
                newest.isr.len() == newest.replicas.len() && !newest.is_reassigning()
            })
        })
    }

    /// Whether all partitions have leaders, by the newest that is committed.
    pub fn has_leaders(&self) -> bool {
        let mut newest = self.partitions.values().map(|seen| seen.newest.as_ref());
        newest.all(|newest| newest.is_some_and(|newest| newest.leader.is_some()))
    }

    /// Keeps what was committed last of each partition.
    fn look_at_image(&mut self, image: &Image) {
        let Some(topic) = image.topic(TOPIC) else { return };
        for (slot, partition) in topic.partitions() {
            let newest = &mut self.partitions.entry(slot).or_default().newest;
            let known = newest.as_ref().map(|known| known.partition_epoch);
            if known < Some(partition.partition_epoch) {
                *newest = Some(Arc::clone(partition));
            }
        }
    }

    /// What is committed of the metadata is the same everywhere.
    fn look_at_metadata(&mut self, process: &mut Process) -> anyhow::Result<()> {
        let committed = process.quorum.committed;
        // What a snapshot covers was compared when it was written.
        process.checked = process.checked.max(process.quorum.log.log.start_offset());
        while process.checked < committed {
            let (bytes, _) = process.quorum.log.read(process.checked)?;
            for cut in split_batches(&bytes) {
                let (range, header) = cut?;
                if header.next_offset() > committed {
                    return Ok(());
                }
                let batch = bytes.slice(range);
                let known = self.metadata.entry(header.base_offset).or_insert(batch.clone());
                let at = header.base_offset;
                assert!(*known == batch, "the metadata has forked at {at}");
                process.checked = header.next_offset();
            }
        }
        Ok(())
    }

    /// A producer is told that its batch is committed; `durable` is what each machine has of the
    /// partition on its disk.
    pub fn acknowledges(&mut self, ack: &Ack, durable: &[Option<Offset>], min_isr: usize) {
        let (slot, base) = (ack.slot, ack.base);
        let seen = self.partitions.entry(slot).or_default();
        let has = |at: usize| durable[at] >= Some(ack.end);
        let copies = (0..durable.len()).filter(|at| has(*at)).count();
        assert!(
            copies >= min_isr,
            "{slot} at {base} is acknowledged on {copies} disks: {durable:?}"
        );
        if let Some(newest) = &seen.newest
            && newest.leader_epoch == ack.epoch
        {
            let without = newest.isr.iter().find(|id| !has(address(**id)));
            assert!(
                without.is_none(),
                "{slot} at {base} is acknowledged without {without:?}: {durable:?}"
            );
        }
        seen.acknowledged.push((base, ack.end));
    }

    /// A consumer was given records.
    pub fn consumed(&self, slot: Slot, entries: &[Entry]) {
        let committed = self.partitions.get(&slot).map_or(&[][..], |one| &one.committed);
        for entry in entries {
            let known = committed.get(index(entry.offset));
            assert_eq!(known, Some(entry), "{slot} gave a consumer what is not committed");
        }
    }

    /// Nothing is produced any more, and these are the records that a replica has from the start of its
    /// log on.
    pub fn check_settled(&self, slot: Slot, start: Offset, entries: &[Entry]) {
        let Some(seen) = self.partitions.get(&slot) else { return };
        let all = seen.whole(slot, start, entries);
        assert!(
            all.starts_with(&seen.committed),
            "committed records of {slot} have changed: {}",
            differs(&all, &seen.committed)
        );
        let lost = seen.acknowledged.iter().find(|(_, end)| index(*end) > all.len());
        assert!(lost.is_none(), "acknowledged and lost of {slot}: {lost:?}");
        // Each producer's records are there once and in their order.
        let mut next: BTreeMap<u32, u32> = BTreeMap::new();
        for entry in &all {
            let (producer, number) = entry.value;
            let expected = next.entry(producer).or_default();
            assert_eq!(number, *expected, "producer {producer} of {slot} at {}", entry.offset);
            *expected += 1;
        }
    }

    /// How many records of a producer are committed, for the final count.
    pub fn committed_of(&self, slot: Slot, producer: u32) -> usize {
        let committed = self.partitions.get(&slot).map_or(&[][..], |one| &one.committed);
        committed.iter().filter(|entry| entry.value.0 == producer).count()
    }
}

impl Partition {
    /// The records of a replica, and before them what was committed and has been deleted there.
    fn whole(&self, slot: Slot, start: Offset, entries: &[Entry]) -> Vec<Entry> {
        let deleted = self.committed.get(..index(start));
        let known = self.committed.len();
        let deleted = deleted.unwrap_or_else(|| panic!("{slot} begins at {start} of {known}"));
        [deleted, entries].concat()
    }

    /// A replica moves its high watermark, so that its readers see more.
    fn serves(&mut self, who: usize, slot: Slot, (from, to): (Offset, Offset), entries: &[Entry]) {
        assert_eq!(to - from, i64::try_from(entries.len()).unwrap_or(-1), "{slot} has gaps");
        let known = self.committed.len();
        assert!(index(from) <= known, "{who} serves {slot} from {from} on, of {known}");
        for entry in entries {
            match self.committed.get(index(entry.offset)) {
                Some(known) => {
                    assert_eq!(entry, known, "{who} serves another record of {slot}");
                }
                None => self.committed.push(*entry),
            }
        }
    }
}

fn differs(all: &[Entry], committed: &[Entry]) -> String {
    let at = all.iter().zip(committed).position(|(one, other)| one != other);
    let at = at.unwrap_or(all.len().min(committed.len()));
    let (ours, known) = (all.get(at), committed.get(at));
    format!("{ours:?} where {known:?} was ({} and {} records)", all.len(), committed.len())
}
