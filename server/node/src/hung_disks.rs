//! What follows when a disk does not answer: it is said, and others are to lead.
//!
//! A disk may neither work nor fail: a frozen file system, a lost path to a volume, a device that is
//! reset. What was written in such a time is on nobody's disk, and a leader that waits for it keeps
//! its producers waiting, for as long as it sends heartbeats. So these say that this broker wants to
//! be fenced; once the disk answers they do not any more, and it is let in again.
//!
//! Nothing here waits for a disk, a shard or the controller: all of them may wait for that disk. So
//! this node may not hear who became the active controller, above all where it was the one itself: who
//! wants to be fenced says so to all controllers.
//!
//! Not here: which calls are noted (`dirs::DiskCalls`), the heartbeats (`membership`), disks that fail
//! (`dir_failures`).

use std::sync::Arc;
use std::time::Duration;

use config::{HostPort, NodeConfig, SecurityProtocol};
use protocol::ApiKey;
use protocol::messages::broker_heartbeat::BrokerHeartbeatResponse;
use tokio::time::sleep;
use types::Millis;

use crate::dirs::{Dir, News};
use crate::peers::{Endpoint, LinkOptions};
use crate::shared::Shared;
use crate::{clock, membership, registration};

/// How often the calls are looked at.
const LOOK_EVERY: Millis = Millis(250);
/// Who looks so much later than planned has stood still, and the calls with it: that says nothing of
/// a disk.
const LATE_MAX: Millis = Millis(250);
/// How often all controllers are told, as long as it lasts.
const TELL_EVERY: Millis = Millis(1000);
/// Who has not taken the word of it after so long will not.
const TELL_TIMEOUT: Duration = Duration::from_secs(2);

/// Looks at the calls until the node ends.
pub async fn run(shared: Arc<Shared>) {
    let mut planned = clock::monotonic();
    let mut tell_at = planned;
    loop {
        let now = clock::monotonic();
        if now - planned <= LATE_MAX {
            let mut is_news = false;
            for dir in &shared.dirs.all {
                is_news |= look(dir, now, shared.config.disk_hung_ms);
            }
            if is_news {
                shared.membership.beat_now();
            }
            if tell_at <= now && shared.config.roles.broker {
                tell_controllers(&shared);
                tell_at = now + TELL_EVERY;
            }
        }
        planned = now + LOOK_EVERY;
        sleep(Duration::from_millis(LOOK_EVERY.0.unsigned_abs())).await;
    }
}

/// Whether there is news of a directory, which is told.
fn look(dir: &Dir, now: Millis, hung_after: Millis) -> bool {
    let path = dir.path().display();
    match dir.calls.look(now, hung_after) {
        None => return false,
        Some(News::Hangs(age)) => tracing::error!(
            "log directory {path} does not answer: a write or sync has been under way for {age} \
             (thalweg.disk.hung.ms). Where other brokers are well they lead until it answers; this \
             node then goes on by itself"
        ),
        Some(News::Answers(age)) => {
            tracing::warn!("log directory {path} answers again, after {age}");
        }
    }
    true
}

/// Tells all controllers that this broker wants to be fenced, if it does: the active one fences it,
/// others refuse.
fn tell_controllers(shared: &Shared) {
    let heartbeat = registration::heartbeat(shared);
    if !heartbeat.want_fence {
        return;
    }
    let options = LinkOptions {
        client_id: format!("{}-hung-disk", shared.config.node_id),
        request_timeout: TELL_TIMEOUT,
        response_bytes_max: membership::RESPONSE_BYTES_MAX,
    };
    for endpoint in controllers(&shared.config) {
        let link = match shared.peers.link(&endpoint, &options) {
            Ok(link) => link,
            Err(why) => {
                tracing::debug!("cannot tell {}:{}: {why}", endpoint.host, endpoint.port);
                continue;
            }
        };
        let heartbeat = heartbeat.clone();
        shared.peers.spawn(async move {
            let request = move |version| registration::fitted(heartbeat, version);
            let answer = link.call(ApiKey::BrokerHeartbeat, request).await;
            let code = answer.map(|answer: BrokerHeartbeatResponse| answer.error_code);
            tracing::debug!("{}:{} was told: {code:?}", endpoint.host, endpoint.port);
        });
    }
}

/// The other controllers that the settings name.
fn controllers(config: &NodeConfig) -> impl Iterator<Item = Endpoint> {
    let name = config.listeners.controller_names.first();
    let protocol = name.and_then(|name| config.listeners.protocols.get(name).copied());
    let protocol = protocol.unwrap_or(SecurityProtocol::Plaintext);
    let quorum = &config.quorum;
    let voters = quorum.voters.iter().filter(|voter| voter.id != config.node_id);
    let known = voters.map(|voter| &voter.address).chain(&quorum.bootstrap_servers);
    known.map(move |HostPort { host, port }| Endpoint { host: host.clone(), port: *port, protocol })
}
