//! The run as which this broker registers, and the one as which it goes on.
//!
//! The log directories name a run before it registers (ADR 31), and keep the one that is registered
//! until then: a crash at any moment is to count as one of a run that they name. Nobody waits for
//! their disks here, as the heartbeats would wait, too, and one disk may hang.
//!
//! Not here: what has a broker go on as another run (`standing`), what is written (`runs`).

use std::future::Future;

use tokio::task::JoinHandle;
use types::Uuid;

/// The present run, and the next one.
pub(super) struct Incarnation {
    /// Tells this run of the node from earlier ones.
    id: Uuid,
    /// Whether the controller is known to have it.
    is_registered: bool,
    /// The next one, and the task that has the directories name it.
    next: Option<(Uuid, JoinHandle<()>)>,
}

impl Incarnation {
    pub fn new(id: Uuid) -> Self {
        Self { id, is_registered: false, next: None }
    }

    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The controller has taken the present run.
    pub fn registered(&mut self) {
        self.is_registered = true;
    }

    /// Goes on as another run, unless the present one is that already and only has to register. False
    /// as long as `named` has not ended, which has the directories name the former one and the next.
    pub fn renew<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        fresh: impl FnOnce() -> Uuid,
        named: impl FnOnce(Uuid, Uuid) -> F,
    ) -> bool {
        if !self.is_registered {
            return true;
        }
        let former = self.id;
        let (next, naming) = self.next.take().unwrap_or_else(|| {
            let next = fresh();
            (next, tokio::spawn(named(former, next)))
        });
        if !naming.is_finished() {
            self.next = Some((next, naming));
            return false;
        }
        *self = Self::new(next);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::future;

    use tokio::task::yield_now;

    use super::*;
    use crate::threads;

    const FIRST: Uuid = Uuid::from_bytes([1; 16]);
    const SECOND: Uuid = Uuid::from_bytes([2; 16]);
    const THIRD: Uuid = Uuid::from_bytes([3; 16]);

    #[test]
    fn a_run_that_is_registered_is_named_until_the_next_one_is() {
        threads::runtime().unwrap().block_on(async {
            let mut run = Incarnation::new(FIRST);
            run.registered();
            let named = |former, next| {
                assert_eq!((former, next), (FIRST, SECOND));
                future::ready(())
            };
            while !run.renew(|| SECOND, named) {
                yield_now().await;
            }
            assert_eq!(run.id(), SECOND);
            // Misjudged once more before the registration was answered.
            let named =
                |_, _| -> future::Ready<()> { panic!("the second one was never registered") };
            assert!(run.renew(|| THIRD, named));
            assert_eq!(run.id(), SECOND);
        });
    }

    #[test]
    fn directories_that_hang_keep_nobody_waiting() {
        threads::runtime().unwrap().block_on(async {
            let mut run = Incarnation::new(FIRST);
            run.registered();
            for next in [SECOND, THIRD] {
                assert!(!run.renew(|| next, |_, _| future::pending()));
                yield_now().await;
            }
            assert_eq!(run.id(), FIRST);
        });
    }
}
