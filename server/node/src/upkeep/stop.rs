//! A stop in good order: who waits is answered, logs are closed, directories marked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::metadata::Image;
use anyhow::bail;
use tokio::time::Instant;
use types::TopicPartition;

use super::checkpoints::{ByDir, checkpoints_of, merge, write_all};
use crate::shard::Shard;
use crate::shared::Shared;

/// How long a stop waits for syncs that are under way.
const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// How often it looks whether they have ended.
const CLOSE_RETRY: Duration = Duration::from_millis(1);

/// What the shards leave behind at a stop.
pub struct ClosedShards {
    /// The last state of the cluster that they had.
    pub image: Arc<Image>,
    checkpoints: ByDir,
    unopened: Vec<TopicPartition>,
    /// Directories in which a log could not be closed.
    unclean: BTreeSet<PathBuf>,
}

/// Has every request answered that waits for something which may never come.
///
/// # Errors
/// If a shard has died.
pub fn drain_shards(shared: &Shared) -> anyhow::Result<()> {
    // Readers wake only when all shards know, else they would begin to wait again.
    for step in [Shard::drain, Shard::wake_readers] {
        for index in 0..shared.mailboxes.shards() {
            let (reply, answer) = std::sync::mpsc::channel();
            shared.mailboxes.post(index, move |shard| {
                step(shard);
                _ = reply.send(());
            });
            if answer.recv().is_err() {
                bail!("shard {index} has died");
            }
        }
    }
    Ok(())
}

/// Closes the logs of every shard and ends the shards.
///
/// # Errors
/// If a shard has died.
pub fn close_shards(shared: &Shared) -> anyhow::Result<ClosedShards> {
    let mut closed: Option<ClosedShards> = None;
    for index in 0..shared.mailboxes.shards() {
        let (reply, answer) = std::sync::mpsc::channel();
        shared.mailboxes.post(index, move |shard| {
            let shard = Rc::clone(shard);
            tokio::task::spawn_local(async move { _ = reply.send(close_one(&shard).await) });
        });
        let Ok(part) = answer.recv() else { bail!("shard {index} has died") };
        match &mut closed {
            None => closed = Some(part),
            Some(all) => {
                merge(&mut all.checkpoints, part.checkpoints);
                all.unopened.extend(part.unopened);
                all.unclean.extend(part.unclean);
            }
        }
    }
    closed.ok_or_else(|| anyhow::anyhow!("a node has at least one shard"))
}

async fn close_one(shard: &Rc<Shard>) -> ClosedShards {
    let grace_ends = Instant::now() + CLOSE_GRACE;
    while shard.is_in_use() && Instant::now() < grace_ends {
        tokio::time::sleep(CLOSE_RETRY).await;
    }
    let image = shard.image();
    let unopened = shard.unopened().into_iter().map(|closed| closed.name).collect();
    let checkpoints = checkpoints_of(shard);
    let mut closed = ClosedShards { image, checkpoints, unopened, unclean: BTreeSet::new() };
    for (name, dir, result) in shard.close_all() {
        match result {
            Ok(end) => {
                for checkpoints in closed.checkpoints.values_mut() {
                    // Everything is synced now, and with one replica committed.
                    for map in [&mut checkpoints.recovery_points, &mut checkpoints.high_watermarks]
                    {
                        if let Some(offset) = map.get_mut(&name) {
                            *offset = end;
                        }
                    }
                }
            }
            Err(fault) => {
                tracing::error!(partition = %name, "cannot close the log: {fault}");
                closed.unclean.extend(dir);
            }
        }
    }
    shard.stop();
    closed
}

/// Writes the last checkpoints and the marks of a clean stop.
///
/// # Errors
/// If they cannot be written, or a log could not be closed; other directories have theirs.
pub fn mark_clean(
    shared: &Shared,
    closed: &ClosedShards,
    epoch: Option<i64>,
    metadata_is_closed: bool,
) -> anyhow::Result<()> {
    let faults = write_all(shared, &closed.checkpoints, &mut ByDir::new());
    let mut unclean: BTreeSet<&Path> = faults.iter().map(|(dir, _)| dir.as_path()).collect();
    unclean.extend(closed.unclean.iter().map(PathBuf::as_path));
    for dir in &shared.dirs.all {
        let is_closed = metadata_is_closed || dir.path() != shared.dirs.metadata().path();
        if !dir.is_online() || !is_closed || unclean.contains(dir.path()) {
            continue;
        }
        // What could not be opened was not checked either: the next start must do that.
        let has = |name| shared.dirs.found(name).is_some_and(|found| found.path() == dir.path());
        if closed.unopened.iter().any(has) {
            continue;
        }
        dir.log_dir.mark_clean_shutdown(epoch.unwrap_or(-1))?;
    }
    if let Some((_, fault)) = faults.into_iter().next() {
        return Err(fault.into());
    }
    if !closed.unclean.is_empty() {
        bail!("not every log could be closed: the next start recovers as after a crash");
    }
    Ok(())
}
