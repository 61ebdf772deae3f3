//! Writes random messages from the schema text. It shares the parser with the generator and
//! nothing with the code that the generator prints, so that the two check each other.

#![allow(dead_code, reason = "each test uses a part")]

#[path = "../../../../xtask/src/codegen/model.rs"]
pub mod model;
#[path = "../../../../xtask/src/codegen/parse.rs"]
mod parse;

use std::fs;
use std::path::Path;

use model::{Base, Field, File, Message, Struct};
use types::Rng;

/// Above every tag of the schema.
const UNKNOWN_TAG_MIN: u32 = 90;

/// All files of the schema.
pub fn read() -> Vec<File> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        files.push(parse::parse(path.file_stem().unwrap().to_str().unwrap(), &text).unwrap());
    }
    files
}

/// What a written message shall look like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Every field has its default.
    pub defaults: bool,
    /// Tags that the schema does not know.
    pub unknown_tags: bool,
    /// This length field, counted from 0, claims far more than follows, and the message ends.
    pub huge_length: Option<usize>,
}

/// Writes one message.
pub struct Writer<'a> {
    pub out: Vec<u8>,
    message: &'a Message,
    version: i16,
    flexible: bool,
    wishes: Wishes,
    lengths: usize,
}

/// The message was ended at the huge length.
pub struct Ended;

type Written = Result<(), Ended>;

/// A random message; `Err` has the bytes up to the huge length that was wished for.
pub fn write(
    message: &Message,
    version: i16,
    rng: &mut Rng,
    wishes: Wishes,
) -> Result<Vec<u8>, Vec<u8>> {
    let flexible = message.flexible.is_some_and(|first| version >= first);
    let mut writer = Writer { out: Vec::new(), message, version, flexible, wishes, lengths: 0 };
    match writer.write_struct(&message.structs[0], rng) {
        Ok(()) => Ok(writer.out),
        Err(Ended) => Err(writer.out),
    }
}

impl Writer<'_> {
    fn write_struct(&mut self, one: &Struct, rng: &mut Rng) -> Written {
        let version = self.version;
        let present = one.fields.iter().filter(|field| field.versions.contains(version));
        for field in present.clone().filter(|field| field.tag.is_none()) {
            self.write_field(field, rng)?;
        }
        if self.flexible { self.write_tags(present.collect(), rng) } else { Ok(()) }
    }

    fn write_tags(&mut self, fields: Vec<&Field>, rng: &mut Rng) -> Written {
        let mut tags: Vec<(u32, Vec<u8>)> = Vec::new();
        for field in fields.into_iter().filter(|field| field.tag.is_some()) {
            let default = self.aside(Wishes { defaults: true, ..Wishes::default() }, field, rng);
            // A huge length deep in a tagged field would end in the middle; leave those alone.
            let wishes = Wishes { huge_length: None, ..self.wishes };
            let random = self.aside(wishes, field, rng);
            if random != default && rng.below(2) == 0 {
                tags.push((field.tag.unwrap(), random));
            }
        }
        let mut unknown = UNKNOWN_TAG_MIN;
        while self.wishes.unknown_tags && rng.below(3) == 0 {
            tags.push((unknown, random_bytes(rng)));
            unknown += 1 + rng.below(300);
        }
        tags.sort();
        self.varint(u32::try_from(tags.len()).unwrap());
        for (tag, bytes) in tags {
            self.varint(tag);
            self.varint(u32::try_from(bytes.len()).unwrap());
            self.out.extend(bytes);
        }
        Ok(())
    }

    /// Bytes of a field written apart.
    fn aside(&self, wishes: Wishes, field: &Field, rng: &mut Rng) -> Vec<u8> {
        let mut writer = Writer { out: Vec::new(), wishes, ..*self };
        assert!(writer.write_field(field, rng).is_ok());
        writer.out
    }

    fn write_field(&mut self, field: &Field, rng: &mut Rng) -> Written {
        let is_nullable = field.nullable.is_some_and(|range| range.contains(self.version));
        let starts_as_null = field.default.as_deref() != Some("empty");
        let is_null = match self.wishes.defaults {
            true => is_nullable && starts_as_null,
            false => is_nullable && rng.below(4) == 0,
        };
        let in_tag = field.tag.is_some();
        let flexible = self.flexible && !field.fixed;
        if field.array {
            let count = if self.wishes.defaults { 0 } else { rng.below(4) as usize };
            self.length(is_null, count, 4, flexible)?;
            for _ in 0..if is_null { 0 } else { count } {
                self.value(field, flexible, false, false, in_tag, rng)?;
            }
            return Ok(());
        }
        self.value(field, flexible, is_nullable, is_null, in_tag, rng)
    }

    fn value(
        &mut self,
        field: &Field,
        flexible: bool,
        is_nullable: bool,
        is_null: bool,
        in_tag: bool,
        rng: &mut Rng,
    ) -> Written {
        match &field.base {
            Base::Struct(name) => {
                if is_nullable {
                    let null = if in_tag { 0 } else { 0xff };
                    self.out.push(if is_null { null } else { 1 });
                }
                if is_null {
                    return Ok(());
                }
                let message = self.message;
                return self.write_struct(message.find(name).unwrap(), rng);
            }
            Base::String | Base::Bytes | Base::Records => {
                let bytes = self.text_or_bytes(&field.base, rng);
                let width = if field.base == Base::String { 2 } else { 4 };
                self.length(is_null, bytes.len(), width, flexible)?;
                if !is_null {
                    self.out.extend(bytes);
                }
            }
            Base::Bool => {
                let truth =
                    if self.wishes.defaults { field.default.is_some() } else { rng.below(2) == 1 };
                self.out.push(u8::from(truth));
            }
            Base::Int8 => self.number(field, 1, rng),
            Base::Int16 | Base::Uint16 => self.number(field, 2, rng),
            Base::Int32 | Base::Uint32 => self.number(field, 4, rng),
            Base::Int64 | Base::Float64 => self.number(field, 8, rng),
            Base::Uuid => {
                let bytes = if self.wishes.defaults { [0; 16] } else { rng.bytes16() };
                self.out.extend(bytes);
            }
        }
        Ok(())
    }

    fn number(&mut self, field: &Field, width: usize, rng: &mut Rng) {
        let value: i64 = match (self.wishes.defaults, field.default.as_deref()) {
            (false, _) => rng.next_u64().cast_signed() >> rng.below(64),
            (true, None) => 0,
            (true, Some("max")) => (1 << (8 * width - 2)) - 1 + (1 << (8 * width - 2)),
            (true, Some("min")) => -(1 << (8 * width - 1)),
            (true, Some(number)) => number.parse().unwrap(),
        };
        self.out.extend(&value.to_be_bytes()[8 - width..]);
    }

    fn text_or_bytes(&self, base: &Base, rng: &mut Rng) -> Vec<u8> {
        if self.wishes.defaults {
            return Vec::new();
        }
        let bytes = random_bytes(rng);
        if *base != Base::String {
            return bytes;
        }
        bytes.into_iter().flat_map(|byte| char::from(byte).to_string().into_bytes()).collect()
    }

    fn length(&mut self, is_null: bool, length: usize, width: usize, flexible: bool) -> Written {
        let is_huge = self.wishes.huge_length == Some(self.lengths);
        self.lengths += 1;
        let length = match (is_huge, is_null) {
            (true, _) if width == 2 => i32::from(i16::MAX),
            (true, _) => i32::MAX,
            (false, true) => -1,
            (false, false) => i32::try_from(length).unwrap(),
        };
        if flexible {
            self.varint((length + i32::from(!is_huge)).unsigned_abs());
        } else {
            self.out.extend(&length.to_be_bytes()[4 - width..]);
        }
        if is_huge { Err(Ended) } else { Ok(()) }
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}

/// Seldom long enough for a second byte of length.
fn random_bytes(rng: &mut Rng) -> Vec<u8> {
    let most = if rng.below(12) == 0 { 300 } else { 6 };
    (0..rng.below(most)).map(|_| rng.next_u64() as u8).collect()
}
