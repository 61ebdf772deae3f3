//! An open connection: which versions the other side knows, what was sent, what comes back.

use std::collections::BTreeMap;
use std::future;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ::metadata::controller::Probed;
use bytes::Bytes;
use protocol::frames::{AnswerCutter, Unsent, request_frame};
use protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::messages::headers::{RequestHeader, ResponseHeader};
use protocol::wire::{DecodeError, Reader};
use protocol::{ApiKey, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use types::ErrorCode;

use super::link::Target;
use super::{Answer, PeerError, Reply, Request};

/// Requests that are sent and not answered; further ones wait.
const IN_FLIGHT_MAX: usize = 64;

/// What the other side calls itself by (KIP-511).
const SOFTWARE: &str = "thalweg";

/// A connection that can be used.
pub(super) struct Connection {
    reader: AnswerReader,
    writer: OwnedWriteHalf,
    versions: Versions,
    next_correlation: i32,
}

/// Reads answers. What it waits for may be given up at any point, and be waited for again.
struct AnswerReader {
    stream: OwnedReadHalf,
    cutter: AnswerCutter,
}

impl AnswerReader {
    /// The next answer without its length, or why no more will come.
    async fn next(&mut self) -> Result<Bytes, String> {
        loop {
            if let Some(answer) = self.cutter.next_answer().map_err(|error| error.to_string())? {
                return Ok(answer);
            }
            match self.stream.read_buf(self.cutter.room()).await {
                Ok(0) => return Err("the other side closed it".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// The versions of each API that the other side serves.
type Versions = BTreeMap<i16, RangeInclusive<i16>>;

/// A request that was sent.
struct Sent {
    api: ApiKey,
    version: i16,
    correlation: i32,
    deadline: Instant,
    after: Duration,
    answer: Answer,
}

impl Connection {
    /// Connects and asks for the versions.
    pub(super) async fn open(target: &Target) -> Result<Self, PeerError> {
        let opened = match timeout(target.connect_timeout, Self::try_open(target)).await {
            Ok(opened) => opened,
            Err(_) => Err(format!("no answer in {} ms", target.connect_timeout.as_millis())),
        };
        let address = || Arc::clone(&target.address);
        opened.map_err(|cause| PeerError::Unreachable { address: address(), cause })
    }

    /// Opens a connection only to see whether somebody serves there; `None` where that is not known.
    pub(super) async fn probe(target: &Target) -> Option<Probed> {
        let probing = async {
            match Self::connect(target).await {
                Ok(stream) => Self::greet(stream, target).await.ok().map(|_| Probed::Alive),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => Some(Probed::Gone),
                Err(_) => None,
            }
        };
        timeout(target.connect_timeout, probing).await.ok().flatten()
    }

    async fn try_open(target: &Target) -> Result<Self, String> {
        let stream = Self::connect(target).await.map_err(|error| error.to_string())?;
        Self::greet(stream, target).await
    }

    async fn connect(target: &Target) -> std::io::Result<TcpStream> {
        TcpStream::connect((target.host.as_str(), target.port)).await
    }

    async fn greet(stream: TcpStream, target: &Target) -> Result<Self, String> {
        // Requests are written whole; waiting for more to send would only delay them.
        stream.set_nodelay(true).map_err(|error| format!("TCP_NODELAY: {error}"))?;
        let (reading, writer) = stream.into_split();
        let cutter = AnswerCutter::new(target.response_bytes_max);
        let reader = AnswerReader { stream: reading, cutter };
        let versions = Versions::new();
        let mut connection = Self { reader, writer, versions, next_correlation: 0 };
        connection.ask_versions(&target.client_id).await?;
        Ok(connection)
    }

    /// Who does not know our version of ApiVersions answers in version 0.
    async fn ask_versions(&mut self, client_id: &str) -> Result<(), String> {
        let api = ApiKey::ApiVersions;
        let request = ApiVersionsRequest {
            client_software_name: SOFTWARE.to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        };
        let newest = *api.versions().end();
        let (code, frame) = self.ask_versions_in(newest, client_id, &request).await?;
        let answer = match code {
            ErrorCode::UnsupportedVersion => {
                let request = ApiVersionsRequest::default();
                let (_, frame) = self.ask_versions_in(0, client_id, &request).await?;
                ApiVersionsResponse::from_bytes(&frame.slice(4..), 0)
            }
            _ => ApiVersionsResponse::from_bytes(&frame.slice(4..), newest),
        };
        let answer = answer.map_err(|error| format!("ApiVersions: {error}"))?;
        match ErrorCode::from_wire(answer.error_code) {
            ErrorCode::None => {}
            code => return Err(format!("ApiVersions is answered with {code}")),
        }
        let keys = answer.api_keys.iter();
        self.versions = keys.map(|one| (one.api_key, one.min_version..=one.max_version)).collect();
        Ok(())
    }

    /// Asks in one version; gives the error code and the frame.
    async fn ask_versions_in(
        &mut self,
        version: i16,
        client_id: &str,
        request: &ApiVersionsRequest,
    ) -> Result<(ErrorCode, Bytes), String> {
        let api = ApiKey::ApiVersions;
        let header = self.header(api, version, client_id);
        let mut unsent = Unsent::default();
        unsent.extend(request_frame(api, &header, request).map_err(|error| error.to_string())?);
        self.writer.write_all_buf(&mut unsent).await.map_err(|error| error.to_string())?;
        let frame = self.reader.next().await?;
        let broken = || "ApiVersions is answered with something else".to_owned();
        let (correlation, rest) = frame.split_first_chunk::<4>().ok_or_else(broken)?;
        let (code, _) = rest.split_first_chunk::<2>().ok_or_else(broken)?;
        if i32::from_be_bytes(*correlation) != header.correlation_id {
            return Err(broken());
        }
        Ok((ErrorCode::from_wire(i16::from_be_bytes(*code)), frame))
    }

    fn header(&mut self, api: ApiKey, version: i16, client_id: &str) -> RequestHeader {
        let correlation_id = self.next_correlation;
        self.next_correlation = correlation_id.wrapping_add(1);
        RequestHeader {
            request_api_key: api.to_wire(),
            request_api_version: version,
            correlation_id,
            client_id: Some(client_id.to_owned()),
            ..Default::default()
        }
    }

    /// Sends what is asked and gives answers until the connection ends. `first` goes before the
    /// queue; what is left in both was not sent.
    pub(super) async fn serve(
        self,
        target: &Target,
        first: &mut Option<Request>,
        queue: &mut mpsc::Receiver<Request>,
    ) {
        let Self { mut reader, writer, versions, next_correlation } = self;
        let (sent, mut waiting) = mpsc::channel(IN_FLIGHT_MAX);
        let mut sender = Sender { target, writer, versions, next_correlation };
        let cause = tokio::select! {
            cause = read(&mut reader, target, &mut waiting) => cause,
            cause = sender.run(first, queue, sent) => cause,
        };
        let cause: Arc<str> = cause.into();
        waiting.close();
        while let Ok(Sent { api, answer, .. }) = waiting.try_recv() {
            let (address, cause) = (Arc::clone(&target.address), Arc::clone(&cause));
            answer.give(Err(PeerError::Disconnected { address, api, cause }));
        }
    }
}

/// The half that sends.
struct Sender<'a> {
    target: &'a Target,
    writer: OwnedWriteHalf,
    versions: Versions,
    next_correlation: i32,
}

impl Sender<'_> {
    /// Ends when nothing can be written any more, and says why.
    async fn run(
        &mut self,
        first: &mut Option<Request>,
        queue: &mut mpsc::Receiver<Request>,
        sent: mpsc::Sender<Sent>,
    ) -> String {
        let mut unsent = Unsent::default();
        loop {
            // The place first: a request that is out of the queue is always sent or answered.
            let place = sent.reserve().await.expect("the reader lives as long as the writer");
            let request = match first.take() {
                Some(request) => request,
                None => match queue.recv().await {
                    Some(request) => request,
                    None => break,
                },
            };
            self.prepare(request, place, &mut unsent);
            // What waits already goes in the same write.
            while let Ok(place) = sent.try_reserve()
                && let Ok(request) = queue.try_recv()
            {
                self.prepare(request, place, &mut unsent);
            }
            if let Err(error) = self.writer.write_all_buf(&mut unsent).await {
                return error.to_string();
            }
        }
        // The reader ends when the last answer is in.
        drop(sent);
        future::pending().await
    }

    /// Puts a request among what is written next, or answers it where that cannot be.
    fn prepare(&mut self, request: Request, place: mpsc::Permit<'_, Sent>, unsent: &mut Unsent) {
        let Request { api, encode, deadline, after, answer } = request;
        let address = Arc::clone(&self.target.address);
        if deadline <= Instant::now() {
            return answer.give(Err(PeerError::TimedOut { address, api, after }));
        }
        let version = match common(&self.versions, api) {
            Ok(version) => version,
            Err(cause) => return answer.give(Err(PeerError::Unsupported { address, api, cause })),
        };
        let correlation = self.next_correlation;
        let header = RequestHeader {
            request_api_key: api.to_wire(),
            request_api_version: version,
            correlation_id: correlation,
            client_id: Some(self.target.client_id.clone()),
            ..Default::default()
        };
        match encode(&header) {
            Ok(frame) => unsent.extend(frame),
            Err(error) => {
                let cause = error.to_string();
                return answer.give(Err(PeerError::Unsupported { address, api, cause }));
            }
        }
        self.next_correlation = correlation.wrapping_add(1);
        place.send(Sent { api, version, correlation, deadline, after, answer });
    }
}

/// The highest version that both sides know.
fn common(versions: &Versions, api: ApiKey) -> Result<i16, String> {
    let Some(served) = versions.get(&api.to_wire()) else {
        return Err("it does not serve it".to_owned());
    };
    let known = api.versions();
    let version = *served.end().min(known.end());
    if version < *served.start() || version < *known.start() {
        return Err(format!("it serves versions {served:?}, known here are {known:?}"));
    }
    Ok(version)
}

/// Gives answers until the connection ends, and says why it did.
async fn read(
    reader: &mut AnswerReader,
    target: &Target,
    waiting: &mut mpsc::Receiver<Sent>,
) -> String {
    loop {
        let next = tokio::select! {
            // A request is in line before it is written, so its answer never comes unasked.
            biased;
            next = waiting.recv() => next,
            frame = reader.next() => {
                return frame.err().unwrap_or_else(|| UNASKED.to_owned());
            }
        };
        let Some(sent) = next else { return "nobody uses it any more".to_owned() };
        let Sent { api, version, correlation, deadline, after, answer } = sent;
        let address = Arc::clone(&target.address);
        match timeout_at(deadline, reader.next()).await {
            Ok(Ok(frame)) => match open_reply(&frame, api, version, correlation) {
                Ok(reply) => answer.give(Ok(reply)),
                Err(cause) => {
                    answer.give(Err(PeerError::Malformed { address, api, cause }));
                    return format!("{api} was answered with something else");
                }
            },
            Ok(Err(cause)) => {
                let told = cause.as_str().into();
                answer.give(Err(PeerError::Disconnected { address, api, cause: told }));
                return cause;
            }
            Err(_) => {
                // Answers come in order: with this one missing no later one can come either.
                answer.give(Err(PeerError::TimedOut { address, api, after }));
                return format!("an earlier {api} was not answered in time");
            }
        }
    }
}

const UNASKED: &str = "an answer came that nobody asked for";

/// Takes the header off an answer.
fn open_reply(frame: &Bytes, api: ApiKey, version: i16, correlation: i32) -> Result<Reply, String> {
    let mut reader = Reader::new(frame);
    let header = ResponseHeader::decode(&mut reader, api.response_header_version(version));
    let header = header.map_err(|error: DecodeError| error.to_string())?;
    if header.correlation_id != correlation {
        return Err(format!("answer {} came before {correlation}", header.correlation_id));
    }
    Ok(Reply { version, body: reader.rest() })
}
