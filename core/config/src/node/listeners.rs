//! Where a node listens, what it tells clients, and what speaks on each listener.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::quorum::HostPort;
use crate::check::is_host;
use crate::error::ConfigError;
use crate::layers::BrokerLayers;

/// The address that means every interface when bound and nothing when advertised.
pub(super) const EVERY_INTERFACE: &str = "0.0.0.0";

/// One listener: `NAME://host:port`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Listener {
    /// Upper case, as Kafka normalises it.
    pub name: String,
    /// `None` where the text has none: every interface when bound, the machine's own name when
    /// advertised. IPv6 without brackets.
    pub host: Option<String>,
    /// 0 lets the system choose when bound.
    pub port: u16,
    pub protocol: SecurityProtocol,
}

/// What speaks on a listener.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

/// All listeners of a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listeners {
    /// What is bound, controllers' listeners included, in the order of the setting.
    pub bound: Vec<Listener>,
    /// What clients and other brokers are told.
    pub advertised: Vec<Listener>,
    /// What voters and brokers are told of this controller; empty on a pure broker.
    pub advertised_controller: Vec<Listener>,
    /// Names of the listeners that reach controllers, the first one used by this node.
    pub controller_names: Vec<String>,
    /// Name of the listener that brokers use among each other.
    pub inter_broker: String,
    /// Protocols by listener name, for listeners of other nodes too.
    pub protocols: BTreeMap<String, SecurityProtocol>,
}

impl SecurityProtocol {
    /// The protocol with this name of Kafka's.
    pub fn read(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => Some(Self::Plaintext),
            "SSL" => Some(Self::Ssl),
            "SASL_PLAINTEXT" => Some(Self::SaslPlaintext),
            "SASL_SSL" => Some(Self::SaslSsl),
            _ => None,
        }
    }

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    /// The INT16 of broker registrations.
    pub fn to_wire(self) -> i16 {
        match self {
            Self::Plaintext => 0,
            Self::Ssl => 1,
            Self::SaslPlaintext => 2,
            Self::SaslSsl => 3,
        }
    }
}

impl Listeners {
    /// Reads all listener keys.
    ///
    /// `own_voter` is this node's address among the static voters.
    pub(super) fn resolve(
        layers: &BrokerLayers<'_>,
        own_voter: Option<&HostPort>,
        errors: &mut Vec<ConfigError>,
    ) -> Self {
        let controller_names: Vec<String> = layers
            .list("controller.listener.names")
            .iter()
            .map(|name| name.to_ascii_uppercase())
            .collect();
        let mut protocols = read_protocols(layers, errors);
        map_controllers(layers, &controller_names, &mut protocols);
        let bound = read_listeners("listeners", layers, &protocols, errors);
        refuse_shared_names("listeners", &bound, errors);
        refuse_shared_ports(&bound, errors);
        let told = read_listeners("advertised.listeners", layers, &protocols, errors);
        refuse_shared_names("advertised.listeners", &told, errors);

        let is_controller = |listener: &&Listener| controller_names.contains(&listener.name);
        let is_told = |name: &str| told.iter().find(|listener| listener.name == name).cloned();
        let source = if told.is_empty() { &bound } else { &told };
        let advertised = source.iter().filter(|one| !is_controller(one)).cloned().collect();
        let advertised_controller = bound
            .iter()
            .filter(is_controller)
            .map(|one| is_told(&one.name).unwrap_or_else(|| reachable(one, own_voter)))
            .collect();
        let inter_broker = read_inter_broker(layers, &protocols, errors);
        let listeners = Self {
            bound,
            advertised,
            advertised_controller,
            controller_names,
            inter_broker,
            protocols,
        };
        listeners.refuse_unroutable(errors);
        listeners
    }

    /// Nobody can connect to "every interface".
    fn refuse_unroutable(&self, errors: &mut Vec<ConfigError>) {
        let told = self.advertised.iter().chain(&self.advertised_controller);
        for listener in told.filter(|one| one.host.as_deref() == Some(EVERY_INTERFACE)) {
            errors.push(ConfigError::conflict(
                "advertised.listeners",
                format!(
                    "{} would be advertised as 0.0.0.0, which no client can reach; \
                     give it a name or an address of this machine",
                    listener.name
                ),
            ));
        }
    }
}

/// What others are told of a controller's listener that advertised.listeners leaves out.
fn reachable(bound: &Listener, own_voter: Option<&HostPort>) -> Listener {
    let mut told = bound.clone();
    match own_voter {
        Some(address) => {
            told.host = Some(address.host.clone());
            told.port = address.port;
        }
        None => told.host = told.host.filter(|host| host != EVERY_INTERFACE),
    }
    told
}

fn read_protocols(
    layers: &BrokerLayers<'_>,
    errors: &mut Vec<ConfigError>,
) -> BTreeMap<String, SecurityProtocol> {
    const KEY: &str = "listener.security.protocol.map";
    let mut protocols = BTreeMap::new();
    for entry in crate::entries(&layers.text(KEY)) {
        let parts = entry.split_once(':').map(|(name, protocol)| (name.trim(), protocol.trim()));
        match parts.and_then(|(name, text)| Some((name, SecurityProtocol::read(text)?))) {
            Some((name, protocol)) => {
                protocols.insert(name.to_ascii_uppercase(), protocol);
            }
            None => errors.push(ConfigError::Value {
                key: KEY.to_owned(),
                value: entry.to_owned(),
                allowed: "LISTENER:PROTOCOL with PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
                    .to_owned(),
            }),
        }
    }
    protocols
}

/// Controllers' listeners speak PLAINTEXT when nobody has said anything about protocols and no
/// listener is a secured one; a guess beside secured listeners could open a back door.
fn map_controllers(
    layers: &BrokerLayers<'_>,
    controller_names: &[String],
    protocols: &mut BTreeMap<String, SecurityProtocol>,
) {
    let secured = |name: &str| matches!(name, "SSL" | "SASL_SSL" | "SASL_PLAINTEXT");
    let names = layers.list("listeners");
    let listener_name = |entry: &String| {
        entry.split_once(':').map(|(name, _)| name.to_ascii_uppercase()).unwrap_or_default()
    };
    let any_secured = names.iter().map(listener_name).any(|name| secured(&name))
        || controller_names.iter().any(|name| secured(name));
    let said = layers.set_text("listener.security.protocol.map").is_some();
    if !said && !any_secured {
        for name in controller_names {
            protocols.entry(name.clone()).or_insert(SecurityProtocol::Plaintext);
        }
    }
}

fn read_listeners(
    key: &str,
    layers: &BrokerLayers<'_>,
    protocols: &BTreeMap<String, SecurityProtocol>,
    errors: &mut Vec<ConfigError>,
) -> Vec<Listener> {
    let mut listeners = Vec::new();
    for entry in layers.list(key) {
        let Some((name, host, port)) = split_listener(&entry) else {
            errors.push(ConfigError::Value {
                key: key.to_owned(),
                value: entry,
                allowed: "NAME://host:port, where the host may be left out".to_owned(),
            });
            continue;
        };
        match protocols.get(&name) {
            Some(&protocol) => listeners.push(Listener { name, host, port, protocol }),
            None => errors.push(ConfigError::conflict(
                format!("{key} and listener.security.protocol.map"),
                format!("listener {name} has no security protocol; map it, as in {name}:PLAINTEXT"),
            )),
        }
    }
    listeners
}

fn split_listener(entry: &str) -> Option<(String, Option<String>, u16)> {
    let (name, address) = entry.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if name.is_empty() || !(bare.is_empty() || is_host(bare)) {
        return None;
    }
    let host = (!bare.is_empty()).then(|| bare.to_owned());
    Some((name.to_ascii_uppercase(), host, port.parse().ok()?))
}

fn refuse_shared_names(key: &str, listeners: &[Listener], errors: &mut Vec<ConfigError>) {
    for (at, listener) in listeners.iter().enumerate() {
        if listeners[..at].iter().any(|other| other.name == listener.name) {
            let reason = format!("listener {} is named twice", listener.name);
            errors.push(ConfigError::conflict(key, reason));
        }
    }
}

/// Two listeners share a port only as one IPv4 and one IPv6 address.
fn refuse_shared_ports(listeners: &[Listener], errors: &mut Vec<ConfigError>) {
    let is_v4 = |one: &Listener| one.host.as_deref().is_some_and(|h| h.parse::<Ipv4Addr>().is_ok());
    let is_v6 = |one: &Listener| one.host.as_deref().is_some_and(|h| h.parse::<Ipv6Addr>().is_ok());
    for (at, one) in listeners.iter().enumerate() {
        let shares = |other: &&Listener| one.port != 0 && other.port == one.port;
        for other in listeners[..at].iter().filter(shares) {
            if !(is_v4(one) && is_v6(other) || is_v6(one) && is_v4(other)) {
                errors.push(ConfigError::conflict(
                    "listeners",
                    format!(
                        "{} and {} share port {}; only an IPv4 and an IPv6 address may",
                        other.name, one.name, one.port
                    ),
                ));
            }
        }
    }
}

fn read_inter_broker(
    layers: &BrokerLayers<'_>,
    protocols: &BTreeMap<String, SecurityProtocol>,
    errors: &mut Vec<ConfigError>,
) -> String {
    let protocol = layers.text("security.inter.broker.protocol").into_owned();
    let Some(name) = layers.optional_text("inter.broker.listener.name") else { return protocol };
    let name = name.to_ascii_uppercase();
    if layers.set_text("security.inter.broker.protocol").is_some() {
        errors.push(ConfigError::conflict(
            "inter.broker.listener.name and security.inter.broker.protocol",
            "only one of them may be set",
        ));
    }
    if !protocols.contains_key(&name) {
        errors.push(ConfigError::conflict(
            "inter.broker.listener.name",
            format!("listener {name} has no security protocol in listener.security.protocol.map"),
        ));
    }
    name
}
