//! Closing the logs of all shards at a stop: on a few threads for each directory, and with one sync
//! for many of them, since each has some files and its folder to be synced.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use ::metadata::Image;
use anyhow::Context;
use log::{DiskVolume, Log, LogError, SyncTicket};
use types::{Offset, TopicPartition};

use crate::shard::LeftLog;
use crate::shared::Shared;
use crate::shares;

/// What became of a log.
pub struct ClosedLog {
    /// Whose it is.
    pub name: TopicPartition,
    /// The log directory.
    pub dir: PathBuf,
    /// Up to where it is durable.
    pub end: anyhow::Result<Offset>,
}

/// Closes the logs. Blocks.
///
/// # Errors
/// If a thread cannot be started.
pub fn close(
    shared: &Shared,
    image: &Image,
    mut logs: Vec<LeftLog>,
) -> anyhow::Result<Vec<ClosedLog>> {
    let own = shared.broker_resource();
    let threads = shares::threads(&shared.config, &shared.layers(image, &own));
    let closed = Mutex::new(Vec::with_capacity(logs.len()));
    thread::scope(|scope| {
        for dir in shared.dirs.data() {
            let volume = shared.syncs.volume(dir.path());
            let here: Vec<_> = logs.extract_if(.., |log| log.dir == dir.path()).collect();
            let count = here.len().min(threads);
            let here = Arc::new(Mutex::new(here));
            for _ in 0..count {
                let (here, closed) = (Arc::clone(&here), &closed);
                let work = move || {
                    while let Some(share) = shares::next(&here, threads) {
                        let share = close_share(share, volume);
                        closed.lock().unwrap_or_else(PoisonError::into_inner).extend(share);
                    }
                };
                let builder = thread::Builder::new().name("closing".to_owned());
                builder.spawn_scoped(scope, work).context("cannot start a thread")?;
            }
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(closed.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Closes some logs, which share a sync.
fn close_share(logs: Vec<LeftLog>, volume: Option<&dyn DiskVolume>) -> Vec<ClosedLog> {
    let mut closed = Vec::with_capacity(logs.len());
    let (mut prepared, mut tickets) = (Vec::new(), Vec::new());
    for LeftLog { name, dir, log } in logs {
        match log.context("it is still in use").and_then(|log| Ok(prepare(log)?)) {
            Ok((log, ticket)) => {
                prepared.push((name, dir, log));
                tickets.push(ticket);
            }
            Err(fault) => closed.push(ClosedLog { name, dir, end: Err(fault) }),
        }
    }
    for ((name, dir, mut log), synced) in prepared.into_iter().zip(shares::sync(volume, tickets)) {
        let end = log.synced(synced).and_then(|()| log.end_close());
        closed.push(ClosedLog { name, dir, end: end.map_err(anyhow::Error::from) });
    }
    closed
}

fn prepare(mut log: Log) -> Result<(Log, SyncTicket), LogError> {
    log.prepare_close()?;
    let ticket = log.sync_ticket()?.expect("its folder is to be synced, and no ticket is out");
    Ok((log, ticket))
}

#[cfg(test)]
mod tests;
