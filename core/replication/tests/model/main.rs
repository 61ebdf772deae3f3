//! The replication rules, model-checked: every order of a few steps of three replicas and a
//! controller, with the real leader and follower.
//!
//! What the simulation (`tests/sim`) samples, this exhausts, as far as its bounds reach: so many steps
//! with a few records, elections, crashes that lose what was not synced, and lost messages. Time
//! stands still or has passed all limits. Not here: fetch sessions, answers that come late.

mod replica;
mod state;
#[path = "../support/mod.rs"]
mod support;

use stateright::{Checker, Model, Property};
use types::BrokerId;

use crate::replica::Replica;
use crate::state::{Action, State};
use crate::support::PartitionState;

pub const REPLICAS: usize = 3;

/// How much may happen.
#[derive(Clone, Copy)]
struct Bounds {
    min_isr: usize,
    /// How many are in the ISR at the start.
    in_sync: usize,
    records: u32,
    /// The last epoch that a leader may have.
    epoch: i32,
    crashes: u8,
    /// Changes of the ISR, elections included.
    changes: i32,
    /// Steps in a row.
    steps: usize,
}

impl Model for Bounds {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let ids: Vec<_> = (0..REPLICAS).map(replica::broker).collect();
        let mut metadata = PartitionState::new(&ids, self.min_isr);
        metadata.isr.truncate(self.in_sync);
        metadata.set_leader(Some(ids[0]));
        let mut replicas: [Replica; REPLICAS] = Default::default();
        for (at, replica) in replicas.iter_mut().enumerate() {
            replica.learn(at, &metadata);
        }
        vec![State::new(metadata, replicas)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        for at in 0..REPLICAS {
            let replica = &state.replicas[at];
            let is_up = replica.is_up;
            let may_change = state.metadata.partition_epoch < self.changes;
            let candidates = [
                (Action::Append(at), is_up && replica.leads() && state.values < self.records),
                (Action::Sync(at), replica.log.synced < replica.log.entries.len()),
                (Action::Pull(at), is_up && replica.want().is_some()),
                (Action::PullLost(at), is_up && replica.want().is_some()),
                (Action::Learn(at), is_up && replica.is_behind(&state.metadata)),
                (Action::Expand(at), is_up && replica.leads() && may_change),
                (Action::Shrink(at), is_up && replica.leads() && may_change),
                (Action::Alter(at), replica.altering.is_some()),
                (Action::AlterLost(at), replica.altering.is_some()),
                (Action::AlterUnseen(at), replica.altering.is_some()),
                (Action::Fence(at), self.may_elect(state) && may_change && state.active[at]),
                (Action::Unfence(at), is_up && !state.active[at]),
                (Action::Crash(at), is_up && state.crashes < self.crashes),
                (Action::Restart(at), !is_up && self.may_elect(state)),
            ];
            actions
                .extend(candidates.into_iter().filter(|(_, may)| *may).map(|(action, _)| action));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        next.act(action);
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing promised is broken", |_, state: &State| {
                state.broken.is_none()
            }),
            Property::always("logs match", |_, state: &State| state.logs_match()),
            Property::sometimes("records commit", |_, state: &State| !state.committed.is_empty()),
            Property::sometimes("another leads", |_, state: &State| {
                state.replicas[1].leads() && !state.replicas[0].leads()
            }),
            Property::sometimes("the ISR grows", |bounds: &Self, state: &State| {
                state.metadata.isr.len() > bounds.in_sync
            }),
            Property::sometimes("a fenced leader goes on", |_, state: &State| {
                let leads = |at: &usize| state.replicas[*at].leads();
                (0..REPLICAS).filter(leads).count() > 1
            }),
        ]
    }
}

impl Bounds {
    fn may_elect(self, state: &State) -> bool {
        state.metadata.leader_epoch.0 + 1 < self.epoch
    }
}

fn check(bounds: Bounds) {
    let checker = bounds.checker().target_max_depth(bounds.steps).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn two_replicas_must_have_what_is_committed() {
    check(Bounds {
        min_isr: 2,
        in_sync: 2,
        records: 2,
        epoch: 4,
        crashes: 1,
        changes: 5,
        steps: 9,
    });
}

#[test]
fn one_replica_may_commit_alone() {
    check(Bounds {
        min_isr: 1,
        in_sync: 1,
        records: 2,
        epoch: 4,
        crashes: 0,
        changes: 5,
        steps: 10,
    });
}

/// Whether brokers may be in an ISR is known to everybody at once.
pub fn active_epoch(state: &State, id: BrokerId) -> Option<i64> {
    let at = usize::try_from(id.0).expect("ids count from 0");
    state.active[at].then_some(state.replicas[at].incarnation)
}
