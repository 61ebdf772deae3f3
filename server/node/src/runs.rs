//! Which runs of this broker its log directories vouch for: whatever those have counted as written is
//! there, also after a crash (ADR 31).
//!
//! A run is named in every directory before it registers, so before anybody counts on what it has, and
//! only if its records are synced before they count. Before the first topic of another durability comes
//! into force, that is taken back, for the whole run.
//!
//! Not here: what a directory must say to be counted on (`metadata`), the file (`log`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ::metadata::image::Topic;
use ::metadata::{Image, NotWhole, epoch_of_former_run};
use config::Durability;
use types::Uuid;

use crate::dirs::{Dir, Dirs};
use crate::shared::Shared;
use crate::threads;

/// What this run says of itself.
#[derive(Default)]
pub struct Runs {
    /// Whether the directories may name this run. Nothing is asynchronous as long as they may.
    vouches: AtomicBool,
    /// Whether that is being taken back.
    is_ending: AtomicBool,
    /// Held while the files are changed.
    files: Mutex<()>,
}

/// The epoch of the former run of this broker, if all of it is still there.
///
/// # Errors
/// [`NotWhole`].
pub fn epoch_of_former(shared: &Shared, image: &Image) -> Result<i64, NotWhole> {
    let dirs = &shared.dirs;
    let found: Vec<_> = online(dirs).map(Dir::of_former_runs).collect();
    let has_log = |name: &_| dirs.found(name).is_some();
    epoch_of_former_run(image, shared.config.node_id, &found, has_log)
}

/// Has each directory vouch for the run that begins, and on for the former one if it has all of that:
/// this one may end before it is registered, which it must not be before this has ended.
pub async fn vouch(shared: &Arc<Shared>, incarnation: Uuid) {
    // First: from here on nothing becomes asynchronous without it being taken back.
    shared.runs.vouches.store(true, Ordering::SeqCst);
    let Ok(image) = shared.controller.image().await else { return };
    let shared = Arc::clone(shared);
    threads::blocking(move || begin(&shared, &image, incarnation)).await;
}

/// The same for a run that goes on as another one.
pub async fn vouch_on(shared: Arc<Shared>, former: Uuid, incarnation: Uuid) {
    let named = move |_: &Dir| vec![incarnation, former];
    threads::blocking(move || shared.runs.name(&shared.dirs, named)).await;
}

fn begin(shared: &Shared, image: &Image, incarnation: Uuid) {
    match epoch_of_former(shared, image) {
        Ok(_) | Err(NotWhole::First) => {}
        Err(why) => {
            tracing::warn!("what this broker had before does not count in elections: {why}");
        }
    }
    if is_asynchronous(shared, image) {
        shared.runs.vouches.store(false, Ordering::SeqCst);
        return;
    }
    let former = image.broker(shared.config.node_id).map(|former| &**former);
    shared.runs.name(&shared.dirs, |dir| dir.of_former_runs().runs_to_name(incarnation, former));
}

/// Whether directories may vouch for this run. They are not to do so for long then: once it is taken back
/// everywhere, all shards resolve their settings anew.
pub fn still_vouches(shared: &Arc<Shared>) -> bool {
    let runs = &shared.runs;
    let vouches = runs.vouches.load(Ordering::SeqCst);
    if vouches && !runs.is_ending.swap(true, Ordering::SeqCst) {
        tokio::task::spawn_local(end(Arc::clone(shared)));
    }
    vouches
}

async fn end(shared: Arc<Shared>) {
    let of_all = Arc::clone(&shared);
    if !threads::blocking(move || of_all.runs.take_back(&of_all.dirs)).await {
        tracing::warn!(
            "topics with thalweg.durability=async are synced until the next start, as a log \
             directory cannot be changed"
        );
        return;
    }
    for index in 0..shared.mailboxes.shards() {
        shared.mailboxes.post(index, |shard| shard.resolve_anew(|_| true));
    }
}

impl Runs {
    /// Names runs in each directory, unless they may vouch for none any more.
    fn name(&self, dirs: &Dirs, named: impl Fn(&Dir) -> Vec<Uuid>) {
        let _one_at_a_time = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for dir in online(dirs) {
            if !self.vouches.load(Ordering::SeqCst) {
                return;
            }
            let named = named(dir);
            let _call = dir.calls.begin();
            if let Err(fault) = log::write_whole_runs(dirs.disk.as_ref(), dir.path(), &named) {
                // Without it the next start counts for less, and that is all.
                dirs.report(&fault);
            }
        }
    }

    /// Whether no directory that is used vouches for this run any more.
    fn take_back(&self, dirs: &Dirs) -> bool {
        let _one_at_a_time = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for dir in online(dirs) {
            let _call = dir.calls.begin();
            if let Err(fault) = log::remove_whole_runs(dirs.disk.as_ref(), dir.path()) {
                dirs.report(&fault);
                // One that has failed for good is not used any more.
                if dir.is_online() {
                    return false;
                }
            }
        }
        self.vouches.store(false, Ordering::SeqCst);
        true
    }
}

fn online(dirs: &Dirs) -> impl Iterator<Item = &Dir> {
    dirs.data().iter().filter(|dir| dir.is_online())
}

/// Whether something here counts before it is synced, or what is made next will.
fn is_asynchronous(shared: &Shared, image: &Image) -> bool {
    let here = shared.config.node_id;
    let is_async = |topic: &str| shared.topic_config(image, topic).durability == Durability::Async;
    let is_here = |topic: &Topic| topic.partitions().any(|(_, one)| one.replicas.contains(&here));
    // No topic has this name, so it is the default.
    is_async("") || image.topics().any(|topic| is_here(topic) && is_async(&topic.name))
}
