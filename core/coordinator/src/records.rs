//! Records of `__consumer_offsets`, byte for byte Kafka's.
//!
//! A key begins with the type of the record, a value with the version of its schema, both INT16.
//! Written are OffsetCommit (type 1, value version 4, or 1 where the client set an own expiry) and
//! GroupMetadata (type 2, value version 3). Type 0 is an old form of type 1 and is read too.
//! The types of other group kinds are told apart here and left alone.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use protocol::Message;
use protocol::internal::group::group_metadata_value::MemberMetadata;
use protocol::internal::group::{
    GroupMetadataKey, GroupMetadataValue, LegacyOffsetCommitKey, LegacyOffsetCommitValue,
    OffsetCommitKey, OffsetCommitValue,
};
use protocol::wire::{DecodeError, EncodeError, Reader};
use types::{LeaderEpoch, Millis};

use crate::group::offsets::CommittedOffset;
use crate::logged::{Generation, MemberId, StoredMember};

const LEGACY_OFFSET_COMMIT: i16 = 0;
const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;

const KEY_VERSION: i16 = 0;
const OFFSET_COMMIT_VALUE_VERSION: i16 = 4;
const OFFSET_COMMIT_VALUE_VERSION_WITH_EXPIRY: i16 = 1;
const GROUP_METADATA_VALUE_VERSION: i16 = 3;

/// One record for `__consumer_offsets`; without a value it deletes what has its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// Why a record cannot be replayed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// Key or value do not have the form that their type and version prescribe.
    #[error("record of type {record_type} is malformed: {reason}")]
    Malformed { record_type: i16, reason: String },
    /// The key has no room for a record type.
    #[error("record key has {0} bytes, at least 2 are expected")]
    ShortKey(usize),
    /// The value's version is newer than what Kafka 4.3 writes.
    #[error("record of type {record_type} has value version {version}, which is not known")]
    ValueVersion { record_type: i16, version: i16 },
}

/// A record, understood.
pub(crate) enum Decoded {
    Group {
        group_id: String,
        generation: Option<Generation>,
    },
    Offset {
        group_id: String,
        topic: String,
        partition: i32,
        offset: Option<CommittedOffset>,
    },
    /// A record type of another kind of group, or one that Kafka 4.3 does not know.
    Other,
}

/// The record that makes `generation` the group's.
pub(crate) fn group(group_id: &str, generation: &Generation) -> Record {
    let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    let member = |(id, member): (&MemberId, &StoredMember)| MemberMetadata {
        member_id: id.to_string(),
        group_instance_id: text(&member.instance_id),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout: to_int32(member.rebalance_timeout),
        session_timeout: to_int32(member.session_timeout),
        subscription: member.subscription.clone(),
        assignment: member.assignment.clone(),
        ..Default::default()
    };
    let value = GroupMetadataValue {
        protocol_type: text(&generation.protocol_type).unwrap_or_default(),
        generation: generation.number,
        protocol: text(&generation.protocol_name),
        leader: text(&generation.leader),
        current_state_timestamp: generation.since.map_or(-1, Millis::get),
        members: generation.members.iter().map(member).collect(),
        ..Default::default()
    };
    Record {
        key: group_key(group_id),
        value: Some(bytes(GROUP_METADATA_VALUE_VERSION, &value, GROUP_METADATA_VALUE_VERSION)),
    }
}

/// The record that removes a group.
pub(crate) fn group_tombstone(group_id: &str) -> Record {
    Record { key: group_key(group_id), value: None }
}

/// The record that commits an offset.
pub(crate) fn offset(
    group_id: &str,
    topic: &str,
    partition: i32,
    offset: &CommittedOffset,
) -> Record {
    let version = match offset.expires_at {
        Some(_) => OFFSET_COMMIT_VALUE_VERSION_WITH_EXPIRY,
        None => OFFSET_COMMIT_VALUE_VERSION,
    };
    let value = OffsetCommitValue {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch.map_or(-1, |epoch| epoch.0),
        metadata: offset.metadata.to_string(),
        commit_timestamp: offset.committed_at.get(),
        expire_timestamp: offset.expires_at.map_or(-1, Millis::get),
        topic_id: offset.topic_id,
        ..Default::default()
    };
    Record {
        key: offset_key(group_id, topic, partition),
        value: Some(bytes(version, &value, version)),
    }
}

/// The record that removes a committed offset.
pub(crate) fn offset_tombstone(group_id: &str, topic: &str, partition: i32) -> Record {
    Record { key: offset_key(group_id, topic, partition), value: None }
}

/// The group that a GroupMetadata key names; `None` for keys of any other type.
pub(crate) fn group_of_group_key(key: &Bytes) -> Option<String> {
    match decode(key, None) {
        Ok(Decoded::Group { group_id, .. }) => Some(group_id),
        Ok(Decoded::Offset { .. } | Decoded::Other) | Err(_) => None,
    }
}

/// Reads a record of the partition.
///
/// # Errors
/// [`ReplayError`] where the bytes are not what the record's type prescribes.
pub(crate) fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Decoded, ReplayError> {
    let Some((head, body)) = key.split_first_chunk::<2>() else {
        return Err(ReplayError::ShortKey(key.len()));
    };
    let record_type = i16::from_be_bytes(*head);
    let body = key.slice_ref(body);
    match record_type {
        LEGACY_OFFSET_COMMIT => decode_legacy_offset(&body, value),
        OFFSET_COMMIT => decode_offset(&body, value),
        GROUP_METADATA => decode_group(&body, value),
        _ => Ok(Decoded::Other),
    }
}

fn decode_offset(key: &Bytes, value: Option<&Bytes>) -> Result<Decoded, ReplayError> {
    let key: OffsetCommitKey = message(OFFSET_COMMIT, key, KEY_VERSION)?;
    let offset = value.map(|value| -> Result<_, ReplayError> {
        let value: OffsetCommitValue = versioned(OFFSET_COMMIT, value)?;
        Ok(CommittedOffset {
            offset: value.offset,
            leader_epoch: (value.leader_epoch >= 0).then_some(LeaderEpoch(value.leader_epoch)),
            metadata: value.metadata.into(),
            committed_at: Millis(value.commit_timestamp),
            expires_at: (value.expire_timestamp != -1).then_some(Millis(value.expire_timestamp)),
            topic_id: value.topic_id,
        })
    });
    Ok(Decoded::Offset {
        group_id: key.group,
        topic: key.topic,
        partition: key.partition,
        offset: offset.transpose()?,
    })
}

fn decode_legacy_offset(key: &Bytes, value: Option<&Bytes>) -> Result<Decoded, ReplayError> {
    let key: LegacyOffsetCommitKey = message(LEGACY_OFFSET_COMMIT, key, KEY_VERSION)?;
    let offset = value.map(|value| -> Result<_, ReplayError> {
        let value: LegacyOffsetCommitValue = versioned(LEGACY_OFFSET_COMMIT, value)?;
        Ok(CommittedOffset {
            offset: value.offset,
            metadata: value.metadata.into(),
            committed_at: Millis(value.commit_timestamp),
            ..Default::default()
        })
    });
    Ok(Decoded::Offset {
        group_id: key.group,
        topic: key.topic,
        partition: key.partition,
        offset: offset.transpose()?,
    })
}

fn decode_group(key: &Bytes, value: Option<&Bytes>) -> Result<Decoded, ReplayError> {
    let key: GroupMetadataKey = message(GROUP_METADATA, key, KEY_VERSION)?;
    let generation = value.map(|value| -> Result<_, ReplayError> {
        let value: GroupMetadataValue = versioned(GROUP_METADATA, value)?;
        let text = |text: Option<String>| text.map(Arc::from);
        Ok(Generation {
            number: value.generation,
            protocol_type: text(Some(value.protocol_type).filter(|text| !text.is_empty())),
            protocol_name: text(value.protocol),
            leader: text(value.leader),
            since: (value.current_state_timestamp != -1)
                .then_some(Millis(value.current_state_timestamp)),
            members: value.members.into_iter().map(stored_member).collect(),
        })
    });
    Ok(Decoded::Group { group_id: key.group, generation: generation.transpose()? })
}

fn stored_member(member: MemberMetadata) -> (MemberId, StoredMember) {
    // Value version 0 had no rebalance timeout; the session's stood for both.
    let rebalance_timeout = match member.rebalance_timeout {
        -1 => member.session_timeout,
        timeout => timeout,
    };
    let stored = StoredMember {
        instance_id: member.group_instance_id.map(Into::into),
        client_id: member.client_id,
        client_host: member.client_host,
        rebalance_timeout: Millis(rebalance_timeout.into()),
        session_timeout: Millis(member.session_timeout.into()),
        subscription: member.subscription,
        assignment: member.assignment,
    };
    (member.member_id.into(), stored)
}

fn group_key(group_id: &str) -> Bytes {
    let key = GroupMetadataKey { group: group_id.to_owned(), ..Default::default() };
    bytes(GROUP_METADATA, &key, KEY_VERSION)
}

fn offset_key(group_id: &str, topic: &str, partition: i32) -> Bytes {
    let key = OffsetCommitKey {
        group: group_id.to_owned(),
        topic: topic.to_owned(),
        partition,
        ..Default::default()
    };
    bytes(OFFSET_COMMIT, &key, KEY_VERSION)
}

/// An INT16 and a message behind it.
fn bytes<M: Message>(head: i16, message: &M, version: i16) -> Bytes {
    let encode = || {
        let mut bytes = BytesMut::with_capacity(2 + message.encoded_size(version)?);
        bytes.put_i16(head);
        message.encode(version, &mut bytes)?;
        Ok::<_, EncodeError>(bytes.freeze())
    };
    encode().expect("strings of a record come from requests or records and fit their lengths")
}

/// Reads a value, whose version stands before it.
fn versioned<M: Message>(record_type: i16, value: &Bytes) -> Result<M, ReplayError> {
    let Some((head, body)) = value.split_first_chunk::<2>() else {
        let reason = format!("value has {} bytes, at least 2 are expected", value.len());
        return Err(ReplayError::Malformed { record_type, reason });
    };
    let version = i16::from_be_bytes(*head);
    if !(M::MIN_VERSION..=M::MAX_VERSION).contains(&version) {
        return Err(ReplayError::ValueVersion { record_type, version });
    }
    message(record_type, &value.slice_ref(body), version)
}

/// Reads a message; bytes behind it are left alone, as Kafka leaves them.
fn message<M: Message>(record_type: i16, bytes: &Bytes, version: i16) -> Result<M, ReplayError> {
    M::decode(&mut Reader::new(bytes), version).map_err(|error: DecodeError| {
        ReplayError::Malformed { record_type, reason: error.to_string() }
    })
}

fn to_int32(timeout: Millis) -> i32 {
    i32::try_from(timeout.get()).unwrap_or(i32::MAX)
}
