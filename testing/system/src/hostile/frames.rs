//! Attacks below the requests: lengths, half frames, unread answers, other protocols.

use std::time::Duration;

use anyhow::Context;
use protocol::ApiKey;
use protocol::messages::api_versions::ApiVersionsRequest;

use super::target::Target;
use super::wire::{Connection, request};

/// Connections held at once; with the node's own ends in another process this stays below the
/// usual limit of 1,024 descriptors.
const HELD_CONNECTIONS: usize = 900;
/// Bytes of requests sent without reading an answer: more than the buffers of both sockets.
const UNREAD_BYTES: usize = 64 << 20;
const UNREAD_CONNECTIONS: usize = 4;
/// A node that takes nothing for so long holds the sender back.
const WRITE_STALL: Duration = Duration::from_secs(2);

/// Lengths that no frame has close the connection; nothing is allocated for them.
pub(super) fn lengths(target: &Target) -> anyhow::Result<String> {
    let impossible = [-1, i32::MIN, i32::MAX, (100 << 20) + 1, 0x7fff_0000];
    for length in impossible {
        let mut connection = target.connect()?;
        connection.send(&length.to_be_bytes());
        connection.expect_closed().with_context(|| format!("frame length {length}"))?;
    }
    // An empty frame has no header: it may only be refused.
    let mut connection = target.connect()?;
    connection.send(&0_i32.to_be_bytes());
    connection.expect_closed().context("frame length 0")?;
    Ok(format!("{} lengths refused", impossible.len() + 1))
}

/// Frames of 100 MiB announced by many connections at once; only the announcement arrives.
pub(super) fn announcements(target: &Target) -> anyhow::Result<String> {
    let mut held = Vec::new();
    for _ in 0..HELD_CONNECTIONS {
        let mut connection = target.connect()?;
        connection.send(&(100_i32 << 20).to_be_bytes());
        held.push(connection);
    }
    target.serve_good_client()?;
    Ok(format!("{} announcements held", held.len()))
}

/// Requests that stop in the length, the header and the body, while others are served.
pub(super) fn half_requests(target: &Target) -> anyhow::Result<String> {
    let whole = request(ApiKey::ApiVersions, 3, 1, &ApiVersionsRequest::default())?;
    let mut held = Vec::new();
    for bytes in 1..whole.len() {
        let mut connection = target.connect()?;
        connection.send(&whole[..bytes]);
        held.push((connection, bytes));
    }
    target.serve_good_client()?;
    // Slow is not wrong: whoever goes on in time is served.
    for (connection, bytes) in &mut held {
        connection.send(&whole[*bytes..]);
        let went_on = connection.expect_alive_or_closed()?;
        anyhow::ensure!(went_on == "answered", "cut after {bytes} bytes: {went_on}");
    }
    Ok(format!("{} half requests, each finished later", held.len()))
}

/// Clients that ask and ask and never read.
pub(super) fn unread_answers(target: &Target) -> anyhow::Result<String> {
    let question = request(ApiKey::ApiVersions, 0, 1, &ApiVersionsRequest::default())?;
    let burst = question.repeat(10_000);
    let mut senders = Vec::new();
    for _ in 0..UNREAD_CONNECTIONS {
        let (address, burst) = (target.address, burst.clone());
        senders.push(std::thread::spawn(move || {
            let mut connection = Connection::open(address)?;
            connection.stop_sending_after(WRITE_STALL)?;
            for _ in 0..UNREAD_BYTES / burst.len() {
                // Ends by itself: back-pressure runs into the timeout of the write.
                if !connection.try_send(&burst) {
                    return anyhow::Ok("held back");
                }
            }
            Ok("all taken")
        }));
    }
    target.serve_good_client()?;
    let mut answers = Vec::new();
    for sender in senders {
        let answer = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        anyhow::ensure!(answer == "held back", "the node takes requests without end");
        answers.push(answer);
    }
    Ok(format!("{} clients that never read are {}", answers.len(), answers[0]))
}

/// What people point at a Kafka port by mistake.
pub(super) fn other_protocols(target: &Target) -> anyhow::Result<String> {
    let tls_client_hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";
    let cases: [(&str, &[u8]); 4] = [
        ("TLS", tls_client_hello),
        ("HTTP GET", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("HTTP POST", b"POST /topics/a HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ];
    for (name, bytes) in cases {
        let mut connection = target.connect()?;
        connection.send(bytes);
        connection.expect_closed().context(name)?;
    }
    Ok(format!("{} protocols refused", cases.len()))
}
