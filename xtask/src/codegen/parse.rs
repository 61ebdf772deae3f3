//! Reads the schema text.
//!
//! One line a field: name, type, versions, then marks. A struct's fields follow the field that
//! first uses it, two spaces further in; structs with several users may stand apart, under
//! `struct`. What is left out is the usual case: the versions of the enclosing struct, the zero
//! of the type as default (null where the type has a `?`).
//!
//! ```text
//! api 12 Heartbeat  0-4  flexible 4+  on broker
//! request
//!   group_id           string
//!   group_instance_id  ?string  3+
//! response
//!   throttle_time_ms  int32  1+  ignorable
//! ```
//!
//! Marks: `null 5+` null is allowed in these versions alone; `tag 0` a tagged field; `= -1` default
//! (`min` and `max` of the type, `true`, `empty` for a nullable type that starts as its zero);
//! `ignorable` the value may be lost where the version has no such field; `key` the field
//! identifies its struct in a list (for the reader); `fixed` no varint even in flexible versions.

use anyhow::{Context, Result, bail, ensure};

use super::model::{Api, Base, Field, File, Message, Struct, Versions};

/// Reads one file; `stem` is its name without the ending.
pub fn parse(stem: &str, text: &str) -> Result<File> {
    let mut file = File { stem: stem.to_owned(), apis: Vec::new(), messages: Vec::new() };
    let lines: Vec<Line<'_>> = lines(text);
    let mut at = 0;
    while at < lines.len() {
        let line = &lines[at];
        let end = block_end(&lines, at + 1, |word| matches!(word, "api" | "record" | "header"));
        let block = &lines[at + 1..end];
        let heading = || format!("{stem}.txt line {}", line.number);
        match line.words[0] {
            "api" => file.apis.push(api(&line.words, block).with_context(heading)?),
            "record" | "header" => {
                file.messages.push(record(&line.words, block).with_context(heading)?);
            }
            other => bail!("{}: {other:?} begins nothing", heading()),
        }
        at = end;
    }
    Ok(file)
}

/// A line that is not empty and not a comment.
struct Line<'a> {
    number: usize,
    depth: usize,
    words: Vec<&'a str>,
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() || words[0].starts_with('#') {
            continue;
        }
        let depth = (line.len() - line.trim_start().len()) / 2;
        lines.push(Line { number: index + 1, depth, words });
    }
    lines
}

/// Where the block that begins at `from` ends: at the next top-level line that `begins` one.
fn block_end(lines: &[Line<'_>], from: usize, begins: impl Fn(&str) -> bool) -> usize {
    let rest = lines[from..].iter();
    let length = rest.take_while(|line| line.depth > 0 || !begins(line.words[0])).count();
    from + length
}

/// `api KEY NAME VERSIONS (fixed | flexible N+) [unstable N] on LISTENERS…`
fn api(words: &[&str], block: &[Line<'_>]) -> Result<Api> {
    let [_, key, name, versions, marks @ ..] = words else { bail!("api: too few words") };
    let versions = self::versions(versions, None)?;
    let (style, listeners) = marks.split_at(position(marks, "on").context("no listeners")?);
    let flexible = flexible(style)?;
    ensure!(block.first().is_some_and(|line| line.words == ["request"]), "request is missing");
    let middle = block_end(block, 1, |word| word == "response");
    ensure!(middle < block.len(), "response is missing");
    let message = |suffix: &str, lines| -> Result<Message> {
        let name = format!("{name}{suffix}");
        checked(Message { structs: structs(name, versions, lines)?, flexible, record_type: None })
    };
    Ok(Api {
        key: key.parse()?,
        name: (*name).to_owned(),
        versions,
        flexible,
        unstable: number_after(style, "unstable")?,
        broker: listeners.contains(&"broker"),
        controller: listeners.contains(&"controller"),
        request: message("Request", &block[1..middle]).context("request")?,
        response: message("Response", &block[middle + 1..]).context("response")?,
    })
}

/// `record NAME VERSIONS (fixed | flexible N+) [type N]`; a header likewise.
fn record(words: &[&str], block: &[Line<'_>]) -> Result<Message> {
    let [_, name, versions, marks @ ..] = words else { bail!("record: too few words") };
    let versions = self::versions(versions, None)?;
    checked(Message {
        structs: structs((*name).to_owned(), versions, block)?,
        flexible: flexible(marks)?,
        record_type: number_after(marks, "type")?,
    })
}

/// All structs of a message, the message itself first.
fn structs(name: String, versions: Versions, lines: &[Line<'_>]) -> Result<Vec<Struct>> {
    let apart = block_end(lines, 0, |word| word == "struct");
    let mut all = Vec::new();
    fields(name, versions, &lines[..apart], 1, &mut all)?;
    let mut at = apart;
    while at < lines.len() {
        let (name, own) = match lines[at].words[..] {
            [_, name] => (name, versions),
            [_, name, range] => (name, self::versions(range, Some(versions))?),
            _ => bail!("line {}: struct NAME [VERSIONS]", lines[at].number),
        };
        let end = block_end(lines, at + 1, |word| word == "struct");
        fields(name.to_owned(), own, &lines[at + 1..end], 1, &mut all)?;
        at = end;
    }
    check_references(&all)?;
    Ok(all)
}

/// Checks that tagged fields are in flexible versions alone, as no other has a place for them.
fn checked(message: Message) -> Result<Message> {
    for field in message.structs.iter().flat_map(|one| &one.fields) {
        let is_flexible = message.flexible.is_some_and(|first| field.versions.first >= first);
        ensure!(field.tag.is_none() || is_flexible, "{}: tag in a fixed version", field.name);
    }
    Ok(message)
}

fn check_references(all: &[Struct]) -> Result<()> {
    for (index, one) in all.iter().enumerate() {
        let twice = all[..index].iter().any(|other| other.name == one.name);
        ensure!(!twice, "{} is defined twice", one.name);
        for field in &one.fields {
            if let Base::Struct(name) = &field.base {
                let defined = all.iter().any(|other| other.name == *name);
                ensure!(defined, "{}.{}: no struct {name}", one.name, field.name);
            }
        }
    }
    Ok(())
}

/// Reads a struct from its lines at `depth`, and the structs defined further in.
fn fields(
    name: String,
    versions: Versions,
    lines: &[Line<'_>],
    depth: usize,
    all: &mut Vec<Struct>,
) -> Result<()> {
    let place = all.len();
    all.push(Struct { name, versions, fields: Vec::new() });
    let mut at = 0;
    while at < lines.len() {
        let line = &lines[at];
        ensure!(line.depth == depth, "line {}: wrong indent", line.number);
        let field = field(&line.words, versions)
            .with_context(|| format!("line {}: {}", line.number, line.words.join(" ")))?;
        let inner = lines[at + 1..].iter().take_while(|line| line.depth > depth).count();
        if inner > 0 {
            let Base::Struct(name) = &field.base else {
                bail!("line {}: only a struct has fields", line.number);
            };
            let lines = &lines[at + 1..=at + inner];
            fields(name.clone(), field.versions, lines, depth + 1, all)?;
        }
        all[place].fields.push(field);
        at += 1 + inner;
    }
    Ok(())
}

/// `NAME TYPE [VERSIONS] [null VERSIONS] [tag N] [= DEFAULT] [ignorable] [key] [fixed]`
fn field(words: &[&str], enclosing: Versions) -> Result<Field> {
    let [name, kind, marks @ ..] = words else { bail!("a field has a name and a type") };
    let (versions, mut marks) = match marks {
        [first, rest @ ..] if first.starts_with(|c: char| c.is_ascii_digit()) => {
            (self::versions(first, Some(enclosing))?, rest)
        }
        _ => (enclosing, marks),
    };
    let nullable_kind = kind.strip_prefix('?');
    let kind = nullable_kind.unwrap_or(kind);
    let array_kind = kind.strip_prefix("[]");
    let mut field = Field {
        name: (*name).to_owned(),
        base: base(array_kind.unwrap_or(kind))?,
        array: array_kind.is_some(),
        versions,
        nullable: nullable_kind.map(|_| versions),
        tag: None,
        default: None,
        ignorable: false,
        fixed: false,
    };
    while let [mark, rest @ ..] = marks {
        let (value, after) =
            rest.split_first().map_or(("", rest), |(value, after)| (*value, after));
        let takes_value = matches!(*mark, "null" | "tag" | "=");
        match *mark {
            "null" => field.nullable = Some(self::versions(value, Some(versions))?),
            "tag" => field.tag = Some(value.parse()?),
            "=" => field.default = Some(value.to_owned()),
            "ignorable" => field.ignorable = true,
            "fixed" => field.fixed = true,
            "key" => {}
            other => bail!("unknown mark {other:?}"),
        }
        marks = if takes_value { after } else { rest };
    }
    Ok(field)
}

fn base(kind: &str) -> Result<Base> {
    Ok(match kind {
        "bool" => Base::Bool,
        "int8" => Base::Int8,
        "int16" => Base::Int16,
        "uint16" => Base::Uint16,
        "int32" => Base::Int32,
        "uint32" => Base::Uint32,
        "int64" => Base::Int64,
        "float64" => Base::Float64,
        "string" => Base::String,
        "bytes" => Base::Bytes,
        "records" => Base::Records,
        "uuid" => Base::Uuid,
        other if other.starts_with(|c: char| c.is_ascii_uppercase()) => {
            Base::Struct(other.to_owned())
        }
        other => bail!("unknown type {other:?}"),
    })
}

/// `3`, `3-7` or `3+`; the open end is that of `enclosing`.
fn versions(text: &str, enclosing: Option<Versions>) -> Result<Versions> {
    let (first, last) = if let Some(first) = text.strip_suffix('+') {
        let first = first.parse()?;
        (first, enclosing.map_or(i16::MAX, |outer| outer.last))
    } else if let Some((first, last)) = text.split_once('-') {
        (first.parse()?, last.parse()?)
    } else {
        (text.parse()?, text.parse()?)
    };
    let versions = Versions { first, last };
    ensure!(first <= last, "versions {text} are empty");
    if let Some(outer) = enclosing {
        let inside = outer.contains(first) && outer.contains(last);
        ensure!(inside, "versions {text} reach out of {}-{}", outer.first, outer.last);
    }
    Ok(versions)
}

/// First flexible version, from `fixed` or `flexible N+`.
fn flexible(marks: &[&str]) -> Result<Option<i16>> {
    if marks.contains(&"fixed") {
        return Ok(None);
    }
    let at = position(marks, "flexible").context("fixed or flexible?")?;
    let from = marks.get(at + 1).and_then(|text| text.strip_suffix('+'));
    Ok(Some(from.context("flexible N+")?.parse()?))
}

fn number_after(marks: &[&str], mark: &str) -> Result<Option<i16>> {
    let Some(at) = position(marks, mark) else { return Ok(None) };
    let number = marks.get(at + 1).with_context(|| format!("{mark} N"))?;
    Ok(Some(number.parse()?))
}

fn position(marks: &[&str], mark: &str) -> Option<usize> {
    marks.iter().position(|word| *word == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: &str = "
# A comment.
api 12 Heartbeat  0-4  flexible 4+  unstable 4  on broker
request
  group_id    string
  member_id   ?string  1+  null 3+
  tags        []Tag    4+  tag 0  ignorable
    id  int32  = -1
response
  shared      Shared

struct Shared
  error_code  int16  key
";

    #[test]
    fn an_api_is_read_with_all_its_marks() {
        let file = parse("groups", HEARTBEAT).unwrap();
        let api = &file.apis[0];
        assert_eq!((api.key, &*api.name, api.flexible), (12, "Heartbeat", Some(4)));
        assert_eq!((api.unstable, api.broker, api.controller), (Some(4), true, false));
        let names: Vec<&str> = api.request.structs.iter().map(|one| &*one.name).collect();
        assert_eq!(names, ["HeartbeatRequest", "Tag"]);

        let fields = &api.request.structs[0].fields;
        assert_eq!(fields[1].versions, Versions { first: 1, last: 4 });
        assert_eq!(fields[1].nullable, Some(Versions { first: 3, last: 4 }));
        assert_eq!((fields[2].tag, fields[2].ignorable, fields[2].array), (Some(0), true, true));
        // A struct that belongs to a field has the field's versions.
        assert_eq!(api.request.structs[1].versions, Versions { first: 4, last: 4 });
        assert_eq!(api.request.structs[1].fields[0].default.as_deref(), Some("-1"));
        assert_eq!(api.response.structs[1].name, "Shared");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cases = [
            ("a type that is none", "record R 0-1 fixed\n  a  int24"),
            ("a struct that is not there", "record R 0-1 fixed\n  a  Missing"),
            ("a struct twice", "record R 0-1 fixed\n  a  A\n    x  int8\n  b  A\n    x  int8"),
            ("fields below a number", "record R 0-1 fixed\n  a  int8\n    b  int8"),
            ("versions beyond the message", "record R 0-1 fixed\n  a  int8  0-2"),
            ("versions that are none", "record R 0-1 fixed\n  a  int8  1-0"),
            ("a mark that is none", "record R 0-1 fixed\n  a  int8  ignored"),
            ("a tag without a flexible version", "record R 0-1 flexible 1+\n  a  int8  tag 0"),
            ("neither fixed nor flexible", "record R 0-1\n  a  int8"),
            ("a wrong indent", "record R 0-1 fixed\n    a  int8"),
            ("an api without a response", "api 1 A 0-1 fixed on broker\nrequest\n  a  int8"),
            ("a line outside", "  a  int8"),
        ];
        for (name, text) in cases {
            assert!(parse("x", text).is_err(), "{name}");
        }
    }
}
