//! A blocking connection that sends requests and takes their answers, several in flight if wanted.
//!
//! Not here: what the requests mean (`client`), broken bytes (`hostile`).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use protocol::messages::headers::{RequestHeader, ResponseHeader};
use protocol::wire::Reader;
use protocol::{ApiKey, Message};

/// A node that has not answered after so long never will.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Answers larger than this are no answers to what is asked here.
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Of the last request sent.
    sent: i32,
    /// Of the last answer taken: answers come in the order of the requests.
    answered: i32,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nothing listens there.
    pub fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Self::open_within(address, ANSWER_MAX)
    }

    /// Connects; neither that nor an answer may take longer than `limit`.
    ///
    /// # Errors
    /// If nothing listens there.
    pub fn open_within(address: SocketAddr, limit: Duration) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, limit)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, sent: 0, answered: 0 })
    }

    /// The socket, for what a test does to it.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a request; its answer is taken later.
    ///
    /// # Errors
    /// If the message does not fit the version or the connection is gone.
    pub fn send<Q: Message>(
        &mut self,
        api: ApiKey,
        version: i16,
        question: &Q,
    ) -> anyhow::Result<()> {
        self.sent += 1;
        let header = RequestHeader {
            request_api_key: api.to_wire(),
            request_api_version: version,
            correlation_id: self.sent,
            client_id: Some("system-test".to_owned()),
            ..RequestHeader::default()
        };
        let header = header.to_bytes(api.request_header_version(version))?;
        let body = question.to_bytes(version)?;
        let length = u32::try_from(header.len() + body.len())?;
        self.stream.write_all(&[&length.to_be_bytes(), &header[..], &body[..]].concat())?;
        Ok(())
    }

    /// The answer to the oldest request that has none yet.
    ///
    /// # Errors
    /// If there is none in time, or it is not what was asked for.
    pub fn receive<A: Message>(&mut self, api: ApiKey, version: i16) -> anyhow::Result<A> {
        let mut length = [0; 4];
        self.stream
            .read_exact(&mut length)
            .with_context(|| format!("no answer to {}", api.name()))?;
        let length = u32::from_be_bytes(length) as usize;
        ensure!(length <= ANSWER_BYTES_MAX, "the answer announces {length} bytes");
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).context("the answer breaks off")?;
        let body = Bytes::from(body);
        let mut reader = Reader::new(&body);
        let header = ResponseHeader::decode(&mut reader, api.response_header_version(version))?;
        self.answered += 1;
        ensure!(header.correlation_id == self.answered, "{} is answered out of order", api.name());
        let answer = A::decode(&mut reader, version)?;
        reader.finish()?;
        Ok(answer)
    }

    /// Sends a request and takes its answer.
    ///
    /// # Errors
    /// As [`Connection::send`] and [`Connection::receive`].
    pub fn ask<Q: Message, A: Message>(
        &mut self,
        api: ApiKey,
        version: i16,
        question: &Q,
    ) -> anyhow::Result<A> {
        self.send(api, version, question)?;
        self.receive(api, version)
    }
}
