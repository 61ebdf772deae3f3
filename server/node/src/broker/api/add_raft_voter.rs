//! AddRaftVoter: another controller joins the quorum (KIP-853).
//!
//! Every request is refused: what can never be right as Kafka does, and the rest because a new
//! voter must have the log first, and this controller has no Fetch that it could read it with.

use protocol::messages::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};
use types::{ErrorCode, Uuid};

use crate::broker::Context;
use crate::controller::{QuorumFacts, Voter};

/// Why the set of voters stays as it is.
#[derive(Debug, Eq, PartialEq)]
pub struct Refusal {
    /// What the client sees.
    pub code: ErrorCode,
    /// What its user sees.
    pub message: String,
}

/// The voter that a request to change the quorum names.
pub struct NamedVoter<'a> {
    /// The cluster that the client means; `None` says that it does not care.
    pub cluster_id: Option<&'a str>,
    /// The node.
    pub id: i32,
    /// The node's metadata directory.
    pub directory_id: Uuid,
}

/// Serves one request.
pub async fn handle(context: Context, request: AddRaftVoterRequest) -> AddRaftVoterResponse {
    let shared = &context.shard.shared;
    let Ok(quorum) = shared.controller.facts().await else {
        let error_code = ErrorCode::NotLeaderOrFollower.to_wire();
        return AddRaftVoterResponse { error_code, ..Default::default() };
    };
    let listener = shared.config.listeners.controller_names.first().map_or("", String::as_str);
    let refusal = refuse(&request, &shared.dirs.cluster_id, listener, &quorum);
    AddRaftVoterResponse {
        error_code: refusal.code.to_wire(),
        error_message: Some(refusal.message),
        ..Default::default()
    }
}

fn refuse(
    request: &AddRaftVoterRequest,
    cluster_id: &str,
    listener: &str,
    quorum: &QuorumFacts,
) -> Refusal {
    let voter = NamedVoter {
        cluster_id: request.cluster_id.as_deref(),
        id: request.voter_id,
        directory_id: request.voter_directory_id,
    };
    if let Err(refusal) = voter.check(cluster_id) {
        return refusal;
    }
    if !request.listeners.iter().any(|given| given.name == listener) {
        let message = format!("the new voter has no endpoint for the listener {listener}");
        return Refusal { code: ErrorCode::InvalidRequest, message };
    }
    if let Err(refusal) = check_dynamic(quorum) {
        return refusal;
    }
    let id = request.voter_id;
    if quorum.voters.iter().any(|voter| voter.id.0 == id) {
        let message = format!("node {id} is a voter already; the voters are {}", list(quorum));
        return Refusal { code: ErrorCode::DuplicateVoter, message };
    }
    // Kafka's answer to a voter that lags is REQUEST_TIMED_OUT, but it invites to try again.
    let message = format!("this quorum serves one voter, so node {id} cannot join it");
    Refusal { code: ErrorCode::UnsupportedVersion, message }
}

impl NamedVoter<'_> {
    /// Checks what must hold for any change of the voters.
    ///
    /// # Errors
    /// If the client means another cluster, or names no voter.
    pub fn check(&self, cluster_id: &str) -> Result<(), Refusal> {
        if let Some(meant) = self.cluster_id.filter(|meant| *meant != cluster_id) {
            let message = format!("this is cluster {cluster_id}, the request means {meant}");
            return Err(Refusal { code: ErrorCode::InconsistentClusterId, message });
        }
        if self.id < 0 || self.directory_id == Uuid::ZERO {
            let message = "a voter is named by its node id and directory id".to_owned();
            return Err(Refusal { code: ErrorCode::InvalidRequest, message });
        }
        Ok(())
    }
}

/// Checks that the voters are in the log, where they can change, and not in static settings.
///
/// # Errors
/// If the quorum is at `kraft.version` 0.
pub fn check_dynamic(quorum: &QuorumFacts) -> Result<(), Refusal> {
    if quorum.kraft_version >= 1 {
        return Ok(());
    }
    let message = "the voters are set by controller.quorum.voters (kraft.version is 0), so they \
                   cannot change while the cluster runs";
    Err(Refusal { code: ErrorCode::UnsupportedVersion, message: message.to_owned() })
}

/// The voters as a user reads them.
pub fn list(quorum: &QuorumFacts) -> String {
    let name = |voter: &Voter| format!("{} with directory {}", voter.id, voter.directory_id);
    quorum.voters.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub mod tests {
    use protocol::messages::add_raft_voter::Listener;
    use types::{BrokerId, LeaderEpoch, Offset};

    use super::*;

    #[test]
    fn each_mistake_has_its_own_code() {
        let sound = AddRaftVoterRequest {
            cluster_id: Some("this".to_owned()),
            voter_id: 2,
            voter_directory_id: Uuid::from_bytes([2; 16]),
            listeners: vec![Listener { name: "CONTROLLER".to_owned(), ..Default::default() }],
            ..Default::default()
        };
        let other_cluster = Some("other".to_owned());
        let cases = [
            (
                "another cluster",
                1,
                AddRaftVoterRequest { cluster_id: other_cluster, ..sound.clone() },
                ErrorCode::InconsistentClusterId,
            ),
            (
                "no node",
                1,
                AddRaftVoterRequest { voter_id: -1, ..sound.clone() },
                ErrorCode::InvalidRequest,
            ),
            (
                "no directory",
                1,
                AddRaftVoterRequest { voter_directory_id: Uuid::ZERO, ..sound.clone() },
                ErrorCode::InvalidRequest,
            ),
            (
                "no endpoint",
                1,
                AddRaftVoterRequest { listeners: vec![], ..sound.clone() },
                ErrorCode::InvalidRequest,
            ),
            ("static voters", 0, sound.clone(), ErrorCode::UnsupportedVersion),
            (
                "a voter already, whatever its directory",
                1,
                AddRaftVoterRequest { voter_id: 1, ..sound.clone() },
                ErrorCode::DuplicateVoter,
            ),
            (
                "any cluster, but a second voter",
                1,
                AddRaftVoterRequest { cluster_id: None, ..sound },
                ErrorCode::UnsupportedVersion,
            ),
        ];
        for (name, kraft_version, request, expected) in cases {
            let refusal = refuse(&request, "this", "CONTROLLER", &quorum(kraft_version));
            assert_eq!(refusal.code, expected, "{name}");
        }
    }

    /// A quorum of node 1 alone.
    pub fn quorum(kraft_version: i16) -> QuorumFacts {
        let directory_id = Uuid::from_bytes([1; 16]);
        QuorumFacts {
            leader: BrokerId(1),
            epoch: LeaderEpoch(1),
            high_watermark: Offset::ZERO,
            end: Offset::ZERO,
            voters: vec![Voter { id: BrokerId(1), directory_id, endpoints: vec![] }],
            kraft_version,
        }
    }
}
