//! How values lie on the wire: integers, strings, arrays, tagged fields, in the two styles that
//! Kafka has (fixed lengths, and since KIP-482 "flexible" varints with tagged fields).
//!
//! Generated messages are written in terms of [`Encode`] and [`Decode`]. Nothing here knows an
//! API. Bytes from outside never panic and never reserve more memory than they carry.

mod error;
mod fields;
mod reader;
mod sink;
mod tags;
#[cfg(test)]
mod tests;

pub use error::{DecodeError, DecodeErrorKind, EncodeError};
pub use fields::{Decode, DecodeNullable, Encode, EncodeNullable};
pub(crate) use fields::{
    nullable_struct, put, put_nullable, refuse, take, take_nullable, take_struct_nullable,
};
pub use reader::Reader;
pub use sink::{Segments, Sink, SizeCounter};
pub use tags::UnknownTags;
pub(crate) use tags::{
    Nullable, NullableStruct, TagReader, TagWriter, put_tags, skip_tags, take_tag,
    take_tagged_struct, take_tags,
};

/// The layout that a value is written in: the version, and whether it has varints and tags.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Form {
    /// Version of the message.
    pub version: i16,
    /// Whether the version is a flexible one.
    pub flexible: bool,
}

impl Form {
    /// The same version without varints: the client id of the request header keeps the old
    /// layout, so that a broker can read it from a client of any age.
    pub(crate) fn fixed(self) -> Self {
        Self { flexible: false, ..self }
    }
}

/// Bytes of `value` as an unsigned varint.
pub(crate) fn varint_bytes(value: u32) -> usize {
    let bits = 32 - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}
