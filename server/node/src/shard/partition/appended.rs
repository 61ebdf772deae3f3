//! What becomes of an append: where it is, or why it was refused.

use log::AppendError;
use types::{ErrorCode, Millis, Offset};

/// Where an append ended up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// One past the last record; the append is committed when the high watermark is here.
    pub end: Offset,
    /// The time that the broker stamped, where the topic has it stamp.
    pub log_append_time: Option<Millis>,
    /// First offset of the log.
    pub log_start: Offset,
}

/// Why an append was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppendRefused {
    /// The partition's error code.
    pub code: ErrorCode,
    /// What is wrong, for a person.
    pub message: Option<String>,
    /// Records at fault, by their index within the batch.
    pub records: Vec<(i32, String)>,
}

/// What an append is answered with once it may be.
pub type AppendReply = Result<Appended, AppendRefused>;

impl AppendRefused {
    /// A refusal that its code explains.
    pub fn plain(code: ErrorCode) -> Self {
        Self { code, message: None, records: vec![] }
    }

    pub(super) fn offline() -> Self {
        let message = Some("the partition is offline since a write or sync failed".to_owned());
        Self { code: ErrorCode::KafkaStorageError, message, records: vec![] }
    }
}

impl From<&AppendError> for AppendRefused {
    fn from(error: &AppendError) -> Self {
        let records = match error {
            AppendError::Batch(fault) => fault
                .record_errors()
                .iter()
                .map(|one| (one.index, one.reason.to_string()))
                .collect(),
            _ => vec![],
        };
        Self { code: error.code(), message: Some(error.to_string()), records }
    }
}
