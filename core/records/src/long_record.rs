//! The walk over one compressed record that is too large to be held whole.
//!
//! Nothing of it is kept but its numbers, so a batch that unpacks to one huge record costs time up
//! to its limit, and no more memory than any other.

use crate::compression::BoundedReader;
use crate::error::{BatchError, RecordFault};
use crate::record::{Headers, RawRecord};
use crate::varint::{VARLONG_BYTES_MAX, take_varint, take_varlong};

/// What is in sight of the decompressed records, and where more comes from.
pub(crate) struct Source<'s, 'a> {
    reader: &'s mut BoundedReader<'a>,
    window: &'s mut [u8],
    /// What of the window is not used up.
    at: usize,
    filled: usize,
    /// Position of the record in its batch, for errors.
    index: i32,
    /// The length that the record claims, and what is left of that.
    claimed: i32,
    left: usize,
}

/// Takes a whole record from the front of `window`, which is full, and from `reader`. Its key and
/// value are empty where there are any; its headers are checked and left out. Returns where the
/// window is used and filled to.
pub(crate) fn take_long_record(
    reader: &mut BoundedReader<'_>,
    window: &mut [u8],
    index: i32,
) -> Result<(RawRecord<'static>, usize, usize), BatchError> {
    let filled = window.len();
    let mut source =
        Source { reader, window, at: 0, filled, index, claimed: 0, left: VARLONG_BYTES_MAX };
    source.claimed = source.varint()?;
    source.left = source.length(source.claimed)?;
    let record = source.body()?;
    Ok((record, source.at, source.filled))
}

impl Source<'_, '_> {
    fn body(&mut self) -> Result<RawRecord<'static>, BatchError> {
        // The attributes, which have no meaning yet.
        self.skip(1)?;
        let timestamp_delta = self.number(take_varlong)?;
        let offset_delta = self.varint()?;
        let key = self.field()?.then_some(&[][..]);
        let value = self.field()?.then_some(&[][..]);
        let headers = self.varint()?;
        for _ in 0..self.length(headers)? {
            if !self.field()? {
                return Err(self.broken(RecordFault::Length(-1)));
            }
            self.field()?;
        }
        if self.left > 0 {
            return Err(self.broken(RecordFault::Size { claimed: self.claimed }));
        }
        Ok(RawRecord { timestamp_delta, offset_delta, key, value, headers: Headers::default() })
    }

    /// Passes over a field; false where it is null.
    fn field(&mut self) -> Result<bool, BatchError> {
        let length = self.varint()?;
        if length == -1 {
            return Ok(false);
        }
        self.skip(self.length(length)?)?;
        Ok(true)
    }

    fn varint(&mut self) -> Result<i32, BatchError> {
        self.number(take_varint)
    }

    fn number<T>(
        &mut self,
        take: fn(&mut &[u8]) -> Result<T, RecordFault>,
    ) -> Result<T, BatchError> {
        if self.filled - self.at < VARLONG_BYTES_MAX {
            self.bring_near()?;
        }
        let mut bytes = &self.window[self.at..self.filled];
        let before = bytes.len();
        let number = take(&mut bytes).map_err(|fault| self.broken(fault))?;
        self.skip(before - bytes.len())?;
        Ok(number)
    }

    /// Moves what is left to the front and reads until the longest number would be whole.
    fn bring_near(&mut self) -> Result<(), BatchError> {
        self.window.copy_within(self.at..self.filled, 0);
        (self.at, self.filled) = (0, self.filled - self.at);
        while self.filled < VARLONG_BYTES_MAX {
            match self.reader.read(&mut self.window[self.filled..])? {
                0 => break,
                read => self.filled += read,
            }
        }
        Ok(())
    }

    fn skip(&mut self, bytes: usize) -> Result<(), BatchError> {
        let size = RecordFault::Size { claimed: self.claimed };
        self.left = self.left.checked_sub(bytes).ok_or_else(|| self.broken(size))?;
        let mut rest = bytes;
        loop {
            let near = rest.min(self.filled - self.at);
            self.at += near;
            rest -= near;
            if rest == 0 {
                return Ok(());
            }
            (self.at, self.filled) = (0, self.reader.read(self.window)?);
            if self.filled == 0 {
                return Err(self.broken(RecordFault::Truncated));
            }
        }
    }

    fn length(&self, length: i32) -> Result<usize, BatchError> {
        usize::try_from(length).map_err(|_| self.broken(RecordFault::Length(length)))
    }

    fn broken(&self, fault: RecordFault) -> BatchError {
        BatchError::Record { index: self.index, fault }
    }
}
