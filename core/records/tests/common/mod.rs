//! What the tests of this crate share: limits, and batches whose CRC is right whatever they say.

// Each test file is a program of its own and uses a part of this.
#![allow(dead_code)]

use thalweg_records::{BatchHeader, DecompressLimits, Origin, TimestampLimits, ValidateLimits};
use types::Millis;

/// Room for everything that the tests make on purpose.
pub const DECOMPRESS: DecompressLimits = DecompressLimits { bytes_max: 4 << 20 };

/// The strictest rules that the batches of the tests still follow.
pub fn client_limits() -> ValidateLimits {
    ValidateLimits {
        origin: Origin::Client,
        batch_bytes_max: 4 << 20,
        decompress: DECOMPRESS,
        require_keys: false,
        timestamps: Some(TimestampLimits {
            now: Millis(1_700_000_000_000),
            before_max: Millis::MAX,
            after_max: Millis::MAX,
        }),
    }
}

/// Makes length and CRC right again after `batch` was edited.
pub fn reseal(batch: &mut [u8]) {
    let length = i32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &batch[21..]);
    batch[17..21].copy_from_slice(&u32::try_from(crc).unwrap().to_be_bytes());
}

/// Parses and validates as a leader does.
pub fn accept(
    batch: &[u8],
    limits: &ValidateLimits,
) -> Result<thalweg_records::ValidBatch, thalweg_records::BatchError> {
    let header = BatchHeader::parse(batch)?;
    thalweg_records::validate(batch, &header, limits)
}
