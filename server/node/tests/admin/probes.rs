//! How the active controller probes brokers that fall silent; the broker is played by the test.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use protocol::messages::api_versions::ApiVersionsResponse;
use protocol::{ApiKey, Message};

use crate::brokers::{heartbeat, is_fenced, register_as, registration};
use crate::client::{Client, TestNode, eventually};

/// Probes begin after a quarter of the session.
const SETTINGS: [(&str, &str); 2] =
    [("broker.session.timeout.ms", "6000"), ("broker.heartbeat.interval.ms", "100")];
/// When it is let in, and while it is silent.
const PROBES: usize = 1 + 3;

/// Where broker 2 listens.
#[derive(Clone, Default)]
struct Doorbell {
    rings: Arc<AtomicUsize>,
    /// Takes connections and answers nothing, as the system does for a process that was stopped.
    is_stopped: Arc<AtomicBool>,
}

impl Doorbell {
    /// Listens as long as the test runs.
    fn listen(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bell = self.clone();
        thread::spawn(move || {
            let mut unanswered = vec![];
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                // Looked at first: who waits for a ring may stop it at once.
                let is_stopped = bell.is_stopped.load(Ordering::SeqCst);
                bell.rings.fetch_add(1, Ordering::SeqCst);
                match is_stopped {
                    true => unanswered.push(stream),
                    // Whoever connects and says nothing keeps nobody else waiting.
                    false => _ = thread::spawn(move || answer(stream)),
                }
            }
        });
        port
    }

    fn rings(&self) -> usize {
        self.rings.load(Ordering::SeqCst)
    }
}

/// Answers ApiVersions, if it is asked: a probe may have been given up by then.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame)?;
    assert_eq!(frame[..2], ApiKey::ApiVersions.to_wire().to_be_bytes());
    let version = i16::from_be_bytes([frame[2], frame[3]]);
    let body = ApiVersionsResponse::default().to_bytes(version).unwrap();
    let answer = [&frame[4..8], &body[..]].concat();
    stream.write_all(&u32::try_from(answer.len()).unwrap().to_be_bytes())?;
    stream.write_all(&answer)
}

/// Broker 2 is let in, has been probed once and will send no more heartbeats.
fn silent_broker(node: &TestNode) -> (Doorbell, Client) {
    let (bell, mut broker) = (Doorbell::default(), node.controller());
    let mut request = registration(node, 1);
    request.listeners[0].host = "127.0.0.1".to_owned();
    request.listeners[0].port = bell.listen();
    let epoch = register_as(&mut broker, &request).unwrap();
    assert!(!heartbeat(&mut broker, epoch, i64::MAX).is_fenced);
    eventually("the first probe", || (bell.rings() >= 1).then_some(()));
    (bell, broker)
}

#[test]
fn a_silent_broker_that_answers_no_probe_any_more_is_fenced() {
    let node = TestNode::start_with(&SETTINGS);
    let mut client = node.client();
    let (bell, _broker) = silent_broker(&node);
    bell.is_stopped.store(true, Ordering::SeqCst);
    eventually("the stopped broker to be fenced", || {
        (is_fenced(&mut client) == Some(true)).then_some(())
    });
    // Without them, its session alone would have ended it.
    assert_eq!(bell.rings(), PROBES);
}

#[test]
fn a_silent_broker_that_answers_keeps_its_session() {
    let node = TestNode::start_with(&SETTINGS);
    let mut client = node.client();
    let (bell, _broker) = silent_broker(&node);
    eventually("the second probe of a silence", || (bell.rings() >= 3).then_some(()));
    assert_eq!(is_fenced(&mut client), Some(false));
}
