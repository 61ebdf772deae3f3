//! Who leads a partition that a client has looked for elsewhere, told with the refusal, so that it
//! need not ask for metadata first (KIP-951).

use std::collections::BTreeMap;
use std::sync::Arc;

use ::metadata::image::{Broker, Endpoint};
use types::{BrokerId, ErrorCode, LeaderEpoch};

use super::Context;
use super::resolve::{self, TopicRef};

/// The hints of one answer: each names a leader, and the answer has the address of each once.
pub struct LeaderHints<'a> {
    context: &'a Context,
    named: BTreeMap<BrokerId, Arc<Broker>>,
}

impl<'a> LeaderHints<'a> {
    /// For an answer to this request.
    pub fn new(context: &'a Context) -> Self {
        Self { context, named: BTreeMap::new() }
    }

    /// Leader and epoch of a partition that was refused with `code`, where that may help.
    pub fn name(
        &mut self,
        code: ErrorCode,
        topic: TopicRef<'_>,
        index: i32,
    ) -> Option<(BrokerId, LeaderEpoch)> {
        if !matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch) {
            return None;
        }
        let image = self.context.shard.image();
        let topic = resolve::topic(&image, topic).ok()?;
        let partition = topic.partition(index)?;
        let leader = partition.leader?;
        if let Some(broker) = image.broker(leader).filter(|broker| !broker.fenced) {
            self.named.insert(leader, Arc::clone(broker));
        }
        Some((leader, partition.leader_epoch))
    }

    /// The leaders that were named, with where clients of this listener find them.
    pub fn nodes(&self) -> impl Iterator<Item = (&Broker, &Endpoint)> {
        let listener = &self.context.peer.listener;
        self.named.values().filter_map(|broker| Some((&**broker, broker.endpoint(listener)?)))
    }
}
