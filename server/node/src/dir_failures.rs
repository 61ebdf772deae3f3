//! What follows when a log directory fails: its partitions go offline on every shard, the cluster
//! hears of it, and the node stops where it cannot go on.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use ::metadata::controller::heartbeat;

use crate::registration;
use crate::shard::Shard;
use crate::shared::Shared;

/// Acts on failures until the shard ends. For the first shard.
pub async fn run(shard: Rc<Shard>) {
    let shared = &shard.shared;
    loop {
        shared.dirs.failed.notified().await;
        for index in 0..shared.mailboxes.shards() {
            shared.mailboxes.call(index, Shard::take_offline).await;
        }
        match shared.dirs.lost() {
            Some(reason) => shared.dirs.end_node(reason),
            None => tell_cluster(shared).await,
        }
    }
}

/// Tells the cluster which directories have failed and which take no new partitions.
pub async fn tell_cluster(shared: &Shared) {
    if !shared.is_registered.load(Ordering::SeqCst) {
        // The first heartbeat after the registration says it.
        return;
    }
    let mut request = registration::heartbeat_request(shared);
    let node = shared.config.node_id;
    let answer = shared.controller.decide_with_facts(move |image, quorum, context| {
        request.broker_epoch = registration::epoch_of(image, node).unwrap_or(-1);
        registration::drop_unknown_fields(&mut request, image);
        heartbeat(image, &request, registration::heartbeat_facts(quorum), context)
    });
    match answer.await.map(|answer| answer.error_code) {
        Ok(code @ 1..) => {
            tracing::warn!("the cluster does not take note of log directories: error {code}");
        }
        Ok(_) => {}
        Err(fault) => tracing::warn!("the cluster does not know of log directories: {fault}"),
    }
}
