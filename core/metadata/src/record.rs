//! The records of the `__cluster_metadata` log and the frame that wraps them.
//!
//! A record's value is three unsigned varints (frame version 1, type, version of the message) and
//! the message. Which version is written follows from `metadata.version`, so that every node that
//! may read the log understands it. Reading takes any version.
//!
//! Not here: record batches (`records`), what a record does (`image`).

use bytes::{BufMut, Bytes, BytesMut};
use protocol::Message;
use protocol::internal::metadata::{
    AbortTransactionRecord, AccessControlEntryRecord, BeginTransactionRecord,
    BrokerRegistrationChangeRecord, ClearElrRecord, ClientQuotaRecord, ConfigRecord,
    DelegationTokenRecord, EndTransactionRecord, FeatureLevelRecord, FenceBrokerRecord, NoOpRecord,
    PartitionChangeRecord, PartitionRecord, ProducerIdsRecord, RegisterBrokerRecord,
    RegisterControllerRecord, RemoveAccessControlEntryRecord, RemoveDelegationTokenRecord,
    RemoveTopicRecord, RemoveUserScramCredentialRecord, TopicRecord, UnfenceBrokerRecord,
    UnregisterBrokerRecord, UserScramCredentialRecord, ZkMigrationStateRecord,
};
use protocol::wire::{DecodeError, EncodeError};

/// The only frame that Kafka writes since 3.0.
const FRAME_VERSION: u32 = 1;

/// The longest unsigned varint of 32 bits.
const VARINT_BYTES_MAX: usize = 5;

/// Why bytes are not a metadata record.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end inside the frame, or a number in it is too long.
    #[error("metadata record ends inside its frame of {0} bytes")]
    Truncated(usize),
    /// Another frame than Kafka's.
    #[error("metadata record has frame version {0}, only {FRAME_VERSION} is known")]
    FrameVersion(u32),
    /// A type that Kafka 4.3 does not have.
    #[error("metadata record has unknown type {0}")]
    Type(u32),
    /// A version of the message that Kafka 4.3 does not have.
    #[error("metadata record of type {key} has version {version}, only {known:?} are known")]
    Version { key: u32, version: u32, known: std::ops::RangeInclusive<i16> },
    /// The message itself is broken.
    #[error("metadata record of type {key}: {cause}")]
    Message { key: u32, cause: DecodeError },
}

/// One row per type: number, variant, message.
macro_rules! metadata_records {
    ($($key:literal, $variant:ident, $message:ident;)+) => {
        /// A record of the metadata log.
        #[derive(Clone, Debug, PartialEq)]
        pub enum MetadataRecord {
            $(#[doc = stringify!($message)] $variant($message),)+
        }

        impl MetadataRecord {
            /// The number of the type in the frame.
            pub fn api_key(&self) -> u32 {
                match self {
                    $(Self::$variant(_) => $key,)+
                }
            }

            /// The name of the message, as Kafka's tools print it.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($message),)+
                }
            }

            fn message_size(&self, version: i16) -> Result<usize, EncodeError> {
                match self {
                    $(Self::$variant(message) => message.encoded_size(version),)+
                }
            }

            fn encode_message(&self, version: i16) -> Result<Bytes, EncodeError> {
                match self {
                    $(Self::$variant(message) => message.to_bytes(version),)+
                }
            }

            fn decode_message(key: u32, version: u32, body: &Bytes) -> Result<Self, FrameError> {
                match key {
                    $($key => {
                        let known = $message::MIN_VERSION..=$message::MAX_VERSION;
                        let version = i16::try_from(version)
                            .ok()
                            .filter(|version| known.contains(version))
                            .ok_or(FrameError::Version { key, version, known })?;
                        $message::from_bytes(body, version)
                            .map(Self::$variant)
                            .map_err(|cause| FrameError::Message { key, cause })
                    })+
                    // Open set: newer Kafka has more types.
                    _ => Err(FrameError::Type(key)),
                }
            }
        }

        $(impl From<$message> for MetadataRecord {
            fn from(message: $message) -> Self {
                Self::$variant(message)
            }
        })+
    };
}

metadata_records! {
    0, RegisterBroker, RegisterBrokerRecord;
    1, UnregisterBroker, UnregisterBrokerRecord;
    2, Topic, TopicRecord;
    3, Partition, PartitionRecord;
    4, Config, ConfigRecord;
    5, PartitionChange, PartitionChangeRecord;
    7, FenceBroker, FenceBrokerRecord;
    8, UnfenceBroker, UnfenceBrokerRecord;
    9, RemoveTopic, RemoveTopicRecord;
    10, DelegationToken, DelegationTokenRecord;
    11, UserScramCredential, UserScramCredentialRecord;
    12, FeatureLevel, FeatureLevelRecord;
    14, ClientQuota, ClientQuotaRecord;
    15, ProducerIds, ProducerIdsRecord;
    17, BrokerRegistrationChange, BrokerRegistrationChangeRecord;
    18, AccessControlEntry, AccessControlEntryRecord;
    19, RemoveAccessControlEntry, RemoveAccessControlEntryRecord;
    20, NoOp, NoOpRecord;
    21, ZkMigrationState, ZkMigrationStateRecord;
    22, RemoveUserScramCredential, RemoveUserScramCredentialRecord;
    23, BeginTransaction, BeginTransactionRecord;
    24, EndTransaction, EndTransactionRecord;
    25, AbortTransaction, AbortTransactionRecord;
    26, RemoveDelegationToken, RemoveDelegationTokenRecord;
    27, RegisterController, RegisterControllerRecord;
    28, ClearElr, ClearElrRecord;
}

/// From this `metadata.version` on (3.7-IV2), records name the log directory of each replica.
const DIRECTORIES_SINCE: i16 = 17;
/// From this `metadata.version` on (4.0-IV1), records hold eligible leader replicas.
const ELR_SINCE: i16 = 23;
/// From this `metadata.version` on (4.3-IV0), records hold cordoned log directories.
const CORDONED_SINCE: i16 = 30;
/// From this `metadata.version` on (3.4-IV0), registrations tell brokers of a migration.
const MIGRATION_SINCE: i16 = 8;

/// Whether the records of a cluster at this `metadata.version` name log directories.
pub(crate) fn has_directories(level: i16) -> bool {
    level >= DIRECTORIES_SINCE
}

/// Whether the records of a cluster at this `metadata.version` name cordoned log directories.
pub(crate) fn has_cordoned_directories(level: i16) -> bool {
    level >= CORDONED_SINCE
}

impl MetadataRecord {
    /// The record's value in the log of a cluster whose `metadata.version` is `level`.
    ///
    /// # Errors
    /// [`EncodeError`] where a field does not fit the format: a text of over 2 GiB, or a field
    /// that `level` does not have yet.
    pub fn encode(&self, level: i16) -> Result<Bytes, EncodeError> {
        let version = self.version_at(level);
        let message = self.encode_message(version)?;
        let mut frame = BytesMut::with_capacity(3 * VARINT_BYTES_MAX + message.len());
        put_varint(&mut frame, FRAME_VERSION);
        put_varint(&mut frame, self.api_key());
        put_varint(&mut frame, u32::from(version.unsigned_abs()));
        frame.extend_from_slice(&message);
        Ok(frame.freeze())
    }

    /// How many bytes [`MetadataRecord::encode`] gives, or up to a dozen more.
    ///
    /// # Errors
    /// As [`MetadataRecord::encode`].
    pub fn encoded_size(&self, level: i16) -> Result<usize, EncodeError> {
        Ok(3 * VARINT_BYTES_MAX + self.message_size(self.version_at(level))?)
    }

    /// Reads a record's value; every byte must belong to it.
    ///
    /// # Errors
    /// [`FrameError`] says what is wrong with the bytes.
    pub fn decode(value: &Bytes) -> Result<Self, FrameError> {
        let mut at = 0;
        let mut varint = || {
            let (number, bytes) =
                varint_at(&value[at..]).ok_or(FrameError::Truncated(value.len()))?;
            at += bytes;
            Ok(number)
        };
        let frame_version = varint()?;
        if frame_version != FRAME_VERSION {
            return Err(FrameError::FrameVersion(frame_version));
        }
        let (key, version) = (varint()?, varint()?);
        Self::decode_message(key, version, &value.slice(at..))
    }

    /// The version of the message that a log at `metadata.version` `level` holds.
    fn version_at(&self, level: i16) -> i16 {
        match self {
            Self::RegisterBroker(_) => match level {
                CORDONED_SINCE.. => 4,
                DIRECTORIES_SINCE.. => 3,
                MIGRATION_SINCE.. => 2,
                _ => 1,
            },
            Self::Partition(_) | Self::PartitionChange(_) => match level {
                ELR_SINCE.. => 2,
                DIRECTORIES_SINCE.. => 1,
                _ => 0,
            },
            // Kafka writes the lowest version that has the changed fields.
            Self::BrokerRegistrationChange(change) if change.cordoned_log_dirs.is_some() => 3,
            Self::BrokerRegistrationChange(change) if !change.log_dirs.is_empty() => 2,
            Self::BrokerRegistrationChange(change) if change.in_controlled_shutdown != 0 => 1,
            // The only version there is.
            _ => 0,
        }
    }
}

fn put_varint(frame: &mut BytesMut, mut number: u32) {
    while number > 0x7f {
        frame.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    frame.put_u8(number as u8);
}

/// The unsigned varint at the start of `bytes` and how many bytes it has.
fn varint_at(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut number = 0u64;
    for (index, byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(number).ok()?, index + 1));
        }
    }
    None
}
