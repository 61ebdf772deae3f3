//! What threads need of the runtime: one of their own, and a place for work that waits for a disk.

use std::future::{self, Future};
use std::panic;

use anyhow::Context;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime, Runtime};

/// A runtime for the tasks of one thread.
///
/// # Errors
/// If the system has no descriptor left for it.
pub fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot start a thread's runtime")
}

/// A runtime for the tasks of a shard, which never leave its thread.
///
/// # Errors
/// If the system has no descriptor left for it.
pub fn local_runtime() -> anyhow::Result<LocalRuntime> {
    let mut builder = Builder::new_current_thread();
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
