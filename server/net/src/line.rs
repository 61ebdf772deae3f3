//! The order in which clients wait for room in the budget of answers: first come, first served.
//!
//! A client keeps its place until it has got something. One that waits for a moment only, and then asks
//! again, is where it was, and whoever came later goes after it, whether he waits or asks for the first
//! time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A place in the order of coming; those who came later have a greater one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place(pub(crate) u64);

impl Place {
    /// Behind everybody who has one.
    const LAST: Self = Self(u64::MAX);
}

/// Those who wait.
#[derive(Debug)]
pub(crate) struct Line {
    /// The place of the first of them.
    first: AtomicU64,
    waiting: Mutex<BTreeMap<Place, Arc<Notify>>>,
}

/// One who waits, until it is dropped.
#[derive(Debug)]
pub(crate) struct Standing<'a> {
    line: &'a Line,
    place: Place,
    is_first: Arc<Notify>,
}

impl Default for Line {
    fn default() -> Self {
        Self { first: AtomicU64::new(Place::LAST.0), waiting: Mutex::default() }
    }
}

impl Line {
    /// Whether nobody waits who came before; who has no place yet comes after all others.
    pub(crate) fn lets(&self, place: Option<Place>) -> bool {
        place.unwrap_or(Place::LAST).0 <= self.first.load(Ordering::SeqCst)
    }

    /// Begins to wait. Nobody does so twice at a time.
    pub(crate) fn stand(&self, place: Place) -> Standing<'_> {
        let is_first = Arc::new(Notify::new());
        let mut waiting = self.lock();
        let other = waiting.insert(place, Arc::clone(&is_first));
        assert!(other.is_none(), "each connection has a place of its own and one fetch at a time");
        self.tell_first(&waiting);
        Standing { line: self, place, is_first }
    }

    fn tell_first(&self, waiting: &BTreeMap<Place, Arc<Notify>>) {
        let first = waiting.first_key_value();
        self.first.store(first.map_or(Place::LAST, |(place, _)| *place).0, Ordering::SeqCst);
        if let Some((_, is_first)) = first {
            is_first.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Arc<Notify>>> {
        // Each change is one step; a panic elsewhere leaves nothing half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing<'_> {
    /// Resolves once nobody waits who came before, however many wait for that.
    pub(crate) async fn until_first(&self) {
        while !self.line.lets(Some(self.place)) {
            self.is_first.notified().await;
            // Only one of them was woken.
            if self.line.lets(Some(self.place)) {
                self.is_first.notify_one();
                return;
            }
        }
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let mut waiting = self.line.lock();
        waiting.remove(&self.place);
        self.line.tell_first(&waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_goes_before_who_came_earlier_and_waits() {
        let line = Line::default();
        assert!(line.lets(None), "nobody waits");
        let third = line.stand(Place(3));
        assert!(!line.lets(None) && !line.lets(Some(Place(4))));
        assert!(
            line.lets(Some(Place(3))) && line.lets(Some(Place(2))),
            "who came before need not wait"
        );
        let second = line.stand(Place(2));
        assert!(!line.lets(Some(Place(3))), "though it waited first");
        drop(second);
        assert!(line.lets(Some(Place(3))));
        drop(third);
        assert!(line.lets(None));
    }

    #[tokio::test]
    async fn who_is_left_as_the_first_hears_of_it() {
        let line = Line::default();
        let standing = [1, 2, 3].map(|place| line.stand(Place(place)));
        let [first, second, third] = standing;
        // Who gives up in the midst is no hindrance.
        drop(second);
        let mut waits = std::pin::pin!(third.until_first());
        tokio::select! {
            biased;
            () = &mut waits => panic!("somebody is before it"),
            () = tokio::task::yield_now() => {}
        }
        drop(first);
        waits.await;
    }
}
