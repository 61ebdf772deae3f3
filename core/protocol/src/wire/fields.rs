//! Values of every type in the schema: how each is written and read.

use bytes::Bytes;
use types::Uuid;

use super::Form;
use super::error::{DecodeError, DecodeErrorKind, EncodeError};
use super::reader::Reader;
use super::sink::Sink;

/// A value that can be written.
pub trait Encode {
    /// Appends the value.
    ///
    /// # Errors
    /// If the layout cannot carry it.
    fn put<S: Sink>(&self, form: Form, sink: &mut S) -> Result<(), EncodeError>;
}

/// A value that can be written where null is allowed too.
pub trait EncodeNullable: Encode {
    /// Appends null.
    fn put_null<S: Sink>(form: Form, sink: &mut S);

    /// Appends the value with whatever says that it is not null.
    ///
    /// # Errors
    /// If the layout cannot carry it.
    fn put_some<S: Sink>(&self, form: Form, sink: &mut S) -> Result<(), EncodeError> {
        self.put(form, sink)
    }
}

/// A value that can be read; it may borrow from the buffer.
pub trait Decode<'a>: Sized {
    /// No value takes fewer bytes in any version. Arrays are checked by it before memory is
    /// reserved for them.
    const BYTES_MIN: usize;

    /// Reads the value.
    ///
    /// # Errors
    /// If the bytes are not such a value.
    fn take(reader: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError>;
}

/// A value that can be read where null is allowed too.
pub trait DecodeNullable<'a>: Decode<'a> {
    /// Reads the value or null.
    ///
    /// # Errors
    /// If the bytes are neither.
    fn take_nullable(reader: &mut Reader<'a>, form: Form) -> Result<Option<Self>, DecodeError>;
}

/// Writes a field.
pub(crate) fn put<T: Encode, S: Sink>(
    sink: &mut S,
    form: Form,
    value: &T,
    field: &'static str,
) -> Result<(), EncodeError> {
    value.put(form, sink).map_err(|e| e.at(field))
}

/// Writes a field that is null in some versions; `nullable` says whether in this one.
pub(crate) fn put_nullable<T: EncodeNullable, S: Sink>(
    sink: &mut S,
    form: Form,
    nullable: bool,
    value: &Option<T>,
    field: &'static str,
) -> Result<(), EncodeError> {
    match (value, nullable) {
        (Some(value), true) => value.put_some(form, sink).map_err(|e| e.at(field)),
        (Some(value), false) => value.put(form, sink).map_err(|e| e.at(field)),
        (None, true) => {
            T::put_null(form, sink);
            Ok(())
        }
        (None, false) => Err(EncodeError::Null { field }),
    }
}

/// Refuses a field that the version does not have, where it `is_set` and must not be lost.
pub(crate) fn refuse(is_set: bool, form: Form, field: &'static str) -> Result<(), EncodeError> {
    if is_set {
        return Err(EncodeError::Unsupported { field, version: form.version });
    }
    Ok(())
}

/// Reads a field.
pub(crate) fn take<'a, T: Decode<'a>>(
    reader: &mut Reader<'a>,
    form: Form,
    field: &'static str,
) -> Result<T, DecodeError> {
    T::take(reader, form).map_err(|e| e.at(field))
}

/// Reads a field that is null in some versions; `nullable` says whether in this one.
pub(crate) fn take_nullable<'a, T: DecodeNullable<'a>>(
    reader: &mut Reader<'a>,
    form: Form,
    nullable: bool,
    field: &'static str,
) -> Result<Option<T>, DecodeError> {
    if nullable {
        T::take_nullable(reader, form).map_err(|e| e.at(field))
    } else {
        T::take(reader, form).map(Some).map_err(|e| e.at(field))
    }
}

/// Integers and floats: big-endian, the same in every layout.
macro_rules! numbers {
    ($($number:ty)+) => {
        $(
            impl Encode for $number {
                #[inline]
                fn put<S: Sink>(&self, _: Form, sink: &mut S) -> Result<(), EncodeError> {
                    sink.write(&self.to_be_bytes());
                    Ok(())
                }
            }

            impl Decode<'_> for $number {
                const BYTES_MIN: usize = size_of::<$number>();

                #[inline]
                fn take(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
                    reader.take_array().map(Self::from_be_bytes)
                }
            }
        )+
    };
}

numbers!(i8 i16 u16 i32 u32 i64 f64);

impl Encode for bool {
    fn put<S: Sink>(&self, form: Form, sink: &mut S) -> Result<(), EncodeError> {
        i8::from(*self).put(form, sink)
    }
}

impl Decode<'_> for bool {
    const BYTES_MIN: usize = 1;

    fn take(reader: &mut Reader<'_>, form: Form) -> Result<Self, DecodeError> {
        i8::take(reader, form).map(|byte| byte != 0)
    }
}

impl Encode for Uuid {
    fn put<S: Sink>(&self, _: Form, sink: &mut S) -> Result<(), EncodeError> {
        sink.write(self.as_bytes());
        Ok(())
    }
}

impl Decode<'_> for Uuid {
    const BYTES_MIN: usize = 16;

    fn take(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
        reader.take_array().map(Self::from_bytes)
    }
}

/// Length of a string. INT16 is the limit of flexible versions too, as in Kafka.
fn put_string_length<S: Sink>(length: usize, form: Form, sink: &mut S) -> Result<(), EncodeError> {
    let Ok(fixed) = i16::try_from(length) else {
        return Err(EncodeError::TooLong { field: "", length });
    };
    if form.flexible {
        sink.write_varint(u32::from(fixed.unsigned_abs()) + 1);
    } else {
        sink.write(&fixed.to_be_bytes());
    }
    Ok(())
}

/// Length of bytes, or count of an array.
fn put_length<S: Sink>(length: usize, form: Form, sink: &mut S) -> Result<(), EncodeError> {
    let Ok(fixed) = i32::try_from(length) else {
        return Err(EncodeError::TooLong { field: "", length });
    };
    if form.flexible {
        sink.write_varint(fixed.unsigned_abs() + 1);
    } else {
        sink.write(&fixed.to_be_bytes());
    }
    Ok(())
}

fn take_string_length(reader: &mut Reader<'_>, form: Form) -> Result<Option<usize>, DecodeError> {
    let length = if form.flexible {
        i64::from(reader.take_varint()?) - 1
    } else {
        i64::from(i16::take(reader, form)?)
    };
    checked_length(length, i64::from(i16::MAX))
}

fn take_length(reader: &mut Reader<'_>, form: Form) -> Result<Option<usize>, DecodeError> {
    let length = if form.flexible {
        i64::from(reader.take_varint()?) - 1
    } else {
        i64::from(i32::take(reader, form)?)
    };
    checked_length(length, i64::from(i32::MAX))
}

/// -1 means null; any other negative length, and one above `max`, is refused.
fn checked_length(length: i64, max: i64) -> Result<Option<usize>, DecodeError> {
    if length == -1 {
        return Ok(None);
    }
    match usize::try_from(length) {
        Ok(valid) if length <= max => Ok(Some(valid)),
        _ => Err(DecodeError::new(DecodeErrorKind::Length(length))),
    }
}

fn not_null<T>(value: Option<T>) -> Result<T, DecodeError> {
    value.ok_or_else(|| DecodeError::new(DecodeErrorKind::Null))
}

impl Encode for String {
    fn put<S: Sink>(&self, form: Form, sink: &mut S) -> Result<(), EncodeError> {
        put_string_length(self.len(), form, sink)?;
        sink.write(self.as_bytes());
        Ok(())
    }
}

impl EncodeNullable for String {
    fn put_null<S: Sink>(form: Form, sink: &mut S) {
        if form.flexible {
            sink.write(&[0]);
        } else {
            sink.write(&(-1_i16).to_be_bytes());
        }
    }
}

impl<'a> Decode<'a> for &'a str {
    const BYTES_MIN: usize = 1;

    fn take(reader: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {
        not_null(Self::take_nullable(reader, form)?)
    }
}

impl<'a> DecodeNullable<'a> for &'a str {
    fn take_nullable(reader: &mut Reader<'a>, form: Form) -> Result<Option<Self>, DecodeError> {
        let Some(length) = take_string_length(reader, form)? else {
            return Ok(None);
        };
        let bytes = reader.take_slice(length)?;
        let text = std::str::from_utf8(bytes);
        text.map(Some).map_err(|_| DecodeError::new(DecodeErrorKind::Utf8))
    }
}

impl Decode<'_> for String {
    const BYTES_MIN: usize = 1;

    fn take(reader: &mut Reader<'_>, form: Form) -> Result<Self, DecodeError> {
        <&str>::take(reader, form).map(str::to_owned)
    }
}

impl DecodeNullable<'_> for String {
    fn take_nullable(reader: &mut Reader<'_>, form: Form) -> Result<Option<Self>, DecodeError> {
        Ok(<&str>::take_nullable(reader, form)?.map(str::to_owned))
    }
}

impl Encode for Bytes {
    fn put<S: Sink>(&self, form: Form, sink: &mut S) -> Result<(), EncodeError> {
        put_length(self.len(), form, sink)?;
        sink.write_shared(self);
        Ok(())
    }
}

impl EncodeNullable for Bytes {
    fn put_null<S: Sink>(form: Form, sink: &mut S) {
        put_null_length(form, sink);
    }
}

fn put_null_length<S: Sink>(form: Form, sink: &mut S) {
    if form.flexible {
        sink.write(&[0]);
    } else {
        sink.write(&(-1_i32).to_be_bytes());
    }
}

impl Decode<'_> for Bytes {
    const BYTES_MIN: usize = 1;

    fn take(reader: &mut Reader<'_>, form: Form) -> Result<Self, DecodeError> {
        not_null(Self::take_nullable(reader, form)?)
    }
}

impl DecodeNullable<'_> for Bytes {
    fn take_nullable(reader: &mut Reader<'_>, form: Form) -> Result<Option<Self>, DecodeError> {
        take_length(reader, form)?.map(|length| reader.take_bytes(length)).transpose()
    }
}

impl<'a> Decode<'a> for &'a [u8] {
    const BYTES_MIN: usize = 1;

    fn take(reader: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {
        not_null(Self::take_nullable(reader, form)?)
    }
}

impl<'a> DecodeNullable<'a> for &'a [u8] {
    fn take_nullable(reader: &mut Reader<'a>, form: Form) -> Result<Option<Self>, DecodeError> {
        take_length(reader, form)?.map(|length| reader.take_slice(length)).transpose()
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn put<S: Sink>(&self, form: Form, sink: &mut S) -> Result<(), EncodeError> {
        put_length(self.len(), form, sink)?;
        self.iter().try_for_each(|element| element.put(form, sink))
    }
}

impl<T: Encode> EncodeNullable for Vec<T> {
    fn put_null<S: Sink>(form: Form, sink: &mut S) {
        put_null_length(form, sink);
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Vec<T> {
    const BYTES_MIN: usize = 1;

    fn take(reader: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {
        not_null(Self::take_nullable(reader, form)?)
    }
}

impl<'a, T: Decode<'a>> DecodeNullable<'a> for Vec<T> {
    fn take_nullable(reader: &mut Reader<'a>, form: Form) -> Result<Option<Self>, DecodeError> {
        let Some(count) = take_length(reader, form)? else {
            return Ok(None);
        };
        let left = reader.remaining();
        if count > left / T::BYTES_MIN {
            return Err(DecodeError::new(DecodeErrorKind::Count { count, left }));
        }
        let mut elements = Self::with_capacity(reserved::<T>(count, left));
        for _ in 0..count {
            elements.push(T::take(reader, form)?);
        }
        Ok(Some(elements))
    }
}

/// How many elements to reserve memory for. One may be larger here than on the wire, so this never
/// exceeds the bytes that the sender has paid for; beyond it the list grows as elements come.
pub(super) fn reserved<T>(count: usize, left: usize) -> usize {
    count.min(left / size_of::<T>().max(1))
}

/// A struct that may be null has a byte before it: 1, or -1 for null.
macro_rules! nullable_struct {
    ($name:ident) => {
        impl $crate::wire::EncodeNullable for $name {
            fn put_null<S: $crate::wire::Sink>(_: $crate::wire::Form, sink: &mut S) {
                sink.write(&[0xff]);
            }

            fn put_some<S: $crate::wire::Sink>(
                &self,
                form: $crate::wire::Form,
                sink: &mut S,
            ) -> Result<(), $crate::wire::EncodeError> {
                sink.write(&[1]);
                $crate::wire::Encode::put(self, form, sink)
            }
        }

        impl<'a> $crate::wire::DecodeNullable<'a> for $name {
            fn take_nullable(
                reader: &mut $crate::wire::Reader<'a>,
                form: $crate::wire::Form,
            ) -> Result<Option<Self>, $crate::wire::DecodeError> {
                $crate::wire::take_struct_nullable(reader, form)
            }
        }
    };
}

pub(crate) use nullable_struct;

/// Reads a struct that may be null.
pub(crate) fn take_struct_nullable<'a, T: Decode<'a>>(
    reader: &mut Reader<'a>,
    form: Form,
) -> Result<Option<T>, DecodeError> {
    match i8::take(reader, form)? {
        -1 => Ok(None),
        1 => T::take(reader, form).map(Some),
        marker => Err(DecodeError::new(DecodeErrorKind::Marker(marker))),
    }
}
