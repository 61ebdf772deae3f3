//! Records as lines, tables, JSON and YAML.

use std::io::{self, Write};

use client::Record;
use serde::Serialize;

/// How `consume` prints records.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum RecordFormat {
    /// The value alone, one to a line
    #[default]
    Value,
    /// Columns for people
    Table,
    /// One JSON object to a line
    Json,
    /// One YAML document to a record
    Yaml,
}

/// A record as programs read it. Bytes that are not UTF-8 come in hexadecimal, in a field of
/// their own, so that nothing is lost.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
    headers: Vec<PrintedHeader<'a>>,
}

#[derive(Debug, Serialize)]
struct PrintedHeader<'a> {
    key: String,
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
}

/// Width of what is known beforehand in a table of records.
const HEADINGS: &str = "PARTITION      OFFSET  TIMESTAMP      KEY               VALUE\n";

impl RecordFormat {
    /// What stands before the first record.
    pub(crate) fn head(self) -> &'static str {
        if self == Self::Table { HEADINGS } else { "" }
    }

    pub(crate) fn write(self, record: &Record, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Value => {
                out.write_all(record.value.as_deref().unwrap_or_default())?;
                out.write_all(b"\n")
            }
            Self::Table => {
                let text = |field: &Option<bytes::Bytes>| {
                    field.as_ref().map_or("-".into(), |f| one_line(&String::from_utf8_lossy(f)))
                };
                let (key, value) = (text(&record.key), text(&record.value));
                let Record { partition, offset, timestamp, .. } = record;
                writeln!(out, "{partition:>9}  {offset:>10}  {timestamp:>13}  {key:<16}  {value}")
            }
            Self::Json => {
                serde_json::to_writer(&mut *out, &printed(record))?;
                out.write_all(b"\n")
            }
            Self::Yaml => {
                let text = serde_yaml_ng::to_string(&printed(record)).map_err(io::Error::other)?;
                write!(out, "---\n{text}")
            }
        }
    }
}

/// A row must stay one, whatever the value holds.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn printed(record: &Record) -> Printed<'_> {
    let (key, key_hex) = text_or_hex(record.key.as_ref());
    let (value, value_hex) = text_or_hex(record.value.as_ref());
    let headers = record.headers.iter().map(|(name, value)| {
        let key = String::from_utf8_lossy(name).into_owned();
        let (value, value_hex) = text_or_hex(value.as_ref());
        PrintedHeader { key, value, value_hex }
    });
    Printed {
        topic: &record.topic,
        partition: record.partition,
        offset: record.offset,
        timestamp: record.timestamp,
        key,
        key_hex,
        value,
        value_hex,
        headers: headers.collect(),
    }
}

fn text_or_hex(field: Option<&bytes::Bytes>) -> (Option<&str>, Option<String>) {
    let Some(field) = field else { return (None, None) };
    match std::str::from_utf8(field) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(field.iter().map(|byte| format!("{byte:02x}")).collect())),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use bytes::Bytes;

    pub(crate) fn record() -> Record {
        Record {
            topic: "topic".into(),
            partition: 2,
            offset: 7,
            timestamp: 1_700_000_000_000,
            key: Some(Bytes::from_static(b"key")),
            value: Some(Bytes::from_static(b"value")),
            headers: vec![
                (Bytes::from_static(b"a"), Some(Bytes::from_static(b"1"))),
                (Bytes::from_static(b"b"), None),
            ],
        }
    }

    fn written(format: RecordFormat, record: &Record) -> String {
        let mut out = Vec::new();
        format.write(record, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_format_has_its_shape() {
        let json = r#"{"topic":"topic","partition":2,"offset":7,"timestamp":1700000000000,"key":"key","value":"value","headers":[{"key":"a","value":"1"},{"key":"b","value":null}]}"#;
        assert_eq!(written(RecordFormat::Value, &record()), "value\n");
        assert_eq!(written(RecordFormat::Json, &record()), format!("{json}\n"));
        let yaml = "---\ntopic: topic\npartition: 2\noffset: 7\ntimestamp: 1700000000000\n\
                    key: key\nvalue: value\nheaders:\n- key: a\n  value: '1'\n- key: b\n  value: null\n";
        assert_eq!(written(RecordFormat::Yaml, &record()), yaml);
        let row = "        2           7  1700000000000  key               value\n";
        assert_eq!(written(RecordFormat::Table, &record()), row);
    }

    #[test]
    fn bytes_that_are_no_text_come_in_hexadecimal() {
        let binary = Record { value: Some(Bytes::from_static(&[0xff, 1])), ..record() };
        assert!(
            written(RecordFormat::Json, &binary).contains(r#""value":null,"value_hex":"ff01""#)
        );
    }

    #[test]
    fn a_row_stays_one_line() {
        let lines = Record { value: Some(Bytes::from_static(b"a\nb")), ..record() };
        assert!(written(RecordFormat::Table, &lines).ends_with("a b\n"));
    }
}
