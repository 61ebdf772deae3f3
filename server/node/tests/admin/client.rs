//! A node of a test and a client that speaks any API to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use config::{Sources, StaticConfig};
use protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData,
};
use protocol::{ApiKey, Message};
use records::{BatchBuilder, Compression};
use thalweg_node::{Node, StartOptions};
use types::{ErrorCode, Uuid};

/// A node with two log directories and two shards, on free ports.
pub struct TestNode {
    pub dir: tempfile::TempDir,
    node: Option<Node>,
    more: &'static [(&'static str, &'static str)],
}

impl TestNode {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As `start`, with more settings.
    pub fn start_with(more: &'static [(&'static str, &'static str)]) -> Self {
        let mut this = Self { dir: tempfile::tempdir().unwrap(), node: None, more };
        this.run();
        this
    }

    /// Stops in order and starts again on the same directories.
    pub fn restart(&mut self) {
        self.restart_after(|_| {});
    }

    /// As `restart`; `act` does something to the directories in between.
    pub fn restart_after(&mut self, act: impl FnOnce([PathBuf; 2])) {
        self.node.take().unwrap().stop().unwrap();
        act(self.log_dirs());
        self.run();
    }

    fn run(&mut self) {
        self.node = Some(Node::start(self.options(&[])).unwrap());
    }

    /// Why a node with one more setting does not start.
    pub fn refusal(setting: (&str, &str)) -> String {
        let this = Self { dir: tempfile::tempdir().unwrap(), node: None, more: &[] };
        this.refuses(&[setting])
    }

    /// Stops the node, and gives why it does not start again with these settings.
    pub fn restart_refusal(&mut self, settings: &[(&str, &str)]) -> String {
        self.node.take().unwrap().stop().unwrap();
        self.refuses(settings)
    }

    fn refuses(&self, settings: &[(&str, &str)]) -> String {
        let started = Node::start(self.options(settings));
        format!("{:#}", started.err().expect("the node does not start"))
    }

    fn options(&self, more: &[(&str, &str)]) -> StartOptions {
        let [first, second] = self.log_dirs();
        let log_dirs = format!("{},{}", first.display(), second.display());
        let settings = [
            ("process.roles", "broker,controller"),
            ("node.id", "1"),
            ("listeners", "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0"),
            ("controller.listener.names", "CONTROLLER"),
            ("controller.quorum.bootstrap.servers", "127.0.0.1:9093"),
            ("log.dirs", &log_dirs),
            ("offsets.topic.num.partitions", "1"),
            ("offsets.topic.replication.factor", "1"),
            ("group.initial.rebalance.delay.ms", "0"),
            ("thalweg.shards", "2"),
        ];
        start_options(settings.iter().chain(self.more).chain(more).copied())
    }

    /// Waits until the node cannot go on, and gives the reason.
    pub fn failure(&mut self) -> String {
        reason(self.node.as_mut().unwrap())
    }

    pub fn log_dirs(&self) -> [PathBuf; 2] {
        ["a", "b"].map(|name| self.dir.path().join(name))
    }

    fn address(&self, listener: &str) -> SocketAddr {
        let listeners = self.node.as_ref().unwrap().listeners();
        listeners.iter().find(|(name, _)| name == listener).unwrap().1
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address("PLAINTEXT"))
    }

    /// The page of metrics, for a node with `thalweg.metrics.listener`.
    pub fn metrics(&self) -> String {
        let address = self.node.as_ref().unwrap().metrics().expect("they are served");
        metrics_at(address)
    }

    pub fn cluster_id(&self) -> &str {
        self.node.as_ref().unwrap().cluster_id()
    }

    pub fn controller(&self) -> Client {
        Client::connect(self.address("CONTROLLER"))
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop().unwrap();
        }
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { stream }
    }

    /// Sends a request and reads the answer.
    pub fn call<Q: Message, R: Message>(&mut self, api: ApiKey, version: i16, request: &Q) -> R {
        self.try_call(api, version, request).unwrap()
    }

    /// As `call`; fails where the node closes the connection.
    pub fn try_call<Q: Message, R: Message>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &Q,
    ) -> std::io::Result<R> {
        self.send(api, version, request)?;
        self.receive(api, version)
    }

    /// Sends a request; its answer is taken later, if at all.
    pub fn send<Q: Message>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &Q,
    ) -> std::io::Result<()> {
        let body = request.to_bytes(version).unwrap();
        let mut frame = BytesMut::new();
        frame.put_i16(api.to_wire());
        frame.put_i16(version);
        frame.put_i32(7);
        frame.put_i16(4);
        frame.put_slice(b"test");
        if api.request_header_version(version) >= 2 {
            frame.put_u8(0);
        }
        frame.put_slice(&body);
        let length = i32::try_from(frame.len()).unwrap().to_be_bytes();
        self.stream.write_all(&[&length, &frame[..]].concat())
    }

    /// Reads the answer to a request that was sent.
    pub fn receive<R: Message>(&mut self, api: ApiKey, version: i16) -> std::io::Result<R> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut answer)?;
        let header = if api.response_header_version(version) >= 1 { 5 } else { 4 };
        Ok(R::from_bytes(&Bytes::from(answer).slice(header..), version).unwrap())
    }

    /// Makes a topic and gives its id.
    pub fn create_topic(&mut self, name: &str, num_partitions: i32) -> Uuid {
        self.try_create_topic(name, num_partitions).expect("the name is free")
    }

    /// Asks for a topic of one replica, and gives the answer.
    pub fn ask_for_topic(&mut self, name: &str, num_partitions: i32) -> CreatableTopicResult {
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let mut response: CreateTopicsResponse = self.call(ApiKey::CreateTopics, 7, &request);
        response.topics.remove(0)
    }

    /// As `create_topic`; `None` where the name is taken.
    pub fn try_create_topic(&mut self, name: &str, num_partitions: i32) -> Option<Uuid> {
        let topic = self.ask_for_topic(name, num_partitions);
        if topic.error_code == ErrorCode::TopicAlreadyExists.to_wire() {
            return None;
        }
        assert_eq!(topic.error_code, 0, "{topic:?}");
        Some(topic.topic_id)
    }

    /// Appends a batch of `count` records of `bytes` each; `producer` is idempotent.
    pub fn produce(&mut self, topic: &str, count: usize, bytes: usize, producer: i64) -> i64 {
        let mut batch = BatchBuilder::new(Compression::None);
        if producer >= 0 {
            batch = batch.producer(types::ProducerId(producer), 0, 0);
        }
        for _ in 0..count {
            batch.append(1, None, Some(&vec![b'v'; bytes]), &[]);
        }
        let partition = self.append(topic, batch.build(), 9);
        assert_eq!(partition.error_code, 0, "{partition:?}");
        partition.base_offset
    }

    /// Sends a batch; gives whatever the answer is.
    pub fn append(&mut self, topic: &str, batch: Bytes, version: i16) -> PartitionProduceResponse {
        let partition =
            PartitionProduceData { index: 0, records: Some(batch), ..Default::default() };
        let topic = TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![partition],
            ..Default::default()
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 5000,
            topic_data: vec![topic],
            ..Default::default()
        };
        let mut response: ProduceResponse = self.call(ApiKey::Produce, version, &request);
        response.responses.remove(0).partition_responses.remove(0)
    }
}

impl Client {
    /// Deletes the records before an offset; gives the code and where the log begins.
    pub fn delete_records(
        &mut self,
        topic: &str,
        partition_index: i32,
        offset: i64,
    ) -> (ErrorCode, i64) {
        self.delete_records_within(topic, partition_index, offset, 5000)
    }

    /// As `delete_records`, with the time that replicas have.
    pub fn delete_records_within(
        &mut self,
        topic: &str,
        partition_index: i32,
        offset: i64,
        timeout_ms: i32,
    ) -> (ErrorCode, i64) {
        let partition = DeleteRecordsPartition { partition_index, offset, ..Default::default() };
        let topic = DeleteRecordsTopic {
            name: topic.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request =
            DeleteRecordsRequest { topics: vec![topic], timeout_ms, ..Default::default() };
        let response: DeleteRecordsResponse = self.call(ApiKey::DeleteRecords, 2, &request);
        let partition = &response.topics[0].partitions[0];
        (ErrorCode::from_wire(partition.error_code), partition.low_watermark)
    }
}

/// How to start a node with these settings, whose cluster names itself.
pub fn start_options<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> StartOptions {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let overrides = settings.into_iter().map(owned).collect();
    let (fixed, _) = StaticConfig::new(&Sources { overrides, ..Default::default() }).unwrap();
    StartOptions { fixed, cluster_id: None, has_picked_id: false }
}

/// Waits until a node cannot go on, and gives the reason.
pub fn reason(node: &mut Node) -> String {
    let wait = node.failure();
    let (sender, reason) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(wait().unwrap()));
    reason.recv_timeout(Duration::from_secs(10)).expect("the node gives up")
}

/// The page of metrics that is served at an address.
pub fn metrics_at(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

/// Waits until `check` gives something; what takes a minute has failed.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}
