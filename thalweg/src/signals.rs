//! SIGTERM and SIGINT: the first asks a node that serves to stop, the second ends the process. And what else
//! has it stop.

use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context, bail};
use node::Node;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Shells take 128 and the signal's number for "ended by a signal".
const EXIT_OF_SIGNAL: i32 = 128;

/// Why a node stops.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Somebody asks for it.
    Asked,
    /// It cannot go on.
    Failed(String),
}

/// Reports when the node cannot go on.
pub(crate) fn watch(
    failure: impl FnOnce() -> Option<String> + Send + 'static,
    stop: Sender<Stop>,
) -> anyhow::Result<()> {
    let wait = move || {
        if let Some(reason) = failure() {
            // Nobody listens where the node is stopping already.
            _ = stop.send(Stop::Failed(reason));
        }
    };
    thread::Builder::new()
        .name("failure".to_owned())
        .spawn(wait)
        .context("cannot start a thread")?;
    Ok(())
}

/// Stops a node for a reason; a failure is the result.
pub(crate) fn end(node: Node, why: Stop) -> anyhow::Result<()> {
    let stopped = node.stop();
    match why {
        Stop::Asked => stopped,
        Stop::Failed(reason) => {
            if let Err(fault) = stopped {
                tracing::error!("{fault:#}");
            }
            bail!("the node cannot go on: {reason}")
        }
    }
}

/// Begins to catch signals. The receiver yields at the first, and for whoever else sends; `at_exit`
/// runs before the second ends the process.
///
/// The first one does so, too, while it is not serving: a start may wait for other nodes without
/// end, and has acknowledged nothing.
pub(crate) fn catch(
    is_serving: Arc<AtomicBool>,
    at_exit: impl Fn() + Send + 'static,
) -> anyhow::Result<(Sender<Stop>, Receiver<Stop>)> {
    let (stop, stopped) = channel();
    let first = stop.clone();
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
            let mut number = next(&mut term, &mut int).await;
            if is_serving.load(Ordering::SeqCst) {
                // Nobody listens where the start has failed; the process ends then anyway.
                _ = first.send(Stop::Asked);
                number = next(&mut term, &mut int).await;
            } else {
                tracing::info!("ended before it served");
            }
            at_exit();
            exit(EXIT_OF_SIGNAL + number);
        });
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .context("cannot start a thread")?;
    Ok((stop, stopped))
}

/// Number of the signal that came.
async fn next(term: &mut Signal, int: &mut Signal) -> i32 {
    tokio::select! {
        _ = term.recv() => SignalKind::terminate().as_raw_value(),
        _ = int.recv() => SignalKind::interrupt().as_raw_value(),
    }
}
