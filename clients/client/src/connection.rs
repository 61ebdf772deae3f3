//! One TCP connection to one broker: requests go out in the order of [`Connection::submit`],
//! answers come back in the same order.
//!
//! One task writes and reads. It ends with the connection; whoever waits then learns why.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use protocol::frames::{AnswerCutter, Unsent, request_frame};
use protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::messages::headers::{RequestHeader, ResponseHeader};
use protocol::wire::Reader;
use protocol::{ApiKey, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use types::ErrorCode;

use crate::error::ClientError;
use crate::settings::ClientSettings;

/// A connection whose API versions are known.
#[derive(Debug)]
pub(crate) struct Connection {
    broker: Arc<str>,
    client_id: String,
    versions: BTreeMap<i16, RangeInclusive<i16>>,
    next_correlation: AtomicI32,
    requests: mpsc::UnboundedSender<Outgoing>,
    /// Why the connection ended; set before those who wait are told.
    ended: Arc<OnceLock<String>>,
    given_up: Arc<Notify>,
}

#[derive(Debug)]
struct Outgoing {
    buffers: Vec<Bytes>,
    correlation: i32,
    /// `None` for a request that is not answered (acks=0).
    reply: Option<oneshot::Sender<Bytes>>,
}

/// An answer that is still to come. Dropping it is fine.
#[derive(Debug)]
pub(crate) struct Pending {
    broker: Arc<str>,
    api: ApiKey,
    version: i16,
    frame: oneshot::Receiver<Bytes>,
    ended: Arc<OnceLock<String>>,
    /// Keeps the connection until the answer is here, even when nobody else does, and knows when it ends.
    connection: mpsc::UnboundedSender<Outgoing>,
}

impl Connection {
    /// Connects and asks for the API versions.
    pub(crate) async fn open(
        address: Arc<str>,
        settings: &ClientSettings,
    ) -> Result<Self, ClientError> {
        let connecting = timeout(settings.connect_timeout, TcpStream::connect(&*address));
        let stream = match connecting.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                return Err(ClientError::Refused { address });
            }
            Ok(Err(error)) => {
                return Err(ClientError::Unreachable { address, cause: error.to_string() });
            }
            Err(_) => {
                let cause = format!("no answer in {} ms", settings.connect_timeout.as_millis());
                return Err(ClientError::Unreachable { address, cause });
            }
        };
        // Requests are written whole; waiting for more to send would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let (reading, writing) = stream.into_split();
        let (requests, queue) = mpsc::unbounded_channel();
        let (ended, given_up) = (Arc::new(OnceLock::new()), Arc::new(Notify::new()));
        let reader = (reading, AnswerCutter::new(settings.answer_bytes_max));
        let (ending, giving_up) = (ended.clone(), given_up.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = run(reader, writing, queue, ending) => {}
                () = giving_up.notified() => {}
            }
        });
        let mut connection = Self {
            broker: address.clone(),
            client_id: settings.client_id.clone(),
            versions: BTreeMap::new(),
            next_correlation: AtomicI32::new(0),
            requests,
            ended,
            given_up,
        };
        let versions = connection.ask_versions(settings.request_timeout).await;
        connection.versions = versions.map_err(|error| not_kafka(address, error))?;
        Ok(connection)
    }

    /// Whether nothing can be sent any more.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.get().is_some() || self.requests.is_closed()
    }

    /// Where it leads.
    pub(crate) fn address(&self) -> &Arc<str> {
        &self.broker
    }

    /// Ends the connection, since the broker says nothing and leads no more. Gives what whoever waits
    /// for an answer is told.
    pub(crate) fn leave_silent(&self, api: ApiKey) -> ClientError {
        _ = self.ended.set("it does not answer, and others lead in its place".to_owned());
        self.given_up.notify_one();
        disconnected(&self.broker, api, &self.ended)
    }

    /// The highest version of `api` within `wanted` that the broker serves.
    pub(crate) fn version(
        &self,
        api: ApiKey,
        wanted: &RangeInclusive<i16>,
    ) -> Result<i16, ClientError> {
        let unsupported =
            |cause| ClientError::Unsupported { broker: self.broker.clone(), api, cause };
        let Some(served) = self.versions.get(&api.to_wire()) else {
            let cause = "it does not serve this API; is it a controller's port?";
            return Err(unsupported(cause.to_owned()));
        };
        let version = *served.end().min(wanted.end());
        if version < *served.start() || version < *wanted.start() {
            return Err(unsupported(format!(
                "it serves versions {} to {}, {} to {} are needed",
                served.start(),
                served.end(),
                wanted.start(),
                wanted.end()
            )));
        }
        Ok(version)
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call<Q: Message, R: Message>(
        &self,
        api: ApiKey,
        wanted: &RangeInclusive<i16>,
        request: &Q,
        limit: Duration,
    ) -> Result<R, ClientError> {
        let version = self.version(api, wanted)?;
        self.submit(api, version, request)?.answer(limit).await
    }

    /// Puts a request behind those submitted before; does not wait.
    pub(crate) fn submit<Q: Message>(
        &self,
        api: ApiKey,
        version: i16,
        request: &Q,
    ) -> Result<Pending, ClientError> {
        let (reply, frame) = oneshot::channel();
        self.send(api, version, request, Some(reply))?;
        Ok(Pending {
            broker: self.broker.clone(),
            api,
            version,
            frame,
            ended: self.ended.clone(),
            connection: self.requests.clone(),
        })
    }

    /// Puts a request in line that the broker does not answer.
    pub(crate) fn submit_unanswered<Q: Message>(
        &self,
        api: ApiKey,
        version: i16,
        request: &Q,
    ) -> Result<(), ClientError> {
        self.send(api, version, request, None)
    }

    fn send<Q: Message>(
        &self,
        api: ApiKey,
        version: i16,
        request: &Q,
        reply: Option<oneshot::Sender<Bytes>>,
    ) -> Result<(), ClientError> {
        let correlation = self.next_correlation.fetch_add(1, Ordering::Relaxed);
        let header = RequestHeader {
            request_api_key: api.to_wire(),
            request_api_version: version,
            correlation_id: correlation,
            client_id: Some(self.client_id.clone()),
            ..RequestHeader::default()
        };
        let buffers = request_frame(api, &header, request).map_err(|error| {
            let cause = error.to_string();
            ClientError::Unsupported { broker: self.broker.clone(), api, cause }
        })?;
        let outgoing = Outgoing { buffers, correlation, reply };
        self.requests.send(outgoing).map_err(|_| disconnected(&self.broker, api, &self.ended))
    }

    /// A broker that does not know our version of ApiVersions answers in version 0.
    async fn ask_versions(
        &self,
        limit: Duration,
    ) -> Result<BTreeMap<i16, RangeInclusive<i16>>, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: "thalweg-client".to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ApiVersionsRequest::default()
        };
        let api = ApiKey::ApiVersions;
        let mut version = *api.versions().end();
        loop {
            let mut pending = self.submit(api, version, &request)?;
            let frame = pending.frame(limit).await?;
            let code = frame.get(4..6).map_or(0, |code| i16::from_be_bytes([code[0], code[1]]));
            let too_new = ErrorCode::from_wire(code) == ErrorCode::UnsupportedVersion;
            if too_new && version > 0 {
                version = 0;
                continue;
            }
            let answer: ApiVersionsResponse = pending.decode(frame)?;
            ClientError::check(api, String::new, answer.error_code, None)?;
            let row = |row: protocol::messages::api_versions::ApiVersion| {
                (row.api_key, row.min_version..=row.max_version)
            };
            return Ok(answer.api_keys.into_iter().map(row).collect());
        }
    }
}

impl Pending {
    /// Waits for the answer.
    pub(crate) async fn answer<R: Message>(mut self, limit: Duration) -> Result<R, ClientError> {
        let frame = self.frame(limit).await?;
        self.decode(frame)
    }

    async fn frame(&mut self, limit: Duration) -> Result<Bytes, ClientError> {
        let answer = async {
            tokio::select! {
                biased;
                frame = &mut self.frame => frame.ok(),
                // What is put in line while the connection ends may stay there, and its sender with it.
                () = self.connection.closed() => None,
            }
        };
        match timeout(limit, answer).await {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(disconnected(&self.broker, self.api, &self.ended)),
            Err(_) => {
                // Answers come in order: with this one missing no later one can come either.
                _ = self.ended.set("an answer did not come in time".to_owned());
                Err(ClientError::TimedOut {
                    broker: self.broker.clone(),
                    api: self.api,
                    after: limit,
                })
            }
        }
    }

    fn decode<R: Message>(&self, frame: Bytes) -> Result<R, ClientError> {
        let malformed = |cause: String| ClientError::Malformed {
            broker: self.broker.clone(),
            api: self.api,
            cause,
        };
        let mut reader = Reader::new(&frame);
        ResponseHeader::decode(&mut reader, self.api.response_header_version(self.version))
            .map_err(|error| malformed(error.to_string()))?;
        R::from_bytes(&reader.rest(), self.version).map_err(|error| malformed(error.to_string()))
    }
}

fn disconnected(broker: &Arc<str>, api: ApiKey, ended: &OnceLock<String>) -> ClientError {
    let cause = ended.get().cloned().unwrap_or_else(|| "the client gave it up".to_owned());
    ClientError::Disconnected { broker: broker.clone(), api, cause }
}

/// What the end of a connection means when it comes before the first answer.
fn not_kafka(address: Arc<str>, error: ClientError) -> ClientError {
    let cause = match &error {
        ClientError::Disconnected { cause, .. } if cause.contains("TLS") => {
            "answers in TLS: this client speaks plain text; use the broker's plaintext port"
        }
        ClientError::Disconnected { cause, .. } if cause.contains("HTTP") => {
            "answers in HTTP: it is a web server's port, not a Kafka broker's"
        }
        ClientError::Disconnected { .. } => {
            "closed the connection while the first request was answered: it may expect TLS or SASL"
        }
        ClientError::TimedOut { .. } => {
            "took the connection but did not answer: it may expect TLS, or be no Kafka broker"
        }
        ClientError::Malformed { .. } => "sent something that is not Kafka's protocol",
        _ => return error,
    };
    ClientError::NotKafka { address, cause }
}

async fn run(
    reader: (OwnedReadHalf, AnswerCutter),
    writer: OwnedWriteHalf,
    queue: mpsc::UnboundedReceiver<Outgoing>,
    ended: Arc<OnceLock<String>>,
) {
    // What was written and is not answered yet, in order.
    let (sent, mut waiting) = mpsc::unbounded_channel();
    tokio::select! {
        () = async {
            let cause = read(reader, &mut waiting, &ended).await;
            _ = ended.set(cause);
        } => {}
        () = async {
            if let Err(error) = write(writer, queue, sent).await {
                _ = ended.set(error.to_string());
            }
        } => {}
    }
}

type Waiting = (i32, oneshot::Sender<Bytes>);

async fn write(
    mut stream: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    sent: mpsc::UnboundedSender<Waiting>,
) -> std::io::Result<()> {
    let mut unsent = Unsent::default();
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            unsent.extend(outgoing.buffers);
            if let Some(reply) = outgoing.reply
                && sent.send((outgoing.correlation, reply)).is_err()
            {
                return Ok(());
            }
            next = queue.try_recv().ok();
        }
        stream.write_all_buf(&mut unsent).await?;
    }
    Ok(())
}

/// Hands out answers until the connection ends; says why it did.
async fn read(
    (mut stream, mut cutter): (OwnedReadHalf, AnswerCutter),
    waiting: &mut mpsc::UnboundedReceiver<Waiting>,
    ended: &OnceLock<String>,
) -> String {
    loop {
        match cutter.next_answer() {
            Ok(Some(frame)) => {
                if let Err(cause) = hand_out(frame, waiting, ended) {
                    return cause;
                }
            }
            Ok(None) => match stream.read_buf(cutter.room()).await {
                Ok(0) => return "end of stream".to_owned(),
                Ok(_) => {}
                Err(error) => return error.to_string(),
            },
            Err(foreign) => return foreign.to_string(),
        }
    }
}

/// Gives an answer to whoever is first in line, or says why nobody gets any more.
fn hand_out(
    frame: Bytes,
    waiting: &mut mpsc::UnboundedReceiver<Waiting>,
    ended: &OnceLock<String>,
) -> Result<(), String> {
    if let Some(cause) = ended.get() {
        return Err(cause.clone());
    }
    let correlation = frame.get(..4).map(|id| i32::from_be_bytes([id[0], id[1], id[2], id[3]]));
    match waiting.try_recv() {
        Ok((expected, reply)) if Some(expected) == correlation => {
            _ = reply.send(frame);
            Ok(())
        }
        Ok((expected, _)) => Err(format!("answer {correlation:?} came before {expected}")),
        Err(_) => Err("an answer came that nobody asked for".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run as run_test;

    #[test]
    fn a_request_that_stays_in_line_when_the_connection_ends_is_told_so() {
        run_test(async {
            let (requests, queue) = mpsc::unbounded_channel();
            let (_stays_in_line, frame) = oneshot::channel();
            let broker: Arc<str> = "broker".into();
            let (api, version, ended) = (ApiKey::Metadata, 9, Arc::default());
            let pending =
                Pending { broker, api, version, frame, ended, connection: requests.clone() };
            drop(queue);
            let limit = Duration::from_secs(3600);
            let answer = pending.answer::<ApiVersionsResponse>(limit).await;
            assert!(matches!(answer, Err(ClientError::Disconnected { .. })), "{answer:?}");
        });
    }
}
