//! Which batches of idempotent and transactional producers are taken, which are known, which not.

use records::{Attributes, BatchHeader};

use super::*;

const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

fn batch(epoch: i16, sequence: i32, records: i32) -> BatchHeader {
    BatchHeader {
        producer_id: 7,
        producer_epoch: epoch,
        base_sequence: sequence,
        last_offset_delta: records - 1,
        record_count: records,
        max_timestamp: 1000,
        ..Default::default()
    }
}

/// A partition that appends what it is given.
#[derive(Default)]
struct Partition {
    states: ProducerStates,
    end: i64,
}

impl Partition {
    fn append(
        &mut self,
        mut header: BatchHeader,
        origin: AppendOrigin,
    ) -> Result<Option<BatchMetadata>, ProducerError> {
        header.base_offset = self.end;
        let mut updates = Updates::default();
        let base = Offset::new(self.end);
        let known = self.states.prepare(&mut updates, &header, None, base, origin)?;
        if known.is_none() {
            assert_eq!(self.states.commit(updates), []);
            self.end += i64::from(header.last_offset_delta) + 1;
        }
        Ok(known)
    }

    fn send(
        &mut self,
        epoch: i16,
        sequence: i32,
        records: i32,
    ) -> Result<Option<i64>, ProducerError> {
        let known = self.append(batch(epoch, sequence, records), AppendOrigin::Client)?;
        Ok(known.map(|batch| batch.base_offset().get()))
    }

    fn mark(&mut self, epoch: i16, is_abort: bool) -> Result<Vec<CompletedTxn>, ProducerError> {
        let mut header = batch(epoch, -1, 1);
        header.attributes = Attributes(TRANSACTIONAL | CONTROL);
        let marker = Marker { is_abort, coordinator_epoch: 1, timestamp: 2000 };
        let mut updates = Updates::default();
        let (base, origin) = (Offset::new(self.end), AppendOrigin::Coordinator);
        self.states.prepare(&mut updates, &header, Some(marker), base, origin)?;
        let completed = self.states.commit(updates);
        for txn in &completed {
            self.states.complete(txn);
        }
        self.end += 1;
        Ok(completed)
    }
}

fn out_of_order(last: i32, found: i32) -> ProducerError {
    ProducerError::OutOfOrderSequence { producer: ProducerId(7), last, found }
}

#[test]
fn sequences_must_follow_each_other() {
    let mut partition = Partition::default();
    partition.send(0, 0, 10).unwrap();
    let cases = [
        ("a gap is refused", 0, 11, Err(out_of_order(9, 11))),
        ("overlap is refused", 0, 5, Err(out_of_order(9, 5))),
        ("the next one is taken", 0, 10, Ok(None)),
        ("a new epoch begins at 0", 1, 3, Err(out_of_order(19, 3))),
        ("so it does", 1, 0, Ok(None)),
        (
            "the old epoch is fenced",
            0,
            20,
            Err(ProducerError::InvalidEpoch { producer: ProducerId(7), current: 1, found: 0 }),
        ),
    ];
    for (name, epoch, sequence, expected) in cases {
        assert_eq!(partition.send(epoch, sequence, 10), expected, "{name}");
    }
}

#[test]
fn unknown_producer_may_begin_anywhere() {
    assert_eq!(Partition::default().send(3, 1234, 1), Ok(None));
}

#[test]
fn the_last_five_batches_are_recognised() {
    let mut partition = Partition::default();
    for n in 0..6 {
        partition.send(0, n * 10, 10).unwrap();
    }
    assert_eq!(partition.send(0, 0, 10), Err(out_of_order(59, 0)), "too long ago");
    for n in 1..6 {
        assert_eq!(partition.send(0, n * 10, 10), Ok(Some(i64::from(n) * 10)), "batch {n}");
    }
    assert_eq!(partition.send(0, 50, 9), Err(out_of_order(59, 50)), "another length");
}

#[test]
fn sequences_wrap_to_zero() {
    let mut partition = Partition::default();
    partition.send(0, i32::MAX - 4, 3).unwrap();
    assert_eq!(partition.send(0, i32::MAX - 1, 4), Ok(None), "crosses the end");
    assert_eq!(partition.states.entry(ProducerId(7)).unwrap().last_sequence(), 1);
    assert_eq!(partition.send(0, i32::MAX - 1, 4), Ok(Some(3)), "known across the end");
    assert_eq!(partition.send(0, 2, 1), Ok(None));

    let mut partition = Partition::default();
    partition.send(0, i32::MAX, 1).unwrap();
    assert_eq!(partition.send(0, 0, 1), Ok(None), "0 follows the greatest");
}

#[test]
fn replication_is_not_checked() {
    let mut partition = Partition::default();
    partition.send(5, 0, 10).unwrap();
    for header in [batch(5, 0, 10), batch(5, 99, 1), batch(4, 0, 1)] {
        assert_eq!(partition.append(header, AppendOrigin::Replication), Ok(None));
    }
}

#[test]
fn failed_check_changes_nothing() {
    let mut partition = Partition::default();
    partition.send(0, 0, 1).unwrap();
    let before = partition.states.entry(ProducerId(7)).cloned();
    partition.send(0, 5, 1).unwrap_err();
    assert_eq!(partition.states.entry(ProducerId(7)).cloned(), before);
}

#[test]
fn open_transaction_holds_the_stable_offset_back() {
    let mut partition = Partition::default();
    partition.send(0, 0, 5).unwrap();
    let mut header = batch(0, 5, 3);
    header.attributes = Attributes(TRANSACTIONAL);
    partition.append(header, AppendOrigin::Client).unwrap();
    let end = |partition: &Partition| Offset::new(partition.end);
    let high_watermark = end(&partition);
    assert_eq!(partition.states.first_unstable_offset(high_watermark), Some(Offset::new(5)));

    let refused = partition.send(0, 8, 1);
    assert_eq!(refused, Err(ProducerError::InvalidTxnState { producer: ProducerId(7) }));

    let completed = partition.mark(0, true).unwrap();
    assert_eq!(completed.len(), 1);
    assert!(completed[0].is_aborted);
    assert_eq!(completed[0].last_offset, Offset::new(8));
    // The marker counts once it is replicated.
    assert_eq!(partition.states.first_unstable_offset(high_watermark), Some(Offset::new(5)));
    let high_watermark = end(&partition);
    assert_eq!(partition.states.first_unstable_offset(high_watermark), None);
}

#[test]
fn marker_of_a_former_coordinator_is_fenced() {
    let mut partition = Partition::default();
    partition.mark(0, false).unwrap();
    let mut header = batch(0, -1, 1);
    header.attributes = Attributes(TRANSACTIONAL | CONTROL);
    let marker = Marker { is_abort: false, coordinator_epoch: 0, timestamp: 1 };
    let (mut updates, base) = (Updates::default(), Offset::new(9));
    let origin = AppendOrigin::Coordinator;
    let refused = partition.states.prepare(&mut updates, &header, Some(marker), base, origin);
    assert_eq!(
        refused,
        Err(ProducerError::CoordinatorFenced { producer: ProducerId(7), current: 1, found: 0 })
    );
}

#[test]
fn silent_producers_expire_unless_a_transaction_is_open() {
    let mut partition = Partition::default();
    partition.send(0, 0, 1).unwrap();
    let mut header = batch(0, 0, 1);
    (header.producer_id, header.attributes) = (8, Attributes(TRANSACTIONAL));
    partition.append(header, AppendOrigin::Client).unwrap();
    partition.states.remove_expired(Millis(1999), Millis(1000));
    assert_eq!(partition.states.len(), 2);
    partition.states.remove_expired(Millis(2000), Millis(1000));
    assert_eq!(partition.states.len(), 1);
    assert!(partition.states.entry(ProducerId(8)).is_some());
}
