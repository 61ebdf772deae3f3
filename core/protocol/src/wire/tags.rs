//! Tagged fields (KIP-482): a count, then for each field its tag, its size and its bytes, with
//! tags strictly rising. Tags that this version of the schema does not know are kept and written
//! back at their place, so that a message that only passes through loses nothing.

use bytes::Bytes;

use super::Form;
use super::error::{DecodeError, DecodeErrorKind, EncodeError};
use super::fields::{Decode, Encode, EncodeNullable};
use super::reader::Reader;
use super::sink::{Sink, SizeCounter};

/// Tagged fields that the schema does not name, lowest tag first. Nearly always there are none,
/// and then this is one null pointer.
#[derive(Clone, Default, PartialEq)]
#[allow(clippy::box_collection, reason = "one word in each of thousands of structs, not three")]
pub struct UnknownTags(Option<Box<Vec<(u32, Bytes)>>>);

impl UnknownTags {
    /// Tag and bytes of each field, lowest tag first.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Bytes)> {
        self.as_slice().iter().map(|(tag, bytes)| (*tag, bytes))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Keeps a field that the schema does not name; [`TagReader`] has checked that tags rise.
    pub(crate) fn keep(&mut self, tag: u32, field: &Reader<'_>) {
        self.0.get_or_insert_default().push((tag, field.rest()));
    }

    fn as_slice(&self) -> &[(u32, Bytes)] {
        self.0.as_ref().map_or(&[], |list| list.as_slice())
    }
}

impl std::fmt::Debug for UnknownTags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Writes the tagged fields of one struct; known and unknown ones are merged by tag.
pub(crate) struct TagWriter<'a> {
    unknown: &'a [(u32, Bytes)],
}

impl<'a> TagWriter<'a> {
    /// Writes the count: `known` fields that follow by [`TagWriter::put`], and the unknown ones.
    pub(crate) fn start<S: Sink>(
        sink: &mut S,
        form: Form,
        known: usize,
        unknown: &'a UnknownTags,
    ) -> Result<Self, EncodeError> {
        let unknown = unknown.as_slice();
        if form.flexible {
            sink.write_varint(length(known + unknown.len())?);
        } else if !unknown.is_empty() {
            return Err(EncodeError::Unsupported { field: "unknown_tags", version: form.version });
        }
        Ok(Self { unknown })
    }

    /// Writes one known field; tags must rise from call to call.
    pub(crate) fn put<S: Sink>(
        &mut self,
        sink: &mut S,
        form: Form,
        tag: u32,
        value: &impl Encode,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        let before = self.unknown.partition_point(|(unknown, _)| *unknown < tag);
        let (before, after) = self.unknown.split_at(before);
        self.unknown = after;
        put_raw(sink, before)?;
        let mut size = SizeCounter::default();
        value.put(form, &mut size).map_err(|e| e.at(field))?;
        sink.write_varint(tag);
        sink.write_varint(length(size.bytes())?);
        value.put(form, sink).map_err(|e| e.at(field))
    }

    /// Writes the unknown fields behind the last known one.
    pub(crate) fn finish<S: Sink>(self, sink: &mut S) -> Result<(), EncodeError> {
        put_raw(sink, self.unknown)
    }
}

fn put_raw<S: Sink>(sink: &mut S, tags: &[(u32, Bytes)]) -> Result<(), EncodeError> {
    for (tag, bytes) in tags {
        sink.write_varint(*tag);
        sink.write_varint(length(bytes.len())?);
        sink.write_shared(bytes);
    }
    Ok(())
}

fn length(length: usize) -> Result<u32, EncodeError> {
    u32::try_from(length).map_err(|_| EncodeError::TooLong { field: "tagged fields", length })
}

/// Ends a struct that has no tagged fields of its own.
pub(crate) fn put_tags<S: Sink>(
    sink: &mut S,
    form: Form,
    unknown: &UnknownTags,
) -> Result<(), EncodeError> {
    TagWriter::start(sink, form, 0, unknown)?.finish(sink)
}

/// Reads the tagged fields of one struct, one by one.
pub(crate) struct TagReader {
    left: u32,
    last: Option<u32>,
}

impl TagReader {
    /// Reads the count; a version that is not flexible has no tagged fields.
    pub(crate) fn start(reader: &mut Reader<'_>, form: Form) -> Result<Self, DecodeError> {
        let left = if form.flexible { reader.take_varint().map_err(tagged)? } else { 0 };
        // Each takes two bytes at least, for its tag and its size.
        let remaining = reader.remaining();
        if left as usize > remaining / 2 {
            let kind = DecodeErrorKind::Count { count: left as usize, left: remaining };
            return Err(tagged(DecodeError::new(kind)));
        }
        Ok(Self { left, last: None })
    }

    /// The next field: its tag, and a reader of its bytes alone.
    pub(crate) fn next<'a>(
        &mut self,
        reader: &mut Reader<'a>,
    ) -> Result<Option<(u32, Reader<'a>)>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let tag = reader.take_varint().map_err(tagged)?;
        if self.last.is_some_and(|last| tag <= last) {
            return Err(tagged(DecodeError::new(DecodeErrorKind::TagOrder(tag))));
        }
        self.last = Some(tag);
        let size = reader.take_varint().map_err(tagged)?;
        let part = reader.take_part(size as usize).map_err(tagged)?;
        Ok(Some((tag, part)))
    }
}

fn tagged(error: DecodeError) -> DecodeError {
    error.at("tagged fields")
}

/// Reads the value of one tagged field, which must end where its size says.
pub(crate) fn take_tag<'a, T>(
    field: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let value = read(field)?;
    field.finish().map_err(tagged)?;
    Ok(value)
}

/// A tagged field whose value may be null.
pub(crate) struct Nullable<'a, T>(pub(crate) &'a Option<T>);

impl<T: EncodeNullable> Encode for Nullable<'_, T> {
    fn put<S: Sink>(&self, form: Form, sink: &mut S) -> Result<(), EncodeError> {
        match self.0 {
            Some(value) => value.put_some(form, sink),
            None => {
                T::put_null(form, sink);
                Ok(())
            }
        }
    }
}

/// A tagged field that is a struct or null. Kafka marks it with 1 or 0 here, where a field without
/// a tag has 1 or -1.
pub(crate) struct NullableStruct<'a, T>(pub(crate) &'a Option<T>);

impl<T: Encode> Encode for NullableStruct<'_, T> {
    fn put<S: Sink>(&self, form: Form, sink: &mut S) -> Result<(), EncodeError> {
        sink.write(&[u8::from(self.0.is_some())]);
        self.0.as_ref().map_or(Ok(()), |value| value.put(form, sink))
    }
}

/// Reads what [`NullableStruct`] writes.
pub(crate) fn take_tagged_struct<'a, T: Decode<'a>>(
    reader: &mut Reader<'a>,
    form: Form,
    field: &'static str,
) -> Result<Option<T>, DecodeError> {
    let value = match i8::take(reader, form)? {
        0 => Ok(None),
        1 => T::take(reader, form).map(Some),
        marker => Err(DecodeError::new(DecodeErrorKind::Marker(marker))),
    };
    value.map_err(|e| e.at(field))
}

/// Ends a struct that has no tagged fields of its own.
pub(crate) fn take_tags(reader: &mut Reader<'_>, form: Form) -> Result<UnknownTags, DecodeError> {
    let mut unknown = UnknownTags::default();
    let mut tags = TagReader::start(reader, form)?;
    while let Some((tag, field)) = tags.next(reader)? {
        unknown.keep(tag, &field);
    }
    Ok(unknown)
}

/// Ends a borrowed view, which does not keep what it does not know.
pub(crate) fn skip_tags(reader: &mut Reader<'_>, form: Form) -> Result<(), DecodeError> {
    let mut tags = TagReader::start(reader, form)?;
    while tags.next(reader)?.is_some() {}
    Ok(())
}
