//! What the log of one partition says: groups and committed offsets.
//!
//! [`Logged::replay`] is the only way to change it, so that a coordinator that has served for a
//! day and one that has just loaded the partition hold the same. Not here: who is joining now, who
//! was heard of when; that is in `group::classic`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use types::Millis;

use crate::group::offsets::Offsets;
use crate::records::{Decoded, Record, ReplayError, decode};

/// Name of a group. Cheap to clone.
pub type GroupId = Arc<str>;
/// Id of a member, made by a coordinator. Cheap to clone.
pub type MemberId = Arc<str>;

/// The last generation of a group that is in the log. A simple group, which only commits offsets,
/// has number 0 and nothing else.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Generation {
    pub number: i32,
    /// `consumer` for groups of consumers, `connect` for Connect workers.
    pub protocol_type: Option<Arc<str>>,
    /// The assignor that the members agreed on.
    pub protocol_name: Option<Arc<str>>,
    pub leader: Option<MemberId>,
    /// When the group came into this state, by the wall clock; old records do not tell.
    pub since: Option<Millis>,
    pub members: BTreeMap<MemberId, StoredMember>,
}

/// A member of a completed generation, as the group's record has it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StoredMember {
    pub instance_id: Option<Arc<str>>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout: Millis,
    pub session_timeout: Millis,
    /// The member's metadata for the protocol that was chosen.
    pub subscription: Bytes,
    pub assignment: Bytes,
}

impl Generation {
    /// About what the members' texts take in memory.
    pub(crate) fn bytes(&self) -> usize {
        let member = |one: &StoredMember| one.subscription.len() + one.assignment.len();
        self.members.values().map(member).sum()
    }
}

/// What became of a replayed record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Replayed {
    /// The group has a new generation.
    Group(GroupId),
    /// The group is gone.
    GroupRemoved(GroupId),
    /// An offset was committed or removed.
    Offset,
    /// The record belongs to a kind of group that is not served, and was counted.
    Skipped,
}

/// The state that the log holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logged {
    pub(crate) generations: BTreeMap<GroupId, Generation>,
    pub(crate) offsets: Offsets,
    skipped: u64,
}

impl Logged {
    /// Applies one record of the partition, in the order of the log.
    ///
    /// # Errors
    /// [`ReplayError`] where the record is malformed; the state is then as before.
    pub fn replay(&mut self, record: &Record) -> Result<Replayed, ReplayError> {
        let replayed = match decode(&record.key, record.value.as_ref())? {
            Decoded::Group { group_id, generation: Some(generation) } => {
                let group_id = GroupId::from(group_id);
                self.generations.insert(group_id.clone(), generation);
                Replayed::Group(group_id)
            }
            Decoded::Group { group_id, generation: None } => {
                self.generations.remove(group_id.as_str());
                Replayed::GroupRemoved(group_id.into())
            }
            Decoded::Offset { group_id, topic, partition, offset: Some(offset) } => {
                // A group that only commits offsets has no record of its own.
                let group_id = match self.generations.get_key_value(group_id.as_str()) {
                    Some((group_id, _)) => group_id.clone(),
                    None => GroupId::from(group_id),
                };
                self.generations.entry(group_id.clone()).or_default();
                self.offsets.put(group_id, topic, partition, offset);
                Replayed::Offset
            }
            Decoded::Offset { group_id, topic, partition, offset: None } => {
                self.offsets.remove(&group_id, &topic, partition);
                Replayed::Offset
            }
            Decoded::Other => {
                self.skipped += 1;
                Replayed::Skipped
            }
        };
        Ok(replayed)
    }

    /// The last completed generation of a group; `None` where the group does not exist.
    pub fn generation(&self, group_id: &str) -> Option<&Generation> {
        self.generations.get(group_id)
    }

    /// All groups, by id.
    pub fn groups(&self) -> impl Iterator<Item = (&GroupId, &Generation)> {
        self.generations.iter()
    }

    /// The committed offsets.
    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// How many records of other kinds of groups were left alone.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}
