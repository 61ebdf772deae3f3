//! Reads a message of any kind and writes it again: for fuzzing, and for comparing with other
//! implementations. No server needs it.

use bytes::Bytes;

use crate::generated::reencode as table;
use crate::wire::{DecodeError, EncodeError};
use crate::{ApiKey, Message};

/// Why bytes did not come out again.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReencodeError {
    /// The bytes are not the message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// What was read cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Decodes and encodes the body of a request.
///
/// # Errors
/// If the bytes are not such a request.
pub fn request(api: ApiKey, version: i16, bytes: &Bytes) -> Result<Bytes, ReencodeError> {
    table::request(api, version, bytes)
}

/// Checks that bytes from anywhere are a request or are refused, and that what is read can be
/// written and read again without a difference. A fuzzer calls this with whatever it likes.
///
/// # Errors
/// If the bytes are not such a request.
///
/// # Panics
/// If the codec contradicts itself.
pub fn check_request(api: ApiKey, version: i16, bytes: &Bytes) -> Result<(), DecodeError> {
    let written = match request(api, version, bytes) {
        Ok(written) => written,
        Err(ReencodeError::Decode(error)) => return Err(error),
        Err(ReencodeError::Encode(error)) => panic!("{api} {version} cannot be written: {error}"),
    };
    assert_eq!(
        request(api, version, &written),
        Ok(written.clone()),
        "{api} {version} changes each time"
    );
    Ok(())
}

/// Decodes and encodes the body of a response.
///
/// # Errors
/// If the bytes are not such a response.
pub fn response(api: ApiKey, version: i16, bytes: &Bytes) -> Result<Bytes, ReencodeError> {
    table::response(api, version, bytes)
}

/// Decodes and encodes the internal record or header with this name; `None` if there is none.
pub fn record(name: &str, version: i16, bytes: &Bytes) -> Option<Result<Bytes, ReencodeError>> {
    table::record(name, version, bytes)
}

pub(crate) fn reencode<M: Message>(version: i16, bytes: &Bytes) -> Result<Bytes, ReencodeError> {
    Ok(M::from_bytes(bytes, version)?.to_bytes(version)?)
}
