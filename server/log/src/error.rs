//! Why a log cannot do what it was asked, and what the client is told.

use std::io;
use std::path::{Path, PathBuf};

use records::BatchError;
use rustix::io::Errno;
use types::{ErrorCode, Offset, ProducerId};

use crate::segment::{self, LOG};

/// A log or a log directory cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused. What was being done is lost; the directory must be fenced.
    // The text names the cause, so it is not the `source`, which chains of errors say once more.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io { action: &'static str, path: PathBuf, cause: io::Error },
    /// A file holds what cannot be right although it was complete once. Nothing has been cut.
    #[error("{} is damaged at byte {position}: {reason}", file.display())]
    Damaged { file: PathBuf, position: u64, reason: String },
    /// A small file (checkpoint, metadata) cannot be understood.
    #[error("{} cannot be read: {reason}", file.display())]
    Malformed { file: PathBuf, reason: String },
    /// A former write or sync failed, so the log's content on disk is unknown until it is reopened.
    #[error("{} is offline since a write or sync failed", dir.display())]
    Offline { dir: PathBuf },
    /// The last write found no room or no descriptor. Nothing is lost; the log takes appends again
    /// once that write goes through.
    #[error("{} takes no records as long as there is no room", dir.display())]
    Stalled { dir: PathBuf },
    /// Another process uses the directory.
    #[error("{} is in use by another process", dir.display())]
    Locked { dir: PathBuf },
    /// The directory belongs to another cluster or node, or has lost the word of whose it is.
    #[error("{}: {reason}", dir.display())]
    Foreign { dir: PathBuf, reason: String },
    /// A log that the cluster knows lies in a directory that this node does not have.
    #[error("its directory is missing: {reason}")]
    Missing { reason: String },
}

impl LogError {
    /// What the client sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Io { .. }
            | Self::Damaged { .. }
            | Self::Malformed { .. }
            | Self::Offline { .. }
            | Self::Stalled { .. }
            | Self::Locked { .. }
            | Self::Foreign { .. }
            | Self::Missing { .. } => ErrorCode::KafkaStorageError,
        }
    }

    /// Whether the disk is not to be blamed and what was tried may be tried again.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Io { cause, .. } => is_passing(cause),
            Self::Stalled { .. } => true,
            Self::Damaged { .. }
            | Self::Malformed { .. }
            | Self::Offline { .. }
            | Self::Locked { .. }
            | Self::Foreign { .. }
            | Self::Missing { .. } => false,
        }
    }

    /// The file, where the operating system refused to work on it so that its directory cannot be
    /// trusted any more. A file that is missing or short says nothing of the others.
    pub fn failed_path(&self) -> Option<&Path> {
        match self {
            // A sector that cannot be read says nothing of the others either; a disk that is gone
            // takes no checkpoint.
            Self::Io { action: "read", .. } => None,
            Self::Io { path, cause, .. } => {
                let kind = cause.kind();
                let is_its_own =
                    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof);
                (!is_its_own && !is_passing(cause)).then_some(path)
            }
            Self::Damaged { .. }
            | Self::Malformed { .. }
            | Self::Offline { .. }
            | Self::Stalled { .. }
            | Self::Locked { .. }
            | Self::Foreign { .. }
            | Self::Missing { .. } => None,
        }
    }

    /// Whether the device cannot read a place.
    pub fn is_unreadable(&self) -> bool {
        let errno = Some(Errno::IO.raw_os_error());
        matches!(self, Self::Io { action: "read", cause, .. } if cause.raw_os_error() == errno)
    }

    /// Where the segment begins of which a part is lost: damaged, or not to be read.
    pub fn damaged_segment(&self) -> Option<Offset> {
        let file = match self {
            Self::Damaged { file, .. } => file,
            Self::Io { path, .. } if self.is_unreadable() => path,
            Self::Io { .. }
            | Self::Malformed { .. }
            | Self::Offline { .. }
            | Self::Stalled { .. }
            | Self::Locked { .. }
            | Self::Foreign { .. }
            | Self::Missing { .. } => return None,
        };
        let name = file.file_name()?.to_str()?;
        segment::parse_name(name).filter(|(_, kind)| *kind == LOG).map(|(base, _)| base)
    }

    /// What a reader sees. Of damage it must hear: a storage error has it ask again for ever
    /// without a word, and this one reaches the application, which may seek past the place.
    pub fn read_code(&self) -> ErrorCode {
        match self {
            Self::Damaged { .. } => ErrorCode::CorruptMessage,
            other => other.code(),
        }
    }
}

/// Whether an error passes and leaves what was on disk: no room, no quota, no descriptor, no
/// memory. The errors of syncs come here by way of [`IoContext::of_sync`] or [`sync_fault`].
pub(crate) fn is_passing(error: &io::Error) -> bool {
    lacks_descriptors(error)
        || error.raw_os_error() == Some(Errno::NOMEM.raw_os_error())
        || lacks_room(error)
}

/// Whether the disk or a quota is full.
pub(crate) fn lacks_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The error of a sync. Only one that could not begin, for want of a descriptor for a directory,
/// is passing: after any other the kernel may have dropped what it could not write.
pub(crate) fn sync_fault(error: io::Error) -> io::Error {
    let is_final = is_passing(&error) && !lacks_descriptors(&error);
    if is_final { io::Error::other(error.to_string()) } else { error }
}

/// Whether there was no room or no descriptor for what may be tried again as a whole.
pub fn lacks_room_or_descriptors(error: &io::Error) -> bool {
    lacks_room(error) || lacks_descriptors(error)
}

fn lacks_descriptors(error: &io::Error) -> bool {
    let lacking = [Errno::MFILE, Errno::NFILE];
    lacking.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Turns an IO result into one that names the action and the file.
pub(crate) trait IoContext<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, LogError>;

    /// As [`IoContext::context`], of a sync: final by way of [`sync_fault`].
    fn of_sync(self, path: &Path) -> Result<T, LogError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, LogError> {
        self.map_err(|cause| LogError::Io { action, path: path.to_owned(), cause })
    }

    fn of_sync(self, path: &Path) -> Result<T, LogError> {
        self.map_err(sync_fault).context("sync", path)
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
            Self::Log(error) => error.read_code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::CompactionError;

    fn full() -> LogError {
        let (path, cause) = (PathBuf::from("/d/f"), io::ErrorKind::StorageFull.into());
        LogError::Io { action: "write", path, cause }
    }

    #[test]
    fn a_chain_of_errors_names_the_cause_once() {
        let errors: [Box<dyn Error>; 4] = [
            Box::new(full()),
            Box::new(AppendError::from(full())),
            Box::new(ReadError::from(full())),
            Box::new(CompactionError::from(full())),
        ];
        for error in errors {
            let chain = std::iter::successors(Some(error.as_ref()), |&error| error.source());
            let texts: Vec<String> = chain.map(ToString::to_string).collect();
            assert_eq!(texts, ["cannot write /d/f: no storage space"]);
        }
    }
}
