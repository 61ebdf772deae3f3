//! Balancing that goes on: when to move something, when to keep still.
//!
//! Not here: which moves are worth while (`plan`).

use std::collections::BTreeSet;

use types::TopicPartition;

use crate::Move;

/// Part of the average by which brokers differ before continuous balancing moves anything.
/// Loads change while it runs, so it is more than for one plan.
pub const TOLERANCE: f64 = 0.2;
/// Partitions that continuous balancing moves at the same time.
pub const MOVES_MAX: usize = 10;

/// A partition, as far as it says whether something may be moved.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its name.
    pub name: TopicPartition,
    /// Whether a reassignment is under way.
    pub is_moving: bool,
    /// Whether somebody leads it and all replicas are in sync that it had before a reassignment.
    pub is_well: bool,
    /// Whether its first replica leads.
    pub leads_preferred: bool,
}

/// What to do now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Next {
    /// Nothing yet.
    Wait(Why),
    /// Give these to their first replicas, which have arrived.
    Elect(Vec<TopicPartition>),
    /// Make a plan, and begin with it.
    Plan,
}

/// Why nothing is to be done yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// Its own moves are under way.
    Moving,
    /// Somebody else's moves are.
    Others,
    /// Partitions lack replicas or leaders, or brokers come and go.
    Unwell,
}

/// What was begun. It is forgotten with the controller: what another one has begun are somebody
/// else's moves.
#[derive(Clone, Debug, Default)]
pub struct Balancer {
    own: BTreeSet<TopicPartition>,
}

impl Balancer {
    /// What to do, given all partitions, and whether all brokers are there to stay.
    pub fn next(&mut self, all: impl IntoIterator<Item = Watched>, is_calm: bool) -> Next {
        let (mut moving, mut astray) = (BTreeSet::new(), Vec::new());
        let (mut others, mut is_well) = (false, is_calm);
        for one in all {
            let is_own = self.own.contains(&one.name);
            is_well &= one.is_well;
            if one.is_moving {
                others |= !is_own;
                moving.insert(one.name);
            } else if is_own && !one.leads_preferred {
                astray.push(one.name);
            }
        }
        // What has arrived, and what is gone.
        self.own.retain(|name| moving.contains(name));
        if !astray.is_empty() {
            Next::Elect(astray)
        } else if others {
            Next::Wait(Why::Others)
        } else if !is_well {
            Next::Wait(Why::Unwell)
        } else if !moving.is_empty() {
            Next::Wait(Why::Moving)
        } else {
            Next::Plan
        }
    }

    /// Moves have begun.
    pub fn began(&mut self, moves: &[Move]) {
        self.own.extend(moves.iter().map(|one| one.partition.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn well(partition: i32) -> Watched {
        let name = name(partition);
        Watched { name, is_moving: false, is_well: true, leads_preferred: true }
    }

    fn with_own_move(partition: i32) -> Balancer {
        let mut balancer = Balancer::default();
        let partition = name(partition);
        balancer.began(&[Move { partition, from: vec![1], to: vec![2], bytes: 0 }]);
        balancer
    }

    #[test]
    fn a_plan_is_made_where_all_is_well_and_nothing_moves() {
        let moving = |partition| Watched { is_moving: true, ..well(partition) };
        let astray = |partition| Watched { leads_preferred: false, ..well(partition) };
        let unwell = |partition| Watched { is_well: false, ..well(partition) };
        let cases = [
            ("all is well", vec![well(0), well(1)], true, Next::Plan),
            ("a broker comes or goes", vec![well(0)], false, Next::Wait(Why::Unwell)),
            ("replicas are missing", vec![well(0), unwell(1)], true, Next::Wait(Why::Unwell)),
            ("an own move", vec![moving(0), well(1)], true, Next::Wait(Why::Moving)),
            ("one beside it", vec![moving(0), moving(1)], true, Next::Wait(Why::Others)),
            ("not its own", vec![well(0), moving(1)], true, Next::Wait(Why::Others)),
            ("an own one has arrived", vec![astray(0)], true, Next::Elect(vec![name(0)])),
            ("others lead as they like", vec![well(0), astray(1)], true, Next::Plan),
        ];
        for (what, all, is_calm, next) in cases {
            assert_eq!(with_own_move(0).next(all, is_calm), next, "{what}");
        }
    }

    #[test]
    fn a_leader_that_does_not_come_is_asked_for_once() {
        let mut balancer = with_own_move(0);
        let astray = Watched { leads_preferred: false, ..well(0) };
        assert_eq!(balancer.next([astray.clone()], true), Next::Elect(vec![name(0)]));
        assert_eq!(balancer.next([astray], true), Next::Plan);
    }
}
