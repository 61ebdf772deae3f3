//! What all shards of a node share: settings, directories, the way to the controller.

use std::sync::Arc;

use ::metadata::Image;
use ::metadata::image::{ConfigResource, ResourceType};
use config::{BrokerLayers, NodeConfig, SecurityProtocol, StaticConfig, TopicConfig};
use net::{ListenerCounters, Net};

use crate::cleaner::CleanerStatus;
use crate::controller::Controller;
use crate::dirs::Dirs;
use crate::group_memory::GroupMemory;
use crate::membership::Membership;
use crate::peers::Peers;
use crate::runs::Runs;
use crate::sessions::Sessions;
use crate::shard::Mailboxes;
use crate::sync_threads::SyncThreads;
use crate::throttles::Throttles;
use crate::to_controller::ToController;
use crate::upkeep::CheckpointOrder;

/// One value per node, behind an `Arc`; hardly any of it changes after the start.
pub struct Shared {
    /// The settings of the start, typed.
    pub config: NodeConfig,
    /// The settings of the start, as they were given.
    pub fixed: Arc<StaticConfig>,
    /// The log directories.
    pub dirs: Arc<Dirs>,
    /// Which checkpoints were written last.
    pub checkpoints: CheckpointOrder,
    /// What compaction does.
    pub cleaner: CleanerStatus,
    /// The rates that copying keeps to.
    pub throttles: Throttles,
    /// The threads that sync.
    pub syncs: SyncThreads,
    /// The way to every shard.
    pub mailboxes: Mailboxes,
    /// The way to the controller.
    pub controller: Controller,
    /// The way to other nodes.
    pub peers: Peers,
    /// The way to the active controller, for what this broker asks of it now and then.
    pub to_controller: ToController,
    /// What the active controller knows of brokers, where it is this node.
    pub sessions: Arc<Sessions>,
    /// What this run says in the log directories.
    pub runs: Runs,
    /// This node in the cluster.
    pub membership: Membership,
    /// What members of groups take in memory.
    pub group_memory: Arc<GroupMemory>,
    /// Connections and their limits.
    pub net: Arc<Net>,
    /// Counters of each listener, by its name.
    pub listener_counters: Vec<(String, Arc<ListenerCounters>)>,
    /// What others are told of each listener.
    pub advertised: Vec<Advertised>,
}

/// Where a listener is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Advertised {
    /// Name of the listener.
    pub listener: String,
    /// Host that others connect to.
    pub host: String,
    /// Port that others connect to.
    pub port: u16,
    /// How they speak there.
    pub protocol: SecurityProtocol,
    /// Whether it serves the controller.
    pub is_controller: bool,
}

impl Shared {
    /// The layers of settings below a topic's or group's own ones.
    pub fn layers<'a>(&'a self, image: &'a Image, own: &'a ConfigResource) -> BrokerLayers<'a> {
        BrokerLayers {
            fixed: &self.fixed,
            cluster: image.settings(&ConfigResource::cluster()),
            broker: image.settings(own),
        }
    }

    /// The resource that holds this broker's own dynamic settings.
    pub fn broker_resource(&self) -> ConfigResource {
        ConfigResource::new(ResourceType::Broker, self.config.node_id.to_string())
    }

    /// What holds for a topic.
    pub fn topic_config(&self, image: &Image, topic: &str) -> TopicConfig {
        let own = self.broker_resource();
        TopicConfig::resolve(image.topic_settings(topic), &self.layers(image, &own))
    }
}
