//! The search for moves: each step is the one that evens out most.
//!
//! Brokers are places in a list here, as a plan for a large cluster asks for the load of each again
//! and again.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Broker, Goal, Intake, Load, NoPlace, Partition, loads};

/// Bytes that brokers have on average below which nobody cares who has more.
const BYTES_NOTICED: f64 = (16 << 20) as f64;
/// Bytes per second likewise.
const RATE_NOTICED: f64 = (64 << 10) as f64;

/// The replicas of each partition afterwards.
pub fn run(
    brokers: &[Broker],
    partitions: &[Partition],
    goal: Goal,
) -> Result<Vec<Vec<i32>>, NoPlace> {
    let mut planner = Planner::new(brokers, partitions);
    planner.trim();
    planner.drain()?;
    planner.fill();
    if let Goal::Even { tolerance, moves_max } = goal {
        planner.tolerance = tolerance;
        planner.moves_max = moves_max;
        planner.spread_racks();
        planner.spread();
        planner.spread_leaders();
    }
    let ids = |placed: Vec<usize>| placed.iter().map(|at| planner.nodes[*at].id).collect();
    Ok(planner.placed.into_iter().map(ids).collect())
}

struct Node {
    id: i32,
    /// Its rack's place in a list of all; brokers without one share a place.
    rack: usize,
    intake: Intake,
    load: Load,
}

struct Planner<'a> {
    nodes: Vec<Node>,
    partitions: &'a [Partition],
    /// The nodes of each partition, preferred leader first.
    placed: Vec<Vec<usize>>,
    /// Partitions that are changed already.
    changed: BTreeSet<usize>,
    tolerance: f64,
    moves_max: usize,
}

/// What a broker has on average, or 0 where that is too little to care about.
struct Averages {
    replicas: f64,
    leaders: f64,
    bytes: f64,
    rate: f64,
    led_rate: f64,
}

impl<'a> Planner<'a> {
    fn new(brokers: &[Broker], partitions: &'a [Partition]) -> Self {
        let known: BTreeMap<i32, &Broker> = brokers.iter().map(|one| (one.id, one)).collect();
        let racks: BTreeSet<&str> = brokers.iter().filter_map(|one| one.rack.as_deref()).collect();
        let racks: Vec<&str> = racks.into_iter().collect();
        let node = |(id, load): (i32, Load)| {
            let broker = known.get(&id);
            let rack = broker.and_then(|one| racks.binary_search(&one.rack.as_deref()?).ok());
            Node {
                id,
                rack: rack.unwrap_or(racks.len()),
                // One that is not there can give, but not take.
                intake: broker.map_or(Intake::Closed, |one| one.intake),
                load,
            }
        };
        let nodes: Vec<Node> = loads(brokers, partitions).into_iter().map(node).collect();
        let place =
            |id: &i32| nodes.binary_search_by_key(id, |node| node.id).expect("all have one");
        let placed =
            partitions.iter().map(|one| one.replicas.iter().map(place).collect()).collect();
        Self {
            nodes,
            partitions,
            placed,
            changed: BTreeSet::new(),
            tolerance: 0.0,
            moves_max: usize::MAX,
        }
    }

    /// Takes replicas away where there are too many: those that would have to move, then the last.
    fn trim(&mut self) {
        for (at, partition) in self.partitions.iter().enumerate() {
            while self.placed[at].len() > partition.wanted.max(1) {
                let has_to_go = |node: &usize| self.nodes[*node].intake == Intake::Drained;
                let drained = self.placed[at].iter().rposition(has_to_go);
                let gone = drained.unwrap_or(self.placed[at].len() - 1);
                let node = self.placed[at].remove(gone);
                self.nodes[node].load.remove(partition, gone == 0);
                if gone == 0 {
                    self.lead(self.placed[at][0], partition, true);
                }
                self.changed.insert(at);
            }
        }
    }

    /// Adds replicas where there are too few.
    fn fill(&mut self) {
        for (at, partition) in self.partitions.iter().enumerate() {
            while self.placed[at].len() < partition.wanted {
                let Some(to) = self.refuge(at, None) else { break };
                self.placed[at].push(to);
                self.nodes[to].load.add(partition, false);
                self.changed.insert(at);
            }
        }
    }

    /// A node that has a replica leads with it from now on, or no more.
    fn lead(&mut self, node: usize, partition: &Partition, leads: bool) {
        let load = &mut self.nodes[node].load;
        load.remove(partition, !leads);
        load.add(partition, leads);
    }

    fn drain(&mut self) -> Result<(), NoPlace> {
        for at in 0..self.placed.len() {
            for from in self.placed[at].clone() {
                if self.nodes[from].intake == Intake::Drained {
                    let to = self.refuge(at, Some(from)).ok_or_else(|| NoPlace {
                        partition: self.partitions[at].name.clone(),
                        replicas: self.placed[at].len(),
                    })?;
                    self.relocate(at, from, to);
                }
            }
        }
        Ok(())
    }

    /// Where a replica goes that has to, or a new one: the most racks first, then the least load.
    fn refuge(&self, at: usize, from: Option<usize>) -> Option<usize> {
        let averages = self.averages();
        let free = self.open().filter(|to| !self.placed[at].contains(to));
        let racks = |to: usize| self.racks_of(at, from, Some(to));
        let better = |a: &usize, b: &usize| {
            let by_burden = self.burden(*a, &averages).total_cmp(&self.burden(*b, &averages));
            racks(*b).cmp(&racks(*a)).then(by_burden)
        };
        free.min_by(better)
    }

    fn open(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|at| self.nodes[*at].intake == Intake::Open)
    }

    /// How many racks a partition is in, without one of its replicas and with another one.
    fn racks_of(&self, at: usize, without: Option<usize>, with: Option<usize>) -> usize {
        let kept = self.placed[at].iter().copied().filter(|node| Some(*node) != without);
        let racks: Vec<usize> = kept.chain(with).map(|node| self.nodes[node].rack).collect();
        let is_first = |(place, rack): (usize, &usize)| !racks[..place].contains(rack);
        racks.iter().enumerate().filter(|one| is_first(*one)).count()
    }

    fn relocate(&mut self, at: usize, from: usize, to: usize) {
        let Some(place) = self.placed[at].iter().position(|node| *node == from) else { return };
        let partition = &self.partitions[at];
        self.placed[at][place] = to;
        self.nodes[from].load.remove(partition, place == 0);
        self.nodes[to].load.add(partition, place == 0);
        self.changed.insert(at);
    }

    /// Whether a partition may be changed within the number of moves.
    fn may_change(&self, at: usize) -> bool {
        self.changed.len() < self.moves_max || self.changed.contains(&at)
    }

    fn averages(&self) -> Averages {
        let open = self.open().count().max(1) as f64;
        let of = |pick: fn(&Load) -> u64, least: f64| {
            let sum: f64 = self.open().map(|at| pick(&self.nodes[at].load) as f64).sum();
            let average = sum / open;
            if average < least { 0.0 } else { average }
        };
        Averages {
            replicas: of(|load| load.replicas, 0.0),
            leaders: of(|load| load.leaders, 0.0),
            bytes: of(|load| load.bytes, BYTES_NOTICED),
            rate: of(|load| load.rate, RATE_NOTICED),
            led_rate: of(|load| load.led_rate, RATE_NOTICED),
        }
    }

    fn burden(&self, at: usize, averages: &Averages) -> f64 {
        let load = self.nodes[at].load;
        let part = |of: u64, average: f64| if average > 0.0 { of as f64 / average } else { 0.0 };
        part(load.replicas, averages.replicas)
            + part(load.bytes, averages.bytes)
            + part(load.rate, averages.rate)
    }

    /// Gives partitions more racks that share one, where brokers in others are open.
    fn spread_racks(&mut self) {
        let racks = self.open().map(|at| self.nodes[at].rack).collect::<BTreeSet<_>>().len();
        for at in 0..self.placed.len() {
            while self.may_change(at)
                && self.racks_of(at, None, None) < racks.min(self.placed[at].len())
            {
                let Some((from, to)) = self.more_racks(at) else { break };
                self.relocate(at, from, to);
            }
        }
    }

    /// The replica of a partition that shares its rack, the last such one, and where it goes.
    fn more_racks(&self, at: usize) -> Option<(usize, usize)> {
        let before = self.racks_of(at, None, None);
        let averages = self.averages();
        self.placed[at].iter().rev().find_map(|&from| {
            let free = self.open().filter(|to| !self.placed[at].contains(to));
            let better = free.filter(|to| self.racks_of(at, Some(from), Some(*to)) > before);
            let burden = |at: &usize| self.burden(*at, &averages);
            let to = better.min_by(|a, b| burden(a).total_cmp(&burden(b)))?;
            Some((from, to))
        })
    }

    fn spread(&mut self) {
        let replicas: usize = self.placed.iter().map(Vec::len).sum();
        // Each move makes the sum of squares smaller, so it ends; more moves than replicas would
        // be no plan.
        for _ in 0..replicas {
            let Some((at, from, to)) = self.best_move() else { return };
            self.relocate(at, from, to);
        }
    }

    /// The replica whose move evens out most: partition, from, to.
    fn best_move(&self) -> Option<(usize, usize, usize)> {
        let mut best: Option<(f64, (usize, usize, usize))> = None;
        let averages = self.averages();
        let open: Vec<usize> = self.open().collect();
        for (at, placed) in self.placed.iter().enumerate().filter(|(at, _)| self.may_change(*at)) {
            for &from in placed.iter().filter(|from| open.contains(from)) {
                for &to in open.iter().filter(|to| !placed.contains(to)) {
                    let gain = self.gain(&self.partitions[at], (from, to), &averages);
                    let is_better = gain > best.map_or(0.0, |(gain, _)| gain);
                    let racks = |from, to| self.racks_of(at, from, to);
                    if is_better && racks(Some(from), Some(to)) >= racks(None, None) {
                        best = Some((gain, (at, from, to)));
                    }
                }
            }
        }
        best.map(|(_, found)| found)
    }

    /// By how much a move evens out; 0 or less where it does not, or where the two brokers are
    /// alike already.
    fn gain(&self, moved: &Partition, (from, to): (usize, usize), averages: &Averages) -> f64 {
        let (a, b) = (&self.nodes[from].load, &self.nodes[to].load);
        let parts = [
            self.part((a.replicas, b.replicas), 1, averages.replicas),
            self.part((a.bytes, b.bytes), moved.bytes, averages.bytes),
            self.part((a.rate, b.rate), moved.rate, averages.rate),
        ];
        sum_of(&parts)
    }

    /// Whether two brokers differ, and by how much they would differ less.
    fn part(&self, (a, b): (u64, u64), moved: u64, average: f64) -> (bool, f64) {
        if average == 0.0 {
            return (false, 0.0);
        }
        let (a, b, moved) = (a as f64, b as f64, moved as f64);
        let gain = 2.0 * moved * (a - b - moved) / (average * average);
        (a - b > self.tolerance * average, gain)
    }

    fn spread_leaders(&mut self) {
        for _ in 0..self.placed.len() {
            let Some((at, place)) = self.best_leader() else { return };
            let (from, to) = (self.placed[at][0], self.placed[at][place]);
            self.placed[at].swap(0, place);
            self.lead(from, &self.partitions[at], false);
            self.lead(to, &self.partitions[at], true);
            self.changed.insert(at);
        }
    }

    /// The partition and the place of the replica that should lead it instead.
    fn best_leader(&self) -> Option<(usize, usize)> {
        let mut best: Option<(f64, (usize, usize))> = None;
        let averages = self.averages();
        for (at, placed) in self.placed.iter().enumerate().filter(|(at, _)| self.may_change(*at)) {
            let Some(&first) = placed.first() else { continue };
            for (place, &other) in placed.iter().enumerate().skip(1) {
                if self.nodes[other].intake != Intake::Open {
                    continue;
                }
                let (a, b) = (&self.nodes[first].load, &self.nodes[other].load);
                let (differ, by_count) = self.part((a.leaders, b.leaders), 1, averages.leaders);
                let parts = [
                    // To have one more is alike.
                    (differ || a.leaders > b.leaders + 1, by_count),
                    self.part(
                        (a.led_rate, b.led_rate),
                        self.partitions[at].rate,
                        averages.led_rate,
                    ),
                ];
                let gain = sum_of(&parts);
                if gain > best.map_or(0.0, |(gain, _)| gain) {
                    best = Some((gain, (at, place)));
                }
            }
        }
        best.map(|(_, found)| found)
    }
}

/// The whole gain, if there is a difference to speak of.
fn sum_of(parts: &[(bool, f64)]) -> f64 {
    let differ = parts.iter().any(|(differ, _)| *differ);
    if differ { parts.iter().map(|(_, gain)| gain).sum() } else { 0.0 }
}
