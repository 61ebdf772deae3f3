//! Table tests of the layouts, and of bytes that are refused.

use bytes::{Bytes, BytesMut};

use super::*;

const FIXED: Form = Form { version: 0, flexible: false };
const FLEXIBLE: Form = Form { version: 0, flexible: true };

fn written(value: &impl Encode, form: Form) -> Vec<u8> {
    let mut out = BytesMut::new();
    value.put(form, &mut out).unwrap();
    let mut size = SizeCounter::default();
    value.put(form, &mut size).unwrap();
    assert_eq!(size.bytes(), out.len());
    out.to_vec()
}

/// What reading a `T` from `bytes` says, once all of them are read.
fn read<T: for<'a> Decode<'a>>(bytes: &[u8], form: Form) -> Result<T, DecodeErrorKind> {
    let mut reader = Reader::over(bytes);
    let value = T::take(&mut reader, form).map_err(|error| error.kind)?;
    reader.finish().map_err(|error| error.kind)?;
    Ok(value)
}

#[test]
fn varints_take_seven_bits_a_byte() {
    let cases: [(u32, &[u8]); 7] = [
        (0, &[0]),
        (1, &[1]),
        (127, &[0x7f]),
        (128, &[0x80, 1]),
        (16_383, &[0xff, 0x7f]),
        (16_384, &[0x80, 0x80, 1]),
        (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ];
    for (value, bytes) in cases {
        let mut out = BytesMut::new();
        out.write_varint(value);
        assert_eq!(out, bytes, "{value}");
        assert_eq!(varint_bytes(value), bytes.len(), "{value}");
        assert_eq!(Reader::over(bytes).take_varint(), Ok(value));
    }
}

#[test]
fn varints_beyond_32_bits_are_refused() {
    for bytes in [[0xff, 0xff, 0xff, 0xff, 0x1f], [0x80, 0x80, 0x80, 0x80, 0x80]] {
        let refused = Reader::over(&bytes).take_varint().map_err(|error| error.kind);
        assert_eq!(refused, Err(DecodeErrorKind::Varint));
    }
}

#[test]
fn strings_have_two_layouts() {
    let text = "né".to_owned();
    assert_eq!(written(&text, FIXED), [0, 3, b'n', 0xc3, 0xa9]);
    assert_eq!(written(&text, FLEXIBLE), [4, b'n', 0xc3, 0xa9]);
    assert_eq!(read(&[0, 3, b'n', 0xc3, 0xa9], FIXED), Ok(text.clone()));
    assert_eq!(read(&[4, b'n', 0xc3, 0xa9], FLEXIBLE), Ok(text));
}

#[test]
fn strings_that_are_none_are_refused() {
    use DecodeErrorKind as Kind;
    let cases: [(&str, &[u8], Form, Kind); 8] = [
        ("null", &[0xff, 0xff], FIXED, Kind::Null),
        ("null", &[0], FLEXIBLE, Kind::Null),
        ("below null", &[0xff, 0xfe], FIXED, Kind::Length(-2)),
        ("above INT16", &[0x81, 0x80, 2], FLEXIBLE, Kind::Length(32_768)),
        ("cut off", &[0, 3, b'a'], FIXED, Kind::Truncated { wanted: 3, left: 1 }),
        ("cut off", &[4, b'a'], FLEXIBLE, Kind::Truncated { wanted: 3, left: 1 }),
        ("not UTF-8", &[0, 1, 0xc3], FIXED, Kind::Utf8),
        ("cut off in its length", &[0], FIXED, Kind::Truncated { wanted: 2, left: 1 }),
    ];
    for (name, bytes, form, kind) in cases {
        assert_eq!(read::<String>(bytes, form), Err(kind), "{name}");
    }
}

#[test]
fn bytes_that_are_none_are_refused() {
    use DecodeErrorKind as Kind;
    let cases: [(&str, &[u8], Form, Kind); 4] = [
        ("null", &[0xff; 4], FIXED, Kind::Null),
        ("below null", &[0x80, 0, 0, 0], FIXED, Kind::Length(-2_147_483_648)),
        ("above INT32", &[0xff, 0xff, 0xff, 0xff, 0x0f], FLEXIBLE, Kind::Length(4_294_967_294)),
        ("cut off", &[0x7f, 0, 0, 0], FIXED, Kind::Truncated { wanted: 0x7f00_0000, left: 0 }),
    ];
    for (name, bytes, form, kind) in cases {
        assert_eq!(read::<Bytes>(bytes, form), Err(kind), "{name}");
    }
}

#[test]
fn an_array_cannot_announce_more_than_the_bytes_could_hold() {
    // Three INT32 are announced, twelve bytes are there; a fourth would not fit.
    let fits = [0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    assert_eq!(read(&fits, FIXED), Ok(vec![1, 2, 3]));
    let mut too_many = fits;
    too_many[3] = 4;
    let refused = Err(DecodeErrorKind::Count { count: 4, left: 12 });
    assert_eq!(read::<Vec<i32>>(&too_many, FIXED), refused);
}

#[test]
fn an_array_reserves_no_more_memory_than_was_sent() {
    // 100 empty strings are 100 bytes on the wire and 2400 in memory.
    assert_eq!(super::fields::reserved::<String>(100, 100), 100 / size_of::<String>());
    assert_eq!(super::fields::reserved::<i32>(7, 28), 7);
    let mut bytes = vec![101];
    bytes.extend([1; 100]);
    let read: Vec<String> = read(&bytes, FLEXIBLE).unwrap();
    assert_eq!(read, vec![String::new(); 100]);
}

#[test]
fn tags_must_rise() {
    let cases: [(&str, &[u8], Option<u32>); 3] = [
        ("rising", &[2, 5, 0, 6, 0], None),
        ("the same twice", &[2, 5, 0, 5, 0], Some(5)),
        ("falling", &[2, 5, 0, 4, 0], Some(4)),
    ];
    for (name, bytes, refused) in cases {
        let tags = take_tags(&mut Reader::over(bytes), FLEXIBLE).map_err(|error| error.kind);
        assert_eq!(tags.err(), refused.map(DecodeErrorKind::TagOrder), "{name}");
    }
}

#[test]
fn unknown_tags_are_kept_in_order_around_known_ones() {
    let bytes = [2, 3, 1, 0xaa, 9, 2, 0xbb, 0xcc];
    let unknown = take_tags(&mut Reader::over(&bytes), FLEXIBLE).unwrap();
    assert_eq!(unknown.iter().map(|(tag, _)| tag).collect::<Vec<_>>(), [3, 9]);

    let mut out = BytesMut::new();
    let mut tags = TagWriter::start(&mut out, FLEXIBLE, 1, &unknown).unwrap();
    tags.put(&mut out, FLEXIBLE, 5, &7_i8, "five").unwrap();
    tags.finish(&mut out).unwrap();
    assert_eq!(out, [3, 3, 1, 0xaa, 5, 1, 7, 9, 2, 0xbb, 0xcc].as_slice());
}

#[test]
fn unknown_tags_are_refused_in_a_fixed_layout() {
    let unknown = take_tags(&mut Reader::over(&[1, 3, 0]), FLEXIBLE).unwrap();
    assert!(put_tags(&mut BytesMut::new(), FIXED, &unknown).is_err());
    assert!(put_tags(&mut BytesMut::new(), FIXED, &UnknownTags::default()).is_ok());
}

#[test]
fn a_tagged_field_must_fill_its_size() {
    let mut reader = Reader::over(&[0, 0, 0, 7, 1]);
    let value = take_tag(&mut reader, |reader| i32::take(reader, FLEXIBLE));
    assert_eq!(value.map_err(|error| error.kind), Err(DecodeErrorKind::Trailing(1)));
}

#[test]
fn more_tags_than_bytes_are_refused() {
    let refused = take_tags(&mut Reader::over(&[0xff, 0xff, 3, 0, 0]), FLEXIBLE);
    let count = DecodeErrorKind::Count { count: 0xffff, left: 2 };
    assert_eq!(refused.map_err(|error| error.kind), Err(count));
}

#[test]
fn errors_name_the_innermost_field() {
    let error = DecodeError::new(DecodeErrorKind::Null).at("Inner.name").at("Outer.list");
    assert_eq!(error.to_string(), "Inner.name: null is not allowed");
}
