//! A blocking connection that sends whatever bytes it is given and tells what came back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use protocol::messages::api_versions::ApiVersionsRequest;
use protocol::messages::headers::{RequestHeader, ResponseHeader};
use protocol::wire::Reader;
use protocol::{ApiKey, Message};

/// A node that has not answered after so long never will.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Answers larger than this are no answers to what is asked here.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What a node does with bytes.
#[derive(Debug)]
pub(super) enum Answer {
    Closed,
    Silent,
    Frame(Bytes),
}

pub(super) struct Connection {
    stream: TcpStream,
    correlation_id: i32,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_MAX)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation_id: 0 })
    }

    /// How long one write may wait for the node.
    pub(super) fn stop_sending_after(&self, wait: Duration) -> anyhow::Result<()> {
        Ok(self.stream.set_write_timeout(Some(wait))?)
    }

    /// Sends bytes as they are. A node may close in the middle, so that is no error.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        _ = self.try_send(bytes);
    }

    /// Sends bytes; false when the node no longer takes them.
    pub(super) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a frame with this body.
    pub(super) fn send_frame(&mut self, body: &[u8]) {
        self.send(&frame(body));
    }

    /// The next frame, or why there is none.
    pub(super) fn answer(&mut self) -> anyhow::Result<Answer> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(Answer::Silent);
            }
            Err(_) => return Ok(Answer::Closed),
        }
        let length = u32::from_be_bytes(length) as usize;
        ensure!(length <= ANSWER_BYTES_MAX, "the answer announces {length} bytes");
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).context("the answer breaks off")?;
        Ok(Answer::Frame(body.into()))
    }

    /// Demands that the node closes the connection, with or without answers before.
    pub(super) fn expect_closed(&mut self) -> anyhow::Result<()> {
        loop {
            match self.answer()? {
                Answer::Closed => return Ok(()),
                Answer::Silent => bail!("the connection stays open"),
                Answer::Frame(_) => {}
            }
        }
    }

    /// Sends a question that any node answers; demands that it does so, or closes.
    pub(super) fn expect_alive_or_closed(&mut self) -> anyhow::Result<&'static str> {
        const PROBE: i32 = 0x5afe;
        let probe = request(ApiKey::ApiVersions, 0, PROBE, &ApiVersionsRequest::default())?;
        self.send(&probe);
        loop {
            match self.answer()? {
                Answer::Closed => return Ok("closed"),
                Answer::Silent => bail!("neither answered nor closed"),
                Answer::Frame(body) if body.starts_with(&PROBE.to_be_bytes()) => {
                    return Ok("answered");
                }
                Answer::Frame(_) => {}
            }
        }
    }

    /// A well-formed question and its answer.
    pub(super) fn ask<Q: Message, A: Message>(
        &mut self,
        api: ApiKey,
        version: i16,
        question: &Q,
    ) -> anyhow::Result<A> {
        self.correlation_id += 1;
        self.send(&request(api, version, self.correlation_id, question)?);
        let body = match self.answer()? {
            Answer::Frame(body) => body,
            other => bail!("{} is not answered: {other:?}", api.name()),
        };
        let mut reader = Reader::new(&body);
        let header = ResponseHeader::decode(&mut reader, api.response_header_version(version))?;
        let expected = self.correlation_id;
        ensure!(header.correlation_id == expected, "{} is answered out of order", api.name());
        Ok(A::decode(&mut reader, version)?)
    }
}

/// A whole request, with its length.
pub(super) fn request<Q: Message>(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    question: &Q,
) -> anyhow::Result<Vec<u8>> {
    let body = question.to_bytes(version)?;
    Ok(frame(&[&header(api, version, correlation_id, "hostile")?[..], &body[..]].concat()))
}

/// A request header.
pub(super) fn header(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    client_id: &str,
) -> anyhow::Result<Vec<u8>> {
    let header = RequestHeader {
        request_api_key: api.to_wire(),
        request_api_version: version,
        correlation_id,
        client_id: Some(client_id.to_owned()),
        ..RequestHeader::default()
    };
    Ok(header.to_bytes(api.request_header_version(version))?.to_vec())
}

/// Bytes behind their true length.
pub(super) fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("no attack is larger than 4 GiB");
    [&length.to_be_bytes(), body].concat()
}
