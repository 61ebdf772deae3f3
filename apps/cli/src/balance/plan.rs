//! Which replicas go where, so that brokers have alike: pure, and the same for the same cluster.
//!
//! Partitions get as many replicas as they should have. Replicas leave brokers that are to be emptied; then they go from brokers with many replicas or
//! bytes to those with few, as long as that evens out more than [`TOLERANCE`]; then leaders are
//! evened out by another order of the replicas, which copies nothing. A partition never gets fewer
//! racks than it had, and each move is the one that helps most, so that they are few.
//!
//! Not here: carrying it out (`moves`).

use std::collections::{BTreeMap, BTreeSet};

use client::TopicPartition;

/// Part of the average by which two brokers may differ.
const TOLERANCE: f64 = 0.1;

/// A broker as the planner sees it.
#[derive(Clone, Debug)]
pub(super) struct Broker {
    pub(super) id: i32,
    pub(super) rack: Option<String>,
    /// Whether it is to have no replicas in the end.
    pub(super) is_drained: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Partition {
    pub(super) name: TopicPartition,
    /// Preferred leader first.
    pub(super) replicas: Vec<i32>,
    pub(super) bytes: u64,
    /// How many replicas it is to have, as far as there are brokers.
    pub(super) wanted: usize,
}

/// Other replicas, or another order of them, for one partition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Move {
    pub(super) partition: TopicPartition,
    pub(super) from: Vec<i32>,
    pub(super) to: Vec<i32>,
    /// What is copied.
    pub(super) bytes: u64,
}

/// What a broker has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Load {
    pub(super) replicas: u64,
    pub(super) leaders: u64,
    pub(super) bytes: u64,
}

/// A partition has no broker to go to.
#[derive(Debug, thiserror::Error)]
#[error("{partition} has {replicas} replicas, and no other broker is left that could take one")]
pub(super) struct NoPlace {
    partition: TopicPartition,
    replicas: usize,
}

/// What each broker has, those without anything among them.
pub(super) fn loads(brokers: &[Broker], partitions: &[Partition]) -> BTreeMap<i32, Load> {
    let mut loads: BTreeMap<i32, Load> =
        brokers.iter().map(|broker| (broker.id, Load::default())).collect();
    for partition in partitions {
        for (at, replica) in partition.replicas.iter().enumerate() {
            let load = loads.entry(*replica).or_default();
            load.replicas += 1;
            load.leaders += u64::from(at == 0);
            load.bytes += partition.bytes;
        }
    }
    loads
}

/// The moves; with `only_drain` those alone that empty brokers or change how many replicas there are.
///
/// # Errors
/// If a replica has to go and cannot.
pub(super) fn plan(
    brokers: &[Broker],
    partitions: &[Partition],
    only_drain: bool,
) -> Result<Vec<Move>, NoPlace> {
    let mut planner = Planner {
        loads: loads(brokers, partitions),
        racks: brokers.iter().map(|one| (one.id, one.rack.as_deref().unwrap_or(""))).collect(),
        open: brokers.iter().filter(|one| !one.is_drained).map(|one| one.id).collect(),
        drained: brokers.iter().filter(|one| one.is_drained).map(|one| one.id).collect(),
        partitions: partitions.to_vec(),
    };
    planner.trim();
    planner.drain()?;
    planner.fill();
    if !only_drain {
        planner.spread();
        planner.spread_leaders();
    }
    let pairs = partitions.iter().zip(planner.partitions);
    let moves = pairs.filter(|(before, after)| before.replicas != after.replicas);
    let moves = moves.map(|(before, after)| {
        let added = after.replicas.iter().filter(|one| !before.replicas.contains(one)).count();
        Move {
            partition: after.name,
            from: before.replicas.clone(),
            to: after.replicas,
            bytes: before.bytes * added as u64,
        }
    });
    Ok(moves.collect())
}

struct Planner<'a> {
    loads: BTreeMap<i32, Load>,
    racks: BTreeMap<i32, &'a str>,
    /// Brokers that may get replicas.
    open: Vec<i32>,
    drained: Vec<i32>,
    partitions: Vec<Partition>,
}

impl Planner<'_> {
    /// Takes replicas away where there are too many: those that would have to move, then the last.
    fn trim(&mut self) {
        for at in 0..self.partitions.len() {
            let partition = &mut self.partitions[at];
            while partition.replicas.len() > partition.wanted.max(1) {
                let drained = partition.replicas.iter().rposition(|id| self.drained.contains(id));
                let gone = drained.unwrap_or(partition.replicas.len() - 1);
                let id = partition.replicas.remove(gone);
                let load = self.loads.entry(id).or_default();
                load.replicas -= 1;
                load.leaders -= u64::from(gone == 0);
                load.bytes -= partition.bytes;
                if gone == 0 {
                    self.loads.entry(partition.replicas[0]).or_default().leaders += 1;
                }
            }
        }
    }

    /// Adds replicas where there are too few.
    fn fill(&mut self) {
        for at in 0..self.partitions.len() {
            while self.partitions[at].replicas.len() < self.partitions[at].wanted {
                let Some(target) = self.refuge(at, None) else { break };
                let partition = &mut self.partitions[at];
                partition.replicas.push(target);
                let load = self.loads.entry(target).or_default();
                load.replicas += 1;
                load.bytes += partition.bytes;
            }
        }
    }

    fn drain(&mut self) -> Result<(), NoPlace> {
        for at in 0..self.partitions.len() {
            for broker in self.drained.clone() {
                if self.partitions[at].replicas.contains(&broker) {
                    let partition = &self.partitions[at];
                    let target = self.refuge(at, Some(broker)).ok_or_else(|| NoPlace {
                        partition: partition.name.clone(),
                        replicas: partition.replicas.len(),
                    })?;
                    self.relocate(at, broker, target);
                }
            }
        }
        Ok(())
    }

    /// Where a replica goes that has to, or a new one: the most racks first, then the least load.
    fn refuge(&self, at: usize, from: Option<i32>) -> Option<i32> {
        let partition = &self.partitions[at];
        let free = self.open.iter().copied().filter(|id| !partition.replicas.contains(id));
        let (replicas, bytes) = self.averages();
        let burden = |id: i32| {
            let load = self.loads[&id];
            load.replicas as f64 / replicas + load.bytes as f64 / bytes
        };
        let racks = |id: i32| self.racks_of(partition, from, Some(id));
        let better =
            |a: &i32, b: &i32| racks(*b).cmp(&racks(*a)).then(burden(*a).total_cmp(&burden(*b)));
        free.min_by(better)
    }

    /// How many racks a partition is in, without one of its replicas and with another one.
    fn racks_of(&self, partition: &Partition, without: Option<i32>, with: Option<i32>) -> usize {
        let kept = partition.replicas.iter().copied().filter(|id| Some(*id) != without);
        kept.chain(with).filter_map(|id| self.racks.get(&id)).collect::<BTreeSet<_>>().len()
    }

    fn relocate(&mut self, at: usize, from: i32, to: i32) {
        let partition = &mut self.partitions[at];
        let Some(place) = partition.replicas.iter().position(|id| *id == from) else { return };
        partition.replicas[place] = to;
        let (leads, bytes) = (u64::from(place == 0), partition.bytes);
        let load = self.loads.entry(from).or_default();
        load.replicas -= 1;
        load.leaders -= leads;
        load.bytes -= bytes;
        let load = self.loads.entry(to).or_default();
        load.replicas += 1;
        load.leaders += leads;
        load.bytes += bytes;
    }

    /// Replicas and bytes of a broker if all had the same; never 0.
    fn averages(&self) -> (f64, f64) {
        let brokers = self.open.len().max(1) as f64;
        let open = || self.open.iter().map(|id| self.loads[id]);
        let replicas = open().map(|load| load.replicas).sum::<u64>() as f64;
        let bytes = open().map(|load| load.bytes).sum::<u64>() as f64;
        ((replicas / brokers).max(1.0), (bytes / brokers).max(1.0))
    }

    fn spread(&mut self) {
        let replicas: usize = self.partitions.iter().map(|one| one.replicas.len()).sum();
        // Each move makes the sum of squares smaller, so it ends; more moves than replicas would
        // be no plan.
        for _ in 0..replicas {
            let Some((at, from, to)) = self.best_move() else { return };
            self.relocate(at, from, to);
        }
    }

    /// The replica whose move evens out most: partition, from, to.
    fn best_move(&self) -> Option<(usize, i32, i32)> {
        let mut best: Option<(f64, (usize, i32, i32))> = None;
        let averages = self.averages();
        for (at, partition) in self.partitions.iter().enumerate() {
            for &from in partition.replicas.iter().filter(|id| self.open.contains(id)) {
                for &to in self.open.iter().filter(|id| !partition.replicas.contains(id)) {
                    let gain = self.gain(partition.bytes, (from, to), averages);
                    let is_better = gain > best.map_or(0.0, |(gain, _)| gain);
                    let racks = |from, to| self.racks_of(partition, from, to);
                    if is_better && racks(Some(from), Some(to)) >= racks(None, None) {
                        best = Some((gain, (at, from, to)));
                    }
                }
            }
        }
        best.map(|(_, found)| found)
    }

    /// By how much a move evens out replicas and bytes; 0 or less where it does not, or where the
    /// two brokers are alike already.
    fn gain(&self, moved: u64, (from, to): (i32, i32), (replicas, bytes): (f64, f64)) -> f64 {
        let (a, b) = (self.loads[&from], self.loads[&to]);
        let part = |a: u64, b: u64, moved: u64, average: f64| {
            let (a, b, moved) = (a as f64, b as f64, moved as f64);
            (a - b > TOLERANCE * average, 2.0 * moved * (a - b - moved) / (average * average))
        };
        let (differ, by_replicas) = part(a.replicas, b.replicas, 1, replicas);
        let (differ_in_bytes, by_bytes) = part(a.bytes, b.bytes, moved, bytes);
        if differ || differ_in_bytes { by_replicas + by_bytes } else { 0.0 }
    }

    fn spread_leaders(&mut self) {
        for _ in 0..self.partitions.len() {
            let Some((at, place)) = self.best_leader() else { return };
            let replicas = &mut self.partitions[at].replicas;
            let (from, to) = (replicas[0], replicas[place]);
            replicas.swap(0, place);
            self.loads.entry(from).or_default().leaders -= 1;
            self.loads.entry(to).or_default().leaders += 1;
        }
    }

    /// The partition and the place of the replica that should lead it instead.
    fn best_leader(&self) -> Option<(usize, usize)> {
        let mut best: Option<(u64, (usize, usize))> = None;
        for (at, partition) in self.partitions.iter().enumerate() {
            let Some(first) = partition.replicas.first() else { continue };
            let leaders = self.loads[first].leaders;
            for (place, id) in partition.replicas.iter().enumerate().skip(1) {
                let gain = leaders.saturating_sub(self.loads[id].leaders);
                let may_lead = self.open.contains(id);
                if may_lead && gain > best.map_or(1, |(gain, _)| gain) {
                    best = Some((gain, (at, place)));
                }
            }
        }
        best.map(|(_, found)| found)
    }
}

#[cfg(test)]
mod tests;
