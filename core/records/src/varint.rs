//! Zigzag variable-length integers, as records use them: 7 bits a byte, lowest first.

use crate::error::RecordFault;

/// Most bytes of an INT32.
pub(crate) const VARINT_BYTES_MAX: usize = 5;
/// Most bytes of an INT64.
pub(crate) const VARLONG_BYTES_MAX: usize = 10;

/// Takes an INT32 off the front of `bytes`.
#[inline]
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Result<i32, RecordFault> {
    // Nearly all numbers in records are lengths and deltas of one or two bytes.
    if let Some(zigzag) = take_short(bytes) {
        return Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
    }
    let zigzag = take_bits(bytes, VARINT_BYTES_MAX)?;
    // Bits beyond the 32nd are dropped, as Kafka's decoders do.
    let zigzag = zigzag as u32;
    Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
}

/// Takes an INT64 off the front of `bytes`.
#[inline]
pub(crate) fn take_varlong(bytes: &mut &[u8]) -> Result<i64, RecordFault> {
    if let Some(zigzag) = take_short(bytes) {
        return Ok(((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed()).into());
    }
    let zigzag = take_bits(bytes, VARLONG_BYTES_MAX)?;
    Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
}

/// Takes the bits of a number of one or two bytes, and nothing of a longer one.
#[inline]
fn take_short(bytes: &mut &[u8]) -> Option<u32> {
    match *bytes {
        [low @ ..0x80, rest @ ..] => {
            *bytes = rest;
            Some(u32::from(*low))
        }
        [low, high @ ..0x80, rest @ ..] => {
            *bytes = rest;
            Some(u32::from(low & 0x7f) | u32::from(*high) << 7)
        }
        _ => None,
    }
}

#[cold]
fn take_bits(bytes: &mut &[u8], bytes_max: usize) -> Result<u64, RecordFault> {
    let mut bits = 0;
    for (i, &byte) in bytes.iter().take(bytes_max).enumerate() {
        bits |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *bytes = &bytes[i + 1..];
            return Ok(bits);
        }
    }
    Err(if bytes.len() < bytes_max { RecordFault::Truncated } else { RecordFault::Varint })
}

/// Appends an INT32.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_bits(out, u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()));
}

/// Appends an INT64.
pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_bits(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn put_bits(out: &mut Vec<u8>, mut bits: u64) {
    while bits >= 0x80 {
        out.push((bits as u8) | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}

/// Bytes that [`put_varlong`] writes, and [`put_varint`] for a value that fits.
pub(crate) fn varlong_bytes(value: i64) -> usize {
    let bits = ((value << 1) ^ (value >> 63)).cast_unsigned();
    (64 - (bits | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_survive(value: i64, small: i32) {
            let mut out = Vec::new();
            put_varlong(&mut out, value);
            prop_assert_eq!(out.len(), varlong_bytes(value));
            put_varint(&mut out, small);
            let mut bytes = out.as_slice();
            prop_assert_eq!(take_varlong(&mut bytes), Ok(value));
            prop_assert_eq!(bytes.len(), varlong_bytes(small.into()));
            prop_assert_eq!(take_varint(&mut bytes), Ok(small));
            prop_assert!(bytes.is_empty());
        }
    }

    #[test]
    fn overlong_numbers_are_refused_and_short_ones_are_truncated() {
        assert_eq!(take_varint(&mut [0x80; 5].as_slice()), Err(RecordFault::Varint));
        assert_eq!(take_varint(&mut [0x80; 4].as_slice()), Err(RecordFault::Truncated));
        assert_eq!(take_varlong(&mut [0x80; 10].as_slice()), Err(RecordFault::Varint));
        assert_eq!(take_varlong(&mut [].as_slice()), Err(RecordFault::Truncated));
    }
}
