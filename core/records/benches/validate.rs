//! What checking one batch costs: the CRC, then the walk over its records, in each compression.
//!
//! `cargo bench -p thalweg-records`

use divan::counter::BytesCount;
use thalweg_records::{
    BatchBuilder, BatchHeader, Compression, DecompressLimits, Origin, TimestampLimits,
    ValidateLimits, check_crc, validate,
};
use types::Millis;

const NOW: Millis = Millis(1_800_000_000_000);

fn main() {
    divan::main();
}

/// A batch of about `batch_bytes` of records of `record_bytes`, text of 16 different letters.
fn batch(codec: Compression, record_bytes: usize, batch_bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    let mut noise = 1_u64;
    for _ in 0..batch_bytes / (record_bytes + 10) {
        let value: Vec<u8> = (0..record_bytes)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                b'a' + (noise >> 60) as u8
            })
            .collect();
        builder.append(NOW.get(), None, Some(&value), &[]);
    }
    builder.build().to_vec()
}

fn limits() -> ValidateLimits {
    ValidateLimits {
        origin: Origin::Client,
        batch_bytes_max: 1 << 20,
        decompress: DecompressLimits { bytes_max: 64 << 20 },
        require_keys: false,
        timestamps: Some(TimestampLimits {
            now: NOW,
            before_max: Millis(i64::MAX),
            after_max: Millis(3_600_000),
        }),
    }
}

#[divan::bench(args = [100, 1024])]
fn none(bencher: divan::Bencher, record_bytes: usize) {
    bench(bencher, Compression::None, record_bytes);
}

#[divan::bench(args = [100, 1024])]
fn gzip(bencher: divan::Bencher, record_bytes: usize) {
    bench(bencher, Compression::Gzip, record_bytes);
}

#[divan::bench(args = [100, 1024])]
fn snappy(bencher: divan::Bencher, record_bytes: usize) {
    bench(bencher, Compression::Snappy, record_bytes);
}

#[divan::bench(args = [100, 1024])]
fn lz4(bencher: divan::Bencher, record_bytes: usize) {
    bench(bencher, Compression::Lz4, record_bytes);
}

#[divan::bench(args = [100, 1024])]
fn zstd(bencher: divan::Bencher, record_bytes: usize) {
    bench(bencher, Compression::Zstd, record_bytes);
}

fn bench(bencher: divan::Bencher, codec: Compression, record_bytes: usize) {
    let batch = batch(codec, record_bytes, 16 << 10);
    let (header, limits) = (BatchHeader::parse(&batch).expect("just built"), limits());
    bencher
        .counter(BytesCount::new(16_usize << 10))
        .bench(|| validate(divan::black_box(&batch), &header, &limits).expect("just built"));
}

#[divan::bench]
fn crc(bencher: divan::Bencher) {
    let batch = batch(Compression::None, 100, 16 << 10);
    let header = BatchHeader::parse(&batch).expect("just built");
    bencher
        .counter(BytesCount::of_slice(&batch))
        .bench(|| check_crc(divan::black_box(&batch), &header));
}
