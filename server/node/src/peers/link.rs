//! One link: connects when there is something to send, waits longer after each failure.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use types::Rng;

use super::connection::Connection;
use super::{PeerError, Request};

/// Wait after the first failed attempt to connect, in milliseconds; doubles with each further one.
const BACKOFF_MS_MIN: u32 = 50;
/// Longest such wait, in milliseconds.
const BACKOFF_MS_MAX: u32 = 1000;
/// Part of a wait that is drawn at random, so that nodes do not come back in step.
const JITTER_PERCENT: u32 = 20;

/// Where a link leads and how.
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    /// Both, as errors name them.
    pub(super) address: Arc<str>,
    pub(super) client_id: String,
    pub(super) connect_timeout: Duration,
    pub(super) response_bytes_max: usize,
}

/// Serves a link until all its handles are gone; `ended` hears of each connection that ends.
pub(super) async fn run(
    target: Target,
    mut queue: mpsc::Receiver<Request>,
    ended: watch::Sender<()>,
    rng: Rng,
) {
    let mut backoff = Backoff { ms: BACKOFF_MS_MIN, rng };
    while let Some(request) = queue.recv().await {
        let mut first = Some(request);
        match Connection::open(&target).await {
            Ok(connection) => {
                backoff.ms = BACKOFF_MS_MIN;
                connection.serve(&target, &mut first, &mut queue).await;
                ended.send_replace(());
                // Not even sent.
                if let Some(first) = first {
                    let cause = "it was closed as soon as it was open".to_owned();
                    let address = Arc::clone(&target.address);
                    first.answer.give(Err(PeerError::Unreachable { address, cause }));
                }
            }
            Err(error) => {
                let waiting = std::iter::from_fn(|| queue.try_recv().ok());
                for request in first.into_iter().chain(waiting) {
                    request.answer.give(Err(error.clone()));
                }
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

struct Backoff {
    ms: u32,
    rng: Rng,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let spread = self.ms * JITTER_PERCENT / 100;
        let ms = self.ms - spread + self.rng.below(2 * spread + 1);
        self.ms = (self.ms * 2).min(BACKOFF_MS_MAX);
        Duration::from_millis(u64::from(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_their_bound_and_vary() {
        let mut backoff = Backoff { ms: BACKOFF_MS_MIN, rng: Rng::new(1) };
        for expected in [50, 100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next().as_millis();
            let (low, high) = (expected * 8 / 10, expected * 12 / 10);
            assert!((low..=high).contains(&wait), "{wait} after {expected}");
        }
        let waits: std::collections::BTreeSet<_> = (0..20).map(|_| backoff.next()).collect();
        assert!(waits.len() > 10, "{waits:?}");
    }
}
