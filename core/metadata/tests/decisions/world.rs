//! A cluster in a test: an image, and shorthands for the requests that change it.

use config::{Sources, StaticConfig};
use protocol::internal::metadata::{FeatureLevelRecord, PartitionChangeRecord};
use protocol::messages::broker_heartbeat::BrokerHeartbeatRequest;
use protocol::messages::broker_registration::{BrokerRegistrationRequest, Feature, Listener};
use protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use thalweg_metadata::controller::{
    Context, HeartbeatFacts, RegistrationFacts, bootstrap_records, create_topics, fence_broker,
    heartbeat, register_broker,
};
use thalweg_metadata::image::Partition;
use thalweg_metadata::{Image, Loader, MetadataRecord, features};
use types::{BrokerId, ErrorCode, Rng, Uuid};

pub const CLUSTER_ID: &str = "5L6g3nShT-eMCtK--X86sw";

pub struct World {
    pub loader: Loader,
    pub rng: Rng,
    pub fixed: StaticConfig,
    /// Every record so far.
    pub log: Vec<MetadataRecord>,
}

impl World {
    /// A bootstrapped cluster without brokers, settings from `overrides`.
    pub fn with(overrides: &[(&str, &str)]) -> Self {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let overrides = overrides.iter().map(owned).collect();
        let (fixed, _) = StaticConfig::new(&Sources { overrides, ..Default::default() }).unwrap();
        let mut world =
            Self { loader: Loader::default(), rng: Rng::new(7), fixed, log: Vec::new() };
        let records = bootstrap_records(&world.context());
        world.apply(records);
        world
    }

    /// A bootstrapped cluster with brokers 1 to `brokers`, all active.
    pub fn of(brokers: i32) -> Self {
        let mut world = Self::with(&[]);
        (1..=brokers).for_each(|id| world.join(id, None));
        world
    }

    /// A cluster without brokers at this `metadata.version`, without other features.
    pub fn at_level(feature_level: i16) -> Self {
        let mut world = Self::with(&[]);
        let level = |name: &str, feature_level| {
            let name = name.to_owned();
            FeatureLevelRecord { name, feature_level, ..Default::default() }.into()
        };
        world.log.clear();
        world.loader = Loader::default();
        world.apply(vec![level(features::METADATA_VERSION, feature_level)]);
        world
    }

    pub fn image(&self) -> &Image {
        self.loader.image()
    }

    pub fn context(&mut self) -> Context<'_> {
        Context { rng: &mut self.rng, fixed: &self.fixed, node: BrokerId(1) }
    }

    pub fn apply(&mut self, records: Vec<MetadataRecord>) {
        for record in &records {
            self.loader.apply(record).unwrap();
        }
        self.log.extend(records);
    }

    /// Decides on the image and a context, applies the records, returns the response.
    pub fn decide<R>(
        &mut self,
        decide: impl FnOnce(&Image, &mut Context<'_>) -> thalweg_metadata::controller::Decision<R>,
    ) -> R {
        let image = self.image().clone();
        let decision = decide(&image, &mut self.context());
        self.apply(decision.records);
        decision.response
    }

    /// Registers a broker with one directory and lets it in.
    pub fn join(&mut self, id: i32, rack: Option<&str>) {
        self.register(id, 1, rack);
        let code = self.beat(id, |_| {});
        assert_eq!(code, (ErrorCode::None, State::Active), "broker {id}");
    }

    /// Registers run `run` of a broker; it stays fenced.
    pub fn register(&mut self, id: i32, run: u8, rack: Option<&str>) -> ErrorCode {
        let request = registration(id, run, rack);
        self.register_as(&request, false)
    }

    pub fn register_as(
        &mut self,
        request: &BrokerRegistrationRequest,
        session_is_alive: bool,
    ) -> ErrorCode {
        let next_offset = i64::try_from(self.log.len()).unwrap();
        let facts = RegistrationFacts { cluster_id: CLUSTER_ID, next_offset, session_is_alive };
        let response =
            self.decide(|image, context| register_broker(image, request, facts, context));
        ErrorCode::from_wire(response.error_code)
    }

    /// A heartbeat of a broker that has read everything, changed by `ask`.
    pub fn beat(
        &mut self,
        id: i32,
        ask: impl FnOnce(&mut BrokerHeartbeatRequest),
    ) -> (ErrorCode, State) {
        let mut request = BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: self.image().broker(BrokerId(id)).map_or(-1, |broker| broker.epoch),
            current_metadata_offset: i64::MAX,
            ..Default::default()
        };
        ask(&mut request);
        let facts = HeartbeatFacts { registered_offset: 1, shutdown_is_known: true };
        let response = self.decide(|image, context| heartbeat(image, &request, facts, context));
        let state = match (response.should_shut_down, response.is_fenced) {
            (true, _) => State::Stopped,
            (false, true) => State::Fenced,
            (false, false) => State::Active,
        };
        (ErrorCode::from_wire(response.error_code), state)
    }

    /// Fences a broker, as when its session has run out.
    pub fn fence(&mut self, id: i32) {
        let image = self.image().clone();
        let records = fence_broker(&image, BrokerId(id), &self.context());
        self.apply(records);
    }

    /// Changes the only partition of "t".
    pub fn change_only(&mut self, change: PartitionChangeRecord) {
        let topic_id = self.image().topic("t").unwrap().id;
        let change = PartitionChangeRecord { topic_id, partition_id: 0, ..change };
        self.apply(vec![change.into()]);
    }

    /// Makes a topic that this broker leads, so that it cannot stop at once.
    pub fn lead_elsewhere(&mut self, id: i32) {
        let name = format!("of{id}");
        assert_eq!(self.create(assigned(&name, &[&[id]])), ErrorCode::None);
    }

    /// Creates a topic and returns the code.
    pub fn create(&mut self, topic: CreatableTopic) -> ErrorCode {
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let response = self.decide(|image, context| create_topics(image, &request, context));
        ErrorCode::from_wire(response.topics[0].error_code)
    }

    /// Creates a topic that must succeed.
    pub fn made(&mut self, name: &str, partitions: i32, replicas: i16) -> Uuid {
        assert_eq!(self.create(topic(name, partitions, replicas)), ErrorCode::None, "{name}");
        self.image().topic(name).unwrap().id
    }
}

/// What a heartbeat's answer tells the broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    Fenced,
    Active,
    Stopped,
}

pub fn registration(id: i32, run: u8, rack: Option<&str>) -> BrokerRegistrationRequest {
    let features = features::supported().map(|(name, min, max)| Feature {
        name: name.to_owned(),
        min_supported_version: min,
        max_supported_version: max,
        ..Default::default()
    });
    BrokerRegistrationRequest {
        broker_id: id,
        cluster_id: CLUSTER_ID.to_owned(),
        incarnation_id: Uuid::from_bytes([run; 16]),
        listeners: vec![Listener {
            name: "PLAINTEXT".to_owned(),
            host: format!("host{id}"),
            port: 9092,
            ..Default::default()
        }],
        features: features.collect(),
        rack: rack.map(str::to_owned),
        log_dirs: vec![directory(id)],
        ..Default::default()
    }
}

/// The only directory of a broker.
pub fn directory(id: i32) -> Uuid {
    Uuid::from_bytes([100 + u8::try_from(id).unwrap(); 16])
}

pub fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.to_owned(),
        num_partitions,
        replication_factor,
        ..Default::default()
    }
}

/// A topic whose partitions lie on the brokers that the test says.
pub fn assigned(name: &str, partitions: &[&[i32]]) -> CreatableTopic {
    let assignments =
        (0..).zip(partitions).map(|(partition_index, ids)| CreatableReplicaAssignment {
            partition_index,
            broker_ids: ids.to_vec(),
            ..Default::default()
        });
    CreatableTopic { assignments: assignments.collect(), ..topic(name, -1, -1) }
}

pub fn setting(name: &str, value: Option<&str>) -> CreatableTopicConfig {
    CreatableTopicConfig {
        name: name.to_owned(),
        value: value.map(str::to_owned),
        ..Default::default()
    }
}

/// The first partition of "t".
pub fn only(world: &World) -> &Partition {
    world.image().topic("t").unwrap().partition(0).unwrap()
}

pub fn ids(ids: &[BrokerId]) -> Vec<i32> {
    ids.iter().map(|id| id.0).collect()
}
