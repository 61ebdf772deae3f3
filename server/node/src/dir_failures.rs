//! What follows when a log directory fails: its partitions go offline on every shard, the cluster
//! hears of it, and the node stops where it cannot go on.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

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
            // The next heartbeat names the directory.
            None => {
                shared.membership.beat_now();
                if shared.config.roles.broker {
                    tokio::task::spawn_local(end_unless_heard(Arc::clone(shared)));
                }
            }
        }
    }
}

/// Ends the node unless the controller hears in time what has failed by now: it takes this broker for
/// the leader of what lies there as long as it does not know.
async fn end_unless_heard(shared: Arc<Shared>) {
    let failed = shared.dirs.ids(false);
    let ms = shared.config.upkeep.dir_failure_timeout_ms.0;
    let limit = Duration::from_millis(ms.unsigned_abs());
    if timeout(limit, shared.membership.heard_of(&failed)).await.is_err() {
        shared.dirs.end_node(format!(
            "a log directory has failed, and the controller could not be told within {ms} ms \
             (log.dir.failure.timeout.ms)"
        ));
    }
}
