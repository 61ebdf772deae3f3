//! Rebalance storms: fifty members join, leave, crash and pause in each other's way.
//!
//! What has to hold beside the rest: what is committed never goes back, however late a member speaks
//! up that was paused while others took its partitions over, or its commit arrives, and never lies
//! beyond what somebody has processed; and when the storm is over each partition has one owner.

use protocol::messages::offset_commit::OffsetCommitRequest;
use types::Millis;

use super::{PARTITIONS, World};

const SEEDS: u64 = 16;
const STEPS: u32 = 400;
const MEMBERS: u32 = 50;
/// Members that commit between two looks.
const COMMITS: u32 = 10;
/// Twice out of three times longer than a session.
const PAUSE_MAX: u32 = 30_000;

#[test]
fn fifty_members_share_no_partition_and_take_back_no_commit() {
    let (mut generations, mut refused) = (0, 0);
    for seed in 0..SEEDS {
        let mut storm = Storm::new(seed);
        for step in 0..STEPS {
            storm.step(&format!("seed {seed} step {step}"));
        }
        let at = format!("seed {seed}");
        storm.world.calm_down(&at);
        let last = storm.world.clients[0].generation;
        let owned = storm.world.owners.keys().filter(|(generation, _)| *generation == last);
        assert_eq!(owned.count(), PARTITIONS.unsigned_abs() as usize, "{at}: all are owned");
        generations += storm.world.assignments.len();
        refused += storm.world.refused;
    }
    assert!(generations > 60 && refused > 100, "{generations} generations, {refused} refused");
}

struct Storm {
    world: World,
    /// What was committed of each partition when it was looked at last.
    seen: Vec<i64>,
    /// How far anybody has come in each.
    processed: Vec<i64>,
    /// Commits that are still on their way, with the member that sent each.
    late: Vec<(usize, OffsetCommitRequest)>,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let world = World::new(seed, MEMBERS);
        let none: Vec<i64> = (0..PARTITIONS).map(|_| 0).collect();
        Self { world, seen: none.clone(), processed: none, late: Vec::new() }
    }

    fn step(&mut self, at: &str) {
        let index = self.any();
        // About once in ten seconds a member goes without a word, for a while or for good.
        match self.world.rng.below(100) {
            0..40 => self.round(index),
            40..70 => {
                for _ in 0..COMMITS {
                    let index = self.any();
                    self.commit(index);
                }
                self.arrive_late();
                self.check(at);
            }
            70..73 => {
                let pause = Millis(self.world.rng.below(PAUSE_MAX).into());
                self.world.clients[index].paused_until = self.world.now.monotonic + pause;
            }
            73 => self.world.crash(index),
            74..77 => self.world.leave(index),
            77..79 => self.world.give_up(index),
            79..89 => self.world.pass(3_000),
            89..99 => self.world.commit_log(),
            _ => {
                self.world.fail_over();
                // What nobody was told of may be gone.
                self.seen = self.stored();
                self.check(at);
            }
        }
    }

    fn any(&mut self) -> usize {
        self.world.rng.below(MEMBERS) as usize
    }

    fn is_paused(&self, index: usize) -> bool {
        self.world.clients[index].paused_until > self.world.now.monotonic
    }

    /// Each member does what is next for it, from this one on.
    fn round(&mut self, first: usize) {
        let count = self.world.clients.len();
        for index in (first..count).chain(0..first) {
            if !self.is_paused(index) {
                self.world.act(index);
            }
        }
    }

    /// A member goes on in one of its partitions, as far as it knows, and commits that.
    fn commit(&mut self, index: usize) {
        if self.is_paused(index) {
            return;
        }
        let World { clients, rng, .. } = &mut self.world;
        let positions = &mut clients[index].positions;
        let Ok(count @ 1..) = u32::try_from(positions.len()) else { return };
        let place = rng.below(count) as usize;
        let (&partition, position) = positions.iter_mut().nth(place).expect("there are so many");
        *position += 1 + i64::from(rng.below(3));
        let offset = *position;
        let processed = &mut self.processed[partition.unsigned_abs() as usize];
        *processed = offset.max(*processed);
        let request = self.world.commit_request(index, partition, offset);
        match self.world.rng.below(10) {
            0 => self.late.push((index, request)),
            _ => self.world.commit(index, request),
        }
    }

    /// What members of former generations have committed arrives at last. Within a generation there
    /// is nothing to tell which of two commits is the later one.
    fn arrive_late(&mut self) {
        let World { clients, .. } = &self.world;
        let is_former = |(index, request): &mut (usize, OffsetCommitRequest)| {
            clients[*index].generation != request.generation_id_or_member_epoch
        };
        let former: Vec<_> = self.late.extract_if(.., is_former).collect();
        for (index, request) in former {
            self.world.commit(index, request);
        }
    }

    fn stored(&self) -> Vec<i64> {
        (0..PARTITIONS).map(|partition| self.world.stored(partition)).collect()
    }

    fn check(&mut self, at: &str) {
        self.world.check(at);
        let stored = self.stored();
        let is_kept = stored.iter().zip(&self.seen).all(|(now, before)| now >= before);
        assert!(is_kept, "{at}: a commit went back");
        let is_real = stored.iter().zip(&self.processed).all(|(now, most)| now <= most);
        assert!(is_real, "{at}: nobody has come so far");
        self.seen = stored;
    }
}
