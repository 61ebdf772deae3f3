//! Clients: idempotent producers that wait for all replicas, and consumers.
//!
//! A client asks one machine at a time, goes where it is told that the leader is, and tries others
//! where it hears nothing.

use bytes::Bytes;
use records::{BatchBuilder, Compression};
use types::{Millis, Offset, ProducerId, Rng};

use crate::bug::Bug;
use crate::clock;
use crate::message::{Address, CLIENTS, Message, Refusal, Sending, Slot};

/// A client gives a request up after so long.
const PATIENCE: Millis = Millis(1200);
const BACKOFF: Millis = Millis(60);
/// A producer rests up to this long between two batches.
const THINK_MAX: u32 = 80;
const CONSUME_EVERY: Millis = Millis(150);
const RECORDS_MAX: u32 = 3;

pub struct Client {
    pub number: u32,
    pub slot: Slot,
    pub kind: Kind,
    /// Whom it takes for the leader.
    target: Address,
    requests: u64,
    /// What it waits for, and how long.
    awaits: Option<(u64, Millis)>,
    next: Millis,
}

pub enum Kind {
    Producer { sent: u32, batch: Option<(Bytes, u32)>, is_done: bool },
    Consumer { next: Offset },
}

impl Client {
    pub fn producer(number: u32, slot: Slot) -> Self {
        Self::new(number, slot, Kind::Producer { sent: 0, batch: None, is_done: false })
    }

    pub fn consumer(number: u32, slot: Slot) -> Self {
        Self::new(number, slot, Kind::Consumer { next: Offset::ZERO })
    }

    fn new(number: u32, slot: Slot, kind: Kind) -> Self {
        let next = Millis(500);
        Self { number, slot, kind, target: 0, requests: 0, awaits: None, next }
    }

    pub fn address(&self) -> Address {
        CLIENTS + self.number as usize
    }

    pub fn next(&self) -> Millis {
        self.awaits.map_or(self.next, |(_, until)| until)
    }

    /// Sends nothing new any more; what is under way is brought to its end.
    pub fn finish(&mut self) {
        if let Kind::Producer { is_done, .. } = &mut self.kind {
            *is_done = true;
        }
    }

    /// Whether all that a producer has sent is acknowledged.
    pub fn is_idle(&self) -> bool {
        !matches!(self.kind, Kind::Producer { batch: Some(_), .. })
    }

    /// Sends what is due.
    pub fn tick(
        &mut self,
        now: Millis,
        machines: usize,
        rng: &mut Rng,
        bug: Option<Bug>,
    ) -> Option<Sending> {
        if self.next() > now {
            return None;
        }
        if self.awaits.take().is_some() {
            self.target = below(rng, machines);
        }
        let id = self.requests + 1;
        let slot = self.slot;
        let message = match &mut self.kind {
            Kind::Producer { sent, batch, is_done } => {
                if batch.is_none() && *is_done {
                    self.next = Millis::MAX;
                    return None;
                }
                let make = || build(self.number, *sent, 1 + rng.below(RECORDS_MAX), now, bug);
                let (bytes, _) = batch.get_or_insert_with(make);
                Message::Produce { id, slot, batch: bytes.clone() }
            }
            Kind::Consumer { next } => Message::Consume { id, slot, from: *next },
        };
        self.requests = id;
        self.awaits = Some((id, now + PATIENCE));
        Some(Sending::request(self.target, message))
    }

    /// Takes the answer to a produce request; whether it was awaited and good.
    pub fn produced(
        &mut self,
        id: u64,
        result: Result<Offset, Refusal>,
        now: Millis,
        machines: usize,
        rng: &mut Rng,
    ) {
        let is_awaited = self.awaits.take_if(|(asked, _)| *asked == id).is_some();
        if !is_awaited {
            return;
        }
        match result {
            Ok(_) => {
                if let Kind::Producer { sent, batch, .. } = &mut self.kind {
                    *sent += batch.take().map_or(0, |(_, count)| count);
                }
                self.next = now + Millis(i64::from(rng.below(THINK_MAX)));
            }
            Err(refusal) => self.refused(refusal, now, machines, rng),
        }
    }

    /// Takes the answer to a consume request; gives the bytes if it was awaited.
    pub fn consumed(
        &mut self,
        id: u64,
        result: Result<Bytes, Refusal>,
        now: Millis,
        machines: usize,
        rng: &mut Rng,
    ) -> Option<Bytes> {
        self.awaits.take_if(|(asked, _)| *asked == id)?;
        match result {
            Ok(bytes) => {
                self.next = now + CONSUME_EVERY;
                Some(bytes)
            }
            Err(refusal) => {
                self.refused(refusal, now, machines, rng);
                None
            }
        }
    }

    fn refused(&mut self, refusal: Refusal, now: Millis, machines: usize, rng: &mut Rng) {
        self.target = refusal.leader.unwrap_or_else(|| below(rng, machines));
        self.next = now + BACKOFF;
    }
}

fn below(rng: &mut Rng, bound: usize) -> usize {
    rng.below(u32::try_from(bound).expect("there are few machines")) as usize
}

/// A batch, and how many records it has.
fn build(number: u32, sent: u32, count: u32, now: Millis, bug: Option<Bug>) -> (Bytes, u32) {
    let mut batch = BatchBuilder::new(Compression::None);
    if bug != Some(Bug::RetriesNotKnown) {
        let sequence = i32::try_from(sent).expect("runs are short");
        batch = batch.producer(ProducerId(i64::from(number) + 1000), 0, sequence);
    }
    for at in sent..sent + count {
        let mut value = [0; 8];
        value[..4].copy_from_slice(&number.to_be_bytes());
        value[4..].copy_from_slice(&at.to_be_bytes());
        batch.append(clock::right(now).get(), None, Some(&value), &[]);
    }
    (batch.build(), count)
}
