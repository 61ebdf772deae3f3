//! Retention on a shard's logs: what is old is dropped there, its files go on the blocking pool.

use std::rc::Rc;
use std::sync::Arc;

use log::LogError;

use super::span;
use crate::shard::{Partition, PartitionId, Shard, SharedPartition};
use crate::{clock, threads};

/// Closed logs that retention has open at once.
const CLOSED_AT_ONCE: usize = 32;
/// Times that a log is gone through: what is rolled the first time goes the second.
const TURNS: usize = 2;

pub(super) async fn run(shard: Rc<Shard>) {
    let upkeep = &shard.shared.config.upkeep;
    let (mut wait, every) =
        (span(upkeep.initial_delay_ms), span(upkeep.retention_check_interval_ms));
    loop {
        tokio::time::sleep(std::mem::replace(&mut wait, every)).await;
        // By id, so that a stop does not have to wait for the whole round.
        let ids: Vec<_> = shard.partitions().iter().map(|one| one.borrow().id()).collect();
        for id in ids {
            clean(&shard, id).await;
            // Other work goes on between two partitions.
            tokio::task::yield_now().await;
        }
        for group in shard.due_for_retention(clock::earliest()).chunks(CLOSED_AT_ONCE) {
            clean_closed(&shard, group).await;
        }
    }
}

/// Opens logs of which something may have to go, and closes them again.
async fn clean_closed(shard: &Rc<Shard>, ids: &[PartitionId]) {
    let (opened, all_opened) = tokio::sync::oneshot::channel();
    shard.when_all_open(ids.to_vec(), |_| _ = opened.send(()));
    if all_opened.await.is_err() {
        return;
    }
    for id in ids {
        clean(shard, *id).await;
        // Unless segments went, or somebody uses it by now.
        shard.put_to_rest(*id);
    }
}

/// Lets a log drop what it need not keep, and has the files of what went before removed.
async fn clean(shard: &Rc<Shard>, id: PartitionId) {
    let Some(partition) = shard.partition(id) else { return };
    for _ in 0..TURNS {
        if partition.borrow().is_offline() {
            return;
        }
        match drop_old(shard, &partition).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(fault) => {
                let mut partition = partition.borrow_mut();
                let name = partition.name();
                tracing::error!(partition = %name, "cannot delete old segments: {fault}");
                partition.take_fault(&fault);
                break;
            }
        }
    }
    remove_due(&mut partition.borrow_mut());
}

/// Whether a segment was rolled that may go now.
async fn drop_old(shard: &Rc<Shard>, partition: &SharedPartition) -> Result<bool, LogError> {
    let now = clock::earliest();
    loop {
        let read = {
            let partition = partition.borrow();
            partition.log().ages_for_retention(partition.high_watermark(), now)
        };
        let Some(read) = read else { break };
        let learned = threads::blocking(move || read.run()).await;
        partition.borrow_mut().log_mut().learn_ages(learned)?;
    }
    let (deletion, is_rolling) = {
        let mut partition = partition.borrow_mut();
        let high_watermark = partition.high_watermark();
        partition.log_mut().drop_old_segments(high_watermark, now)?;
        (partition.log().deletion(), partition.log().rolling().is_some())
    };
    if let Some(deletion) = deletion {
        let renamed = Arc::clone(&deletion);
        let outcome = threads::blocking(move || renamed.run()).await;
        partition.borrow_mut().log_mut().end_deletion(&deletion, outcome)?;
    }
    Ok(is_rolling && make_roll(shard, partition).await)
}

/// Makes the files of a roll that the log has decided on, if any. Whether they are there.
pub async fn make_roll(shard: &Rc<Shard>, partition: &SharedPartition) -> bool {
    let rolling = partition.borrow().log().rolling();
    let Some(rolling) = rolling else { return true };
    let made = Arc::clone(&rolling);
    let outcome = threads::blocking(move || made.run()).await;
    let is_made = outcome.is_ok();
    partition.borrow_mut().end_roll(&rolling, outcome);
    // What was appended meanwhile goes on, or waits for room.
    shard.commits.push(partition);
    is_made
}

/// Removes what the log has deleted and kept for `file.delete.delay.ms`.
pub fn remove_due(partition: &mut Partition) {
    let name = partition.name().clone();
    if let Some(removal) = partition.log_mut().take_removal(clock::monotonic()) {
        let dirs = Arc::clone(partition.dirs());
        tokio::task::spawn_blocking(move || {
            if let Err(fault) = removal.run() {
                tracing::warn!(partition = %name, "cannot remove files of old segments: {fault}");
                dirs.report(&fault);
            }
        });
    }
}
