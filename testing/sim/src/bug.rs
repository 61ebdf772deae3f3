//! Known bugs that can be planted, to see that the simulation finds each. They live in the loops
//! around the deciding crates: the product has no switch for any of them.

/// A bug, one of each class.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bug {
    /// A leader counts what it has written, not what it has synced.
    AckBeforeSync,
    /// A follower asks for more, and so confirms, before its disk has what came.
    ConfirmBeforeSync,
    /// A voter forgets its vote, and the epoch of it, when it restarts.
    VoteNotPersisted,
    /// A new follower cuts its log to its high watermark instead of where the epochs part.
    TruncateToHighWatermark,
    /// A leader takes a follower out of the ISR without the controller.
    IsrShrunkUntold,
    /// Brokers act on metadata that is not committed.
    MetadataBeforeCommit,
    /// The controller answers before its decision is committed.
    AnswerBeforeCommit,
    /// A leader serves consumers what is not committed.
    ServedBeforeCommit,
    /// A producer's retry is not told from a new batch.
    RetriesNotKnown,
    /// Replicas of the metadata log count what they have not synced.
    QuorumBeforeSync,
    /// Timers go by the wall clock.
    TimersByWallClock,
    /// A broker counts what it could not sync, and goes on.
    AckAfterFailedSync,
    /// An empty disk in the place of another one passes for that.
    EmptyDiskKeepsId,
    /// A snapshot of the metadata lacks a partition.
    SnapshotLacksPartition,
    /// A follower that ends before its leader begins starts anew where that ends.
    BeginsAtEnd,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::AckBeforeSync,
        Self::ConfirmBeforeSync,
        Self::VoteNotPersisted,
        Self::TruncateToHighWatermark,
        Self::IsrShrunkUntold,
        Self::MetadataBeforeCommit,
        Self::AnswerBeforeCommit,
        Self::ServedBeforeCommit,
        Self::RetriesNotKnown,
        Self::QuorumBeforeSync,
        Self::TimersByWallClock,
        Self::AckAfterFailedSync,
        Self::EmptyDiskKeepsId,
        Self::SnapshotLacksPartition,
        Self::BeginsAtEnd,
    ];
}
