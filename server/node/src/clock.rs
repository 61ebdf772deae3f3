//! The two clocks of the node. Core code is handed what they say.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use types::Millis;

static START: OnceLock<Instant> = OnceLock::new();

/// Wall time since 1970: for record timestamps and retention, never for timers.
pub fn wall() -> Millis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Time that only goes forward: for timers.
pub fn monotonic() -> Millis {
    let start = START.get_or_init(Instant::now);
    Millis(i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX))
}
