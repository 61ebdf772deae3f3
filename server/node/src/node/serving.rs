//! The threads of a node: shards with their partitions, and acceptors of connections.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};

use ::metadata::Image;
use anyhow::{Context, bail};
use config::NodeConfig;
use net::{Inbox, Listener, Net};
use types::Rng;

use crate::controller::Publish;
use crate::http::Status;
use crate::recovery::{self, Recovered};
use crate::shard::{Inward, Mailboxes, Shard};
use crate::shared::Shared;
use crate::{
    balancer, dir_failures, dynamic, groups, leaders, replicas, sessions, threads, upkeep,
};

pub(super) fn shard_count(config: &NodeConfig) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    config.shards.map_or(cores, |count| count as usize)
}

/// The threads of the shards, and what ends with the last connection.
pub(super) fn start_shards(
    shared: &Arc<Shared>,
    inboxes: Vec<Inbox>,
    receivers: Vec<Inward>,
    rng: &mut Rng,
) -> anyhow::Result<(Vec<JoinHandle<()>>, Receiver<()>)> {
    let mut threads = Vec::new();
    let (serving, drained) = std::sync::mpsc::channel::<()>();
    for (index, (inbox, mailbox)) in inboxes.into_iter().zip(receivers).enumerate() {
        let (shared, serving) = (Arc::clone(shared), serving.clone());
        let rng = Rng::new(rng.next_u64());
        let thread = thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
            let runtime = match threads::local_runtime(mailbox.sleep()) {
                Ok(runtime) => runtime,
                Err(error) => return tracing::error!("shard {index}: {error:#}"),
            };
            runtime.block_on(async move {
                let shard = Shard::new(index, shared, Arc::default(), rng);
                let handler = Rc::clone(&shard);
                tokio::task::spawn_local(async move {
                    inbox.serve(handler).await;
                    drop(serving);
                });
                shard.run(mailbox).await;
            });
        });
        threads.push(thread.context("cannot start a shard's thread")?);
    }
    Ok((threads, drained))
}

/// Has every shard serve what it owns of the cluster, and act on what changes from here on.
pub(super) fn open_partitions(
    shared: &Arc<Shared>,
    image: Arc<Image>,
    status: &Status,
) -> anyhow::Result<()> {
    let recovered = Arc::new(recovery::run(shared, &image, status.recovery())?);
    open_shards(shared, &image, &recovered)?;
    shared.controller.publish(image, publish(shared.mailboxes.clone()));
    Ok(())
}

/// Lets every shard act on a new image.
fn publish(mailboxes: Mailboxes) -> Publish {
    Box::new(move |image, changes| {
        if !changes.topics_deleted.is_empty() {
            // On all shards first: a new topic of the same name takes the same folders, and other
            // shards may own its partitions.
            let changes = Arc::clone(changes);
            on_all_shards(&mailboxes, move |shard| shard.delete_topics(&changes));
        }
        let (next, made) = (Arc::clone(image), Arc::clone(changes));
        on_all_shards(&mailboxes, move |shard| shard.apply(&next, &made));
    })
}

/// Runs `work` on every shard and waits until all have done it or have stopped.
fn on_all_shards(mailboxes: &Mailboxes, work: impl Fn(&Rc<Shard>) + Clone + Send + 'static) {
    let (done, all_done) = std::sync::mpsc::channel::<()>();
    for shard in 0..mailboxes.shards() {
        let (work, done) = (work.clone(), done.clone());
        mailboxes.post(shard, move |shard| {
            work(shard);
            drop(done);
        });
    }
    drop(done);
    // Ends when every shard has dropped its sender, also one that has stopped.
    _ = all_done.recv();
}

/// Gives every shard the partitions that it owns, and begins what it does by itself.
fn open_shards(
    shared: &Arc<Shared>,
    image: &Arc<Image>,
    recovered: &Arc<Recovered>,
) -> anyhow::Result<()> {
    let (opened, all_opened) = std::sync::mpsc::channel();
    for index in 0..shared.mailboxes.shards() {
        let (image, recovered) = (Arc::clone(image), Arc::clone(recovered));
        let opened = opened.clone();
        shared.mailboxes.post(index, move |shard| {
            shard.open_all(&image, &recovered);
            tokio::task::spawn_local(groups::run_timers(Rc::clone(shard)));
            tokio::task::spawn_local(upkeep::run(Rc::clone(shard)));
            tokio::task::spawn_local(replicas::run_isr(Rc::clone(shard)));
            tokio::task::spawn_local(replicas::run_throttled(Rc::clone(shard)));
            tokio::task::spawn_local(replicas::run_mending(Rc::clone(shard)));
            if shard.index == 0 {
                // What was changed before the last stop; the limits are the node's, not a shard's.
                dynamic::put_in_force(&shard.shared, &image);
                tokio::task::spawn_local(dir_failures::run(Rc::clone(shard)));
                tokio::task::spawn_local(sessions::run(Rc::clone(shard)));
                tokio::task::spawn_local(leaders::run(Rc::clone(shard)));
                tokio::task::spawn_local(balancer::run(Rc::clone(shard)));
            }
            // Fails where the start was given up.
            _ = opened.send(());
        });
    }
    drop(opened);
    if all_opened.iter().count() < shared.mailboxes.shards() {
        bail!("a shard has died at its start");
    }
    if let Some(reason) = shared.dirs.lost() {
        bail!("{reason}");
    }
    Ok(())
}

pub(super) fn start_acceptor(
    net: Arc<Net>,
    bound: Vec<Listener>,
) -> anyhow::Result<JoinHandle<()>> {
    let runtime = threads::runtime()?;
    let run = move || {
        runtime.block_on(async move {
            let mut tasks = tokio::task::JoinSet::new();
            for listener in bound {
                tasks.spawn(Arc::clone(&net).accept(listener));
            }
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended.expect("accepting does not panic") {
                    tracing::error!("a listener has failed: {error}");
                }
            }
        });
    };
    thread::Builder::new().name("acceptor".to_owned()).spawn(run).context("cannot start a thread")
}
