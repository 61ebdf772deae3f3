//! SIGTERM and SIGINT: the first asks the node to stop, the second ends the process.

use std::process::exit;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Shells take 128 and the signal's number for "ended by a signal".
const EXIT_OF_SIGNAL: i32 = 128;

/// Begins to catch signals. The receiver yields once, at the first; `at_exit` runs before the
/// second ends the process.
pub(crate) fn catch(at_exit: impl Fn() + Send + 'static) -> anyhow::Result<Receiver<()>> {
    let (first, stopped) = channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for signals")?;
    let _entered = runtime.enter();
    let mut term = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    drop(_entered);
    let wait = move || {
        runtime.block_on(async {
            next(&mut term, &mut int).await;
            // Nobody listens where the start has failed; the process ends then anyway.
            _ = first.send(());
            let number = next(&mut term, &mut int).await;
            at_exit();
            exit(EXIT_OF_SIGNAL + number);
        });
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .context("cannot start a thread")?;
    Ok(stopped)
}

/// Number of the signal that came.
async fn next(term: &mut Signal, int: &mut Signal) -> i32 {
    tokio::select! {
        _ = term.recv() => SignalKind::terminate().as_raw_value(),
        _ = int.recv() => SignalKind::interrupt().as_raw_value(),
    }
}
