//! Requests that only the active controller can serve go on to it in envelopes (KIP-590).
//!
//! What a client sent goes unchanged, header included, and so does the answer. Where this node is
//! the active controller nothing is forwarded. When no controller answers for as long as a request
//! may take, the request is served here after all, and its answer then says NOT_CONTROLLER in the
//! form of its API.

use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use net::{Response, Served};
use protocol::internal::security::DefaultPrincipalData;
use protocol::messages::create_topics::{CreateTopicsRequest, CreateTopicsResponse};
use protocol::messages::envelope::{EnvelopeRequest, EnvelopeResponse};
use protocol::messages::headers::{RequestHeader, ResponseHeader};
use protocol::wire::{EncodeError, Reader, Sink};
use protocol::{ApiKey, Message};
use tokio::time::Instant;
use types::ErrorCode;

use super::api;
use super::request::Context;
use crate::peers::PeerError;
use crate::to_controller::{Place, Unanswered};

/// How long a controller is looked for, and asked, on behalf of one request.
const FORWARD_MAX: Duration = Duration::from_secs(30);
/// Wait before the controller is looked for again.
const RETRY: Duration = Duration::from_millis(50);

/// Whether an envelope may hold a request of this API.
pub fn is_forwardable(api: ApiKey) -> bool {
    matches!(
        api,
        ApiKey::CreateTopics
            | ApiKey::DeleteTopics
            | ApiKey::CreatePartitions
            | ApiKey::AlterConfigs
            | ApiKey::IncrementalAlterConfigs
            | ApiKey::ElectLeaders
            | ApiKey::AlterPartitionReassignments
            | ApiKey::ListPartitionReassignments
            | ApiKey::CreateAcls
            | ApiKey::DeleteAcls
            | ApiKey::CreateDelegationToken
            | ApiKey::RenewDelegationToken
            | ApiKey::ExpireDelegationToken
            | ApiKey::AlterClientQuotas
            | ApiKey::AlterUserScramCredentials
            | ApiKey::DescribeQuorum
            | ApiKey::UpdateFeatures
            | ApiKey::UnregisterBroker
            | ApiKey::AllocateProducerIds
            | ApiKey::AddRaftVoter
            | ApiKey::RemoveRaftVoter
    )
}

/// Whether a request goes on to the controller as it came. Changes of settings are taken apart
/// first, as levels of loggers are each broker's own; reassignments are in every node's image.
pub fn applies(context: &Context) -> bool {
    let own =
        matches!(context.api, ApiKey::IncrementalAlterConfigs | ApiKey::ListPartitionReassignments);
    is_forwardable(context.api)
        && !own
        && context.api.on_broker()
        && api::SERVED.contains(&context.api)
        && !context.is_on_controller()
        && !context.shard.shared.to_controller.is_here()
}

/// Hands a frame on; `header_bytes` of it are the header.
pub fn serve(context: Context, frame: BytesMut, header_bytes: usize) -> Served {
    let frame = frame.freeze();
    let future = Box::pin(async move {
        match hand_on(&context, &frame, context.correlation_id).await {
            Some(answer) => Response::new(vec![answer]),
            None => match api::serve(context, BytesMut::from(&frame[header_bytes..])) {
                Served::Now(answer) => answer,
                Served::Later { future, .. } => future.await,
                Served::Close(_) | Served::NoResponse => Response::close(),
            },
        }
    });
    Served::Later { future, pipelined: false, until: None }
}

/// Creates topics on a client's behalf, wherever the controller is. `None` where none answers.
pub async fn create_topics(
    context: &Context,
    request: CreateTopicsRequest,
) -> Option<CreateTopicsResponse> {
    let shared = &context.shard.shared;
    if !shared.to_controller.is_here() {
        let api = ApiKey::CreateTopics;
        return call(context, api, *api.versions().end(), &request).await;
    }
    let decided = shared.controller.decide(move |image, deciding| {
        ::metadata::controller::create_topics(image, &request, deciding)
    });
    decided.await.ok()
}

/// Asks the controller for something on a client's behalf. `None` where no controller answers.
pub async fn call<Q: Message, R: Message>(
    context: &Context,
    api: ApiKey,
    version: i16,
    request: &Q,
) -> Option<R> {
    let header = RequestHeader {
        request_api_key: api.to_wire(),
        request_api_version: version,
        correlation_id: context.correlation_id,
        client_id: Some(context.client_id.to_string()),
        ..Default::default()
    };
    let encode = || -> Result<Bytes, EncodeError> {
        let mut frame = BytesMut::new();
        header.encode(api.request_header_version(version), &mut frame)?;
        request.encode(version, &mut frame)?;
        Ok(frame.freeze())
    };
    let decode = |answer: &Bytes| -> Result<R, protocol::wire::DecodeError> {
        let mut reader = Reader::new(answer);
        ResponseHeader::decode(&mut reader, api.response_header_version(version))?;
        R::from_bytes(&reader.rest(), version)
    };
    let frame = encode().map_err(|error| tracing::error!("cannot ask for {api}: {error}")).ok()?;
    let answer = hand_on(context, &frame, header.correlation_id).await?;
    decode(&answer).map_err(|error| tracing::error!("the answer to {api}: {error}")).ok()
}

/// Gives a frame to whoever is the active controller, until it is answered.
async fn hand_on(context: &Context, frame: &Bytes, correlation_id: i32) -> Option<Bytes> {
    let until = Instant::now() + FORWARD_MAX;
    loop {
        let why = match try_hand_on(context, frame, correlation_id).await {
            Ok(Handed::Answer(answer)) => return Some(answer),
            Ok(Handed::StaysHere) => return None,
            Ok(Handed::Refused(ErrorCode::NotController)) => "it is not active".to_owned(),
            Ok(Handed::Refused(code)) => {
                let api = context.api;
                tracing::error!(
                    "the controller refuses {api} from a client in an envelope: {code}"
                );
                return None;
            }
            // Sent anew even where the controller may have done it, as Kafka's brokers do: a
            // client that repeats it itself would be no wiser.
            Err(why) => why.to_string(),
        };
        tracing::debug!("{} is handed on again: {why}", context.api);
        if Instant::now() + RETRY >= until {
            return None;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// What became of a request that was to be handed on.
enum Handed {
    Answer(Bytes),
    Refused(ErrorCode),
    /// This node has become the active controller.
    StaysHere,
}

async fn try_hand_on(
    context: &Context,
    frame: &Bytes,
    correlation_id: i32,
) -> Result<Handed, Unanswered> {
    let there = match context.shard.shared.to_controller.find().await? {
        Place::Here => return Ok(Handed::StaysHere),
        Place::There(there) => there,
    };
    let address = there.address();
    let envelope = EnvelopeRequest {
        request_data: frame.clone(),
        request_principal: Some(anonymous()),
        client_host_address: octets(context.peer.address.ip()),
        ..Default::default()
    };
    let answer: EnvelopeResponse = there.call(ApiKey::Envelope, move |_| envelope).await?;
    match (ErrorCode::from_wire(answer.error_code), answer.response_data) {
        (ErrorCode::None, Some(data)) if data.starts_with(&correlation_id.to_be_bytes()) => {
            Ok(Handed::Answer(data))
        }
        (ErrorCode::None, _) => Err(Unanswered::Peer(PeerError::Malformed {
            address,
            api: ApiKey::Envelope,
            cause: "it holds no answer to this request".to_owned(),
        })),
        (code, _) => Ok(Handed::Refused(code)),
    }
}

/// The principal of a connection where nobody logs in, as Kafka's DefaultKafkaPrincipalBuilder
/// writes it.
fn anonymous() -> Bytes {
    let principal = DefaultPrincipalData {
        r#type: "User".to_owned(),
        name: "ANONYMOUS".to_owned(),
        ..Default::default()
    };
    let version = DefaultPrincipalData::MAX_VERSION;
    let mut bytes = BytesMut::new();
    bytes.write(&version.to_be_bytes());
    principal.encode(version, &mut bytes).expect("a name that short fits");
    bytes.freeze()
}

fn octets(ip: IpAddr) -> Bytes {
    match ip {
        IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
    }
}
