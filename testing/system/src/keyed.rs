//! Load for a compacted topic, and what must be true of it: the last value of each key.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use records::{BatchBuilder, Compression};
use types::Rng;

use crate::client::Client;

const KEYS: u32 = 60;
const RECORDS: u32 = 20;
const PADDING_BYTES: usize = 200;
/// One record in so many deletes its key.
const TOMBSTONE_ONE_IN: u32 = 10;

/// The number of a record for one key; `None` when it deletes the key.
type Value = Option<i64>;

/// Writes ever greater numbers to few keys of one partition.
#[derive(Debug)]
pub struct Keyed {
    topic: String,
    rng: Rng,
    next: i64,
    keys: BTreeMap<u32, Key>,
}

/// What was sent for one key, the last acknowledged first.
#[derive(Debug, Default)]
struct Key {
    acknowledged: Value,
    /// Sent behind it and not acknowledged; may be there or not.
    attempted: Vec<Value>,
}

impl Keyed {
    /// A writer that has written nothing yet.
    pub fn new(topic: &str, seed: u64) -> Self {
        Self { topic: topic.to_owned(), rng: Rng::new(seed), next: 0, keys: BTreeMap::new() }
    }

    /// Writes until something fails or `is_over`.
    ///
    /// # Errors
    /// What failed.
    pub fn run_until(&mut self, address: SocketAddr, is_over: &AtomicBool) -> anyhow::Result<()> {
        let mut client = Client::connect(address)?;
        loop {
            let (batch, sent) = self.new_batch();
            for &(key, value) in &sent {
                self.keys.entry(key).or_default().attempted.push(value);
            }
            client.produce(&self.topic, 0, batch)?;
            if is_over.load(Ordering::SeqCst) {
                return Ok(());
            }
            for (key, value) in sent {
                self.keys.insert(key, Key { acknowledged: value, attempted: vec![] });
            }
        }
    }

    /// Says what is wrong with the last values that a reader of the whole topic found. Those are
    /// known from then on.
    pub fn judge(&mut self, found: &BTreeMap<u32, Value>) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, key) in &mut self.keys {
            let last = found.get(name).copied().flatten();
            if last != key.acknowledged && !key.attempted.contains(&last) {
                let (acknowledged, attempted) = (key.acknowledged, &key.attempted);
                faults.push(format!(
                    "key {name} is {last:?}, acknowledged is {acknowledged:?}, \
                     without answer are {attempted:?}"
                ));
            }
            *key = Key { acknowledged: last, attempted: vec![] };
        }
        let unknown = found.keys().filter(|name| !self.keys.contains_key(name));
        faults.extend(unknown.map(|name| format!("nobody has written key {name}")));
        faults
    }

    fn new_batch(&mut self) -> (Bytes, Vec<(u32, Value)>) {
        let mut batch = BatchBuilder::new(Compression::None);
        let mut sent = Vec::new();
        for _ in 0..RECORDS {
            let key = self.rng.below(KEYS);
            let deletes = self.rng.below(TOMBSTONE_ONE_IN) == 0;
            let value = (!deletes).then_some(self.next);
            self.next += 1;
            let text = value.map(|number| format!("{number} {}", "x".repeat(PADDING_BYTES)));
            let text = text.as_ref().map(|text| text.as_bytes());
            batch.append(1_700_000_000_000, Some(key.to_string().as_bytes()), text, &[]);
            sent.push((key, value));
        }
        (batch.build(), sent)
    }
}

/// The last value of each key, from the records in their order.
pub fn last_values<'a>(
    records: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) -> anyhow::Result<BTreeMap<u32, Value>> {
    let mut last = BTreeMap::new();
    for (key, value) in records {
        let key = std::str::from_utf8(key)?.parse()?;
        let number = value.map(|value| {
            let text = std::str::from_utf8(value)?;
            anyhow::Ok(text.split(' ').next().unwrap_or_default().parse()?)
        });
        last.insert(key, number.transpose()?);
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key 1 was acknowledged at 5; 7 and a deletion have no answer.
    fn writer() -> Keyed {
        let mut keyed = Keyed::new("k", 1);
        let key = Key { acknowledged: Some(5), attempted: vec![Some(7), None] };
        keyed.keys.insert(1, key);
        keyed
    }

    #[test]
    fn planted_faults_in_a_compacted_topic_are_found() {
        let cases = [
            ("the acknowledged one", vec![(1, Some(5))], 0),
            ("one without answer", vec![(1, Some(7))], 0),
            ("deleted without answer, and compacted away", vec![], 0),
            ("an older one", vec![(1, Some(4))], 1),
            ("a key of nobody", vec![(1, Some(5)), (2, Some(6))], 1),
        ];
        for (name, found, faults) in cases {
            let found: BTreeMap<u32, Value> = found.into_iter().collect();
            assert_eq!(writer().judge(&found).len(), faults, "{name}");
        }
    }

    #[test]
    fn what_was_read_once_may_not_go_back() {
        let mut keyed = writer();
        assert!(keyed.judge(&BTreeMap::from([(1, Some(7))])).is_empty());
        assert_eq!(keyed.judge(&BTreeMap::from([(1, Some(5))])).len(), 1);
    }
}
