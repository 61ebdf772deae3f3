//! Trying again: pauses that double, with a little chance in them, until a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::ClientError;
use crate::settings::ClientSettings;

/// One series of tries.
#[derive(Debug)]
pub(crate) struct Retry {
    deadline: Instant,
    pause: Duration,
    pause_max: Duration,
}

impl Retry {
    /// A series that ends `limit` from now.
    pub(crate) fn within(settings: &ClientSettings, limit: Duration) -> Self {
        Self {
            deadline: Instant::now() + limit,
            pause: settings.retry_pause,
            pause_max: settings.retry_pause_max,
        }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// Gives `error` back where it will not pass by itself, or time is up.
    pub(crate) async fn pause(&mut self, error: ClientError) -> Result<(), ClientError> {
        let pause = self.next_pause();
        if !error.is_retriable() || Instant::now() + pause > self.deadline {
            return Err(error);
        }
        tracing::debug!(%error, pause_ms = pause.as_millis() as u64, "trying again");
        sleep(pause).await;
        Ok(())
    }

    /// The next pause, 80 to 120 % of the doubled one before.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(self.pause_max);
        let mut byte = [0_u8];
        // Without randomness all clients of a broker that restarts come back at the same moment;
        // that is unpleasant but no reason to fail.
        _ = getrandom::fill(&mut byte);
        pause.mul_f64(0.8 + f64::from(byte[0]) / 640.0)
    }
}
