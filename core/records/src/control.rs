//! Keys of control records, and the transaction marker, which need no schema.

/// What a control record says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ControlRecordType {
    /// A transaction was aborted.
    Abort,
    /// A transaction was committed.
    Commit,
    /// A quorum has a new leader.
    LeaderChange,
    /// A snapshot begins.
    SnapshotHeader,
    /// A snapshot ends.
    SnapshotFooter,
    /// The quorum changes its protocol version.
    KRaftVersion,
    /// The quorum changes its voters.
    KRaftVoters,
    /// A type that came after Kafka 4.3.
    Unknown(i16),
}

/// Version of the keys that are written.
const KEY_VERSION: i16 = 0;

impl ControlRecordType {
    /// Reads the key of a control record; `None` where it is not one.
    pub fn parse_key(key: &[u8]) -> Option<Self> {
        let &[version_high, version_low, high, low, ..] = key else { return None };
        if i16::from_be_bytes([version_high, version_low]) < 0 {
            return None;
        }
        Some(match i16::from_be_bytes([high, low]) {
            0 => Self::Abort,
            1 => Self::Commit,
            2 => Self::LeaderChange,
            3 => Self::SnapshotHeader,
            4 => Self::SnapshotFooter,
            5 => Self::KRaftVersion,
            6 => Self::KRaftVoters,
            other => Self::Unknown(other),
        })
    }

    /// The number on the wire.
    pub fn id(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::LeaderChange => 2,
            Self::SnapshotHeader => 3,
            Self::SnapshotFooter => 4,
            Self::KRaftVersion => 5,
            Self::KRaftVoters => 6,
            Self::Unknown(id) => id,
        }
    }

    /// The key of a control record of this type.
    pub fn to_key(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (KEY_VERSION.to_be_bytes(), self.id().to_be_bytes());
        [a, b, c, d]
    }
}

/// The value of [`ControlRecordType::Abort`] and [`ControlRecordType::Commit`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EndTxnMarker {
    /// Epoch of the transaction coordinator that decided.
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    const VERSION: i16 = 0;

    /// Reads the value; `None` where it is too short. Later versions may only add fields.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (version, rest) = value.split_first_chunk::<2>()?;
        if i16::from_be_bytes(*version) < 0 {
            return None;
        }
        Some(Self { coordinator_epoch: i32::from_be_bytes(*rest.first_chunk()?) })
    }

    /// The value as it is written.
    pub fn to_bytes(self) -> [u8; 6] {
        let ([a, b], [c, d, e, f]) =
            (Self::VERSION.to_be_bytes(), self.coordinator_epoch.to_be_bytes());
        [a, b, c, d, e, f]
    }
}
