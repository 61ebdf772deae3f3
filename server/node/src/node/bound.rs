//! A node whose settings are checked and whose listeners are bound.
//!
//! Nothing is written before: a mistake in the settings or a port in use leaves no trace. Who
//! connects meanwhile waits until the node serves.

use std::net::{ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use config::{BrokerLayers, HostPort, NodeConfig, StaticConfig};
use net::{BindError, Listener, ListenerOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Node, StartOptions};
use crate::controller::METADATA_FOLDER;
use crate::registration;
use crate::shared::Advertised;

/// A node that is about to start.
pub struct Bound {
    pub(super) config: NodeConfig,
    pub(super) fixed: Arc<StaticConfig>,
    pub(super) cluster_id: Option<String>,
    pub(super) has_picked_id: bool,
    pub(super) listeners: Vec<Listener>,
    pub(super) advertised: Vec<Advertised>,
}

/// Consumers read from a replica in their rack (KIP-392).
const RACK_AWARE_SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

impl Bound {
    /// Checks the settings and binds the listeners.
    ///
    /// # Errors
    /// With the setting to change.
    pub fn new(options: StartOptions) -> anyhow::Result<Self> {
        let StartOptions { fixed, cluster_id, has_picked_id } = options;
        raise_descriptor_limit();
        let config = NodeConfig::resolve(&BrokerLayers::at_start(&fixed))?;
        config.refuse_secured_listeners()?;
        refuse_authorizer(&fixed)?;
        refuse_selector(&fixed)?;
        refuse_own_cluster(&config, cluster_id.as_deref())?;
        let listeners = bind(&config).map_err(|error| {
            anyhow::anyhow!("{error}. Change listeners; nothing has been written yet")
        })?;
        let advertised = registration::advertised(&config, &listeners);
        refuse_second_cluster(&config, &advertised)?;
        let fixed = Arc::new(fixed);
        Ok(Self { config, fixed, cluster_id, has_picked_id, listeners, advertised })
    }

    /// Starts the node; it serves clients when this returns.
    ///
    /// # Errors
    /// With the cause and, where there is one, the setting to change.
    pub fn start(self) -> anyhow::Result<Node> {
        Node::start_bound(self)
    }
}

fn bind(config: &NodeConfig) -> Result<Vec<Listener>, BindError> {
    let limits = &config.limits;
    let bytes = |bytes: Option<u32>| bytes.map(|bytes| bytes as usize);
    let listeners = config.listeners.bound.iter().map(|listener| {
        Listener::bind(&ListenerOptions {
            name: listener.name.clone(),
            host: listener.host.clone().unwrap_or_default(),
            port: listener.port,
            backlog: u32::try_from(limits.backlog).unwrap_or(0),
            send_buffer_bytes: bytes(limits.send_buffer_bytes),
            receive_buffer_bytes: bytes(limits.receive_buffer_bytes),
            needs_authentication: false,
        })
    });
    listeners.collect()
}

/// Takes as many descriptors as the process may have: the usual soft limit is for programs that
/// cannot count beyond 1,024.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
}

/// Refuses settings that promise access control: nothing would enforce it.
fn refuse_authorizer(fixed: &StaticConfig) -> anyhow::Result<()> {
    for key in ["authorizer.class.name", "super.users"] {
        if fixed.get(key).is_some_and(|value| !value.trim().is_empty()) {
            bail!("{key} is set, but access control is not supported yet: remove the setting");
        }
    }
    Ok(())
}

/// Refuses classes that cannot be loaded here, as Kafka does when it starts with one that is not there.
fn refuse_selector(fixed: &StaticConfig) -> anyhow::Result<()> {
    match fixed.get("replica.selector.class") {
        Some(class) if class != RACK_AWARE_SELECTOR => bail!(
            "replica.selector.class is {class:?}, but the only one there is is {RACK_AWARE_SELECTOR}: \
             name it, or remove the setting"
        ),
        Some(_) | None => Ok(()),
    }
}

/// Refuses to make up a cluster's id where other nodes must have the same one.
fn refuse_own_cluster(config: &NodeConfig, cluster_id: Option<&str>) -> anyhow::Result<()> {
    let joins = config.quorum.auto_join || !config.roles.controller;
    let has_others = config.quorum.voters.len() > 1 || joins;
    if has_others && cluster_id.is_none() && !is_formatted(config) {
        bail!(
            "{} is not formatted, and other nodes belong to this cluster: set CLUSTER_ID to their \
             cluster's id, or format the directory with it",
            config.metadata_log_dir
        );
    }
    Ok(())
}

/// Refuses to begin a cluster of its own where the settings name other controllers: each of them
/// would, and they would never find each other; or they have one, of which this node was a part
/// before it lost its disk.
fn refuse_second_cluster(config: &NodeConfig, advertised: &[Advertised]) -> anyhow::Result<()> {
    let quorum = &config.quorum;
    let begins = config.roles.controller && quorum.voters.is_empty() && !quorum.auto_join;
    // A port that the system chooses is in no setting.
    let is_known = config.listeners.advertised_controller.iter().all(|one| one.port != 0);
    if !begins || !is_known || is_formatted(config) {
        return Ok(());
    }
    let Some(other) = quorum.bootstrap_servers.iter().find(|one| !is_own(one, advertised)) else {
        return Ok(());
    };
    bail!(
        "{} is not formatted, and controller.quorum.bootstrap.servers names another controller, \
         {}:{}. To belong to its cluster, start with --join and the address of a broker, or set \
         controller.quorum.auto.join.enable; to begin a cluster, name this node alone, or format \
         the directory (kafka-storage format)",
        config.metadata_log_dir,
        other.host,
        other.port
    )
}

/// Whether an address is that of this node's own controller.
fn is_own(server: &HostPort, advertised: &[Advertised]) -> bool {
    let mut own = advertised.iter().filter(|one| one.is_controller && one.port == server.port);
    own.any(|one| one.host == server.host || is_local(&server.host))
}

/// Whether a name is that of this machine: only its own addresses can be bound.
fn is_local(host: &str) -> bool {
    let addresses = (host, 0).to_socket_addrs();
    addresses.is_ok_and(|mut all| all.any(|address| UdpSocket::bind(address).is_ok()))
}

/// Whether somebody has made the metadata directory a cluster's. One that has a metadata log and has
/// lost its `meta.properties` is no new one: `Dirs` says what to do.
fn is_formatted(config: &NodeConfig) -> bool {
    let dir = Path::new(&config.metadata_log_dir);
    ["meta.properties", METADATA_FOLDER].iter().any(|name| dir.join(name).exists())
}
