//! Attacks on what the controller writes down: voters, registrations, and what others hand on to it.

use anyhow::ensure;
use bytes::Bytes;
use protocol::internal::security::DefaultPrincipalData;
use protocol::messages::add_raft_voter::{self, AddRaftVoterRequest, AddRaftVoterResponse};
use protocol::messages::api_versions::ApiVersionsRequest;
use protocol::messages::broker_registration::{
    BrokerRegistrationRequest, BrokerRegistrationResponse, Listener,
};
use protocol::messages::controller_registration::{
    self, ControllerRegistrationRequest, ControllerRegistrationResponse,
};
use protocol::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use protocol::messages::envelope::{EnvelopeRequest, EnvelopeResponse};
use protocol::messages::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use protocol::messages::update_raft_voter::{
    self, UpdateRaftVoterRequest, UpdateRaftVoterResponse,
};
use protocol::{ApiKey, Message};
use types::Uuid;

use super::target::{TOPIC, Target, good_batch};
use super::wire::{Connection, request};
use crate::client::produce_request;

const MANY: usize = 100_000;
const STRANGER: i32 = 77;
const DIRECTORY: Uuid = Uuid::from_bytes([7; 16]);

/// Voters that nobody knows, with far too many addresses, or that would leave none.
pub(super) fn voters(target: &Target) -> anyhow::Result<String> {
    let mut connection = target.connect()?;
    // Nobody listens there.
    let (name, host, port) = ("CONTROLLER".to_owned(), "127.0.0.1".to_owned(), 1);
    let listener = add_raft_voter::Listener { name, host, port, ..Default::default() };
    let cases = [(-1, DIRECTORY, 1), (STRANGER, Uuid::ZERO, 1), (STRANGER, DIRECTORY, 0)];
    for (voter_id, voter_directory_id, listeners) in
        cases.into_iter().chain([(STRANGER, DIRECTORY, 1), (1, DIRECTORY, MANY)])
    {
        let listeners = vec![listener.clone(); listeners];
        let question = AddRaftVoterRequest {
            voter_id,
            voter_directory_id,
            listeners,
            timeout_ms: 100,
            ..Default::default()
        };
        let answer: AddRaftVoterResponse = connection.ask(ApiKey::AddRaftVoter, 1, &question)?;
        ensure!(answer.error_code != 0, "voter {voter_id} is added");
    }
    for voter_id in [i32::MIN, -1, 1, STRANGER, i32::MAX] {
        let voter_directory_id = DIRECTORY;
        let question =
            RemoveRaftVoterRequest { voter_id, voter_directory_id, ..Default::default() };
        let answer: RemoveRaftVoterResponse =
            connection.ask(ApiKey::RemoveRaftVoter, 0, &question)?;
        ensure!(answer.error_code != 0, "voter {voter_id} is removed");
        let listener = update_raft_voter::Listener { host: "h".to_owned(), ..Default::default() };
        let listeners = vec![listener; MANY];
        let question = UpdateRaftVoterRequest {
            voter_id,
            voter_directory_id,
            listeners,
            ..Default::default()
        };
        let answer: UpdateRaftVoterResponse =
            connection.ask(ApiKey::UpdateRaftVoter, 0, &question)?;
        ensure!(answer.error_code != 0, "voter {voter_id} is updated");
    }
    Ok("all refused".to_owned())
}

/// Brokers and controllers that say more of themselves than a record can hold.
pub(super) fn registrations(target: &Target) -> anyhow::Result<String> {
    let mut connection = target.connect()?;
    let question = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    let answer: DescribeClusterResponse = connection.ask(ApiKey::DescribeCluster, 2, &question)?;
    let host = "h".repeat(300);
    let named = |number: usize| Listener {
        name: format!("L{number}"),
        host: host.clone(),
        port: 1,
        ..Default::default()
    };
    let question = BrokerRegistrationRequest {
        broker_id: STRANGER,
        cluster_id: answer.cluster_id,
        incarnation_id: DIRECTORY,
        listeners: (0..MANY).map(named).collect(),
        log_dirs: vec![DIRECTORY],
        previous_broker_epoch: -1,
        ..Default::default()
    };
    let broker: BrokerRegistrationResponse =
        connection.ask(ApiKey::BrokerRegistration, 4, &question)?;
    let listener = controller_registration::Listener {
        name: "C".to_owned(),
        host: host.clone(),
        ..Default::default()
    };
    let question = ControllerRegistrationRequest {
        controller_id: STRANGER,
        incarnation_id: DIRECTORY,
        listeners: vec![listener; MANY],
        ..Default::default()
    };
    let controller: ControllerRegistrationResponse =
        connection.ask(ApiKey::ControllerRegistration, 0, &question)?;
    let codes = (broker.error_code, controller.error_code);
    ensure!(codes.0 != 0 && codes.1 != 0, "{codes:?}");
    Ok(format!("refused with {codes:?}"))
}

/// Envelopes around what nobody may hand on: envelopes, records, and nothing.
pub(super) fn envelopes(target: &Target) -> anyhow::Result<String> {
    let (kind, name) = ("User".to_owned(), "hostile".to_owned());
    let principal = DefaultPrincipalData { r#type: kind, name, ..Default::default() };
    let principal = Bytes::from([&[0, 0], &principal.to_bytes(0)?[..]].concat());
    let envelope = |data: &[u8]| EnvelopeRequest {
        request_data: Bytes::copy_from_slice(data),
        request_principal: Some(principal.clone()),
        client_host_address: Bytes::from_static(&[127, 0, 0, 1]),
        ..Default::default()
    };
    // Without its length.
    let versions = request(ApiKey::ApiVersions, 0, 1, &ApiVersionsRequest::default())?.split_off(4);
    let produce = produce_request(TOPIC, 0, good_batch());
    let produce = request(ApiKey::Produce, 12, 1, &produce)?.split_off(4);
    let mut deep = versions.clone();
    for _ in 0..50 {
        deep = request(ApiKey::Envelope, 0, 1, &envelope(&deep))?.split_off(4);
    }
    let contents = [&versions[..], &produce, &deep, &deep[..deep.len() / 2], &[], &[0xff; 64]];
    let mut connection = target.connect()?;
    for data in contents {
        refused(&mut connection, &envelope(data))?;
        let stranger = EnvelopeRequest { request_principal: None, ..envelope(data) };
        refused(&mut connection, &stranger)?;
        let nowhere = EnvelopeRequest { client_host_address: Bytes::new(), ..envelope(data) };
        refused(&mut connection, &nowhere)?;
    }
    Ok(format!("{} envelopes refused", 3 * contents.len()))
}

fn refused(connection: &mut Connection, envelope: &EnvelopeRequest) -> anyhow::Result<()> {
    let answer: EnvelopeResponse = connection.ask(ApiKey::Envelope, 0, envelope)?;
    ensure!(answer.error_code != 0, "{:02x?} is served", &envelope.request_data[..]);
    Ok(())
}
