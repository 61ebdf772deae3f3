//! What threads need of the runtime: one of their own, and a place for work that waits for a disk.

use std::future::{self, Future};
use std::{panic, thread};

use anyhow::Context;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime, Runtime};

use crate::shard::Sleep;

/// How far behind others work in the background stands: it has a tenth of a processor that others
/// want, and all of one that nobody wants. Less would let it starve beside a busy neighbour.
const BACKGROUND_NICE: i32 = 10;

/// A runtime for the tasks of one thread.
///
/// # Errors
/// If the system has no descriptor left for it.
pub fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot start a thread's runtime")
}

/// A runtime for the tasks of a shard, which never leave its thread; `sleep` hears when it sleeps.
///
/// # Errors
/// If the system has no descriptor left for it.
pub fn local_runtime(sleep: Sleep) -> anyhow::Result<LocalRuntime> {
    let mut builder = Builder::new_current_thread();
    let woken = sleep.clone();
    builder.on_thread_park(move || sleep.begins()).on_thread_unpark(move || woken.ends());
    let runtime = builder.enable_all().build_local(LocalOptions::default());
    runtime.context("cannot start a shard's runtime")
}

/// Starts `work` at once where it may block; resolves when it has ended. A panic of it goes on in
/// the caller, as if it had been called.
pub fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> {
    let task = tokio::task::spawn_blocking(work);
    async move {
        match task.await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(payload) => panic::resume_unwind(payload),
                // Never begun, as the runtime is going down and takes the caller along.
                Err(_) => future::pending().await,
            },
        }
    }
}

/// As [`blocking`], for long work that is not urgent, on a thread of its own. A panic is the error.
pub fn in_background<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = thread::Result<T>> {
    let builder = thread::Builder::new().name(name.to_owned());
    // Waited for on the pool, whose work a runtime lets come to its end.
    blocking(move || {
        let started = builder.spawn(move || {
            // Of this thread alone; where the system refuses, the work is done all the same.
            _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
            work()
        });
        started.map_or_else(|error| Err(Box::new(error) as _), thread::JoinHandle::join)
    })
}
