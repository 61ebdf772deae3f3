//! One member of a classic group.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use protocol::Message;
use protocol::internal::consumer::ConsumerProtocolSubscription;
use protocol::wire::Reader;
use types::Millis;

use crate::logged::{MemberId, StoredMember};
use crate::message::ReplyToken;
use crate::timers::Deadline;

/// A member as its last JoinGroup described it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(super) rebalance_timeout: Millis,
    pub(super) session_timeout: Millis,
    /// What the member can speak, in its order of preference, each name once.
    pub(super) protocols: Vec<MemberProtocol>,
    /// Whether it waits for its first generation. It cannot send heartbeats before it knows its
    /// id, so its session is limited even while it waits.
    pub(super) is_new: bool,
    /// The JoinGroup that waits for the other members.
    pub(super) joining: Option<Parked>,
    /// The SyncGroup that waits for the leader.
    pub(super) syncing: Option<Parked>,
    pub(super) session: Deadline,
}

/// A protocol that a member can speak: for consumers an assignor, and the subscription.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MemberProtocol {
    pub(super) name: String,
    pub(super) metadata: Bytes,
}

/// What a member takes beside the texts that it brings: ids in several maps, timers, the rest.
const MEMBER_BYTES: usize = 1024;

impl MemberProtocol {
    pub(super) fn bytes(&self) -> usize {
        self.name.len() + self.metadata.len()
    }
}

/// A request whose reply has to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked {
    pub(crate) token: ReplyToken,
    pub(crate) api_version: i16,
}

impl Member {
    /// The member of a generation that was loaded; of its protocols the log has the chosen one.
    pub(super) fn from_log(id: MemberId, stored: StoredMember, protocol: Option<&str>) -> Self {
        Self {
            id,
            instance_id: stored.instance_id,
            client_id: stored.client_id,
            client_host: stored.client_host,
            rebalance_timeout: stored.rebalance_timeout,
            session_timeout: stored.session_timeout,
            protocols: vec![MemberProtocol {
                name: protocol.unwrap_or_default().to_owned(),
                metadata: stored.subscription,
            }],
            is_new: false,
            joining: None,
            syncing: None,
            session: Deadline::default(),
        }
    }

    /// What the member said for a protocol; nothing where it does not speak it.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let spoken = self.protocols.iter().find(|spoken| spoken.name == protocol);
        spoken.map(|spoken| spoken.metadata.clone()).unwrap_or_default()
    }

    /// About what the member takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let (client, instance) = ((&*self.client_id, &*self.client_host), &self.instance_id);
        member_bytes(&self.id, instance.as_deref(), client, &self.protocols)
    }

    pub(super) fn speaks(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|spoken| spoken.name == protocol)
    }

    /// Whether the member waits for us rather than we for it.
    pub(super) fn is_waiting(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }

    /// Topics of a consumer's subscription; `None` where it is not one. All versions begin like
    /// version 0, which is enough.
    pub(super) fn subscribed_topics(&self, protocol: &str) -> Option<BTreeSet<String>> {
        let mut metadata = self.metadata(protocol);
        let version = metadata.try_get_i16().ok()?;
        if version < 0 {
            return None;
        }
        let subscription = ConsumerProtocolSubscription::decode(&mut Reader::new(&metadata), 0);
        Some(subscription.ok()?.topics.into_iter().collect())
    }
}

/// About what a member takes in memory that says so much of itself.
pub(super) fn member_bytes(
    id: &str,
    instance_id: Option<&str>,
    (client_id, client_host): (&str, &str),
    protocols: &[MemberProtocol],
) -> usize {
    let texts = [id, instance_id.unwrap_or_default(), client_id, client_host];
    let texts = texts.iter().map(|text| text.len());
    MEMBER_BYTES + texts.chain(protocols.iter().map(MemberProtocol::bytes)).sum::<usize>()
}
