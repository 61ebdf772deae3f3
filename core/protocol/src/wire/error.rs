//! What can be wrong with bytes that came in, or with a message that is to go out.

/// Why bytes are not the message they are said to be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {kind}")]
pub struct DecodeError {
    /// The innermost field that was being read, such as `FetchTopic.partitions`.
    pub field: &'static str,
    /// What is wrong with it.
    pub kind: DecodeErrorKind,
}

/// What is wrong with a field.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeErrorKind {
    /// The bytes end too early.
    #[error("{wanted} bytes wanted, {left} left")]
    Truncated { wanted: usize, left: usize },
    /// A length is below -1, or above what the type allows.
    #[error("length {0} is not allowed")]
    Length(i64),
    /// An array claims more elements than the bytes that are left could hold.
    #[error("{count} elements announced, {left} bytes left")]
    Count { count: usize, left: usize },
    /// Null where the version does not allow it.
    #[error("null is not allowed")]
    Null,
    /// A string is not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// A varint has more bits than its type.
    #[error("varint is too long")]
    Varint,
    /// The marker before a struct that may be null is not one of the two that it can be.
    #[error("null marker {0}")]
    Marker(i8),
    /// A tag does not lie above the one before it.
    #[error("tag {0} is out of order")]
    TagOrder(u32),
    /// Bytes are left over where the message, or a tagged field, should end.
    #[error("{0} bytes left over")]
    Trailing(usize),
    /// The message does not exist in this version.
    #[error("version {0} does not exist")]
    Version(i16),
}

impl DecodeError {
    /// An error whose field is not known yet; [`DecodeError::at`] names it.
    pub(crate) fn new(kind: DecodeErrorKind) -> Self {
        Self { field: "", kind }
    }

    /// Names the field, unless a field further in has been named.
    pub(crate) fn at(mut self, field: &'static str) -> Self {
        if self.field.is_empty() {
            self.field = field;
        }
        self
    }
}

/// Why a message cannot be written in the version that was asked for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// The message does not exist in this version.
    #[error("{message} has no version {version}")]
    Version { message: &'static str, version: i16 },
    /// A field has a value that the version cannot carry and that must not be lost.
    #[error("{field} cannot be sent in version {version}")]
    Unsupported { field: &'static str, version: i16 },
    /// A field is null in a version where it must not be.
    #[error("{field} is null")]
    Null { field: &'static str },
    /// A string, array or byte field is longer than its length field can say.
    #[error("{field} is too long: {length}")]
    TooLong { field: &'static str, length: usize },
}

impl EncodeError {
    /// Names the field, unless a field further in has been named.
    pub(crate) fn at(self, name: &'static str) -> Self {
        match self {
            Self::TooLong { field: "", length } => Self::TooLong { field: name, length },
            Self::Unsupported { field: "", version } => Self::Unsupported { field: name, version },
            other => other,
        }
    }
}
