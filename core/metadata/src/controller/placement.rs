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
    // One that has stopped is fenced and will come back; one that is about to stop will not follow.
    let leaving = |broker: &Broker| broker.in_controlled_shutdown && !broker.fenced;
    let usable = |broker: &&Broker| !leaving(broker) && broker.takes_replicas();
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use protocol::internal::metadata::RegisterBrokerRecord;

    use super::*;

    /// Brokers by rack; a negative id is fenced.
    fn cluster(racks: &[(&str, &[i32])]) -> Image {
        let mut image = Image::default();
        for (rack, ids) in racks {
            for id in *ids {
                let record = RegisterBrokerRecord {
                    broker_id: id.abs(),
                    rack: Some((*rack).to_owned()),
                    fenced: *id < 0,
                    ..Default::default()
                };
                image.apply(&record.into()).unwrap();
            }
        }
        image
    }

    fn placed(image: &Image, partitions: usize, replicas: usize, seed: u64) -> Vec<Vec<i32>> {
        let placed = place(image, partitions, replicas, &mut Rng::new(seed)).unwrap();
        placed.iter().map(|ids| ids.iter().map(|id| id.0).collect()).collect()
    }

    fn racks_of(racks: &[(&str, &[i32])], ids: &[i32]) -> BTreeSet<String> {
        let rack = |id: &i32| {
            let holds = |rack: &&(&str, &[i32])| rack.1.iter().any(|other| other.abs() == *id);
            racks.iter().find(holds).unwrap().0.to_owned()
        };
        ids.iter().map(rack).collect()
    }

    const THREE_RACKS: &[(&str, &[i32])] = &[("a", &[1, 2]), ("b", &[3, 4]), ("c", &[5, 6])];

    #[test]
    fn every_broker_leads_equally_often() {
        for seed in 0..50 {
            let placed = placed(&cluster(THREE_RACKS), 60, 3, seed);
            for broker in 1..=6 {
                let leads = placed.iter().filter(|replicas| replicas[0] == broker).count();
                assert_eq!(leads, 10, "seed {seed} broker {broker}");
            }
        }
    }

    #[test]
    fn replicas_stand_in_different_racks() {
        for seed in 0..50 {
            for replicas in placed(&cluster(THREE_RACKS), 20, 3, seed) {
                assert_eq!(racks_of(THREE_RACKS, &replicas).len(), 3, "{replicas:?}");
            }
        }
    }

    #[test]
    fn no_partition_has_a_broker_twice() {
        let racks: &[(&str, &[i32])] = &[("a", &[1, 2, -3]), ("b", &[4]), ("c", &[-5])];
        for seed in 0..50 {
            for replicas in 1..=5 {
                for ids in placed(&cluster(racks), 12, replicas, seed) {
                    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), replicas, "{ids:?}");
                }
            }
        }
    }

    #[test]
    fn fenced_brokers_never_lead_and_come_last_in_their_rack() {
        let racks: &[(&str, &[i32])] = &[("a", &[1, 2, -3]), ("b", &[4, 5, -6])];
        for seed in 0..50 {
            for ids in placed(&cluster(racks), 20, 4, seed) {
                assert_eq!(ids.iter().filter(|id| [3, 6].contains(id)).count(), 0, "{ids:?}");
            }
            for ids in placed(&cluster(racks), 20, 6, seed) {
                assert!(![3, 6].contains(&ids[0]), "{ids:?}");
            }
        }
    }

    #[test]
    fn fellow_replicas_vary() {
        let pairs: BTreeSet<_> =
            placed(&cluster(&[("a", &[1, 2, 3, 4])]), 24, 2, 3).into_iter().collect();
        assert!(pairs.len() > 4, "{pairs:?}");
    }

    #[test]
    fn same_seed_same_places() {
        let image = cluster(THREE_RACKS);
        assert_eq!(placed(&image, 9, 2, 5), placed(&image, 9, 2, 5));
        assert_ne!(placed(&image, 9, 2, 5), placed(&image, 9, 2, 6));
    }

    #[test]
    fn too_few_brokers_are_refused() {
        let cases: [(&[i32], usize); 4] = [(&[], 1), (&[-1, -2], 1), (&[1, 2], 3), (&[1, -2], 3)];
        for (ids, replicas) in cases {
            let image = cluster(&[("a", ids)]);
            let refusal = place(&image, 1, replicas, &mut Rng::new(1)).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::InvalidReplicationFactor, "{ids:?}");
        }
    }

    #[test]
    fn single_broker_takes_everything() {
        assert_eq!(placed(&cluster(&[("a", &[1])]), 5, 1, 1), vec![vec![1]; 5]);
    }
}
