//! Prints owned messages: structs, their defaults, encoding and decoding.

use std::fmt::Write;

use super::model::{Base, Field, Message, Struct, Versions};

/// The structs of `message` and the implementation of its traits.
pub fn message(message: &Message) -> String {
    let mut out = String::new();
    for one in &message.structs {
        let parent = (one.name != message.name()).then_some(message.name());
        definition(&mut out, one, parent);
        default(&mut out, one);
        encode(&mut out, one);
        decode(&mut out, one, message);
        let is_nullable = message.structs.iter().flat_map(|s| &s.fields).any(|field| {
            let is_plain = field.tag.is_none() && !field.array && field.is_nullable();
            is_plain && field.base == Base::Struct(one.name.clone())
        });
        if is_nullable {
            _ = writeln!(out, "nullable_struct!({});\n", one.name);
        }
    }
    top_level(&mut out, message);
    out
}

fn top_level(out: &mut String, message: &Message) {
    let name = message.name();
    let Versions { first, last } = message.versions();
    let flexible = message.flexible.map_or("None".to_owned(), |first| format!("Some({first})"));
    _ = writeln!(
        out,
        "impl Message for {name} {{
            const NAME: &'static str = \"{name}\";
            const MIN_VERSION: i16 = {first};
            const MAX_VERSION: i16 = {last};
            const FIRST_FLEXIBLE: Option<i16> = {flexible};
        }}\n"
    );
    if let Some(number) = message.record_type {
        _ = writeln!(
            out,
            "impl {name} {{
                /// Number of the record type.
                pub const RECORD_TYPE: i16 = {number};
            }}\n"
        );
    }
}

fn definition(out: &mut String, one: &Struct, parent: Option<&str>) {
    let what = match parent {
        Some(parent) => format!("Part of [`{parent}`]"),
        None => "A message".to_owned(),
    };
    let Versions { first, last } = one.versions;
    let versions = if first == last { format!("{first}") } else { format!("{first}-{last}") };
    let derived = if has_plain_default(one) { ", Default" } else { "" };
    _ = writeln!(
        out,
        "/// {what}; versions {versions}.
        #[derive(Clone, Debug, PartialEq{derived})]
        pub struct {} {{",
        one.name
    );
    for field in &one.fields {
        if field.versions != one.versions {
            _ = writeln!(out, "/// {}", describe(field.versions, one.versions));
        }
        _ = writeln!(out, "pub {}: {},", ident(&field.name), rust_type(field));
    }
    _ = writeln!(out, "/// Tagged fields that the schema does not know.");
    _ = writeln!(out, "pub unknown_tags: UnknownTags,\n}}\n");
}

fn describe(versions: Versions, outer: Versions) -> String {
    let Versions { first, last } = versions;
    if first == last {
        format!("In version {first}.")
    } else if last == outer.last {
        format!("From version {first}.")
    } else if first == outer.first {
        format!("Up to version {last}.")
    } else {
        format!("In versions {first} to {last}.")
    }
}

fn has_plain_default(one: &Struct) -> bool {
    one.fields.iter().all(|field| field.default.is_none())
}

fn default(out: &mut String, one: &Struct) {
    if has_plain_default(one) {
        return;
    }
    _ = writeln!(out, "impl Default for {} {{ fn default() -> Self {{ Self {{", one.name);
    for field in &one.fields {
        _ = writeln!(out, "{}: {},", ident(&field.name), default_value(field));
    }
    _ = writeln!(out, "unknown_tags: UnknownTags::default(), }} }} }}\n");
}

fn encode(out: &mut String, one: &Struct) {
    _ = writeln!(
        out,
        "impl Encode for {} {{
        fn put<S: Sink>(&self, form: Form, sink: &mut S) -> Result<(), EncodeError> {{",
        one.name
    );
    for field in one.fields.iter().filter(|field| field.tag.is_none()) {
        let writing = format!("{}?;", put_call(one, field));
        guarded(out, one, field, &writing);
    }
    let tagged = tagged(one);
    for field in &tagged {
        let set = format!("let has_{} = {};", field.name, has_tag(one, field));
        _ = writeln!(out, "{set}");
        refusal_of_tag(out, one, field);
    }
    if tagged.is_empty() {
        _ = writeln!(out, "put_tags(sink, form, &self.unknown_tags)");
    } else {
        let known: Vec<String> =
            tagged.iter().map(|field| format!("usize::from(has_{})", field.name)).collect();
        let known = known.join(" + ");
        _ = writeln!(out, "let known = {known};");
        _ = writeln!(
            out,
            "let mut tags = TagWriter::start(sink, form, known, &self.unknown_tags)?;"
        );
        for field in &tagged {
            _ = writeln!(
                out,
                "if has_{} {{ tags.put(sink, form, {}, {}, {})?; }}",
                field.name,
                field.tag.unwrap_or_default(),
                tag_value(field),
                context(one, field)
            );
        }
        _ = writeln!(out, "tags.finish(sink)");
    }
    _ = writeln!(out, "}} }}\n");
}

/// A statement that writes `field`, in the versions that have it; in others, a check that nothing
/// is lost.
fn guarded(out: &mut String, one: &Struct, field: &Field, writing: &str) {
    let Some(condition) = condition(field.versions, one.versions) else {
        _ = writeln!(out, "{writing}");
        return;
    };
    _ = writeln!(out, "if {condition} {{ {writing} }}");
    if !field.ignorable {
        _ = writeln!(out, "else {{ refuse({}, form, {})?; }}", is_set(field), context(one, field));
    }
}

fn refusal_of_tag(out: &mut String, one: &Struct, field: &Field) {
    if field.ignorable {
        return;
    }
    if let Some(condition) = outside(field.versions, one.versions) {
        let (is_set, context) = (is_set(field), context(one, field));
        _ = writeln!(out, "if {condition} {{ refuse({is_set}, form, {context})?; }}");
    }
}

fn has_tag(one: &Struct, field: &Field) -> String {
    match condition(field.versions, one.versions) {
        Some(condition) => format!("{condition} && {}", is_set(field)),
        None => is_set(field),
    }
}

fn put_call(one: &Struct, field: &Field) -> String {
    let form = form(field);
    let name = ident(&field.name);
    let context = context(one, field);
    match field.nullable {
        None => format!("put(sink, {form}, &self.{name}, {context})"),
        Some(nullable) => {
            let nullable = condition(nullable, field.versions).unwrap_or("true".to_owned());
            format!("put_nullable(sink, {form}, {nullable}, &self.{name}, {context})")
        }
    }
}

fn tag_value(field: &Field) -> String {
    let name = ident(&field.name);
    match (field.is_nullable(), is_struct(field)) {
        (false, _) => format!("&self.{name}"),
        (true, false) => format!("&Nullable(&self.{name})"),
        (true, true) => format!("&NullableStruct(&self.{name})"),
    }
}

fn decode(out: &mut String, one: &Struct, message: &Message) {
    _ = writeln!(
        out,
        "impl<'a> Decode<'a> for {} {{
        const BYTES_MIN: usize = {};

        fn take(reader: &mut Reader<'a>, form: Form) -> Result<Self, DecodeError> {{",
        one.name,
        bytes_min(one, message)
    );
    let tagged = tagged(one);
    let opening = if tagged.is_empty() { "Ok(Self {" } else { "let mut value = Self {" };
    _ = writeln!(out, "{opening}");
    for field in &one.fields {
        let name = ident(&field.name);
        if field.tag.is_some() {
            _ = writeln!(out, "{name}: {},", default_value(field));
            continue;
        }
        let reading = format!("{}?", take_call("reader", &context(one, field), field));
        match condition(field.versions, one.versions) {
            None => _ = writeln!(out, "{name}: {reading},"),
            Some(condition) => {
                let absent = default_value(field);
                _ = writeln!(out, "{name}: if {condition} {{ {reading} }} else {{ {absent} }},");
            }
        }
    }
    if tagged.is_empty() {
        _ = writeln!(out, "unknown_tags: take_tags(reader, form)?,\n}})\n}} }}\n");
        return;
    }
    _ = writeln!(out, "unknown_tags: UnknownTags::default(), }};");
    _ = writeln!(out, "let mut tags = TagReader::start(reader, form)?;");
    _ = writeln!(out, "while let Some((tag, mut field)) = tags.next(reader)? {{ match tag {{");
    for field in &tagged {
        tag_arm(out, one, field, &context(one, field));
    }
    _ = writeln!(out, "_ => value.unknown_tags.keep(tag, &field), }} }} Ok(value) }} }}\n");
}

/// `7 if form.version >= 3 => { … }`: reads one tagged field to the end of its bytes.
pub fn tag_arm(out: &mut String, one: &Struct, field: &Field, context: &str) {
    let guard = condition(field.versions, one.versions).map(|c| format!(" if {c}"));
    _ = writeln!(
        out,
        "{}{} => {{ value.{} = take_tag(&mut field, |field| {})?; }}",
        field.tag.unwrap_or_default(),
        guard.unwrap_or_default(),
        ident(&field.name),
        take_call("field", context, field)
    );
}

/// The call that reads `field` from `reader`.
pub fn take_call(reader: &str, context: &str, field: &Field) -> String {
    let form = form(field);
    match field.nullable {
        None => format!("take({reader}, {form}, {context})"),
        Some(_) if field.tag.is_some() && is_struct(field) => {
            format!("take_tagged_struct({reader}, {form}, {context})")
        }
        Some(nullable) => {
            let nullable = condition(nullable, field.versions).unwrap_or("true".to_owned());
            format!("take_nullable({reader}, {form}, {nullable}, {context})")
        }
    }
}

fn is_struct(field: &Field) -> bool {
    !field.array && matches!(field.base, Base::Struct(_))
}

fn form(field: &Field) -> &'static str {
    if field.fixed { "form.fixed()" } else { "form" }
}

/// Tagged fields, lowest tag first.
pub fn tagged(one: &Struct) -> Vec<&Field> {
    let mut tagged: Vec<&Field> = one.fields.iter().filter(|field| field.tag.is_some()).collect();
    tagged.sort_by_key(|field| field.tag);
    tagged
}

/// Rust condition for "the version is one of `inner`", given that it is one of `outer`.
pub fn condition(inner: Versions, outer: Versions) -> Option<String> {
    let Versions { first, last } = inner;
    match (first > outer.first, last < outer.last) {
        (false, false) => None,
        (true, true) if first == last => Some(format!("form.version == {first}")),
        (true, true) => Some(format!("({first}..={last}).contains(&form.version)")),
        (true, false) => Some(format!("form.version >= {first}")),
        (false, true) => Some(format!("form.version <= {last}")),
    }
}

/// The contrary of [`condition`].
fn outside(inner: Versions, outer: Versions) -> Option<String> {
    let Versions { first, last } = inner;
    match (first > outer.first, last < outer.last) {
        (false, false) => None,
        (true, true) => Some(format!("!({first}..={last}).contains(&form.version)")),
        (true, false) => Some(format!("form.version < {first}")),
        (false, true) => Some(format!("form.version > {last}")),
    }
}

/// `"FetchTopic.partitions"`, for errors.
pub fn context(one: &Struct, field: &Field) -> String {
    format!("\"{}.{}\"", one.name, field.name)
}

/// The name as an identifier.
pub fn ident(name: &str) -> String {
    match name {
        "type" | "match" => format!("r#{name}"),
        _ => name.to_owned(),
    }
}

fn rust_type(field: &Field) -> String {
    let base = match &field.base {
        Base::String => "String",
        Base::Bytes | Base::Records => "Bytes",
        other => plain_type(other),
    };
    wrapped(field, base)
}

/// Name of a type that owned messages and views share.
pub fn plain_type(base: &Base) -> &str {
    match base {
        Base::Bool => "bool",
        Base::Int8 => "i8",
        Base::Int16 => "i16",
        Base::Uint16 => "u16",
        Base::Int32 => "i32",
        Base::Uint32 => "u32",
        Base::Int64 => "i64",
        Base::Float64 => "f64",
        Base::Uuid => "Uuid",
        Base::String => "str",
        Base::Bytes | Base::Records => "[u8]",
        Base::Struct(name) => name,
    }
}

/// `base` as a list and as an option, where the field is one.
pub fn wrapped(field: &Field, base: &str) -> String {
    let listed = if field.array { format!("Vec<{base}>") } else { base.to_owned() };
    if field.is_nullable() { format!("Option<{listed}>") } else { listed }
}

/// The default of the field.
pub fn default_value(field: &Field) -> String {
    match (field.default.as_deref(), field.is_nullable(), field.array, &field.base) {
        (Some("empty"), ..) => "Some(Default::default())".to_owned(),
        (Some(limit @ ("min" | "max")), ..) => {
            format!("{}::{}", plain_type(&field.base), limit.to_uppercase())
        }
        (Some(other), ..) => other.to_owned(),
        (None, true, ..) => "None".to_owned(),
        (None, false, true, _) => "Vec::new()".to_owned(),
        (None, false, false, Base::Bool) => "false".to_owned(),
        (None, false, false, Base::Float64) => "0.0".to_owned(),
        (None, false, false, Base::String) => "String::new()".to_owned(),
        (None, false, false, Base::Bytes | Base::Records) => "Bytes::new()".to_owned(),
        (None, false, false, Base::Uuid) => "Uuid::ZERO".to_owned(),
        (None, false, false, Base::Struct(name)) => format!("{name}::default()"),
        (None, false, false, _) => "0".to_owned(),
    }
}

/// Rust condition for "the field differs from its default".
fn is_set(field: &Field) -> String {
    let place = format!("self.{}", ident(&field.name));
    if field.default.is_none() {
        if field.is_nullable() {
            return format!("{place}.is_some()");
        }
        if field.array || matches!(field.base, Base::String | Base::Bytes | Base::Records) {
            return format!("!{place}.is_empty()");
        }
    }
    match (&field.base, field.default.as_deref()) {
        (Base::Bool, None) => place,
        (Base::Bool, Some(_)) => format!("!{place}"),
        _ => format!("{place} != {}", default_value(field)),
    }
}

/// The fewest bytes that the struct takes in any version.
pub fn bytes_min(one: &Struct, message: &Message) -> usize {
    let sizes = (one.versions.first..=one.versions.last).map(|version| {
        let flexible = message.flexible.is_some_and(|first| version >= first);
        let fields = one.fields.iter().filter(|f| f.tag.is_none() && f.versions.contains(version));
        let sum: usize = fields.map(|field| field_bytes_min(field, message, flexible)).sum();
        sum + usize::from(flexible)
    });
    sizes.min().unwrap_or_default().max(1)
}

fn field_bytes_min(field: &Field, message: &Message, flexible: bool) -> usize {
    let length = if flexible && !field.fixed { 1 } else { 4 };
    if field.array {
        return length;
    }
    match &field.base {
        Base::Bool | Base::Int8 => 1,
        Base::Int16 | Base::Uint16 => 2,
        Base::Int32 | Base::Uint32 => 4,
        Base::Int64 | Base::Float64 => 8,
        Base::Uuid => 16,
        Base::String => length.min(2),
        Base::Bytes | Base::Records => length,
        Base::Struct(_) if field.is_nullable() => 1,
        Base::Struct(name) => message.find(name).map_or(1, |inner| bytes_min(inner, message)),
    }
}
