//! One request on its way through the broker: header in, response out.

use std::future::Future;
use std::rc::Rc;
use std::task::{self, Poll, Waker};

use bytes::{Bytes, BytesMut};
use net::{Peer, Response, Served};
use protocol::wire::{DecodeError, Reader, Segments, Sink};
use protocol::{ApiKey, Message};

use super::{answers, api, forward};
use crate::shard::Shard;

/// Who asks, for what, and how the answer must be framed.
#[derive(Clone)]
pub struct Context {
    /// The shard that the connection lives on.
    pub shard: Rc<Shard>,
    /// The connection.
    pub peer: Rc<Peer>,
    /// The API asked for.
    pub api: ApiKey,
    /// The version of request and response.
    pub version: i16,
    /// What pairs the response with the request.
    pub correlation_id: i32,
    /// How the client calls itself; empty where it says nothing.
    pub client_id: Rc<str>,
}

impl Context {
    /// Whether the request came in on a listener of the controller.
    pub fn is_on_controller(&self) -> bool {
        let name = &*self.peer.listener;
        let advertised = &self.shard.shared.advertised;
        advertised.iter().any(|one| one.is_controller && one.listener == name)
    }

    /// The bytes of a response to this request.
    pub fn respond<M: Message>(&self, message: &M) -> Response {
        self.encode(message).map_or_else(Response::close, Response::new)
    }

    /// As [`Context::respond`], for an answer that is not yet complete; `None` after a mistake of
    /// this broker.
    pub fn encode<M: Message>(&self, message: &M) -> Option<Vec<Bytes>> {
        let mut segments = Segments::new();
        segments.write(&self.correlation_id.to_be_bytes());
        if self.api.response_header_version(self.version) >= 1 {
            // No tagged fields.
            segments.write(&[0]);
        }
        match message.encode(self.version, &mut segments) {
            Ok(()) => Some(segments.into_buffers()),
            Err(error) => {
                // A mistake of this broker; the client must not take silence for success.
                let api = self.api.name();
                tracing::error!("cannot answer {api} version {}: {error}", self.version);
                None
            }
        }
    }
}

/// Serves one frame.
pub fn serve(shard: &Rc<Shard>, peer: &Rc<Peer>, mut frame: BytesMut) -> Served {
    let (context, body) = match open(shard, peer, &mut frame) {
        Ok(opened) => opened,
        Err(reason) => return Served::Close(reason.into()),
    };
    let Context { api, version, .. } = context;
    // ApiVersions answers every version, so that old and new meet (KIP-511).
    if api != ApiKey::ApiVersions && !api.versions().contains(&version) {
        let reason = format!("{} has no version {version}", api.name());
        return Served::Close(reason.into());
    }
    if api.versions().contains(&version) {
        // No others: clients could make up thousands of versions.
        context.shard.metrics.count_request(api, version);
    }
    if forward::applies(&context) {
        let header_bytes = frame.len();
        // They lie side by side still.
        frame.unsplit(body);
        return forward::serve(context, frame, header_bytes);
    }
    api::serve(context, body)
}

/// Takes the body out of a frame, whose header stays in it.
///
/// # Errors
/// If there is no such header; the connection must then be closed.
pub fn open(
    shard: &Rc<Shard>,
    peer: &Rc<Peer>,
    frame: &mut BytesMut,
) -> Result<(Context, BytesMut), String> {
    let header = Header::parse(frame)?;
    let Some(api) = ApiKey::from_wire(header.api_key) else {
        return Err(format!("there is no API {}", header.api_key));
    };
    let client_id = header.client_id.unwrap_or_default().into();
    let (version, correlation_id) = (header.version, header.correlation_id);
    let body = frame.split_off(header.bytes);
    let (shard, peer) = (Rc::clone(shard), Rc::clone(peer));
    Ok((Context { shard, peer, api, version, correlation_id, client_id }, body))
}

/// Serves a request whose handler may wait.
pub fn later<Q, R, F, W>(context: Context, body: BytesMut, handle: F) -> Served
where
    Q: Message,
    R: Message,
    F: FnOnce(Context, Q) -> W,
    W: Future<Output = R> + 'static,
{
    let request = match decode::<Q>(body, context.version) {
        Ok(request) => request,
        Err(error) => return Served::Close(format!("{}: {error}", context.api.name()).into()),
    };
    let answer = handle(context.clone(), request);
    let future = Box::pin(async move { context.respond(&answer.await) });
    Served::Later { future, pipelined: false, until: None }
}

/// As [`later`], of a handler whose answer follows from the request and the image alone whenever
/// it is there without waiting. Such an answer is kept for all who ask the same.
pub fn remembered<Q, R, F, W>(context: Context, body: BytesMut, handle: F) -> Served
where
    Q: Message,
    R: Message,
    F: FnOnce(Context, Q) -> W,
    W: Future<Output = R> + 'static,
{
    let (shard, image) = (Rc::clone(&context.shard), context.shard.image());
    let key = answers::key(&context, &body);
    if let Some(buffers) = shard.answers.find(&image, &key, context.correlation_id) {
        return Served::Now(Response::new(buffers));
    }
    let request = match decode::<Q>(body, context.version) {
        Ok(request) => request,
        Err(error) => return Served::Close(format!("{}: {error}", context.api.name()).into()),
    };
    let mut answer = Box::pin(handle(context.clone(), request));
    let Poll::Ready(message) = answer.as_mut().poll(&mut task::Context::from_waker(Waker::noop()))
    else {
        let future = Box::pin(async move { context.respond(&answer.await) });
        return Served::Later { future, pipelined: false, until: None };
    };
    match context.encode(&message) {
        Some(buffers) => {
            shard.answers.keep(&image, &key, &buffers);
            Served::Now(Response::new(buffers))
        }
        None => Served::Now(Response::close()),
    }
}

/// Decodes a request body. Bytes behind it are passed over, as Kafka does: librdkafka sends some
/// with a Metadata request for all topics.
///
/// # Errors
/// If the bytes are not such a message; the connection must then be closed.
pub fn decode<Q: Message>(body: BytesMut, version: i16) -> Result<Q, DecodeError> {
    let body: Bytes = body.freeze();
    Q::decode(&mut Reader::new(&body), version)
}

/// The part of a frame that every request has.
struct Header<'a> {
    api_key: i16,
    version: i16,
    correlation_id: i32,
    client_id: Option<&'a str>,
    /// How long the header is.
    bytes: usize,
}

impl<'a> Header<'a> {
    /// Reads a header of version 1 or 2; which of them the API and version tell.
    fn parse(frame: &'a [u8]) -> Result<Self, String> {
        let short = || "the request ends within its header".to_owned();
        let (fixed, rest) = frame.split_first_chunk::<10>().ok_or_else(short)?;
        let api_key = i16::from_be_bytes([fixed[0], fixed[1]]);
        let version = i16::from_be_bytes([fixed[2], fixed[3]]);
        let correlation_id = i32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        let id_bytes = i16::from_be_bytes([fixed[8], fixed[9]]);
        let (client_id, rest) = match usize::try_from(id_bytes) {
            Ok(bytes) => {
                let (id, rest) = rest.split_at_checked(bytes).ok_or_else(short)?;
                let id = std::str::from_utf8(id).map_err(|_| "client id is not UTF-8")?;
                (Some(id), rest)
            }
            Err(_) if id_bytes == -1 => (None, rest),
            Err(_) => return Err(format!("client id has length {id_bytes}")),
        };
        let flexible =
            ApiKey::from_wire(api_key).is_some_and(|api| api.request_header_version(version) >= 2);
        let rest = if flexible { skip_tags(rest)? } else { rest };
        let bytes = frame.len() - rest.len();
        Ok(Self { api_key, version, correlation_id, client_id, bytes })
    }
}

/// What follows the tagged fields of a header. None of them means anything to a broker.
fn skip_tags(bytes: &[u8]) -> Result<&[u8], String> {
    let mut reader = Reader::over(bytes);
    let broken = |error: DecodeError| format!("tagged fields of the header: {error}");
    for _ in 0..reader.take_varint().map_err(broken)? {
        reader.take_varint().map_err(broken)?;
        let length = reader.take_varint().map_err(broken)?;
        reader.take_slice(length as usize).map_err(broken)?;
    }
    Ok(&bytes[bytes.len() - reader.remaining()..])
}
