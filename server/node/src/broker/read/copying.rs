//! What a follower's fetch tells its leader, before anything is read for it.

use std::rc::Rc;

use replication::{FetchVerdict, ReplicaFetch};
use types::{LeaderEpoch, Offset};

use super::answer::{Answer, Ask, Replica};
use crate::shard::{Shard, SharedPartition};

/// How a follower's fetch goes on.
pub(super) enum Copying {
    /// By reading; `tells_more` if what the follower knows is old.
    Goes { tells_more: bool },
    /// With an answer that has no records.
    Ends(Answer),
}

/// Takes note of how far the follower has come. It shows that by its request, so only once: what
/// a request proves does not become newer while it waits.
pub(super) fn note(
    shard: &Rc<Shard>,
    partition: &SharedPartition,
    ask: &mut Ask,
    replica: Replica,
) -> Copying {
    let from = Offset::new(ask.offset.max(0));
    if ask.is_noted {
        let here = partition.borrow().readable();
        return Copying::Goes { tells_more: here.is_news_to(&ask.known, from) };
    }
    let fetch = ReplicaFetch {
        replica: replica.id,
        broker_epoch: replica.epoch,
        leader_epoch: (ask.current_leader_epoch >= 0)
            .then_some(LeaderEpoch(ask.current_leader_epoch)),
        fetch_offset: from,
        last_fetched_epoch: (ask.last_fetched_epoch >= 0)
            .then_some(LeaderEpoch(ask.last_fetched_epoch)),
        log_start: ask.known.log_start,
        high_watermark: ask.known.high_watermark,
    };
    let lag_max = shard.shared.config.replication.lag_ms_max;
    let image = shard.image();
    let eligible = |id| image.broker(id).filter(|one| one.is_active()).map(|one| one.epoch);
    let verdict = partition.borrow_mut().follower_fetch(&fetch, lag_max, eligible);
    match verdict {
        FetchVerdict::Refused(code) => Copying::Ends(Answer::refused(code)),
        FetchVerdict::Diverging(at) => Copying::Ends(Answer {
            diverging: Some((at.epoch, at.end)),
            ..Answer::refused(types::ErrorCode::None)
        }),
        FetchVerdict::Read { at_once, .. } => {
            ask.is_noted = true;
            if partition.borrow().may_expand(replica.id) {
                shard.poll_isr(partition);
            }
            Copying::Goes { tells_more: at_once }
        }
    }
}
