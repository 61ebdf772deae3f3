//! A stop in good order: what is appended is committed, who waits is answered, logs are closed,
//! directories marked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use ::metadata::Image;
use anyhow::bail;
use types::TopicPartition;

use super::checkpoints::{ByDir, checkpoints_of, merge, write_all};
use super::closing::{self, ClosedLog};
use crate::broker;
use crate::shard::{LeftLog, Shard};
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

/// Has what producers send wait for the next leaders, and what they have sent be committed.
///
/// # Errors
/// If a shard has died.
pub fn hold_producers(shared: &Shared) -> anyhow::Result<()> {
    // While one shard waits, the others may come to have something to wait for.
    while on_shards(shared, broker::hold_producers)?.contains(&true) {}
    Ok(())
}

/// Has all shards do something at once, and gives what each made of it.
fn on_shards<T: Send + 'static, F: Future<Output = T> + 'static>(
    shared: &Shared,
    work: fn(Rc<Shard>) -> F,
) -> anyhow::Result<Vec<T>> {
    let begin = |index| {
        let (reply, answer) = mpsc::channel();
        shared.mailboxes.post(index, move |shard| {
            let work = work(Rc::clone(shard));
            tokio::task::spawn_local(async move { _ = reply.send(work.await) });
        });
        answer
    };
    let answers: Vec<_> = (0..shared.mailboxes.shards()).map(begin).collect();
    let answer = |(index, answer): (usize, mpsc::Receiver<T>)| {
        answer.recv().map_err(|_| anyhow::anyhow!("shard {index} has died"))
    };
    answers.into_iter().enumerate().map(answer).collect()
}

/// Has every request answered that waits for something which may never come.
///
/// # Errors
/// If a shard has died.
pub fn drain_shards(shared: &Shared) -> anyhow::Result<()> {
    // Readers wake only when all shards know, else they would begin to wait again.
    for step in [Shard::drain, Shard::wake_readers] {
        for index in 0..shared.mailboxes.shards() {
            let (reply, answer) = mpsc::channel();
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

/// Takes the logs from every shard, which ends it, and closes them.
///
/// # Errors
/// If a shard has died, or no thread can be started.
pub fn close_shards(shared: &Shared) -> anyhow::Result<ClosedShards> {
    let begin = Instant::now();
    let mut all: Option<(ClosedShards, Vec<LeftLog>)> = None;
    for (part, logs) in on_shards(shared, leave)? {
        match &mut all {
            None => all = Some((part, logs)),
            Some((all, all_logs)) => {
                merge(&mut all.checkpoints, part.checkpoints);
                all.unopened.extend(part.unopened);
                all_logs.extend(logs);
            }
        }
    }
    let (mut closed, logs) = all.expect("a node has at least one shard");
    let count = logs.len();
    let ends = closing::close(shared, &closed.image, logs)?;
    closed.note(ends);
    tracing::info!("closed {count} logs in {} ms", begin.elapsed().as_millis());
    Ok(closed)
}

/// What a shard leaves behind, and the logs that are still to be closed.
async fn leave(shard: Rc<Shard>) -> (ClosedShards, Vec<LeftLog>) {
    let grace_ends = Instant::now() + CLOSE_GRACE;
    while shard.is_in_use() && Instant::now() < grace_ends {
        tokio::time::sleep(CLOSE_RETRY).await;
    }
    let image = shard.image();
    let unopened = shard.unopened().into_iter().map(|closed| closed.name).collect();
    let checkpoints = checkpoints_of(&shard);
    let logs = shard.leave_logs();
    shard.stop();
    (ClosedShards { image, checkpoints, unopened, unclean: BTreeSet::new() }, logs)
}

impl ClosedShards {
    /// Takes note of how the logs were closed.
    fn note(&mut self, ends: Vec<ClosedLog>) {
        for log in &ends {
            if let Err(fault) = &log.end {
                tracing::error!(partition = %log.name, "cannot close the log: {fault:#}");
                self.unclean.insert(log.dir.clone());
            }
        }
        for ClosedLog { name, dir, end } in ends {
            // A sync of the volume tells of a failure once, whichever log it struck.
            let (Ok(end), false) = (end, self.unclean.contains(&dir)) else { continue };
            let Some(checkpoints) = self.checkpoints.get_mut(&dir) else { continue };
            // Everything is synced now, and where there are no other replicas committed.
            if let Some(offset) = checkpoints.recovery_points.get_mut(&name) {
                *offset = end;
            }
            if !is_replicated(&self.image, &name)
                && let Some(offset) = checkpoints.high_watermarks.get_mut(&name)
            {
                *offset = end;
            }
        }
    }
}

fn is_replicated(image: &Image, name: &TopicPartition) -> bool {
    let topic = image.topic(&name.topic);
    let replica = topic.and_then(|topic| topic.partition(name.partition));
    replica.is_some_and(|replica| replica.replicas.len() > 1)
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

#[cfg(test)]
mod tests {
    use log::checkpoint::OffsetCheckpoint;
    use types::Offset;

    use super::super::checkpoints::Checkpoints;
    use super::*;

    #[test]
    fn no_log_counts_as_synced_where_another_one_of_its_directory_could_not_be_closed() {
        let name = |index| TopicPartition::new("t", index);
        let dirs = [("/bad", 0), ("/bad", 1), ("/good", 2)];
        let mut checkpoints = ByDir::new();
        for (dir, index) in dirs {
            let known: &mut Checkpoints = checkpoints.entry(PathBuf::from(dir)).or_default();
            known.recovery_points.insert(name(index), Offset::new(3));
        }
        let (image, unopened, unclean) = (Arc::default(), vec![], BTreeSet::new());
        let mut closed = ClosedShards { image, checkpoints, unopened, unclean };
        let end = |index| match index {
            1 => Err(anyhow::anyhow!("the disk is gone")),
            _ => Ok(Offset::new(5)),
        };
        let ends = dirs.map(|(dir, index)| {
            let (name, dir) = (name(index), PathBuf::from(dir));
            ClosedLog { name, dir, end: end(index) }
        });
        closed.note(ends.into());
        let points = |dir: &str| closed.checkpoints[Path::new(dir)].recovery_points.clone();
        let (three, five) = (Offset::new(3), Offset::new(5));
        assert_eq!(points("/bad"), OffsetCheckpoint::from([(name(0), three), (name(1), three)]));
        assert_eq!(points("/good"), OffsetCheckpoint::from([(name(2), five)]));
        assert_eq!(closed.unclean, BTreeSet::from([PathBuf::from("/bad")]));
    }
}
