//! Identities: nodes, topics, producers, leader epochs.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Number of a node in the cluster (`node.id`); INT32 on the wire.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BrokerId(pub i32);

/// How often a partition has changed its leader; INT32 on the wire, -1 there means unknown.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LeaderEpoch(pub i32);

/// Identity of an idempotent or transactional producer; INT64 on the wire, -1 there means none.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProducerId(pub i64);

/// Identity of a topic, a log directory or a cluster: 16 bytes on the wire, 22 characters of
/// URL-safe base64 without padding in text, as Kafka prints them.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Uuid([u8; 16]);

/// Why a text is not a [`Uuid`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a Kafka id: 22 characters of URL-safe base64 are expected")]
pub struct UuidError(String);

impl Uuid {
    /// The id that means "none" on the wire.
    pub const ZERO: Self = Self([0; 16]);

    /// The id with these 16 bytes, most significant first.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes, most significant first.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether this is the id that means "none".
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// A version 4 id from 16 random bytes. Ids whose text begins with a dash are the caller's to
    /// avoid, since command lines read them as options.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({self})")
    }
}

impl FromStr for Uuid {
    type Err = UuidError;

    fn from_str(text: &str) -> Result<Self, UuidError> {
        let refuse = || UuidError(text.to_owned());
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refuse())?;
        Ok(Self(bytes.try_into().map_err(|_| refuse())?))
    }
}

macro_rules! display_inner {
    ($($name:ident)+) => {
        $(impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        })+
    };
}

display_inner!(BrokerId LeaderEpoch ProducerId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_text_is_kafkas() {
        let id: Uuid = "5L6g3nShT-eMCtK--X86sw".parse().unwrap();
        assert_eq!(id.to_string(), "5L6g3nShT-eMCtK--X86sw");
        assert_eq!(id.as_bytes()[0], 0xe4);
    }

    #[test]
    fn uuid_refuses_other_text() {
        for text in ["", "short", "5L6g3nShT-eMCtK--X86sw==", "5L6g3nShT/eMCtK++X86sw"] {
            assert!(text.parse::<Uuid>().is_err(), "{text}");
        }
    }
}
