//! Which replicas go where, so that brokers have alike: pure, and the same for the same cluster.
//!
//! Partitions get as many replicas as they should have; replicas leave brokers that are to be emptied;
//! partitions in fewer racks than they could be in get
//! more; then replicas go from brokers with many replicas, bytes or bytes per second to those with
//! few, as long as these differ; then leaders are evened out by another order of the replicas, which
//! copies nothing. A partition never gets fewer racks than it had, and each move is the one that
//! helps most, so that they are few, and that the first few of them are worth having alone.
//!
//! Not here: what the cluster is like, and carrying it out (the command line, the controller).

mod continuous;
mod growth;
mod planner;

use std::collections::BTreeMap;

use types::TopicPartition;

pub use continuous::{Balancer, MOVES_MAX, Next, TOLERANCE, Watched, Why};
pub use growth::Growth;

/// A broker as the planner sees it.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Where it stands.
    pub rack: Option<String>,
    /// What it may get.
    pub intake: Intake,
}

/// What becomes of a broker's replicas.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Intake {
    /// It gives and takes.
    Open,
    /// It gets none.
    Closed,
    /// It gets none, and is to have none in the end.
    Drained,
}

/// A partition as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Partition {
    /// Its name.
    pub name: TopicPartition,
    /// Preferred leader first.
    pub replicas: Vec<i32>,
    /// Bytes of a replica.
    pub bytes: u64,
    /// Bytes per second that are written to a replica.
    pub rate: u64,
    /// How many replicas it is to have, as far as there are brokers.
    pub wanted: usize,
}

/// Other replicas, or another order of them, for one partition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Move {
    /// Of which partition.
    pub partition: TopicPartition,
    /// Its replicas before.
    pub from: Vec<i32>,
    /// Its replicas afterwards.
    pub to: Vec<i32>,
    /// What is copied.
    pub bytes: u64,
}

/// What a broker has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Load {
    /// Replicas.
    pub replicas: u64,
    /// Partitions whose first replica it has.
    pub leaders: u64,
    /// Bytes of all its replicas.
    pub bytes: u64,
    /// Bytes per second that are written to them.
    pub rate: u64,
    /// Bytes per second of those that it leads.
    pub led_rate: u64,
}

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// That brokers are emptied and partitions have as many replicas as wanted, and nothing else.
    Drain,
    /// That brokers have alike, and none of those to be emptied anything.
    Even {
        /// Part of the average by which two brokers may differ.
        tolerance: f64,
        /// Partitions to change at most.
        moves_max: usize,
    },
}

/// A partition has no broker to go to.
#[derive(Debug, thiserror::Error)]
#[error("{partition} has {replicas} replicas, and no other broker is left that could take one")]
pub struct NoPlace {
    partition: TopicPartition,
    replicas: usize,
}

/// What each broker has, those without anything among them.
pub fn loads(brokers: &[Broker], partitions: &[Partition]) -> BTreeMap<i32, Load> {
    let mut loads: BTreeMap<i32, Load> =
        brokers.iter().map(|broker| (broker.id, Load::default())).collect();
    for partition in partitions {
        for (at, replica) in partition.replicas.iter().enumerate() {
            loads.entry(*replica).or_default().add(partition, at == 0);
        }
    }
    loads
}

/// The moves for a goal.
///
/// # Errors
/// If a replica has to go and cannot.
pub fn plan(
    brokers: &[Broker],
    partitions: &[Partition],
    goal: Goal,
) -> Result<Vec<Move>, NoPlace> {
    let planned = planner::run(brokers, partitions, goal)?;
    let pairs = partitions.iter().zip(planned);
    let moves = pairs.filter(|(before, after)| before.replicas != *after);
    let moves = moves.map(|(before, to)| {
        let added = to.iter().filter(|one| !before.replicas.contains(one)).count();
        Move {
            partition: before.name.clone(),
            from: before.replicas.clone(),
            to,
            bytes: before.bytes.saturating_mul(added as u64),
        }
    });
    Ok(moves.collect())
}

/// What all the moves copy.
pub fn bytes_copied(moves: &[Move]) -> u64 {
    moves.iter().fold(0, |sum, one| sum.saturating_add(one.bytes))
}

impl Load {
    /// Bytes and rates are what brokers say of themselves, which may be anything.
    fn add(&mut self, partition: &Partition, leads: bool) {
        self.replicas += 1;
        self.bytes = self.bytes.saturating_add(partition.bytes);
        self.rate = self.rate.saturating_add(partition.rate);
        if leads {
            self.leaders += 1;
            self.led_rate = self.led_rate.saturating_add(partition.rate);
        }
    }

    fn remove(&mut self, partition: &Partition, leads: bool) {
        self.replicas -= 1;
        self.bytes = self.bytes.saturating_sub(partition.bytes);
        self.rate = self.rate.saturating_sub(partition.rate);
        if leads {
            self.leaders -= 1;
            self.led_rate = self.led_rate.saturating_sub(partition.rate);
        }
    }
}

#[cfg(test)]
mod tests;
