//! The codecs by themselves: names, levels, and framings that only other clients write.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;

use common::DECOMPRESS;
use lz4::{BlockMode, EncoderBuilder};
use thalweg_records::compression::{compress, decompress_bounded};
use thalweg_records::{BatchError, Compression};

/// More than a block of any codec, and not all the same.
fn text() -> Vec<u8> {
    (0..40_000).flat_map(|i: u32| i.to_string().into_bytes()).collect()
}

fn snappy_raw(data: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(data).unwrap()
}

fn snappy_frame(blocks: &[&[u8]]) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in blocks {
        let raw = snappy_raw(block);
        out.extend_from_slice(&i32::try_from(raw.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&raw);
    }
    out
}

fn lz4_frame(block_mode: BlockMode, data: &[u8]) -> Vec<u8> {
    let mut encoder = EncoderBuilder::new().block_mode(block_mode).build(Vec::new()).unwrap();
    encoder.write_all(data).unwrap();
    let (frame, result) = encoder.finish();
    result.unwrap();
    frame
}

#[test]
fn names_and_ids_lead_back() {
    for codec in Compression::ALL {
        assert_eq!(Compression::from_id(codec.id()), Some(codec));
        assert_eq!(Compression::from_name(codec.name()), Some(codec));
    }
    assert_eq!(Compression::from_name("uncompressed"), Some(Compression::None));
    assert_eq!(Compression::from_name("producer"), None);
    assert_eq!(Compression::from_id(5), None);
}

#[test]
fn no_level_is_the_default_level() {
    let text = text();
    for codec in Compression::ALL {
        let by_default = compress(codec, None, &text);
        assert_eq!(compress(codec, codec.default_level(), &text), by_default, "{codec:?}");
    }
    let gzip = |level| compress(Compression::Gzip, level, &text);
    assert_eq!(gzip(None), gzip(Some(6)));
    assert_ne!(gzip(None), gzip(Some(1)));
}

#[test]
fn levels_beyond_the_range_are_drawn_to_its_end() {
    let text = text();
    assert_eq!(compress(Compression::Zstd, Some(99), &text[..5000]), {
        compress(Compression::Zstd, Some(22), &text[..5000])
    });
    let gzip = |level| compress(Compression::Gzip, Some(level), &text);
    assert_eq!(gzip(-2), gzip(1));
}

#[test]
fn only_lz4s_default_level_is_the_fast_one() {
    let text = text();
    let lz4 = |level| compress(Compression::Lz4, level, &text).len();
    assert_eq!(lz4(None), lz4(Some(9)));
    assert!(lz4(Some(1)) < lz4(None));
    assert!(lz4(Some(17)) <= lz4(Some(1)));
}

#[test]
fn snappy_of_other_clients_is_read() {
    let text = text();
    let twice = [snappy_frame(&[&text]), snappy_frame(&[b"again"])].concat();
    let cases = [
        ("one raw block", snappy_raw(&text), text.clone()),
        ("one framed block", snappy_frame(&[&text]), text.clone()),
        ("an empty block", snappy_frame(&[b"a", b"", b"b"]), b"ab".to_vec()),
        ("a frame without blocks", snappy_frame(&[]), vec![]),
        (
            "an empty frame before another",
            [snappy_frame(&[]), snappy_frame(&[b"a"])].concat(),
            b"a".to_vec(),
        ),
        ("two frames", twice, [text.clone(), b"again".to_vec()].concat()),
    ];
    for (name, data, expected) in cases {
        let out = decompress_bounded(Compression::Snappy, &data, DECOMPRESS);
        assert_eq!(out, Ok(expected), "{name}");
    }
}

#[test]
fn snappy_refuses_a_block_that_announces_more_than_it_can_hold() {
    let raw = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let refusal = decompress_bounded(Compression::Snappy, &raw, DECOMPRESS).unwrap_err();
    let BatchError::Decompress { reason, .. } = refusal else { panic!("{refusal}") };
    assert!(reason.contains("announces"), "{reason}");
}

#[test]
fn lz4_frames_that_java_consumers_cannot_read_are_refused() {
    let text = text();
    let independent = lz4_frame(BlockMode::Independent, &text);
    let out = decompress_bounded(Compression::Lz4, &independent, DECOMPRESS);
    assert_eq!(out.as_ref(), Ok(&text));
    let linked = lz4_frame(BlockMode::Linked, &text);
    let out = decompress_bounded(Compression::Lz4, &linked, DECOMPRESS);
    assert!(matches!(out, Err(BatchError::Decompress { .. })));
}

#[test]
fn lz4_refuses_bytes_behind_the_frame() {
    let mut frame = lz4_frame(BlockMode::Independent, b"hello");
    frame.push(0);
    let out = decompress_bounded(Compression::Lz4, &frame, DECOMPRESS);
    assert!(matches!(out, Err(BatchError::Decompress { .. })));
}

#[test]
fn a_limit_that_is_just_reached_is_no_error() {
    let text = text();
    for codec in Compression::ALL {
        let data = compress(codec, None, &text);
        let limits = |bytes_max| thalweg_records::DecompressLimits { bytes_max };
        let out = decompress_bounded(codec, &data, limits(text.len()));
        assert_eq!(out.as_ref(), Ok(&text), "{codec:?}");
        let bytes_max = text.len() - 1;
        let refusal = decompress_bounded(codec, &data, limits(bytes_max));
        assert_eq!(refusal, Err(BatchError::DecompressedTooLarge { codec, bytes_max }));
    }
}
