//! Links against a fake node that answers as each test says.

use std::io::Write;
use std::net::TcpListener;

use protocol::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use protocol::messages::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};

use super::testing::{API, answer_one, beat_answer, fake, greet, head, read_frame, write_frame};
use super::*;

const BYTES_MAX: usize = 1000;

fn start() -> (Peers, Running) {
    Peers::start(Millis(10_000), &mut Rng::new(1)).unwrap()
}

fn link_for(peers: &Peers, port: u16, request_timeout: Duration) -> Link {
    let endpoint =
        Endpoint { host: "127.0.0.1".to_owned(), port, protocol: SecurityProtocol::Plaintext };
    let client_id = "node-1".to_owned();
    let options = LinkOptions { client_id, request_timeout, response_bytes_max: BYTES_MAX };
    peers.link(&endpoint, &options).unwrap()
}

fn link(peers: &Peers, port: u16) -> Link {
    link_for(peers, port, Duration::from_secs(30))
}

/// The error code of a heartbeat's answer.
fn beat(link: &Link) -> Result<i16, PeerError> {
    let answer = link.call_blocking(API, |_| BrokerHeartbeatRequest::default());
    answer.map(|answer: BrokerHeartbeatResponse| answer.error_code)
}

#[test]
fn requests_are_pipelined_and_answers_find_their_request() {
    let (port, node) = fake(|listener| {
        let mut stream = greet(&listener, 0..=2);
        // Nothing is answered before all have come.
        let frames = [(); 3].map(|()| read_frame(&mut stream).unwrap());
        for (frame, code) in frames.iter().zip([7, 8, 9]) {
            write_frame(&mut stream, &beat_answer(head(frame).2, code));
        }
    });
    let (peers, running) = start();
    let link = link(&peers, port);
    let (told, answers) = std::sync::mpsc::channel();
    for _ in 0..3 {
        let told = told.clone();
        link.send(
            API,
            |_| BrokerHeartbeatRequest::default(),
            move |answer| {
                let answer: Result<BrokerHeartbeatResponse, _> = answer;
                told.send(answer.unwrap().error_code).unwrap();
            },
        );
    }
    drop(told);
    assert_eq!(answers.iter().collect::<Vec<_>>(), [7, 8, 9]);
    node.join().unwrap();
    running.stop();
}

#[test]
fn the_highest_common_version_is_spoken() {
    for (served, expected) in [(0..=1, Some(1)), (0..=9, Some(2)), (2..=2, Some(2)), (3..=9, None)]
    {
        let (port, node) = fake(move |listener| {
            let mut stream = greet(&listener, served);
            if let Some(frame) = read_frame(&mut stream) {
                let (api, version, correlation) = head(&frame);
                assert_eq!((api, Some(version)), (API.to_wire(), expected));
                write_frame(&mut stream, &beat_answer(correlation, 0));
            }
        });
        let (peers, running) = start();
        let link = link(&peers, port);
        let answer = link.call_blocking(API, move |version| {
            assert_eq!(Some(version), expected, "told to whoever makes the request");
            BrokerHeartbeatRequest::default()
        });
        let answer = answer.map(|_: BrokerHeartbeatResponse| ());
        match expected {
            Some(_) => answer.unwrap(),
            None => assert!(matches!(answer, Err(PeerError::Unsupported { .. })), "{answer:?}"),
        }
        running.stop();
        node.join().unwrap();
    }
}

#[test]
fn an_old_node_is_asked_for_its_versions_in_version_0() {
    let (port, node) = fake(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        let mut ask = || {
            let frame = read_frame(&mut stream).unwrap();
            let (_, version, correlation) = head(&frame);
            let error_code = if version == 0 { 0 } else { 35 };
            let row = ApiVersion { api_key: API.to_wire(), max_version: 2, ..Default::default() };
            let api_keys = vec![row];
            let answer = ApiVersionsResponse { error_code, api_keys, ..Default::default() };
            let body = answer.to_bytes(0).unwrap();
            write_frame(&mut stream, &[&correlation.to_be_bytes()[..], &body[..]].concat());
            version
        };
        assert_eq!((ask(), ask()), (4, 0));
        answer_one(&mut stream, 0);
    });
    let (peers, running) = start();
    assert_eq!(beat(&link(&peers, port)).unwrap(), 0);
    node.join().unwrap();
    running.stop();
}

#[test]
fn what_is_no_answer_ends_the_connection_and_says_why() {
    type Bytes = fn(i32) -> Vec<u8>;
    let cases: [(&str, Bytes, &str); 7] = [
        ("giant", |_| vec![0x7f, 0, 0, 0], "announced 2130706432 bytes, 1000 are taken"),
        ("negative length", |_| vec![0xff; 4], "announced 4294967295 bytes"),
        ("end within a frame", |_| vec![0, 0, 0, 9, 1], "the other side closed it"),
        ("web server", |_| b"HTTP/1.1 400 Bad".to_vec(), "it answers in HTTP"),
        ("TLS alert", |_| vec![0x15, 3, 3, 0, 2, 2, 40], "it answers in TLS"),
        ("other request's", |id| framed(&beat_answer(id + 1, 0)), "came before"),
        ("cut body", |id| framed(&beat_answer(id, 0)[..9]), "with something else"),
    ];
    for (name, bytes, told) in cases {
        let (port, node) = fake(move |listener| {
            let mut stream = greet(&listener, 0..=2);
            let (_, _, correlation) = head(&read_frame(&mut stream).unwrap());
            stream.write_all(&bytes(correlation)).unwrap();
        });
        let (peers, running) = start();
        let error = beat(&link(&peers, port)).unwrap_err().to_string();
        assert!(error.contains(told), "{name}: {error}");
        node.join().unwrap();
        running.stop();
    }
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes()[..], frame].concat()
}

#[test]
fn hostile_greetings_are_refused() {
    let cases: [(&str, &[u8], &str); 4] = [
        ("nothing", &[], "the other side closed it"),
        ("too short", &[0, 0, 0, 3, 0, 0, 0], "something else"),
        ("other correlation id", &[0, 0, 0, 6, 0, 0, 0, 9, 0, 0], "something else"),
        // A list of 2^31 APIs in a frame of twelve bytes.
        ("long list", &[0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 7, 0], "ApiVersions"),
    ];
    for (name, bytes, told) in cases {
        let (port, node) = fake(move |listener| {
            let (mut stream, _) = listener.accept().unwrap();
            read_frame(&mut stream).unwrap();
            stream.write_all(bytes).unwrap();
        });
        let (peers, running) = start();
        let error = beat(&link(&peers, port)).unwrap_err();
        assert!(matches!(error, PeerError::Unreachable { .. }), "{name}: {error}");
        assert!(error.to_string().contains(told), "{name}: {error}");
        node.join().unwrap();
        running.stop();
    }
}

#[test]
fn silence_fails_all_that_wait_and_the_next_request_connects_anew() {
    let (port, node) = fake(|listener| {
        let mut silent = greet(&listener, 0..=2);
        while read_frame(&mut silent).is_some() {}
        let mut stream = greet(&listener, 0..=2);
        answer_one(&mut stream, 5);
    });
    let (peers, running) = start();
    // The first of the two runs out; its connection is closed with the second on it.
    let link = link_for(&peers, port, Duration::from_millis(300));
    let answers = [(); 2].map(|()| {
        let (told, answer) = std::sync::mpsc::channel();
        link.send(
            API,
            |_| BrokerHeartbeatRequest::default(),
            move |answer| {
                told.send(answer.map(|_: BrokerHeartbeatResponse| ())).unwrap();
            },
        );
        answer
    });
    let [first, second] = answers.map(|answer| answer.recv().unwrap().unwrap_err());
    assert!(matches!(first, PeerError::TimedOut { .. }), "{first}");
    assert!(matches!(second, PeerError::Disconnected { .. }), "{second}");
    // On a busy machine the greeting alone may take the short time that this link has.
    while beat(&link).is_err() {}
    node.join().unwrap();
    running.stop();
}

#[test]
fn a_connection_that_the_other_side_closes_is_opened_again() {
    let (port, node) = fake(|listener| {
        for code in [1, 2] {
            answer_one(&mut greet(&listener, 0..=2), code);
        }
    });
    let (peers, running) = start();
    let link = link(&peers, port);
    assert_eq!(beat(&link).unwrap(), 1);
    // The end may be noticed only by a request that is lost to it.
    let call = || link.call(API, |_| BrokerHeartbeatRequest::default());
    let runtime = threads::runtime().unwrap();
    let again: BrokerHeartbeatResponse = runtime.block_on(async {
        match call().await {
            Ok(answer) => answer,
            Err(_) => call().await.unwrap(),
        }
    });
    assert_eq!(again.error_code, 2);
    node.join().unwrap();
    running.stop();
}

#[test]
fn what_cannot_be_reached_says_so() {
    let (peers, running) = start();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = beat(&link(&peers, closed)).unwrap_err();
    assert!(matches!(error, PeerError::Unreachable { .. }), "{error}");

    let protocol = SecurityProtocol::SaslSsl;
    let endpoint = Endpoint { host: "peer".to_owned(), port: 9093, protocol };
    let options = LinkOptions {
        client_id: String::new(),
        request_timeout: Duration::from_secs(1),
        response_bytes_max: 1,
    };
    let error = peers.link(&endpoint, &options).err().unwrap().to_string();
    assert!(error.contains("peer:9093 speaks SASL_SSL"), "{error}");
    running.stop();
}

#[test]
fn more_requests_than_may_wait_are_refused_and_a_stop_answers_the_rest() {
    // Connections are taken and never served.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (peers, running) = start();
    let link = link(&peers, listener.local_addr().unwrap().port());
    let (told, answers) = std::sync::mpsc::channel();
    let sent = QUEUE_MAX + 2;
    for _ in 0..sent {
        let told = told.clone();
        link.send(
            API,
            |_| BrokerHeartbeatRequest::default(),
            move |answer| {
                told.send(answer.map(|_: BrokerHeartbeatResponse| ())).unwrap();
            },
        );
    }
    drop(told);
    // One may have left the queue for the connection.
    assert!(matches!(answers.recv(), Ok(Err(PeerError::Overloaded { .. }))));
    running.stop();
    let (overloaded, stopped): (Vec<_>, Vec<_>) = answers
        .iter()
        .map(|answer| answer.unwrap_err())
        .partition(|error| matches!(error, PeerError::Overloaded { .. }));
    assert_eq!(overloaded.len() + 1 + stopped.len(), sent);
    assert!(stopped.iter().all(|error| matches!(error, PeerError::Stopped)));
    assert!(matches!(beat(&link), Err(PeerError::Stopped)));
}
