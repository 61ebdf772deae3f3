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
    /// When to say what is waited for, once: whoever sits before it wants to know.
    tell_at: Option<Instant>,
}

/// Waits that are shorter are not worth a word.
pub(crate) const UNTOLD_MAX: Duration = Duration::from_secs(3);

/// Waits for an answer, and says so once when it takes long.
pub(crate) async fn noticed<T>(
    answer: impl Future<Output = T>,
    what: impl FnOnce() -> String,
) -> T {
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => return answer,
        () = sleep(UNTOLD_MAX) => tracing::warn!("still waiting: {}", what()),
    }
    answer.await
}

impl Retry {
    /// A series that ends `limit` from now.
    pub(crate) fn within(settings: &ClientSettings, limit: Duration) -> Self {
        Self {
            deadline: Instant::now() + limit,
            pause: settings.retry_pause,
            pause_max: settings.retry_pause_max,
            tell_at: Some(Instant::now() + UNTOLD_MAX),
        }
    }

    /// Says once why it is tried again, when that goes on for long.
    pub(crate) fn tell(&mut self, error: &ClientError) {
        if self.tell_at.is_some_and(|at| Instant::now() >= at) {
            self.tell_at = None;
            tracing::warn!("still trying: {error}");
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
        self.tell(&error);
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
