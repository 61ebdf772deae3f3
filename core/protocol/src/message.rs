//! What all messages have in common: versions, and encoding into a buffer of the right size.

use bytes::{Bytes, BytesMut};

use crate::wire::{
    Decode, DecodeError, DecodeErrorKind, Encode, EncodeError, Form, Reader, Sink, SizeCounter,
};

/// A message that stands alone: the body of a request or response, a header, a record.
pub trait Message: Encode + for<'a> Decode<'a> {
    /// Kafka's name of the message.
    const NAME: &'static str;
    /// The lowest version there is.
    const MIN_VERSION: i16;
    /// The highest version there is, even where it is not offered to clients yet.
    const MAX_VERSION: i16;
    /// The first version with varints and tagged fields.
    const FIRST_FLEXIBLE: Option<i16>;

    /// Appends the message in `version`.
    ///
    /// # Errors
    /// If the version does not exist or cannot carry what the message says.
    fn encode<S: Sink>(&self, version: i16, sink: &mut S) -> Result<(), EncodeError> {
        let Some(form) = form::<Self>(version) else {
            return Err(EncodeError::Version { message: Self::NAME, version });
        };
        self.put(form, sink)
    }

    /// Reads a message in `version`; what follows it stays in the reader.
    ///
    /// # Errors
    /// If the bytes are not such a message.
    fn decode(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        Self::take(reader, checked_form::<Self>(version)?)
    }

    /// How many bytes the message takes in `version`.
    ///
    /// # Errors
    /// As [`Message::encode`].
    fn encoded_size(&self, version: i16) -> Result<usize, EncodeError> {
        let mut size = SizeCounter::default();
        self.encode(version, &mut size)?;
        Ok(size.bytes())
    }

    /// The message in `version`, in a buffer that fits.
    ///
    /// # Errors
    /// As [`Message::encode`].
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::with_capacity(self.encoded_size(version)?);
        self.encode(version, &mut buffer)?;
        Ok(buffer.freeze())
    }

    /// The message that `bytes` are, all of them.
    ///
    /// # Errors
    /// If the bytes are not such a message, or are more than that.
    fn from_bytes(bytes: &Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = Self::decode(&mut reader, version)?;
        reader.finish().map_err(|e| e.at(Self::NAME))?;
        Ok(message)
    }
}

/// A hot request that borrows its strings and bytes from the buffer it came in.
pub trait View<'a>: Decode<'a> {
    /// The message that this is a view of.
    type Owned: Message;

    /// Reads a request in `version`; what follows it stays in the reader.
    ///
    /// # Errors
    /// If the bytes are not such a request.
    fn decode(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        Self::take(reader, checked_form::<Self::Owned>(version)?)
    }

    /// The request that `bytes` are, all of them.
    ///
    /// # Errors
    /// If the bytes are not such a request, or are more than that.
    fn from_bytes(bytes: &'a Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let view = Self::decode(&mut reader, version)?;
        reader.finish().map_err(|e| e.at(Self::Owned::NAME))?;
        Ok(view)
    }
}

fn form<M: Message>(version: i16) -> Option<Form> {
    let flexible = M::FIRST_FLEXIBLE.is_some_and(|first| version >= first);
    (M::MIN_VERSION..=M::MAX_VERSION).contains(&version).then_some(Form { version, flexible })
}

fn checked_form<M: Message>(version: i16) -> Result<Form, DecodeError> {
    form::<M>(version)
        .ok_or_else(|| DecodeError::new(DecodeErrorKind::Version(version)).at(M::NAME))
}
