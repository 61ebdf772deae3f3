//! Who votes: replicas, the set of voters, the changes that may be made to it (KIP-853).

use std::collections::BTreeMap;

use protocol::internal::raft::{VotersRecord, voters_record};
use types::{BrokerId, Uuid};

/// A replica of the metadata log: a node and the directory in which it keeps the log.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ReplicaKey {
    /// The node.
    pub id: BrokerId,
    /// Its directory; `None` where the voters are static (`kraft.version` 0) or it is not known.
    pub directory: Option<Uuid>,
}

/// Where a voter listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Name of the listener.
    pub listener: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// One voter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Voter {
    /// Node and directory.
    pub key: ReplicaKey,
    /// Where it is reached.
    pub endpoints: Vec<Endpoint>,
    /// The least and the greatest `kraft.version` that it supports.
    pub kraft_versions: (i16, i16),
}

/// The voters at one point of the log.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct VoterSet(BTreeMap<BrokerId, Voter>);

/// Why a set of voters cannot be changed as asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum VoterSetError {
    /// The node is a voter already.
    #[error("node {0} is a voter already")]
    Duplicate(BrokerId),
    /// There is no such voter.
    #[error("node {0} with that directory is no voter")]
    NotFound(BrokerId),
    /// A quorum of none decides nothing.
    #[error("node {0} is the last voter")]
    Last(BrokerId),
}

impl VoterSet {
    /// A set of these voters; of two with the same id the later one counts.
    pub fn new(voters: impl IntoIterator<Item = Voter>) -> Self {
        Self(voters.into_iter().map(|voter| (voter.key.id, voter)).collect())
    }

    /// All voters by id.
    pub fn iter(&self) -> impl Iterator<Item = &Voter> {
        self.0.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody votes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The voter of that node, whatever its directory.
    pub fn get(&self, id: BrokerId) -> Option<&Voter> {
        self.0.get(&id)
    }

    /// Whether the replica votes. Static voters have no directory and are known by id alone; a node
    /// that comes back with another directory has forgotten what it promised, and is no voter.
    pub fn contains(&self, key: ReplicaKey) -> bool {
        let voter = self.0.get(&key.id);
        voter.is_some_and(|voter| voter.key.directory.is_none_or(|own| key.directory == Some(own)))
    }

    /// How many voters are a majority.
    pub fn majority(&self) -> usize {
        self.0.len() / 2 + 1
    }

    /// Whether the replica alone is a majority.
    pub fn is_only(&self, key: ReplicaKey) -> bool {
        self.0.len() == 1 && self.contains(key)
    }

    /// The set with one more voter.
    ///
    /// # Errors
    /// [`VoterSetError::Duplicate`].
    pub fn with(&self, voter: Voter) -> Result<Self, VoterSetError> {
        let id = voter.key.id;
        let mut voters = self.0.clone();
        match voters.insert(id, voter) {
            None => Ok(Self(voters)),
            Some(_) => Err(VoterSetError::Duplicate(id)),
        }
    }

    /// The set without a voter.
    ///
    /// # Errors
    /// [`VoterSetError::NotFound`], [`VoterSetError::Last`].
    pub fn without(&self, key: ReplicaKey) -> Result<Self, VoterSetError> {
        if self.0.get(&key.id).is_none_or(|voter| voter.key != key) {
            return Err(VoterSetError::NotFound(key.id));
        }
        if self.0.len() == 1 {
            return Err(VoterSetError::Last(key.id));
        }
        let mut voters = self.0.clone();
        voters.remove(&key.id);
        Ok(Self(voters))
    }

    /// The set with a voter's endpoints and versions replaced.
    ///
    /// # Errors
    /// [`VoterSetError::NotFound`].
    pub fn updated(&self, voter: Voter) -> Result<Self, VoterSetError> {
        let mut voters = self.0.clone();
        match voters.get_mut(&voter.key.id) {
            Some(known) if known.key == voter.key => *known = voter,
            Some(_) | None => return Err(VoterSetError::NotFound(voter.key.id)),
        }
        Ok(Self(voters))
    }

    /// As the log has it.
    pub fn to_record(&self) -> VotersRecord {
        let voters = self.0.values().map(|voter| voters_record::Voter {
            voter_id: voter.key.id.0,
            voter_directory_id: voter.key.directory.unwrap_or(Uuid::ZERO),
            endpoints: voter.endpoints.iter().map(Endpoint::to_record).collect(),
            kraft_version_feature: voters_record::KRaftVersionFeature {
                min_supported_version: voter.kraft_versions.0,
                max_supported_version: voter.kraft_versions.1,
                ..Default::default()
            },
            ..Default::default()
        });
        VotersRecord { version: 0, voters: voters.collect(), ..Default::default() }
    }

    /// What a record of the log says.
    pub fn from_record(record: &VotersRecord) -> Self {
        Self::new(record.voters.iter().map(|voter| Voter {
            key: ReplicaKey {
                id: BrokerId(voter.voter_id),
                directory: Some(voter.voter_directory_id).filter(|id| !id.is_zero()),
            },
            endpoints: voter.endpoints.iter().map(Endpoint::from_record).collect(),
            kraft_versions: (
                voter.kraft_version_feature.min_supported_version,
                voter.kraft_version_feature.max_supported_version,
            ),
        }))
    }
}

impl Endpoint {
    fn to_record(&self) -> voters_record::Endpoint {
        voters_record::Endpoint {
            name: self.listener.clone(),
            host: self.host.clone(),
            port: self.port,
            ..Default::default()
        }
    }

    fn from_record(record: &voters_record::Endpoint) -> Self {
        Self { listener: record.name.clone(), host: record.host.clone(), port: record.port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: i32, directory: u8) -> ReplicaKey {
        ReplicaKey { id: BrokerId(id), directory: Some(Uuid::from_bytes([directory; 16])) }
    }

    fn voter(id: i32, directory: u8) -> Voter {
        let endpoint = Endpoint { listener: "C".into(), host: "h".into(), port: 9093 };
        Voter { key: key(id, directory), endpoints: vec![endpoint], kraft_versions: (0, 1) }
    }

    #[test]
    fn a_node_with_another_directory_is_no_voter() {
        let set = VoterSet::new([voter(1, 1)]);
        assert!(set.contains(key(1, 1)));
        assert!(!set.contains(key(1, 2)));
        assert!(!set.contains(ReplicaKey { id: BrokerId(1), directory: None }));
    }

    #[test]
    fn static_voters_are_known_by_id() {
        let fixed = ReplicaKey { id: BrokerId(1), directory: None };
        let set = VoterSet::new([Voter { key: fixed, ..voter(1, 1) }]);
        assert!(set.contains(key(1, 7)));
    }

    #[test]
    fn changes_name_what_is_wrong() {
        let set = VoterSet::new([voter(1, 1), voter(2, 2)]);
        assert_eq!(set.with(voter(2, 9)), Err(VoterSetError::Duplicate(BrokerId(2))));
        assert_eq!(set.without(key(2, 9)), Err(VoterSetError::NotFound(BrokerId(2))));
        assert_eq!(set.updated(voter(3, 3)), Err(VoterSetError::NotFound(BrokerId(3))));
        let one = set.without(key(2, 2)).unwrap();
        assert_eq!(one.without(key(1, 1)), Err(VoterSetError::Last(BrokerId(1))));
        assert_eq!(one.with(voter(2, 2)).unwrap(), set);
    }

    #[test]
    fn a_record_keeps_everything() {
        let set = VoterSet::new([voter(1, 1), voter(2, 2), voter(3, 3)]);
        assert_eq!(VoterSet::from_record(&set.to_record()), set);
        assert_eq!((set.len(), set.majority()), (3, 2));
    }
}
