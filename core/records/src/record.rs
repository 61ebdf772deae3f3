//! One record: its parts, borrowed from the batch.
//!
//! Not here: finding the records of a batch (`iter`) and the rules about them (`validate`).

use types::Offset;

use crate::error::RecordFault;
use crate::varint::{take_varint, take_varlong};

/// A record as consumers see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record<'a> {
    /// Its place in the log.
    pub offset: Offset,
    /// Milliseconds since 1970, or -1 for none.
    pub timestamp: i64,
    /// What partitions and compaction go by.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Named attachments, in order; names may repeat.
    pub headers: Headers<'a>,
}

/// One header of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header<'a> {
    /// UTF-8 by convention; Kafka checks it no more than this does.
    pub key: &'a [u8],
    /// Any bytes.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, known to be well formed; iterate to read them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl Headers<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.count == 0 {
            return None;
        }
        self.count -= 1;
        let header = take_header(&mut self.bytes).expect("checked when parsed");
        Some(header)
    }
}

/// A record as it lies in its batch, relative to the batch's base.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRecord<'a> {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Headers<'a>,
}

/// Takes one record off the front of `bytes`; they stay as they are where that fails.
#[inline]
pub(crate) fn take_record<'a>(bytes: &mut &'a [u8]) -> Result<RawRecord<'a>, RecordFault> {
    let mut rest = *bytes;
    let claimed = take_varint(&mut rest)?;
    let length = usize::try_from(claimed).map_err(|_| RecordFault::Length(claimed))?;
    let (body, behind) = rest.split_at_checked(length).ok_or(RecordFault::Truncated)?;
    let record = parse_body(body).map_err(|fault| match fault {
        // The batch goes on, it is the record that ends too early.
        RecordFault::Truncated => RecordFault::Size { claimed },
        other => other,
    })?;
    *bytes = behind;
    Ok(record)
}

#[inline]
fn parse_body(mut body: &[u8]) -> Result<RawRecord<'_>, RecordFault> {
    // The attributes of a record have no meaning yet; Kafka ignores them.
    let (_attributes, rest) = body.split_first().ok_or(RecordFault::Truncated)?;
    body = rest;
    let timestamp_delta = take_varlong(&mut body)?;
    let offset_delta = take_varint(&mut body)?;
    let key = take_nullable(&mut body)?;
    let value = take_nullable(&mut body)?;
    let claimed = take_varint(&mut body)?;
    let count = usize::try_from(claimed).map_err(|_| RecordFault::Length(claimed))?;
    let headers = Headers { count, bytes: body };
    for _ in 0..count {
        take_header(&mut body)?;
    }
    if !body.is_empty() {
        return Err(RecordFault::Truncated);
    }
    Ok(RawRecord { timestamp_delta, offset_delta, key, value, headers })
}

fn take_header<'a>(bytes: &mut &'a [u8]) -> Result<Header<'a>, RecordFault> {
    let key = take_nullable(bytes)?.ok_or(RecordFault::Length(-1))?;
    let value = take_nullable(bytes)?;
    Ok(Header { key, value })
}

#[inline]
fn take_nullable<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordFault> {
    let length = take_varint(bytes)?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| RecordFault::Length(length))?;
    let (field, rest) = bytes.split_at_checked(length).ok_or(RecordFault::Truncated)?;
    *bytes = rest;
    Ok(Some(field))
}
