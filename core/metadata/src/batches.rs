//! A decision's records as batches of the metadata log.
//!
//! What fits goes into one batch, which is read whole or not at all. More becomes a metadata
//! transaction over many batches (KIP-868), so that still nobody sees a part of it.
//!
//! Not here: the log, and what a reader does with a transaction (`image::Loader`).

use protocol::internal::metadata::{BeginTransactionRecord, EndTransactionRecord};
use protocol::wire::EncodeError;

use crate::record::MetadataRecord;

/// Most records of one batch, as Kafka's controller has it.
const BATCH_RECORDS_MAX: usize = 10_000;

/// Most bytes of the records of one batch; Kafka reads no batch of its metadata log above 8 MiB.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// From this `metadata.version` on (3.6-IV2), there are transactions.
const TRANSACTIONS_SINCE: i16 = 14;

/// The records in batches, for a log whose `metadata.version` is `level`: one if they fit, else a
/// transaction. A log that is too old for transactions gets the same batches without; each of the
/// decisions that can grow so large is right as far as it went.
///
/// # Errors
/// [`EncodeError`] where a record does not fit the format, or no batch that others can read.
pub fn batches(
    records: Vec<MetadataRecord>,
    level: i16,
) -> Result<Vec<Vec<MetadataRecord>>, EncodeError> {
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for record in records {
        let length = record.encoded_size(level)?;
        if length > BATCH_BYTES_MAX {
            return Err(EncodeError::TooLong { field: record.name(), length });
        }
        let batch = batches.last_mut().expect("there is one from the start");
        // Begin and end still have to fit.
        let full = batch.len() + 2 >= BATCH_RECORDS_MAX || bytes + length > BATCH_BYTES_MAX;
        if full && !batch.is_empty() {
            batches.push(vec![record]);
            bytes = length;
        } else {
            batch.push(record);
            bytes += length;
        }
    }
    if batches.len() > 1 && level >= TRANSACTIONS_SINCE {
        let name = Some("One decision".to_owned());
        let begin = BeginTransactionRecord { name, ..Default::default() };
        batches[0].insert(0, begin.into());
        let last = batches.last_mut().expect("there are two at least");
        last.push(EndTransactionRecord::default().into());
    }
    batches.retain(|batch| !batch.is_empty());
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use protocol::internal::metadata::register_broker_record::BrokerEndpoint;
    use protocol::internal::metadata::{ConfigRecord, NoOpRecord, RegisterBrokerRecord};

    use super::*;

    fn small(count: usize) -> Vec<MetadataRecord> {
        vec![NoOpRecord::default().into(); count]
    }

    fn large(count: usize) -> Vec<MetadataRecord> {
        let value = Some("x".repeat(32_000));
        vec![ConfigRecord { value, ..Default::default() }.into(); count]
    }

    fn names(batch: &[MetadataRecord]) -> (&'static str, &'static str) {
        (batch[0].name(), batch[batch.len() - 1].name())
    }

    #[test]
    fn records_that_fit_are_one_batch() {
        assert_eq!(batches(vec![], 30).unwrap(), Vec::<Vec<_>>::new());
        for records in [small(1), small(BATCH_RECORDS_MAX - 2), large(130)] {
            assert_eq!(batches(records.clone(), 30).unwrap(), [records]);
        }
    }

    #[test]
    fn more_records_are_a_transaction() {
        let cases = [("small", small(2 * BATCH_RECORDS_MAX), 3), ("large", large(300), 3)];
        for (name, records, expected) in cases {
            let cut = batches(records.clone(), 30).unwrap();
            assert_eq!(cut.len(), expected, "{name}");
            let kind = records[0].name();
            assert_eq!(names(&cut[0]), ("BeginTransactionRecord", kind), "{name}");
            assert_eq!(names(&cut[1]), (kind, kind), "{name}");
            assert_eq!(names(&cut[2]), (kind, "EndTransactionRecord"), "{name}");
            assert!(cut.iter().all(|batch| batch.len() <= BATCH_RECORDS_MAX), "{name}");
            let all = cut.concat();
            assert_eq!(all[1..all.len() - 1], records, "{name}");
        }
    }

    #[test]
    fn a_record_that_no_batch_can_hold_is_refused() {
        let record = |endpoints| {
            let endpoint = BrokerEndpoint { host: "h".repeat(1000), ..Default::default() };
            let end_points = vec![endpoint; endpoints];
            RegisterBrokerRecord { end_points, ..Default::default() }.into()
        };
        assert_eq!(batches(vec![record(4000)], 30).map(|cut| cut.len()), Ok(1));
        let refused = batches(vec![record(5000)], 30);
        assert!(matches!(refused, Err(EncodeError::TooLong { .. })), "{refused:?}");
    }

    #[test]
    fn old_logs_have_no_transactions() {
        let records = small(2 * BATCH_RECORDS_MAX);
        let cut = batches(records.clone(), TRANSACTIONS_SINCE - 1).unwrap();
        assert_eq!((cut.len(), cut.concat()), (3, records));
    }
}
