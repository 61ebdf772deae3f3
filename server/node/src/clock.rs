//! The clocks of the node. Core code is handed what they say.
//!
//! The wall clock may be stepped, by a hand or by NTP, and back again. What deletes data must not
//! take that for the passing of time: it asks the steady time, which is the wall time at the start
//! and what the monotonic clock counted since. A step of the wall clock enters it only once it has
//! lasted for an hour; what is gradual (slewing, drift) enters it at once.
//!
//! - [`earliest`] says whether something is old enough to go: neither clock may be ahead.
//! - [`latest`] stamps what will go by its age: it must not look older than it is.
//! - [`steady`] is for what does both at once.
//! - [`monotonic`] is for timers and delays, [`wall`] for what is only told.
//!
//! A clock that was wrong when the node started cannot be told from a right one.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use types::Millis;

/// So far the wall clock may move against the steady time from one look to the next and still
/// count as gradual. Kernels slew by 0.05 %: by 0.3 s between two looks that are 10 minutes apart.
const GRADUAL_MAX: Millis = Millis(1000);
/// For so long a step must last until it is believed.
const BELIEVED_AFTER: Millis = Millis(60 * 60 * 1000);

static START: OnceLock<Instant> = OnceLock::new();
static STEADY: Mutex<Option<Steady>> = Mutex::new(None);
/// How far the steady time is ahead of the monotonic one, for readers that take no lock.
static AHEAD: AtomicI64 = AtomicI64::new(i64::MIN);

/// Wall time since 1970, as it is.
pub fn wall() -> Millis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Time that only goes forward: for timers.
pub fn monotonic() -> Millis {
    let start = START.get_or_init(Instant::now);
    Millis(i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX))
}

/// Wall time without the steps of the last hour. Upkeep asks every few seconds, which is how steps
/// are noticed.
pub fn steady() -> Millis {
    let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
    let (wall, monotonic) = (wall(), monotonic());
    let steady = steady.get_or_insert_with(|| Steady::new(wall, monotonic));
    let now = steady.tell(wall, monotonic);
    AHEAD.store(steady.ahead.get(), Ordering::Relaxed);
    now
}

/// The wall time, but not while it is ahead of the steady time.
pub fn earliest() -> Millis {
    earliest_of(wall(), steady())
}

/// The wall time, but not while it was stepped back. For every append: it takes no lock.
pub fn latest() -> Millis {
    latest_of(wall(), monotonic() + Millis(AHEAD.load(Ordering::Relaxed)))
}

fn earliest_of(wall: Millis, steady: Millis) -> Millis {
    wall.min(steady)
}

/// What is gradual is left to the wall clock.
fn latest_of(wall: Millis, steady: Millis) -> Millis {
    if steady - wall > GRADUAL_MAX { steady } else { wall }
}

/// The steady time, as a function of both clocks.
#[derive(Debug)]
struct Steady {
    /// How far it is ahead of the monotonic time.
    ahead: Millis,
    /// A step that is not yet believed: how far the wall clock was ahead, and since when.
    step: Option<(Millis, Millis)>,
}

impl Steady {
    fn new(wall: Millis, monotonic: Millis) -> Self {
        Self { ahead: wall - monotonic, step: None }
    }

    /// Takes note of what both clocks say.
    fn tell(&mut self, wall: Millis, monotonic: Millis) -> Millis {
        let ahead = wall - monotonic;
        let is_near = |other: Millis| (ahead - other).get().abs() <= GRADUAL_MAX.get();
        let since = match self.step {
            Some((stepped, since)) if is_near(stepped) => since,
            _ => monotonic,
        };
        if is_near(self.ahead) || monotonic - since >= BELIEVED_AFTER {
            self.ahead = ahead;
            self.step = None;
        } else {
            self.step = Some((ahead, since));
        }
        monotonic + self.ahead
    }
}

#[cfg(test)]
mod tests;
