//! A broker that answers as a test says, on a socket of this machine.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use protocol::messages::find_coordinator::{Coordinator, FindCoordinatorResponse};
use protocol::messages::headers::{RequestHeader, ResponseHeader};
use protocol::messages::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::wire::Reader;
use protocol::{ApiKey, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Client, ClientSettings};

/// Longest run of one test.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs a test in a runtime of its own.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(TEST_TIMEOUT, test).await.unwrap() })
}

/// A request as the broker got it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    correlation: i32,
    body: Bytes,
}

impl Request {
    pub(crate) fn read<M: Message>(&self) -> M {
        M::from_bytes(&self.body, self.version).unwrap()
    }

    pub(crate) fn answer<M: Message>(&self, message: &M) -> Action {
        let mut frame = BytesMut::from(&[0; 4][..]);
        let header = ResponseHeader { correlation_id: self.correlation, ..Default::default() };
        header.encode(self.api.response_header_version(self.version), &mut frame).unwrap();
        message.encode(self.version, &mut frame).unwrap();
        let length = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        Action::Send(frame.freeze())
    }
}

/// What the broker does about a request.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Send(Bytes),
    Wait(Duration),
    Close,
}

/// Decides about each request, on whatever connection it came; no action is no answer.
pub(crate) type Script = Box<dyn FnMut(&Request) -> Vec<Action> + Send>;

/// Serves `script` at a free port; what it has nothing to say about is answered as a broker with
/// id 1 would that leads the one partition of topic `t` and coordinates all groups.
pub(crate) async fn broker(mut script: Script) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let with_usual = move |request: &Request| match usual(request, port) {
        Some(action) => vec![action],
        None => script(request),
    };
    serve_all(listener, Box::new(with_usual));
    Client::new(ClientSettings {
        bootstrap: vec![format!("127.0.0.1:{port}")],
        retry_pause: Duration::from_millis(1),
        retry_pause_max: Duration::from_millis(5),
        ..ClientSettings::default()
    })
}

/// Host and port of the broker that a client was made for.
pub(crate) fn address_of(client: &Client) -> (String, u16) {
    let (host, port) = client.settings().bootstrap[0].rsplit_once(':').unwrap();
    (host.to_owned(), port.parse().unwrap())
}

/// Serves `script` and nothing else.
pub(crate) fn serve_all(listener: TcpListener, script: Script) {
    let script = Arc::new(Mutex::new(script));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, script.clone()));
        }
    });
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<Script>>) {
    while let Ok(length) = stream.read_u32().await {
        let mut frame = vec![0; length as usize];
        stream.read_exact(&mut frame).await.unwrap();
        let request = parse(frame.into());
        let actions = script.lock().unwrap()(&request);
        for action in actions {
            match action {
                Action::Send(frame) => stream.write_all(&frame).await.unwrap(),
                Action::Wait(time) => tokio::time::sleep(time).await,
                Action::Close => return,
            }
        }
    }
}

fn parse(frame: Bytes) -> Request {
    let key = i16::from_be_bytes([frame[0], frame[1]]);
    let version = i16::from_be_bytes([frame[2], frame[3]]);
    let api = ApiKey::from_wire(key).unwrap();
    let mut reader = Reader::new(&frame);
    let header = RequestHeader::decode(&mut reader, api.request_header_version(version)).unwrap();
    Request { api, version, correlation: header.correlation_id, body: reader.rest() }
}

fn usual(request: &Request, port: u16) -> Option<Action> {
    let action = match request.api {
        ApiKey::ApiVersions => versions(request),
        ApiKey::Metadata => request.answer(&metadata(&[port], 1, 0)),
        ApiKey::FindCoordinator => request.answer(&coordinator(1, port)),
        _ => return None,
    };
    Some(action)
}

/// That all APIs are served.
pub(crate) fn versions(request: &Request) -> Action {
    let row = |api: ApiKey| ApiVersion {
        api_key: api.to_wire(),
        min_version: *api.versions().start(),
        max_version: *api.versions().end(),
        ..Default::default()
    };
    let api_keys = ApiKey::ALL.into_iter().map(row).collect();
    request.answer(&ApiVersionsResponse { api_keys, ..Default::default() })
}

/// Who coordinates all groups.
pub(crate) fn coordinator(node_id: i32, port: u16) -> FindCoordinatorResponse {
    let host = "127.0.0.1".to_owned();
    let found = Coordinator { node_id, host, port: port.into(), ..Default::default() };
    FindCoordinatorResponse { coordinators: vec![found], ..Default::default() }
}

/// Brokers with ids from 1 on, and who of them leads the one partition of topic `t`.
pub(crate) fn metadata(ports: &[u16], leader_id: i32, leader_epoch: i32) -> MetadataResponse {
    let brokers = (1..).zip(ports).map(|(node_id, &port)| MetadataResponseBroker {
        node_id,
        host: "127.0.0.1".to_owned(),
        port: port.into(),
        ..Default::default()
    });
    let partition = MetadataResponsePartition { leader_id, leader_epoch, ..Default::default() };
    let topic = MetadataResponseTopic {
        name: Some("t".to_owned()),
        topic_id: types::Uuid::from_bytes([7; 16]),
        partitions: vec![partition],
        ..Default::default()
    };
    MetadataResponse { brokers: brokers.collect(), topics: vec![topic], ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClientError;

    async fn error_of(greeting: &'static [u8]) -> ClientError {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 16];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(greeting).await.unwrap();
        });
        Client::new(ClientSettings::new(&address)).topic("t").await.unwrap_err()
    }

    #[test]
    fn what_is_no_kafka_broker_is_told_so() {
        let cases: [(&[u8], &str); 4] = [
            (&[0x15, 3, 3, 0, 2, 2, 40], "answers in TLS"),
            (b"HTTP/1.1 400 Bad Request\r\n", "answers in HTTP"),
            (b"", "it may expect TLS or SASL"),
            (&[0, 0, 0, 4, 0, 0, 0, 0], "sent something that is not Kafka's protocol"),
        ];
        for (greeting, expected) in cases {
            let text = run(error_of(greeting)).to_string();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_refused_connection_fails_at_once() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            drop(listener);
            let error = Client::new(ClientSettings::new(&address)).topic("t").await.unwrap_err();
            assert!(matches!(error, ClientError::Refused { .. }), "{error}");
        });
    }

    #[test]
    fn a_broker_that_wants_sasl_is_not_asked_for_a_minute() {
        run(async {
            let client = broker(Box::new(|_| vec![Action::Close])).await;
            let error = client.admin().describe_cluster().await.unwrap_err().to_string();
            assert!(error.contains("it may expect SASL"), "{error}");
        });
    }

    #[test]
    fn a_lost_connection_is_made_anew_once_the_cluster_was_reached() {
        run(async {
            let mut tries = 0;
            let client = broker(Box::new(move |request| {
                tries += 1;
                match tries {
                    1 => vec![Action::Close],
                    _ => vec![request.answer(
                        &protocol::messages::describe_cluster::DescribeClusterResponse {
                            cluster_id: "c".to_owned(),
                            ..Default::default()
                        },
                    )],
                }
            }))
            .await;
            client.topic("t").await.unwrap();
            assert_eq!(client.admin().describe_cluster().await.unwrap().id, "c");
        });
    }

    #[test]
    fn a_broker_that_closes_while_it_ends_is_tried_again() {
        run(async {
            let answer = protocol::messages::describe_cluster::DescribeClusterResponse::default();
            let client = broker(Box::new(move |request| vec![request.answer(&answer)])).await;
            client.admin().describe_cluster().await.unwrap();
            // A listener that takes connections and drops them, in place of the broker.
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(async move { while listener.accept().await.is_ok() {} });
            client.add_broker(crate::Broker { id: 9, host: "127.0.0.1".into(), port, rack: None });
            let error = client.connection(Some(9), crate::cluster::Lane::General).await;
            assert!(error.unwrap_err().is_retriable());
        });
    }
}
