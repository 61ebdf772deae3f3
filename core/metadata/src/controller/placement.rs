//! Which brokers hold the replicas of new partitions.
//!
//! The rules are those of Kafka's striped placement: every broker leads about as often as every
//! other, the replicas of a partition stand in as many racks as there are, fenced brokers come last
//! within their rack and never lead, and partitions of the same leader have different followers.
//! One topic is placed at a time; the random start keeps topics of one partition apart.

use std::collections::BTreeMap;

use types::{BrokerId, ErrorCode, Rng};

use super::Refusal;
use crate::image::{Broker, Image};

/// Brokers by turns, beginning at a place that moves on with every round.
#[derive(Default)]
struct Ring {
    brokers: Vec<BrokerId>,
    /// How many were taken in this round.
    taken: usize,
    /// Where this round began.
    start: usize,
    round: usize,
}

impl Ring {
    /// The next broker of the round, `None` when all had their turn.
    fn next(&mut self, round: usize) -> Option<BrokerId> {
        if self.brokers.is_empty() {
            return None;
        }
        if self.round != round {
            self.round = round;
            self.taken = 0;
            self.start = (self.start + 1) % self.brokers.len();
        }
        if self.taken == self.brokers.len() {
            return None;
        }
        let broker = self.brokers[(self.start + self.taken) % self.brokers.len()];
        self.taken += 1;
        Some(broker)
    }
}

#[derive(Default)]
struct Rack {
    active: Ring,
    fenced: Ring,
}

/// The racks by turns. A round places one partition.
struct Placer<'a> {
    racks: Vec<Rack>,
    active_brokers: usize,
    /// The rack of the next leader.
    first: usize,
    round: usize,
    rng: &'a mut Rng,
}

/// The replicas of `partitions` new partitions, leader first.
pub(super) fn place(
    image: &Image,
    partitions: usize,
    replicas: usize,
    rng: &mut Rng,
) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    let usable = |broker: &&Broker| !broker.in_controlled_shutdown && broker.takes_replicas();
    let brokers: Vec<_> = image.brokers().map(AsRef::as_ref).filter(usable).collect();
    let refuse = |reason: String| {
        let message = format!("Unable to replicate the partition {replicas} time(s): {reason}");
        Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message))
    };
    if brokers.iter().all(|broker| broker.fenced) {
        return refuse("no usable broker is registered, or all are fenced.".to_owned());
    }
    if replicas > brokers.len() {
        return refuse(format!("only {} usable broker(s) are registered.", brokers.len()));
    }
    let mut placer = Placer::new(&brokers, rng);
    Ok((0..partitions).map(|_| placer.place(replicas)).collect())
}

impl<'a> Placer<'a> {
    fn new(brokers: &[&Broker], rng: &'a mut Rng) -> Self {
        let mut racks: BTreeMap<Option<&str>, Rack> = BTreeMap::new();
        for broker in brokers {
            let rack = racks.entry(broker.rack.as_deref()).or_default();
            let ring = if broker.fenced { &mut rack.fenced } else { &mut rack.active };
            ring.brokers.push(broker.id);
        }
        let mut racks: Vec<_> = racks.into_values().collect();
        for rack in &mut racks {
            for ring in [&mut rack.active, &mut rack.fenced] {
                ring.start = index_below(rng, ring.brokers.len());
            }
        }
        let active_brokers = racks.iter().map(|rack| rack.active.brokers.len()).sum();
        let first = index_below(rng, racks.len());
        Self { racks, active_brokers, first, round: 0, rng }
    }

    /// The replicas of one partition. There are enough brokers, one of them active.
    fn place(&mut self, replicas: usize) -> Vec<BrokerId> {
        // When every broker has led once, the same sets would come again: mix anew.
        if self.round == self.active_brokers && self.active_brokers > 1 {
            self.shuffle();
            self.round = 0;
        }
        let racks = self.racks.len();
        self.first %= racks;
        let (leader_rack, leader) = (self.first..self.first + racks)
            .find_map(|rack| {
                Some((rack % racks, self.racks[rack % racks].active.next(self.round)?))
            })
            .expect("an active broker has not had its turn in this round");
        let mut chosen = vec![leader];
        // Once around the other racks before the leader's own rack gives a second replica.
        let mut skip = Some(leader_rack);
        let mut rack = self.first;
        while chosen.len() < replicas {
            if skip == Some(rack) {
                skip = None;
            } else {
                let Rack { active, fenced } = &mut self.racks[rack];
                chosen.extend(active.next(self.round).or_else(|| fenced.next(self.round)));
            }
            rack = (rack + 1) % racks;
        }
        self.round += 1;
        self.first += 1;
        chosen
    }

    fn shuffle(&mut self) {
        shuffle(&mut self.racks, self.rng);
        for rack in &mut self.racks {
            shuffle(&mut rack.active.brokers, self.rng);
            shuffle(&mut rack.fenced.brokers, self.rng);
        }
    }
}

/// A random index into `len` items; 0 where there are none.
fn index_below(rng: &mut Rng, len: usize) -> usize {
    let len = u32::try_from(len).expect("brokers are numbered with 31 bits");
    if len == 0 { 0 } else { rng.below(len) as usize }
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, index_below(rng, last + 1));
    }
}
