//! Prints borrowed views of the hot requests: decoding alone, strings and bytes in place.

use std::fmt::Write;

use super::emit_owned::{
    bytes_min, condition, context, default_value, ident, plain_type, tag_arm, tagged, take_call,
    wrapped,
};
use super::model::{Base, Field, Message, Struct};

/// Requests that a broker reads often enough for copies to matter.
pub const VIEWS: [&str; 8] = [
    "Produce",
    "Fetch",
    "ListOffsets",
    "Metadata",
    "OffsetCommit",
    "OffsetFetch",
    "Heartbeat",
    "ConsumerGroupHeartbeat",
];

/// The views of `message` and its structs.
pub fn message(message: &Message, module: &str) -> String {
    let mut out = String::new();
    for one in &message.structs {
        _ = writeln!(out, "/// [`{0}`](crate::messages::{module}::{0}) in place.", one.name);
        definition(&mut out, one, message);
        decode(&mut out, one, message);
    }
    let name = message.name();
    _ = writeln!(
        out,
        "impl<'a> View<'a> for {}<'a> {{ type Owned = crate::messages::{module}::{name}; }}",
        view_name(name)
    );
    out
}

/// Whether a struct, or one inside it, holds a slice of the buffer.
fn borrows(one: &Struct, message: &Message) -> bool {
    one.fields.iter().any(|field| match &field.base {
        Base::String | Base::Bytes | Base::Records => true,
        Base::Struct(name) => message.find(name).is_some_and(|inner| borrows(inner, message)),
        _ => false,
    })
}

fn view_name(name: &str) -> String {
    format!("{name}View")
}

fn lifetime(one: &Struct, message: &Message) -> &'static str {
    if borrows(one, message) { "<'a>" } else { "" }
}

fn definition(out: &mut String, one: &Struct, message: &Message) {
    _ = writeln!(
        out,
        "#[derive(Clone, Debug, PartialEq)]
        pub struct {}{} {{",
        view_name(&one.name),
        lifetime(one, message)
    );
    for field in &one.fields {
        let base = match &field.base {
            Base::String | Base::Bytes | Base::Records => {
                format!("&'a {}", plain_type(&field.base))
            }
            Base::Struct(name) => {
                let inner = message.find(name).map_or("", |inner| lifetime(inner, message));
                format!("{}{inner}", view_name(name))
            }
            other => plain_type(other).to_owned(),
        };
        _ = writeln!(out, "pub {}: {},", ident(&field.name), wrapped(field, &base));
    }
    _ = writeln!(out, "}}\n");
}

fn decode(out: &mut String, one: &Struct, message: &Message) {
    _ = writeln!(
        out,
        "impl<'a> Decode<'a> for {}{} {{
        const BYTES_MIN: usize = {};

        fn take(reader: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {{",
        view_name(&one.name),
        lifetime(one, message),
        bytes_min(one, message)
    );
    let tagged = tagged(one);
    let mutable = if tagged.is_empty() { "" } else { "mut " };
    _ = writeln!(out, "let {mutable}value = Self {{");
    for field in &one.fields {
        let absent = absent(field, message);
        let name = ident(&field.name);
        let reading = format!("{}?", take_call("reader", &context(one, field), field));
        let value = match (field.tag, condition(field.versions, one.versions)) {
            (Some(_), _) => absent,
            (None, None) => reading,
            (None, Some(when)) => format!("if {when} {{ {reading} }} else {{ {absent} }}"),
        };
        _ = writeln!(out, "{name}: {value},");
    }
    _ = writeln!(out, "}};");
    if tagged.is_empty() {
        _ = writeln!(out, "skip_tags(reader, form)?;\nOk(value) }} }}\n");
        return;
    }
    _ = writeln!(out, "let mut tags = TagReader::start(reader, form)?;");
    _ = writeln!(out, "while let Some((tag, mut field)) = tags.next(reader)? {{ match tag {{");
    for field in &tagged {
        tag_arm(out, one, field, &context(one, field));
    }
    _ = writeln!(out, "_ => {{}} }} }} Ok(value) }} }}\n");
}

/// What a field is in versions that do not have it.
fn absent(field: &Field, message: &Message) -> String {
    if field.is_nullable() || field.array {
        return default_value(field);
    }
    match &field.base {
        Base::String => "\"\"".to_owned(),
        Base::Bytes | Base::Records => "&[]".to_owned(),
        Base::Struct(name) => {
            let Some(inner) = message.find(name) else { return String::new() };
            let fields = inner.fields.iter();
            let fields: Vec<String> = fields
                .map(|field| format!("{}: {}", ident(&field.name), absent(field, message)))
                .collect();
            format!("{} {{ {} }}", view_name(name), fields.join(", "))
        }
        _ => default_value(field),
    }
}
