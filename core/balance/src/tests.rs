//! Random clusters, and a few by hand.

use std::collections::BTreeSet;

use types::Rng;

use super::*;

const EVEN: Goal = Goal::Even { tolerance: 0.1, moves_max: usize::MAX };

struct World {
    brokers: Vec<Broker>,
    partitions: Vec<Partition>,
}

fn broker(id: i32, racks: i32) -> Broker {
    let rack = (racks > 0).then(|| (id % racks).to_string());
    Broker { id, rack, intake: Intake::Open }
}

const MIB: u64 = 1 << 20;

fn partition(index: i32, replicas: &[i32], mib: u64) -> Partition {
    let name = TopicPartition::new("t", index);
    let (replicas, wanted) = (replicas.to_vec(), replicas.len());
    Partition { name, replicas, bytes: mib * MIB, rate: 0, wanted }
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
            let rate = u64::from(rng.below(1000)) << 10;
            Partition { rate, ..partition(index, &replicas, u64::from(rng.below(1000))) }
        });
        Self { partitions: partitions.collect(), brokers }
    }

    fn plan(&self, goal: Goal) -> Vec<Move> {
        plan(&self.brokers, &self.partitions, goal).unwrap()
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
        let is_drained = seed % 2 == 0;
        if is_drained {
            world.brokers[0].intake = Intake::Drained;
        }
        for one in world.plan(EVEN) {
            let distinct: BTreeSet<_> = one.to.iter().collect();
            assert_eq!(distinct.len(), one.from.len(), "seed {seed}: {one:?}");
            if !is_drained {
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
        world.partitions = world.after(&world.plan(EVEN));
        assert_eq!(world.plan(EVEN), [], "seed {seed}");
    }
}

#[test]
fn without_racks_no_broker_has_many_more_replicas_or_leaders_than_another() {
    for seed in 0..200 {
        let mut world = World::random(seed);
        for (id, broker) in (0..).zip(&mut world.brokers) {
            broker.rack = (seed % 2 == 0).then(|| id.to_string());
        }
        world.partitions.iter_mut().for_each(|one| (one.bytes, one.rate) = (10 * MIB, 0));
        let loads = loads(&world.brokers, &world.after(&world.plan(EVEN)));
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
        world.brokers[1].intake = Intake::Drained;
        let moves = world.plan(Goal::Drain);
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
    let moves = world.plan(EVEN);
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
    let loads = loads(&world.brokers, &world.after(&world.plan(EVEN)));
    assert!(loads.values().all(|load| load.bytes > 99 * MIB), "{loads:?}");
}

#[test]
fn leaders_are_evened_out_without_a_copy() {
    let brokers = (1..=3).map(|id| broker(id, 0)).collect();
    let partitions = (0..30).map(|index| partition(index, &[1, 2, 3], 7)).collect();
    let world = World { brokers, partitions };
    let moves = world.plan(EVEN);
    assert_eq!((moves.len(), moves.iter().map(|one| one.bytes).sum::<u64>()), (20, 0));
    let loads = loads(&world.brokers, &world.after(&moves));
    assert!(loads.values().all(|load| load.leaders == 10), "{loads:?}");
}

#[test]
fn what_has_no_place_is_named() {
    let mut brokers: Vec<_> = (1..=2).map(|id| broker(id, 0)).collect();
    brokers[1].intake = Intake::Drained;
    let refusal = plan(&brokers, &[partition(0, &[1, 2], 1)], Goal::Drain).unwrap_err().to_string();
    assert!(refusal.starts_with("t-0 has 2 replicas"), "{refusal}");
}

#[test]
fn replicas_that_are_written_much_are_spread_by_their_rate() {
    let brokers: Vec<_> = (1..=2).map(|id| broker(id, 0)).collect();
    let rates = [(1, 500), (1, 500), (2, 1), (2, 1)];
    let partitions = (0..)
        .zip(rates)
        .map(|(index, (id, kib))| Partition { rate: kib << 10, ..partition(index, &[id], 0) });
    let world = World { brokers, partitions: partitions.collect() };
    let loads = loads(&world.brokers, &world.after(&world.plan(EVEN)));
    assert!(loads.values().all(|load| load.rate == 501 << 10), "{loads:?}");
}

#[test]
fn leaders_that_are_written_much_are_spread_by_their_rate() {
    let brokers: Vec<_> = (1..=2).map(|id| broker(id, 0)).collect();
    let leaders = [(1, 2, 500), (1, 2, 500), (2, 1, 1), (2, 1, 1)];
    let partitions = (0..).zip(leaders).map(|(index, (first, second, kib))| Partition {
        rate: kib << 10,
        ..partition(index, &[first, second], 0)
    });
    let world = World { brokers, partitions: partitions.collect() };
    let loads = loads(&world.brokers, &world.after(&world.plan(EVEN)));
    let alike = Load { replicas: 4, leaders: 2, bytes: 0, rate: 1002 << 10, led_rate: 501 << 10 };
    assert!(loads.values().all(|load| *load == alike), "{loads:?}");
}

#[test]
fn a_few_bytes_move_nothing() {
    let brokers = (1..=2).map(|id| broker(id, 0)).collect();
    let small = |index, id, bytes| Partition { bytes, rate: bytes, ..partition(index, &[id], 0) };
    let partitions = vec![small(0, 1, 9000), small(1, 1, 9000), small(2, 2, 1), small(3, 2, 1)];
    assert_eq!(World { brokers, partitions }.plan(EVEN), []);
}

#[test]
fn partitions_get_as_many_racks_as_they_can() {
    for seed in 0..200 {
        let mut world = World::random(seed);
        for (id, broker) in (0_i32..).zip(&mut world.brokers) {
            broker.rack = Some((id % 3).to_string());
        }
        for one in world.after(&world.plan(EVEN)) {
            assert_eq!(world.racks(&one.replicas), one.replicas.len(), "seed {seed}: {one:?}");
        }
    }
}

#[test]
fn plan_after_plan_of_a_few_moves_comes_to_rest() {
    for seed in 0..100 {
        let mut world = World::random(seed);
        let few = Goal::Even { tolerance: 0.2, moves_max: 3 };
        let mut rounds = 0;
        loop {
            let moves = world.plan(few);
            assert!(moves.len() <= 3, "seed {seed}");
            if moves.is_empty() {
                break;
            }
            world.partitions = world.after(&moves);
            rounds += 1;
            assert!(rounds <= world.partitions.len(), "seed {seed}");
        }
    }
}

#[test]
fn a_closed_broker_gives_and_takes_nothing_it_need_not() {
    let mut brokers: Vec<_> = (1..=3).map(|id| broker(id, 0)).collect();
    brokers[2].intake = Intake::Closed;
    let partitions = (0..30).map(|index| partition(index, &[1 + index % 2], 1)).collect();
    let world = World { brokers, partitions };
    assert_eq!(world.plan(EVEN), []);
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
        let mut brokers: Vec<_> = (1..=3).map(|id| broker(id, 0)).collect();
        for one in brokers.iter_mut().filter(|one| drained.contains(&one.id)) {
            one.intake = Intake::Drained;
        }
        let one = Partition { wanted, ..partition(0, replicas, 7) };
        let moves = plan(&brokers, &[one], Goal::Drain).unwrap();
        assert_eq!(moves[0].to, expected, "{name}");
    }
}

#[test]
fn brokers_that_claim_more_than_can_be_counted_do_no_harm() {
    let brokers: Vec<_> = (1..=3).map(|id| broker(id, 0)).collect();
    let vast = |index| {
        let (bytes, rate) = (u64::MAX, u64::MAX);
        Partition { bytes, rate, wanted: 3, ..partition(index, &[1], 0) }
    };
    let moves = World { brokers, partitions: (0..4).map(vast).collect() }.plan(EVEN);
    assert_eq!(moves.len(), 4);
    assert_eq!(bytes_copied(&moves), u64::MAX);
}
