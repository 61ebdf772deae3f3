//! The voters of the metadata quorum (KIP-853).

use protocol::ApiKey;
use protocol::messages::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse, Listener};
use protocol::messages::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use types::Uuid;

use super::{Admin, CHANGE_TIMEOUT_MS};
use crate::error::ClientError;

impl Admin {
    /// Makes a controller that reads the metadata log a voter. `endpoints` are its listeners for
    /// controllers: name, host and port.
    ///
    /// # Errors
    /// `DUPLICATE_VOTER` where it is one, `REQUEST_TIMED_OUT` where it is too far behind.
    pub async fn add_voter(
        &self,
        id: i32,
        directory: Uuid,
        endpoints: &[(String, String, u16)],
    ) -> Result<(), ClientError> {
        let listener = |(name, host, port): &(String, String, u16)| Listener {
            name: name.clone(),
            host: host.clone(),
            port: *port,
            ..Default::default()
        };
        let request = AddRaftVoterRequest {
            timeout_ms: CHANGE_TIMEOUT_MS,
            voter_id: id,
            voter_directory_id: directory,
            listeners: endpoints.iter().map(listener).collect(),
            ..Default::default()
        };
        let api = ApiKey::AddRaftVoter;
        let answer: AddRaftVoterResponse = self.client.call_any(api, 0..=1, &request).await?;
        let subject = || format!("voter {id}");
        ClientError::check(api, subject, answer.error_code, answer.error_message.as_ref())
    }

    /// Takes a voter out of the quorum; it goes on to read the metadata log.
    ///
    /// # Errors
    /// `VOTER_NOT_FOUND` where it is none, or the last one.
    pub async fn remove_voter(&self, id: i32, directory: Uuid) -> Result<(), ClientError> {
        let request = RemoveRaftVoterRequest {
            voter_id: id,
            voter_directory_id: directory,
            ..Default::default()
        };
        let api = ApiKey::RemoveRaftVoter;
        let answer: RemoveRaftVoterResponse = self.client.call_any(api, 0..=0, &request).await?;
        let subject = || format!("voter {id}");
        ClientError::check(api, subject, answer.error_code, answer.error_message.as_ref())
    }
}
