//! A fake node for tests of links: it answers as each test says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::thread::{self, JoinHandle};

use protocol::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use protocol::messages::broker_heartbeat::BrokerHeartbeatResponse;
use protocol::{ApiKey, Message};

/// What is asked for in these tests.
pub(crate) const API: ApiKey = ApiKey::BrokerHeartbeat;

/// A fake node, and what its thread does.
pub(crate) fn fake(serve: impl FnOnce(TcpListener) + Send + 'static) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, thread::spawn(move || serve(listener)))
}

pub(crate) fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

/// API key, version and correlation id of a request.
pub(crate) fn head(frame: &[u8]) -> (i16, i16, i32) {
    let int16 = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
    (int16(0), int16(2), i32::from_be_bytes(frame[4..8].try_into().unwrap()))
}

pub(crate) fn write_frame(stream: &mut TcpStream, frame: &[u8]) {
    stream.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
    stream.write_all(frame).unwrap();
}

/// Accepts a connection and says that heartbeats of `versions` are served.
pub(crate) fn greet(listener: &TcpListener, versions: RangeInclusive<i16>) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    let asked = head(&read_frame(&mut stream).unwrap());
    let row = ApiVersion {
        api_key: API.to_wire(),
        min_version: *versions.start(),
        max_version: *versions.end(),
        ..Default::default()
    };
    let answer = ApiVersionsResponse { api_keys: vec![row], ..Default::default() };
    let body = answer.to_bytes(asked.1).unwrap();
    write_frame(&mut stream, &[&asked.2.to_be_bytes()[..], &body[..]].concat());
    stream
}

/// The bytes of an answer to a heartbeat, the header included.
pub(crate) fn beat_answer(correlation: i32, error_code: i16) -> Vec<u8> {
    let body = BrokerHeartbeatResponse { error_code, ..Default::default() }.to_bytes(2).unwrap();
    [&correlation.to_be_bytes()[..], &[0], &body[..]].concat()
}

/// Answers the next heartbeat with `error_code`.
pub(crate) fn answer_one(stream: &mut TcpStream, error_code: i16) {
    let (_, _, correlation) = head(&read_frame(stream).unwrap());
    write_frame(stream, &beat_answer(correlation, error_code));
}
