//! Envelope: a client's request that a broker hands on to the active controller (KIP-590).
//!
//! Inside is the request as the client sent it, header included, and the answer goes back the same
//! way; the error code beside it is about the envelope alone.

use bytes::{Bytes, BytesMut};
use net::{Response, Served};
use protocol::Message;
use protocol::internal::security::DefaultPrincipalData;
use protocol::messages::envelope::{EnvelopeRequest, EnvelopeResponse};
use protocol::wire::Reader;
use types::ErrorCode;

use crate::broker::{Context, forward, request};

/// Serves one request.
pub fn serve(context: Context, body: BytesMut) -> Served {
    let envelope = match request::decode::<EnvelopeRequest>(body, context.version) {
        Ok(envelope) => envelope,
        Err(error) => return Served::Close(format!("Envelope: {error}").into()),
    };
    let served = match open(&context, &envelope) {
        Ok((inner, body)) => super::serve(inner, body),
        Err(code) => return Served::Now(refuse(&context, code)),
    };
    match served {
        Served::Now(answer) => Served::Now(wrap(&context, answer)),
        Served::Later { future, pipelined, until } => {
            let future = Box::pin(async move { wrap(&context, future.await) });
            Served::Later { future, pipelined, until }
        }
        Served::Close(reason) => {
            tracing::warn!("a request in an envelope from {} : {reason}", context.peer.address);
            Served::Now(refuse(&context, ErrorCode::InvalidRequest))
        }
        Served::NoResponse => Served::Now(refuse(&context, ErrorCode::InvalidRequest)),
    }
}

/// The request inside.
fn open(context: &Context, envelope: &EnvelopeRequest) -> Result<(Context, BytesMut), ErrorCode> {
    if !context.shard.shared.to_controller.is_here() {
        return Err(ErrorCode::NotController);
    }
    // An IPv4 or IPv6 address.
    if !matches!(envelope.client_host_address.len(), 4 | 16) {
        return Err(ErrorCode::InvalidRequest);
    }
    let principal = envelope.request_principal.as_ref().and_then(read_principal);
    principal.ok_or(ErrorCode::PrincipalDeserializationFailure)?;
    let mut frame = BytesMut::from(&envelope.request_data[..]);
    let (shard, peer) = (&context.shard, &context.peer);
    let (inner, body) =
        request::open(shard, peer, &mut frame).map_err(|_| ErrorCode::InvalidRequest)?;
    if !forward::is_forwardable(inner.api) {
        return Err(ErrorCode::InvalidRequest);
    }
    if !inner.api.versions().contains(&inner.version) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    Ok((inner, body))
}

/// Reads what Kafka's DefaultKafkaPrincipalBuilder writes: a version, then the message.
fn read_principal(bytes: &Bytes) -> Option<DefaultPrincipalData> {
    let mut reader = Reader::new(bytes);
    let version = i16::from_be_bytes(reader.take_array().ok()?);
    DefaultPrincipalData::from_bytes(&reader.rest(), version).ok()
}

fn wrap(context: &Context, answer: Response) -> Response {
    if answer.segments.is_empty() {
        return refuse(context, ErrorCode::UnknownServerError);
    }
    let data: Vec<u8> = answer.segments.concat();
    let response_data = Some(Bytes::from(data));
    context.respond(&EnvelopeResponse { response_data, ..Default::default() })
}

fn refuse(context: &Context, code: ErrorCode) -> Response {
    context.respond(&EnvelopeResponse { error_code: code.to_wire(), ..Default::default() })
}
