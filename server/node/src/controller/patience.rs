//! Trying again what fails for want of room or descriptors: nothing is lost by waiting, and the
//! node serves all that needs no decision meanwhile. A stop is not kept waiting. Where there is no room,
//! what is kept in reserve goes first.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use log::{AppendError, LogError};

use super::reserve::Reserve;
use crate::dirs::DiskCalls;

/// How long the controller rests where there is no room for its log.
const ROOM_RETRY: Duration = Duration::from_millis(200);

/// How the controller waits for its disk.
#[derive(Clone)]
pub struct Patience {
    /// Ends when it is set.
    pub stopping: Arc<AtomicBool>,
    /// The disk of the metadata log.
    pub calls: Arc<DiskCalls>,
    /// Room on it.
    pub reserve: Reserve,
}

impl Patience {
    /// Does something again until there is room for it.
    ///
    /// # Errors
    /// What will not pass.
    pub fn with(&self, mut attempt: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut told = false;
        loop {
            let call = self.calls.begin();
            let attempted = attempt();
            drop(call);
            match attempted {
                Err(fault) if is_passing(&fault) && !self.stopping.load(Ordering::Relaxed) => {
                    if !is_full(&fault) || !self.reserve.give_up_some() {
                        if !std::mem::replace(&mut told, true) {
                            tracing::error!("changes to the cluster wait for room: {fault:#}");
                        }
                        thread::sleep(ROOM_RETRY);
                    }
                }
                ended => return ended,
            }
        }
    }
}

fn is_passing(fault: &anyhow::Error) -> bool {
    match log_fault(fault) {
        Some(fault) => fault.is_passing(),
        // The small files beside the log are written anew as a whole.
        None => fault.downcast_ref::<io::Error>().is_some_and(log::lacks_room_or_descriptors),
    }
}

/// Whether it is room that lacks, as far as one can tell.
fn is_full(fault: &anyhow::Error) -> bool {
    let cause = match log_fault(fault) {
        Some(LogError::Io { cause, .. }) => Some(cause),
        Some(LogError::Stalled { .. }) => return true,
        Some(_) => None,
        None => fault.downcast_ref::<io::Error>(),
    };
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    cause.is_some_and(|cause| full.contains(&cause.kind()))
}

fn log_fault(fault: &anyhow::Error) -> Option<&LogError> {
    let append = fault.downcast_ref::<AppendError>();
    let append = append.and_then(|fault| match fault {
        AppendError::Log(fault) => Some(fault),
        _ => None,
    });
    append.or(fault.downcast_ref::<LogError>())
}
