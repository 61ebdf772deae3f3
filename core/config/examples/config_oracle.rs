//! Says what thalweg makes of configuration, so that `testing/oracle/ConfigOracle.java` can compare
//! it with what Apache Kafka makes of it.
//!
//! Prints the facts of every key first, then a line `.`, then one line for each question on standard
//! input. Fields are parted by tabs; texts that may hold tabs or newlines are hexadecimal UTF-8.

use std::io::{BufRead, Write};

use thalweg_config::keys::{self, KeyTable};
use thalweg_config::{
    BrokerLayers, ConfigKey, Default, NodeConfig, Properties, Sources, StaticConfig,
};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (scope, table) in tables() {
        let kafkas = table.values().filter(|key| !key.name.starts_with("thalweg."));
        for key in kafkas {
            writeln!(out, "{}", facts(scope, key))?;
        }
    }
    writeln!(out, ".")?;
    out.flush()?;
    for question in std::io::stdin().lock().lines() {
        let question = question?;
        let fields: Vec<&str> = question.split('\t').collect();
        let answer = match fields.as_slice() {
            ["value", scope, name, text] => value(scope, name, &unhex(text)),
            ["start", text] => start(&unhex(text)),
            ["properties", text] => properties(&unhex(text)),
            _ => format!("no such question: {question}"),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn tables() -> [(&'static str, &'static KeyTable); 4] {
    [
        ("broker", &keys::BROKER),
        ("topic", &keys::TOPIC),
        ("group", &keys::GROUP),
        ("client-metrics", &keys::CLIENT_METRICS),
    ]
}

fn facts(scope: &str, key: &ConfigKey) -> String {
    let default = match key.default {
        Default::Required => "required".to_owned(),
        Default::Unset => "unset".to_owned(),
        Default::Text(text) => format!("={text}"),
    };
    let synonyms: Vec<String> =
        key.synonyms.iter().map(|one| format!("{}*{}", one.name, one.factor)).collect();
    [
        scope,
        key.name,
        key.kind.name(),
        &default,
        key.importance.name(),
        key.mode.name(),
        if key.internal { "internal" } else { "public" },
        &synonyms.join(","),
    ]
    .join("\t")
}

/// Whether a key takes a value, and how the value is printed.
fn value(scope: &str, name: &str, text: &str) -> String {
    let table = tables().into_iter().find(|(known, _)| *known == scope);
    let key = table.and_then(|(_, table)| table.get(name).copied());
    match key.map(|key| key.read(text)) {
        Some(Ok(value)) => format!("ok\t{}", hex(&value)),
        Some(Err(error)) => format!("refused\t{error}"),
        None => "no such key".to_owned(),
    }
}

/// Whether a node starts with a properties file.
fn start(text: &str) -> String {
    let outcome = Properties::parse(text).map_err(|error| error.to_string()).and_then(|file| {
        let sources = Sources { file: Some(file), ..Sources::default() };
        let (fixed, _) = StaticConfig::new(&sources).map_err(|errors| errors.to_string())?;
        NodeConfig::resolve(&BrokerLayers::at_start(&fixed)).map_err(|errors| errors.to_string())
    });
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("refused\t{}", error.replace('\n', "; ")),
    }
}

/// The entries of a properties file.
fn properties(text: &str) -> String {
    match Properties::parse(text) {
        Ok(file) => {
            let entry = |(key, value): (&str, &str)| format!("{}={}", hex(key), hex(value));
            file.iter().map(entry).collect::<Vec<_>>().join("\t")
        }
        Err(_) => "refused".to_owned(),
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default();
    let byte = |pair: &[u8]| {
        let value = pair.iter().fold(0, |sum, digit_byte| sum * 16 + digit(*digit_byte));
        u8::try_from(value).unwrap_or_default()
    };
    let bytes: Vec<u8> = text.as_bytes().chunks(2).map(byte).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
