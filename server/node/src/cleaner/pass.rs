//! One log's compaction: planned on the shard that owns it, rewritten in the background, put in
//! place on the shard; and what is said of its end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{CleanerBuffers, Compaction, CompactionError, CompactionTally, Log, LogError, Rewritten};
use types::TopicPartition;

use super::status::PassFacts;
use super::throttle::Throttle;
use super::{Candidate, Settings};
use crate::shard::{PartitionId, Shard, SharedPartition, call_shard};
use crate::threads::{blocking, in_background};
use crate::{clock, upkeep};

/// Why a log was not compacted.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Compaction(#[from] CompactionError),
    #[error("the compaction panicked, which is a defect of this program")]
    Panicked,
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Self {
        Self::Compaction(error.into())
    }
}

/// Bytes before and after, and what was done.
type Done = (u64, u64, CompactionTally);

/// Compacts a log and says how it went. Whether the log was compacted.
pub async fn run(
    shard: &Rc<Shard>,
    candidate: Candidate,
    settings: Settings,
    throttle: &Arc<Throttle>,
) -> bool {
    let begin = Instant::now();
    let outcome = compact(shard, &candidate, settings.buffers, throttle).await;
    let name = &candidate.name;
    let fault = match outcome {
        Ok((before, after, tally)) => {
            let took = begin.elapsed();
            shard.shared.cleaner.note_pass(PassFacts { tally, took }, settings.threads);
            let read = tally.bytes_mapped + tally.bytes_read;
            let took_ms = took.as_millis();
            tracing::info!(partition = %name, before, after, read, took_ms, "compacted");
            if tally.keyless_dropped > 0 {
                let count = tally.keyless_dropped;
                tracing::warn!(partition = %name, count, "records without a key were dropped");
            }
            return true;
        }
        Err(Fault::Compaction(CompactionError::Stopped | CompactionError::Overtaken)) => {
            return false;
        }
        Err(Fault::Compaction(CompactionError::Log(fault))) if fault.is_passing() => {
            tracing::warn!(partition = %name, "cannot compact for now, trying again: {fault}");
            return false;
        }
        Err(fault) => {
            if let Fault::Compaction(CompactionError::Log(fault)) = &fault {
                shard.shared.dirs.report(fault);
            }
            fault
        }
    };
    if matches!(fault, Fault::Panicked) {
        shard.shared.cleaner.note_panic();
    }
    let id = candidate.id;
    let (text, advice) = (fault.to_string(), advice(&fault));
    let set_aside = call_shard(shard, candidate.shard, move |shard| {
        let partition = shard.partition(id)?;
        let mut partition = partition.borrow_mut();
        partition.log_mut().set_uncleanable();
        if let Fault::Compaction(CompactionError::Log(fault)) = &fault {
            // Another replica may help.
            partition.log_mut().note_suspect(fault);
        }
        Some(())
    });
    // A partition that was deleted meanwhile has lost its files for good reason.
    if set_aside.await.is_some() {
        report(name, &text, advice);
    }
    false
}

/// Says once that a partition was set aside, why, and what helps.
pub fn report(name: &TopicPartition, fault: &str, advice: &str) {
    tracing::error!(
        partition = %name,
        "set aside from compaction until restart or until its settings change: {fault}{advice}"
    );
}

/// What to do about damage to a log.
pub const ADVICE_DAMAGE: &str = "; what can be read is served: restore the file, or delete the \
     records up to the damage (kafka-delete-records.sh), then restart";

fn advice(fault: &Fault) -> &'static str {
    match fault {
        Fault::Compaction(CompactionError::Log(LogError::Io { .. })) => {
            "; look after the device of this directory, then restart"
        }
        Fault::Compaction(CompactionError::Log(_)) => ADVICE_DAMAGE,
        // The one says itself what helps, the others are never reported.
        Fault::Compaction(
            CompactionError::TooManyKeys { .. }
            | CompactionError::Stopped
            | CompactionError::Overtaken,
        ) => "",
        Fault::Panicked => "; please report it with the lines before this one",
    }
}

async fn compact(
    shard: &Rc<Shard>,
    candidate: &Candidate,
    buffers: CleanerBuffers,
    throttle: &Arc<Throttle>,
) -> Result<Done, Fault> {
    let (owner, id) = (candidate.shard, candidate.id);
    let planned = call_shard(shard, owner, move |shard| plan(shard, id)).await?;
    let mut compaction = planned.ok_or(CompactionError::Overtaken)?;
    let (mut before, mut after) = (0, 0);
    loop {
        let throttle = Arc::clone(throttle);
        let work = move || {
            let rewritten = compaction.rewrite_next(buffers, &mut |bytes| throttle.take(bytes));
            (compaction, rewritten)
        };
        let worked = in_background("cleaner", work).await;
        let (left, rewritten) = worked.map_err(|_| Fault::Panicked)?;
        compaction = left;
        let Some(rewritten) = rewritten? else { break };
        let (old, new) = rewritten.bytes();
        put_in_place(shard, owner, id, rewritten).await?;
        before += old;
        after += new;
    }
    let tally = compaction.tally();
    call_shard(shard, owner, move |shard| {
        if let Some(partition) = shard.partition(id) {
            partition.borrow_mut().log_mut().end_compaction(&compaction);
            remove_former(shard, id);
        }
    })
    .await;
    Ok((before, after, tally))
}

/// Removes the former segments as soon as they may go: they are as large as the log was, and the
/// next look of retention may be far away.
pub fn remove_former(shard: &Rc<Shard>, id: PartitionId) {
    let Some(partition) = shard.partition(id) else { return };
    let delay = partition.borrow().log().config().file_delete_delay_ms;
    let delay = Duration::from_millis(u64::try_from(delay.get()).unwrap_or(0) + 1);
    // From now on their delay runs.
    upkeep::remove_due(&mut partition.borrow_mut());
    let shard = Rc::clone(shard);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(delay).await;
        if let Some(partition) = online(&shard, id) {
            upkeep::remove_due(&mut partition.borrow_mut());
        }
    });
}

fn plan(shard: &Rc<Shard>, id: PartitionId) -> Result<Option<Compaction>, LogError> {
    let Some(partition) = online(shard, id) else { return Ok(None) };
    let mut partition = partition.borrow_mut();
    let high_watermark = partition.high_watermark();
    partition.log_mut().plan_compaction(high_watermark, clock::steady())
}

/// Lets a rewritten segment take its place on the shard `owner`.
pub async fn put_in_place(
    shard: &Rc<Shard>,
    owner: usize,
    id: PartitionId,
    rewritten: Rewritten,
) -> Result<(), CompactionError> {
    let (rewritten, step) = call_shard(shard, owner, move |shard| {
        let step = on_log(shard, id, |log| log.begin_swap(&rewritten));
        (rewritten, step.map(Option::flatten))
    })
    .await;
    let Some(step) = step? else {
        blocking(move || rewritten.discard()).await?;
        return Err(CompactionError::Overtaken);
    };
    let outcome = blocking(move || step.run()).await;
    let replaced = call_shard(shard, owner, move |shard| {
        on_log(shard, id, |log| log.replace_segments(rewritten, outcome))
    });
    let step = replaced.await?.flatten().ok_or(CompactionError::Overtaken)?;
    let renaming = Arc::clone(&step);
    let outcome = blocking(move || renaming.run()).await;
    let ended = call_shard(shard, owner, move |shard| {
        on_log(shard, id, |log| log.end_swap(&step, outcome)).map(|_| ())
    });
    Ok(ended.await?)
}

/// Does a step of a swap; `None` where the partition is gone. A failure is the partition's.
fn on_log<T>(
    shard: &Rc<Shard>,
    id: PartitionId,
    step: impl FnOnce(&mut Log) -> Result<T, LogError>,
) -> Result<Option<T>, LogError> {
    let Some(partition) = online(shard, id) else { return Ok(None) };
    let mut partition = partition.borrow_mut();
    let done = step(partition.log_mut());
    if let Err(fault) = &done {
        partition.take_fault(fault);
    }
    done.map(Some)
}

fn online(shard: &Rc<Shard>, id: PartitionId) -> Option<SharedPartition> {
    shard.partition(id).filter(|partition| !partition.borrow().is_offline())
}
