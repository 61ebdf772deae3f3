//! The clocks of a machine, which agree with nobody's.
//!
//! The monotonic one, by which everything waits, begins anew with each start of the machine and runs
//! a little too fast or too slow. The wall clock is wrong, and jumps. The world's own time, by which
//! messages travel, is known to nobody in it.

use types::{Millis, Rng};

/// What the wall clocks are about.
const WALL: i64 = 1_790_000_000_000;
/// A clock gains or loses at most so many milliseconds in a million: a hundred times what those of
/// real machines do, so that it shows within the seconds of a run.
const DRIFT_MAX: u32 = 20_000;
/// How wrong a wall clock is after a jump: slightly, by minutes, by hours. Not by a day: a clock that
/// is wrong by `producer.id.expiration.ms` when a node starts forgets producers, in Kafka, too.
const WRONG_MAX: [u32; 3] = [2000, 300_000, 8 * 3_600_000];
/// A machine has been up for so long at most when the run begins.
const UPTIME_MAX: u32 = 100_000_000;
/// Beyond this nothing is ever due.
const NEVER: i64 = 1 << 40;

/// What the clocks of a machine say at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For timers and delays.
    pub monotonic: Millis,
    /// For what is written down.
    pub wall: Millis,
}

/// Both clocks of one machine.
#[derive(Clone, Debug)]
pub struct Clock {
    /// What the monotonic clock showed when the world began.
    uptime: i64,
    drift: i64,
    /// How far the wall clock is ahead of the right time.
    ahead: i64,
    /// Timers go by the wall clock, which they must not.
    pub waits_by_wall: bool,
}

/// The right time of day, which clients have.
pub fn right(world: Millis) -> Millis {
    Millis(WALL) + world
}

fn around_zero(rng: &mut Rng, most: u32) -> i64 {
    i64::from(rng.below(2 * most + 1)) - i64::from(most)
}

impl Clock {
    pub fn new(rng: &mut Rng) -> Self {
        let uptime = rng.below(UPTIME_MAX).into();
        let drift = around_zero(rng, DRIFT_MAX);
        let ahead = around_zero(rng, WRONG_MAX[0]);
        Self { uptime, drift, ahead, waits_by_wall: false }
    }

    /// The machine starts anew, so that its monotonic clock does, too.
    pub fn restart(&mut self, rng: &mut Rng) {
        self.uptime = rng.below(UPTIME_MAX).into();
    }

    /// The wall clock jumps; how far it is ahead then.
    pub fn jump(&mut self, rng: &mut Rng) -> Millis {
        let most = WRONG_MAX[rng.below(3) as usize];
        self.ahead = around_zero(rng, most);
        Millis(self.ahead)
    }

    pub fn now(&self, world: Millis) -> Now {
        let wall = right(world) + Millis(self.ahead);
        let monotonic = if self.waits_by_wall { wall } else { self.monotonic(world) };
        Now { monotonic, wall }
    }

    fn monotonic(&self, world: Millis) -> Millis {
        let drifted = (world.get() * self.drift).div_euclid(1_000_000);
        Millis(self.uptime + world.get() + drifted)
    }

    /// The first moment of the world at which timers see `due`.
    pub fn world(&self, due: Millis) -> Millis {
        if due.get() > WALL + NEVER {
            return Millis::MAX;
        }
        if self.waits_by_wall {
            return due - Millis(WALL + self.ahead);
        }
        if due <= Millis(self.uptime) {
            return Millis::ZERO;
        }
        let shown = due.get() - self.uptime;
        let mut world = Millis(shown * 1_000_000 / (1_000_000 + self.drift));
        while self.monotonic(world) < due {
            world = world + Millis(1);
        }
        while self.monotonic(world - Millis(1)) >= due {
            world = world - Millis(1);
        }
        world
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_due_at_the_first_moment_that_shows_its_time() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let clock = Clock::new(&mut rng);
            for at in 0..500 {
                let due = clock.now(Millis(at)).monotonic + Millis(i64::from(rng.below(3)));
                let world = clock.world(due);
                assert!(clock.now(world).monotonic >= due, "seed {seed} at {at}");
                assert!(clock.now(world - Millis(1)).monotonic < due, "seed {seed} at {at}");
            }
            assert_eq!(clock.world(Millis::MAX), Millis::MAX);
        }
    }

    #[test]
    fn clocks_differ_and_jumps_are_of_the_wall_clock_alone() {
        let mut rng = Rng::new(7);
        let (mut one, other) = (Clock::new(&mut rng), Clock::new(&mut rng));
        let span =
            |clock: &Clock| clock.now(Millis(50_000)).monotonic - clock.now(Millis(0)).monotonic;
        assert_ne!(span(&one), span(&other));
        let before = one.now(Millis(9));
        let ahead = one.jump(&mut rng);
        let after = one.now(Millis(9));
        assert_eq!((after.monotonic, after.wall), (before.monotonic, right(Millis(9)) + ahead));
    }
}
