//! Prints what spans all messages: the API keys, and reading and writing by number or name.

use std::fmt::Write;

use super::model::{Api, File, Message, Versions};
use super::snake_case;

/// `api_key.rs`: the enum and its table.
pub fn api_key(apis: &[&Api]) -> String {
    let mut out = String::new();
    out.push_str(
        "use super::super::api_key::Row;

        /// The APIs of Apache Kafka 4.3.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(i16)]
        pub enum ApiKey {",
    );
    for api in apis {
        _ = writeln!(out, "{} = {},", api.name, api.key);
    }
    _ = writeln!(out, "}}\n\nimpl ApiKey {{");
    _ = writeln!(
        out,
        "/// All of them, lowest key first.\npub const ALL: [Self; {}] = [",
        apis.len()
    );
    for api in apis {
        _ = writeln!(out, "Self::{},", api.name);
    }
    _ = writeln!(out, "];\n");
    out.push_str("/// The API with this key.\npub fn from_wire(key: i16) -> Option<Self> {\nSome(match key {");
    for api in apis {
        _ = writeln!(out, "{} => Self::{},", api.key, api.name);
    }
    _ = writeln!(out, "_ => return None,\n}})\n}}\n");
    out.push_str("pub(crate) fn row(self) -> Row {\nmatch self {");
    for api in apis {
        let Versions { first, last } = api.versions;
        let flexible = api.flexible.map_or("None".to_owned(), |first| format!("Some({first})"));
        let stable_last = api.unstable.map_or(last, |unstable| unstable - 1);
        _ = writeln!(
            out,
            "Self::{0} => Row {{ name: \"{0}\", known: ({first}, {last}), stable_last: {stable_last},
            flexible: {flexible}, broker: {1}, controller: {2} }},",
            api.name, api.broker, api.controller
        );
    }
    _ = writeln!(out, "}}\n}}\n}}");
    out
}

/// `reencode.rs`: reads any message by number or name and writes it again.
pub fn reencode(apis: &[&Api], internal: &[(String, &Message)]) -> String {
    let mut out = String::new();
    out.push_str(
        "use bytes::Bytes;

        use super::{internal, messages};
        use crate::reencode::{ReencodeError, reencode};
        use crate::{ApiKey, Message};

        type Reencoded = Result<Bytes, ReencodeError>;
        ",
    );
    for side in ["Request", "Response"] {
        _ = writeln!(
            out,
            "pub(crate) fn {}(api: ApiKey, version: i16, bytes: &Bytes) -> Reencoded {{
            use messages as m;
            match api {{",
            side.to_lowercase()
        );
        for api in apis {
            _ = writeln!(
                out,
                "ApiKey::{0} => reencode::<m::{1}::{0}{side}>(version, bytes),",
                api.name,
                snake_case(&api.name)
            );
        }
        _ = writeln!(out, "}} }}\n");
    }
    out.push_str(
        "pub(crate) fn record(name: &str, version: i16, bytes: &Bytes) -> Option<Reencoded> {
        use internal as i;
        Some(match name {",
    );
    for (area, message) in internal {
        let (root, area) =
            if area == "headers" { ("messages", "headers") } else { ("i", area.as_str()) };
        let name = message.name();
        _ = writeln!(
            out,
            "{root}::{area}::{name}::NAME => reencode::<{root}::{area}::{name}>(version, bytes),"
        );
    }
    _ = writeln!(out, "_ => return None,\n}})\n}}");
    out
}

/// A `mod.rs` that lists `modules`.
pub fn modules(head: &str, modules: &[String]) -> String {
    let mut out = format!("//! {head}\n\n");
    for module in modules {
        _ = writeln!(out, "pub mod {module};");
    }
    out
}

/// The `mod.rs` of one area of records: every record by its name, its parts in its module.
pub fn record_modules(file: &File, head: &str) -> String {
    let names: Vec<String> =
        file.messages.iter().map(|message| snake_case(message.name())).collect();
    let mut out = modules(head, &names);
    out.push('\n');
    for (message, module) in file.messages.iter().zip(&names) {
        _ = writeln!(out, "pub use {module}::{};", message.name());
    }
    out
}
