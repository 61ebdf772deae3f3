//! What follows when a log directory fails: its partitions go offline on every shard, the cluster
//! hears of it, and the node stops where it cannot go on.

use std::rc::Rc;

use crate::shard::Shard;

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
            None => shared.membership.beat_now(),
        }
    }
}
