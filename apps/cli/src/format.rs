//! The format of `consume -f`: `%k: %v\n` and the like, as kcat and rpk have it.

use std::io::{self, Write};
use std::str::FromStr;

use client::Record;

/// Text with places for parts of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Text(String),
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    Timestamp,
    Headers,
    KeyBytes,
    ValueBytes,
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let piece = match character {
                '\\' => Piece::Text(escaped(characters.next())?.to_string()),
                '%' => placed(characters.next())?,
                other => Piece::Text(other.to_string()),
            };
            match (pieces.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(more)) => before.push_str(&more),
                (_, piece) => pieces.push(piece),
            }
        }
        if !text.is_empty() && pieces.iter().all(|piece| matches!(piece, Piece::Text(_))) {
            return Err(
                "it shows nothing of a record, as \"%k: %v\\n\" does; --output json gives JSON"
                    .to_owned(),
            );
        }
        Ok(Self(pieces))
    }
}

fn escaped(character: Option<char>) -> Result<char, String> {
    match character {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('r') => Ok('\r'),
        Some('0') => Ok('\0'),
        Some('\\') => Ok('\\'),
        other => {
            let other = other.map(String::from).unwrap_or_default();
            Err(format!("\\{other} means nothing; \\n, \\t, \\r, \\0 and \\\\ do"))
        }
    }
}

fn placed(character: Option<char>) -> Result<Piece, String> {
    let piece = match character {
        Some('t') => Piece::Topic,
        Some('p') => Piece::Partition,
        Some('o') => Piece::Offset,
        Some('k') => Piece::Key,
        Some('v' | 's') => Piece::Value,
        Some('T') => Piece::Timestamp,
        Some('h') => Piece::Headers,
        Some('K') => Piece::KeyBytes,
        Some('S') => Piece::ValueBytes,
        Some('%') => Piece::Text("%".to_owned()),
        other => {
            let other = other.map(String::from).unwrap_or_default();
            return Err(format!(
                "%{other} means nothing; %t topic, %p partition, %o offset, %k key, %v value, \
                 %T timestamp, %h headers, %K key bytes, %S value bytes and %% do"
            ));
        }
    };
    Ok(piece)
}

impl Template {
    /// Writes one record. A missing key or value is nothing, or -1 bytes.
    pub(crate) fn write(&self, record: &Record, out: &mut impl Write) -> io::Result<()> {
        let bytes = |field: &Option<bytes::Bytes>| field.as_ref().map_or(-1, |f| f.len() as i64);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.write_all(text.as_bytes())?,
                Piece::Topic => out.write_all(record.topic.as_bytes())?,
                Piece::Partition => write!(out, "{}", record.partition)?,
                Piece::Offset => write!(out, "{}", record.offset)?,
                Piece::Key => out.write_all(record.key.as_deref().unwrap_or_default())?,
                Piece::Value => out.write_all(record.value.as_deref().unwrap_or_default())?,
                Piece::Timestamp => write!(out, "{}", record.timestamp)?,
                Piece::KeyBytes => write!(out, "{}", bytes(&record.key))?,
                Piece::ValueBytes => write!(out, "{}", bytes(&record.value))?,
                Piece::Headers => write_headers(record, out)?,
            }
        }
        Ok(())
    }
}

/// `name=value,name=value`.
fn write_headers(record: &Record, out: &mut impl Write) -> io::Result<()> {
    for (index, (name, value)) in record.headers.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        out.write_all(name)?;
        out.write_all(b"=")?;
        out.write_all(value.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::record;

    #[test]
    fn records_are_written_as_the_format_says() {
        let cases = [
            ("%v\\n", "value\n"),
            ("%t/%p@%o %T", "topic/2@7 1700000000000"),
            ("%k=%s (%K, %S)", "key=value (3, 5)"),
            ("%h", "a=1,b="),
            ("100%%\\t\\\\%p", "100%\t\\2"),
            ("", ""),
        ];
        for (format, expected) in cases {
            let mut out = Vec::new();
            format.parse::<Template>().unwrap().write(&record(), &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{format}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for format in ["%x", "%", "\\q", "\\", "json"] {
            assert!(format.parse::<Template>().is_err(), "{format}");
        }
    }

    #[test]
    fn what_is_missing_has_minus_one_bytes() {
        let mut out = Vec::new();
        let empty = client::Record { key: None, value: None, ..record() };
        "%k%K%S".parse::<Template>().unwrap().write(&empty, &mut out).unwrap();
        assert_eq!(out, b"-1-1");
    }
}
