//! What a dynamic configuration belongs to.

use std::sync::Arc;

/// The kinds of resources that have configurations, numbered as on the wire.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(i8)]
pub enum ResourceType {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ResourceType {
    /// The kind for a wire value.
    pub fn from_wire(value: i8) -> Option<Self> {
        match value {
            2 => Some(Self::Topic),
            4 => Some(Self::Broker),
            8 => Some(Self::BrokerLogger),
            16 => Some(Self::ClientMetrics),
            32 => Some(Self::Group),
            _ => None,
        }
    }

    /// The INT8 on the wire.
    pub fn to_wire(self) -> i8 {
        self as i8
    }
}

/// A resource that has configurations; a broker with an empty name is the default of all brokers.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ConfigResource {
    /// Its kind.
    pub kind: ResourceType,
    /// Name of the topic, group or subscription, or id of the broker in decimal.
    pub name: Arc<str>,
}

impl ConfigResource {
    /// The resource of this kind and name.
    pub fn new(kind: ResourceType, name: impl Into<Arc<str>>) -> Self {
        Self { kind, name: name.into() }
    }

    /// The topic with this name.
    pub fn topic(name: impl Into<Arc<str>>) -> Self {
        Self::new(ResourceType::Topic, name)
    }

    /// The default of all brokers.
    pub fn cluster() -> Self {
        Self::new(ResourceType::Broker, "")
    }
}
