//! Random clusters, and a few by hand.

use types::Rng;

use super::*;

struct World {
    brokers: Vec<Broker>,
    partitions: Vec<Partition>,
}

fn broker(id: i32, racks: i32) -> Broker {
    let rack = (racks > 0).then(|| (id % racks).to_string());
    Broker { id, rack, is_drained: false }
}

fn partition(index: i32, replicas: &[i32], bytes: u64) -> Partition {
    let name = TopicPartition::new("t", index);
    Partition { name, replicas: replicas.to_vec(), bytes, wanted: replicas.len() }
}

impl World {
    fn random(seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let count = 3 + rng.below(5) as i32;
        let racks = rng.below(4) as i32;
        let brokers: Vec<_> = (1..=count).map(|id| broker(id, racks)).collect();
        // The last brokers are new and have nothing.
        let used = count - rng.below(2) as i32;
        let partitions = (0..20 + rng.below(60) as i32).map(|index| {
            let mut ids: Vec<i32> = (1..=used).collect();
            let replicas: Vec<i32> = (0..1 + rng.below(2))
                .map(|_| ids.remove(rng.below(ids.len() as u32) as usize))
                .collect();
            partition(index, &replicas, u64::from(rng.below(1000)))
        });
        Self { partitions: partitions.collect(), brokers }
    }

    fn plan(&self, only_drain: bool) -> Vec<Move> {
        plan(&self.brokers, &self.partitions, only_drain).unwrap()
    }

    fn after(&self, moves: &[Move]) -> Vec<Partition> {
        let mut partitions = self.partitions.clone();
        for one in moves {
            let found = partitions.iter_mut().find(|found| found.name == one.partition).unwrap();
            assert_eq!(found.replicas, one.from);
            found.replicas.clone_from(&one.to);
        }
        partitions
    }

    fn racks(&self, replicas: &[i32]) -> usize {
        let rack = |id: &i32| &self.brokers.iter().find(|one| one.id == *id).unwrap().rack;
        replicas.iter().map(rack).collect::<BTreeSet<_>>().len()
    }
}

#[test]
fn replicas_stay_as_many_on_brokers_of_their_own_in_no_fewer_racks() {
    for seed in 0..200 {
        let mut world = World::random(seed);
        world.brokers[0].is_drained = seed % 2 == 0;
        for one in world.plan(false) {
            let distinct: BTreeSet<_> = one.to.iter().collect();
            assert_eq!(distinct.len(), one.from.len(), "seed {seed}: {one:?}");
            if !world.brokers[0].is_drained {
                let (before, after) = (world.racks(&one.from), world.racks(&one.to));
                assert!(after >= before, "seed {seed}: {one:?}");
            }
        }
    }
}

#[test]
fn a_balanced_cluster_stays_as_it_is() {
    for seed in 0..200 {
        let mut world = World::random(seed);
        world.partitions = world.after(&world.plan(false));
        assert_eq!(world.plan(false), [], "seed {seed}");
    }
}

#[test]
fn without_racks_no_broker_has_many_more_replicas_or_leaders_than_another() {
    for seed in 0..200 {
        let mut world = World::random(seed);
        for (id, broker) in (0..).zip(&mut world.brokers) {
            broker.rack = (seed % 2 == 0).then(|| id.to_string());
        }
        world.partitions.iter_mut().for_each(|one| one.bytes = 10);
        let loads = loads(&world.brokers, &world.after(&world.plan(false)));
        let spread = |of: fn(&Load) -> u64| {
            loads.values().map(of).max().unwrap() - loads.values().map(of).min().unwrap()
        };
        let average = loads.values().map(|load| load.replicas).sum::<u64>() / loads.len() as u64;
        assert!(spread(|load| load.replicas) <= 1 + average / 10, "seed {seed}: {loads:?}");
    }
}

#[test]
fn a_drained_broker_has_nothing_and_nothing_else_moves() {
    for seed in 0..200 {
        let mut world = World::random(seed);
        world.brokers[1].is_drained = true;
        let moves = world.plan(true);
        let held = world.partitions.iter().filter(|one| one.replicas.contains(&2)).count();
        assert_eq!(moves.len(), held, "seed {seed}");
        assert!(moves.iter().all(|one| !one.to.contains(&2)), "seed {seed}");
    }
}

#[test]
fn a_new_broker_takes_its_share_by_as_many_moves() {
    let brokers = (1..=4).map(|id| broker(id, 0)).collect();
    let partitions =
        (0..60).map(|index| partition(index, &[1 + index % 3, 1 + (index + 1) % 3], 5));
    let world = World { brokers, partitions: partitions.collect() };
    let moves = world.plan(false);
    let loads = loads(&world.brokers, &world.after(&moves));
    assert!((28..=30).contains(&loads[&4].replicas), "{loads:?}");
    let copied = moves.iter().filter(|one| one.bytes > 0).count() as u64;
    assert_eq!(copied, loads[&4].replicas);
    assert!(loads.values().all(|load| (14..=16).contains(&load.leaders)), "{loads:?}");
}

#[test]
fn large_partitions_are_spread_by_their_bytes() {
    let brokers = (1..=2).map(|id| broker(id, 0)).collect();
    let sizes = [(1, 100), (1, 100), (2, 1), (2, 1)];
    let partitions = (0..).zip(sizes).map(|(index, (id, bytes))| partition(index, &[id], bytes));
    let world = World { brokers, partitions: partitions.collect() };
    let loads = loads(&world.brokers, &world.after(&world.plan(false)));
    assert!(loads.values().all(|load| load.bytes > 99), "{loads:?}");
}

#[test]
fn leaders_are_evened_out_without_a_copy() {
    let brokers = (1..=3).map(|id| broker(id, 0)).collect();
    let partitions = (0..30).map(|index| partition(index, &[1, 2, 3], 7)).collect();
    let world = World { brokers, partitions };
    let moves = world.plan(false);
    assert_eq!((moves.len(), moves.iter().map(|one| one.bytes).sum::<u64>()), (20, 0));
    let loads = loads(&world.brokers, &world.after(&moves));
    assert!(loads.values().all(|load| load.leaders == 10), "{loads:?}");
}

#[test]
fn what_has_no_place_is_named() {
    let mut brokers: Vec<_> = (1..=2).map(|id| broker(id, 0)).collect();
    brokers[1].is_drained = true;
    let refusal = plan(&brokers, &[partition(0, &[1, 2], 1)], true).unwrap_err().to_string();
    assert!(refusal.starts_with("t-0 has 2 replicas"), "{refusal}");
}

#[test]
fn partitions_get_as_many_replicas_as_they_should_have() {
    type Ids = &'static [i32];
    let cases: [(&str, Ids, Ids, usize, Ids); 6] = [
        ("more", &[1], &[], 3, &[1, 2, 3]),
        ("as many as there are brokers", &[1], &[], 5, &[1, 2, 3]),
        ("less", &[3, 1, 2], &[], 2, &[3, 1]),
        ("less, and where it has to go", &[3, 1, 2], &[1], 2, &[3, 2]),
        ("less, and another leader", &[3, 1, 2], &[3], 2, &[1, 2]),
        ("one at least", &[2, 1], &[], 0, &[2]),
    ];
    for (name, replicas, drained, wanted, expected) in cases {
        let is_drained = |one: &Broker| drained.contains(&one.id);
        let brokers = (1..=3).map(|id| broker(id, 0));
        let brokers: Vec<_> =
            brokers.map(|one| Broker { is_drained: is_drained(&one), ..one }).collect();
        let one = Partition { wanted, ..partition(0, replicas, 7) };
        let moves = plan(&brokers, &[one], true).unwrap();
        assert_eq!(moves[0].to, expected, "{name}");
    }
}
