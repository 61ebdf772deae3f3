//! Reads of a disk for fetches: in turns, and waited for only as long as the disk answers.
//!
//! Whoever waits for a disk holds memory, for what it is to give and for what else was asked for. A disk
//! that hangs would keep that for ever, and with it consumers of other disks from theirs (ADR 28).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::dirs::DiskCalls;
use crate::threads;

/// How often who waits looks whether the disk hangs.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Waits for a turn and starts `read` where it may block; resolves then, and the result once that has
/// ended. Both are `None` where the disk hangs: what `read` holds is given up if it was not begun.
pub async fn start<T: Send + 'static>(
    turns: Arc<Semaphore>,
    calls: Arc<DiskCalls>,
    read: impl FnOnce() -> T + Send + 'static,
) -> Option<impl Future<Output = Option<T>>> {
    let turn = tokio::select! {
        biased;
        turn = turns.acquire_owned() => turn.expect("it is never closed"),
        () = until_hung(&calls) => return None,
    };
    let reading = threads::blocking(move || {
        let done = read();
        drop(turn);
        done
    });
    Some(async move {
        tokio::select! {
            biased;
            done = reading => Some(done),
            () = until_hung(&calls) => None,
        }
    })
}

async fn until_hung(calls: &DiskCalls) {
    while !calls.is_hung() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use types::Millis;

    use super::*;
    use crate::clock;

    /// A disk to which one call is under way for good.
    fn hung() -> Arc<DiskCalls> {
        let calls = Arc::<DiskCalls>::default();
        std::mem::forget(calls.begin());
        calls.look(clock::monotonic(), Millis::ZERO);
        assert!(calls.is_hung());
        calls
    }

    #[tokio::test]
    async fn reads_take_turns_while_the_disk_answers() {
        let (turns, calls) = (Arc::new(Semaphore::new(1)), Arc::<DiskCalls>::default());
        for number in 0..3 {
            let reading = start(Arc::clone(&turns), Arc::clone(&calls), move || number).await;
            assert_eq!(reading.unwrap().await, Some(number));
        }
        assert_eq!(turns.available_permits(), 1);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_turn_to_read_from_a_disk_that_hangs() {
        let held = Arc::new(());
        let kept = Arc::clone(&held);
        let none_left = Arc::new(Semaphore::new(0));
        assert!(start(none_left, hung(), move || drop(kept)).await.is_none());
        assert_eq!(Arc::strong_count(&held), 1, "what it held is given up");
    }

    #[tokio::test]
    async fn who_waits_for_a_read_of_a_disk_that_hangs_goes_on_without() {
        let (end, ended) = mpsc::channel::<()>();
        let turns = Arc::new(Semaphore::new(1));
        let read = move || ended.recv().is_err();
        let reading = start(Arc::clone(&turns), hung(), read).await.unwrap();
        assert_eq!(reading.await, None);
        assert_eq!(turns.available_permits(), 0, "the read itself goes on, and keeps its turn");
        drop(end);
        _ = turns.acquire().await.unwrap();
    }
}
