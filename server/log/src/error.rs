//! Why a log cannot do what it was asked, and what the client is told.

use std::io;
use std::path::{Path, PathBuf};

use records::BatchError;
use types::{ErrorCode, Offset, ProducerId};

/// A log or a log directory cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused. What was being done is lost; the directory must be fenced.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A file holds what cannot be right although it was complete once. Nothing has been cut.
    #[error("{} is damaged at byte {position}: {reason}", file.display())]
    Damaged { file: PathBuf, position: u64, reason: String },
    /// A small file (checkpoint, metadata) cannot be understood.
    #[error("{} cannot be read: {reason}", file.display())]
    Malformed { file: PathBuf, reason: String },
    /// A former write or sync failed, so the log's content on disk is unknown until it is reopened.
    #[error("{} is offline since a write or sync failed", dir.display())]
    Offline { dir: PathBuf },
    /// Another process uses the directory.
    #[error("{} is in use by another process", dir.display())]
    Locked { dir: PathBuf },
    /// The directory belongs to another cluster or node.
    #[error("{}: {reason}", dir.display())]
    Foreign { dir: PathBuf, reason: String },
}

impl LogError {
    /// What the client sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Io { .. }
            | Self::Damaged { .. }
            | Self::Malformed { .. }
            | Self::Offline { .. }
            | Self::Locked { .. }
            | Self::Foreign { .. } => ErrorCode::KafkaStorageError,
        }
    }
}

/// Turns an IO result into one that names the action and the file.
pub(crate) trait IoContext<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, LogError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, LogError> {
        self.map_err(|source| LogError::Io { action, path: path.to_owned(), source })
    }
}

/// Why an append is refused. The log is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A batch is not fit for this topic.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// There is no batch.
    #[error("there are no records")]
    Empty,
    /// All batches together are larger than a segment.
    #[error("the batches have {bytes} bytes, a segment holds {bytes_max}")]
    LargerThanSegment { bytes: usize, bytes_max: usize },
    /// Producer, sequence and transaction rules.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// A replicated batch does not follow the log's end.
    #[error("batch begins at offset {found}, the log ends at {end}")]
    OutOfOrderOffset { found: i64, end: Offset },
    /// The log cannot take anything.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl AppendError {
    /// What the client sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Batch(error) => error.code(),
            Self::Empty => ErrorCode::InvalidRecord,
            Self::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
            Self::Producer(error) => error.code(),
            Self::OutOfOrderOffset { .. } => ErrorCode::CorruptMessage,
            Self::Log(error) => error.code(),
        }
    }
}

/// Why a batch of an idempotent or transactional producer is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProducerError {
    /// Some batch before this one is missing, or came twice too long ago to tell.
    #[error("producer {producer} sent sequence {found} after {last}")]
    OutOfOrderSequence { producer: ProducerId, last: i32, found: i32 },
    /// A newer instance of the producer has been here.
    #[error("producer {producer} has epoch {current}, the batch says {found}")]
    InvalidEpoch { producer: ProducerId, current: i16, found: i16 },
    /// A batch outside of a transaction while the producer has one open.
    #[error("producer {producer} has an open transaction but the batch is not part of it")]
    InvalidTxnState { producer: ProducerId },
    /// A newer transaction coordinator has written a marker.
    #[error("marker of producer {producer} has coordinator epoch {found}, {current} was here")]
    CoordinatorFenced { producer: ProducerId, current: i32, found: i32 },
}

impl ProducerError {
    /// What the client sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            Self::InvalidEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            Self::InvalidTxnState { .. } => ErrorCode::InvalidTxnState,
            Self::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
        }
    }
}

/// Why a read gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is not in the log.
    #[error("offset {offset} is not within {start} and {end}")]
    OutOfRange { offset: Offset, start: Offset, end: Offset },
    /// The log or its file is broken.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl ReadError {
    /// What the client sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Log(error) => error.code(),
        }
    }
}
