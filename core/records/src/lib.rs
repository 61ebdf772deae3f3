//! Record batches, format v2: the bytes that producers send, logs keep and consumers read.
//!
//! Bytes from outside enter by [`split_batches`] and [`validate`]; records are read with [`Batch`]
//! and written with [`BatchBuilder`]. Nothing here knows of topics, files or requests.

mod builder;
pub mod compression;
pub mod control;
mod error;
mod header;
mod iter;
mod long_record;
mod recompress;
mod record;
mod retain;
mod stamp;
mod validate;
mod varint;

pub use builder::BatchBuilder;
pub use compression::{Compression, DecompressLimits};
pub use control::{ControlRecordType, EndTxnMarker};
pub use error::{BatchError, RecordError, RecordErrorReason, RecordFault};
pub use header::{
    Attributes, BatchHeader, BatchSplitter, HEADER_BYTES, TimestampType, sequence_after,
    split_batches,
};
pub use iter::{Batch, RecordIter};
pub use recompress::recompress;
pub use record::{Header, Headers, Record};
pub use retain::{DeleteHorizon, Retained, empty_batch, retain};
pub use stamp::{stamp, stamp_log_append_time, stamp_max_timestamp};
pub use validate::{Origin, TimestampLimits, ValidBatch, ValidateLimits, check_crc, validate};
