//! Work on files that is done once, by whichever thread comes first.
//!
//! The owner of a log hands it to a thread that may block. Should the owner need the outcome before
//! that thread has come to it, it does the work itself, or waits for the thread that is at it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::LogError;

/// The state of such work, with its outcome `T`.
#[derive(Debug)]
pub(crate) struct Errand<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    Due,
    Done(T),
    /// The owner has the outcome. A thread that comes late must not do it once more.
    Taken,
}

impl<T> Default for Errand<T> {
    fn default() -> Self {
        Self(Mutex::new(State::Due))
    }
}

impl<T> Errand<T> {
    /// Does the work if nobody has. Blocks.
    ///
    /// # Errors
    /// Those of the work, which is still to be done then.
    pub fn run(&self, work: impl FnOnce() -> Result<T, LogError>) -> Result<(), LogError> {
        let mut state = self.lock();
        if matches!(*state, State::Due) {
            *state = State::Done(work()?);
        }
        Ok(())
    }

    /// The outcome, once a [`Errand::run`] has gone well.
    ///
    /// # Panics
    /// If none has, or the outcome was taken before.
    pub fn take(&self) -> T {
        match std::mem::replace(&mut *self.lock(), State::Taken) {
            State::Done(outcome) => outcome,
            State::Due | State::Taken => panic!("an outcome is taken once, and after the work"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
