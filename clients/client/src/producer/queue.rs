//! The batches of one partition, in order, and their sequence numbers.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::ProducerSettings;
use super::batch::{Batch, Identity};

/// Batches of one partition that are not under way, oldest first. The last may still be filling.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) pending: VecDeque<Batch>,
    /// Numbers of the batches under way.
    pub(crate) in_flight: Vec<u64>,
    /// Whose sequence is counted, and the number of the next record.
    sequence: Option<(Identity, i32)>,
}

impl Queue {
    /// The batch that still takes a record of `bytes`.
    pub(crate) fn open_batch(
        &mut self,
        bytes: usize,
        settings: &ProducerSettings,
    ) -> Option<&mut Batch> {
        let last = self.pending.back_mut()?;
        let has_room = last.bytes() + bytes <= settings.batch_bytes;
        (last.tries == 0 && has_room).then_some(last)
    }

    /// When the first batch may be sent; `None` where it must wait for an answer first.
    /// `hurry` is the number below which batches do not linger.
    pub(crate) fn ready_at(&self, settings: &ProducerSettings, hurry: u64) -> Option<Instant> {
        let first = self.pending.front()?;
        if first.tries > 0 {
            // What was refused goes again alone and in order, else the ones behind it would be
            // taken before it.
            return self.in_flight.is_empty().then(|| first.not_before.unwrap_or(first.created));
        }
        let is_full = self.pending.len() > 1 || first.bytes() >= settings.batch_bytes;
        if is_full || first.number < hurry {
            return Some(first.created);
        }
        Some(first.created + settings.linger)
    }

    /// Takes the first batch to send it, and numbers it if that was not done yet.
    pub(crate) fn take(&mut self, identity: Option<Identity>) -> Option<Batch> {
        let mut batch = self.pending.pop_front()?;
        if let Some(identity) = identity
            && batch.sequence.is_none_or(|(old, _)| old != identity)
        {
            let next = match self.sequence {
                Some((counted, next)) if counted == identity => next,
                _ => 0,
            };
            batch.set_sequence(identity, next);
            let after = records::sequence_after(next, batch.record_count());
            self.sequence = Some((identity, after));
        }
        batch.tries += 1;
        self.in_flight.push(batch.number);
        Some(batch)
    }

    /// Notes that a batch is not under way any more.
    pub(crate) fn landed(&mut self, number: u64) {
        self.in_flight.retain(|flying| *flying != number);
    }

    /// Puts a batch that was refused back to its place.
    pub(crate) fn put_back(&mut self, batch: Batch) {
        let place = self.pending.partition_point(|other| other.number < batch.number);
        self.pending.insert(place, batch);
    }

    /// Whether a batch before `number` has not been acknowledged, so that the broker cannot have
    /// taken this one.
    pub(crate) fn has_before(&self, number: u64) -> bool {
        self.in_flight.iter().any(|flying| *flying < number)
            || self.pending.front().is_some_and(|first| first.number < number)
    }

    /// Whether its sequence must be remembered.
    pub(crate) fn is_numbered(&self) -> bool {
        self.sequence.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.in_flight.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::Compression;

    const IDENTITY: Option<Identity> = Some(Identity { id: 1, epoch: 0 });

    fn queue(batches: u64) -> Queue {
        let mut queue = Queue::default();
        let now = Instant::now();
        let batch = |number| Batch::new(number, Compression::None, None, now);
        queue.pending.extend((0..batches).map(batch));
        queue
    }

    #[test]
    fn a_refused_batch_waits_until_those_behind_it_have_landed() {
        let settings = ProducerSettings::default();
        let mut queue = queue(2);
        let first = queue.take(IDENTITY).unwrap();
        queue.take(IDENTITY).unwrap();
        queue.landed(0);
        queue.put_back(first);
        assert_eq!(queue.ready_at(&settings, 0), None);
        queue.landed(1);
        assert!(queue.ready_at(&settings, 0).is_some());
    }

    #[test]
    fn batches_come_back_to_their_place_in_any_order() {
        let mut queue = queue(4);
        let taken: Vec<_> = (0..3).filter_map(|_| queue.take(IDENTITY)).collect();
        for batch in taken.into_iter().rev() {
            assert_eq!(queue.has_before(batch.number), batch.number > 0);
            queue.landed(batch.number);
            queue.put_back(batch);
        }
        let numbers: Vec<_> = queue.pending.iter().map(|batch| batch.number).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
    }
}
