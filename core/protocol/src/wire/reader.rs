//! Reading from a buffer without copying what can be shared.

use bytes::Bytes;

use super::error::{DecodeError, DecodeErrorKind};

/// A position in a buffer. Fields of bytes come out as slices that share the buffer.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    /// The buffer to share; `None` where only a slice is at hand.
    whole: Option<&'a Bytes>,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their start.
    pub fn new(bytes: &'a Bytes) -> Self {
        Self { whole: Some(bytes), rest: bytes }
    }

    /// Reads a slice that cannot be shared: views borrow from it, owned fields of bytes copy.
    pub fn over(slice: &'a [u8]) -> Self {
        Self { whole: None, rest: slice }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// What is left, sharing the buffer.
    pub fn rest(&self) -> Bytes {
        self.share(self.rest)
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn take_slice(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            let left = self.rest.len();
            return Err(DecodeError::new(DecodeErrorKind::Truncated { wanted: count, left }));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// The next `count` bytes, sharing the buffer.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn take_bytes(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        let taken = self.take_slice(count)?;
        Ok(self.share(taken))
    }

    fn share(&self, part: &[u8]) -> Bytes {
        match self.whole {
            Some(whole) => whole.slice_ref(part),
            None => Bytes::copy_from_slice(part),
        }
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            let left = self.rest.len();
            return Err(DecodeError::new(DecodeErrorKind::Truncated { wanted: N, left }));
        };
        self.rest = rest;
        Ok(*taken)
    }

    /// A reader of the next `count` bytes alone; this one goes on behind them.
    pub(crate) fn take_part(&mut self, count: usize) -> Result<Self, DecodeError> {
        let rest = self.take_slice(count)?;
        Ok(Self { whole: self.whole, rest })
    }

    /// An unsigned varint of at most 32 bits, as lengths and tags are written.
    ///
    /// # Errors
    /// If the bytes end within it, or it has more than 32 bits.
    pub fn take_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value: u64 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take_array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| DecodeError::new(DecodeErrorKind::Varint));
            }
        }
        Err(DecodeError::new(DecodeErrorKind::Varint))
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// If something is.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::new(DecodeErrorKind::Trailing(left))),
        }
    }
}
