//! `cargo xtask codegen`: prints `core/protocol/src/generated` from `core/protocol/schema`.
//!
//! The result is committed, so that a build needs no generator and a change of the schema shows
//! in review what it does to the code. `--check` compares instead of writing.

mod emit_index;
mod emit_owned;
mod emit_views;
mod model;
mod parse;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use model::{Api, File, Message};

const SCHEMA: &str = "core/protocol/schema";
const GENERATED: &str = "core/protocol/src/generated";

/// Generated files by their path below [`GENERATED`].
type Files = BTreeMap<String, String>;

/// Writes the generated files below `root`, the root of the workspace; with `check` it only
/// compares and fails where a file is stale, missing or left over.
pub fn run(root: &Path, check: bool) -> Result<()> {
    let schema = read_schema(&root.join(SCHEMA))?;
    let fresh = format(root, &print(&schema))?;
    let folder = root.join(GENERATED);
    let present = read_files(&folder)?;
    if fresh == present {
        return Ok(());
    }
    if check {
        let differs = |path: &&String| fresh.get(*path) != present.get(*path);
        let stale: Vec<&String> = fresh.keys().chain(present.keys()).filter(differs).collect();
        bail!("{GENERATED} is stale, run `cargo xtask codegen`: {stale:?}");
    }
    for left_over in present.keys().filter(|path| !fresh.contains_key(*path)) {
        fs::remove_file(folder.join(left_over))?;
    }
    write_files(&folder, &fresh)
}

fn read_schema(folder: &Path) -> Result<Vec<File>> {
    let texts = read_files(folder)?;
    let mut files = Vec::new();
    for (name, text) in &texts {
        let stem = name.strip_suffix(".txt").with_context(|| format!("{name} is no schema"))?;
        files.push(parse::parse(stem, text)?);
    }
    ensure!(!files.is_empty(), "no schema in {}", folder.display());
    Ok(files)
}

/// All generated files, not formatted yet.
fn print(schema: &[File]) -> Files {
    let mut files = Files::new();
    let mut apis: Vec<&Api> = schema.iter().flat_map(|file| &file.apis).collect();
    apis.sort_by_key(|api| api.key);
    messages(schema, &mut files);
    views(schema, &mut files);
    internal(schema, &mut files);
    let area = |file: &File| file.stem.trim_start_matches("internal_").to_owned();
    let records: Vec<(String, &Message)> = schema
        .iter()
        .flat_map(|file| file.messages.iter().map(move |message| (area(file), message)))
        .collect();
    let head = "What is printed from the schema. Do not edit; see `cargo xtask codegen`.";
    let top = ["internal", "messages", "views"].map(str::to_owned);
    let lint = "#![allow(clippy::too_many_lines, reason = \"printed, and flat\")]\n";
    let mut index = emit_index::modules(head, &top).replacen("\n\n", &format!("\n\n{lint}\n"), 1);
    index.push_str("pub(crate) mod api_key;\npub(crate) mod reencode;\n");
    files.insert("mod.rs".to_owned(), marked("*.txt", &index));
    files.insert("api_key.rs".to_owned(), marked("*.txt", &emit_index::api_key(&apis)));
    let reencode = emit_index::reencode(&apis, &records);
    files.insert("reencode.rs".to_owned(), marked("*.txt", &reencode));
    files
}

fn messages(schema: &[File], files: &mut Files) {
    let mut modules = vec!["headers".to_owned()];
    for file in schema {
        let source = format!("{}.txt", file.stem);
        for api in &file.apis {
            let module = snake_case(&api.name);
            let both = [&api.request, &api.response];
            let text = owned_file(&format!("{}, API key {}.", api.name, api.key), &both);
            files.insert(format!("messages/{module}.rs"), marked(&source, &text));
            modules.push(module);
        }
        if file.stem == "headers" {
            let headers: Vec<&Message> = file.messages.iter().collect();
            let text = owned_file("Headers of requests and responses.", &headers);
            files.insert("messages/headers.rs".to_owned(), marked(&source, &text));
        }
    }
    modules.sort();
    let index = emit_index::modules("Requests and responses, a module for each API.", &modules);
    files.insert("messages/mod.rs".to_owned(), marked("*.txt", &index));
}

fn views(schema: &[File], files: &mut Files) {
    let mut modules = Vec::new();
    for file in schema {
        for api in file.apis.iter().filter(|api| emit_views::VIEWS.contains(&&*api.name)) {
            let module = snake_case(&api.name);
            let head = format!("{}, API key {}, in place.", api.name, api.key);
            let text = with_imports(&head, &emit_views::message(&api.request, &module));
            files
                .insert(format!("views/{module}.rs"), marked(&format!("{}.txt", file.stem), &text));
            modules.push(module);
        }
    }
    modules.sort();
    let mut index = emit_index::modules("Hot requests, read in place.", &modules);
    for module in &modules {
        index.push_str(&format!("pub use {module}::*;\n"));
    }
    files.insert("views/mod.rs".to_owned(), marked("*.txt", &index));
}

fn internal(schema: &[File], files: &mut Files) {
    let mut areas = Vec::new();
    for file in schema {
        let Some(area) = file.stem.strip_prefix("internal_") else { continue };
        let source = format!("{}.txt", file.stem);
        for message in &file.messages {
            let text = owned_file(&format!("{}.", message.name()), &[message]);
            let path = format!("internal/{area}/{}.rs", snake_case(message.name()));
            files.insert(path, marked(&source, &text));
        }
        let index = emit_index::record_modules(file, &format!("Records of the area `{area}`."));
        files.insert(format!("internal/{area}/mod.rs"), marked(&source, &index));
        areas.push(area.to_owned());
    }
    let head =
        "Records that Kafka keeps in its internal topics and files, or hides in bytes fields.";
    files.insert("internal/mod.rs".to_owned(), marked("*.txt", &emit_index::modules(head, &areas)));
}

fn owned_file(head: &str, messages: &[&Message]) -> String {
    let body: String = messages.iter().map(|message| emit_owned::message(message)).collect();
    with_imports(head, &body)
}

/// A file with a head comment and imports of what `body` uses.
fn with_imports(head: &str, body: &str) -> String {
    let mut out = format!("//! {head}\n\n");
    for (module, names) in IMPORTS {
        let used: Vec<&str> = names.split(' ').filter(|name| uses(body, name)).collect();
        if !used.is_empty() {
            out.push_str(&format!("use {module}::{{{}}};\n", used.join(", ")));
        }
    }
    format!("{out}\n{body}")
}

/// Whether `body` names a type, or calls a function that is not a method.
fn uses(body: &str, name: &str) -> bool {
    let is_function = name.starts_with(|c: char| c.is_ascii_lowercase());
    body.match_indices(name).any(|(at, _)| {
        let (before, after) = (&body[..at], &body[at + name.len()..]);
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '`');
        let alone = !before.ends_with(part) && !after.starts_with(part);
        let called = !before.ends_with(['.', ':']) && !before.ends_with("fn ");
        let opens = after.starts_with(['(', '!']);
        alone && (!is_function || called && opens)
    })
}

/// Everything that generated code uses from elsewhere.
const IMPORTS: [(&str, &str); 4] = [
    ("bytes", "Bytes"),
    ("types", "Uuid"),
    ("crate", "Message View"),
    (
        "crate::wire",
        "Decode DecodeError Encode EncodeError Form Nullable NullableStruct Reader Sink TagReader TagWriter \
         UnknownTags nullable_struct put put_nullable put_tags refuse skip_tags take take_nullable \
         take_tag take_tagged_struct \
         take_tags",
    ),
];

fn snake_case(name: &str) -> String {
    let name = name.replace("KRaft", "Kraft");
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn marked(source: &str, text: &str) -> String {
    format!("// @generated by `cargo xtask codegen` from schema/{source}; do not edit.\n\n{text}")
}

/// Runs rustfmt once over all files, in a folder of its own.
fn format(root: &Path, files: &Files) -> Result<Files> {
    let folder = std::env::temp_dir().join(format!("thalweg-codegen-{}", std::process::id()));
    write_files(&folder, files)?;
    let paths = files.keys().map(|path| folder.join(path));
    let status = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root)
        .args(paths)
        .status()
        .context("rustfmt does not start")?;
    ensure!(status.success(), "rustfmt refuses the generated code in {}", folder.display());
    let formatted = read_files(&folder)?;
    fs::remove_dir_all(&folder)?;
    Ok(formatted)
}

fn write_files(folder: &Path, files: &Files) -> Result<()> {
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// All files below `folder`, by their path from there.
fn read_files(folder: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let place = folder.join(&below);
        if !place.exists() {
            continue;
        }
        for entry in fs::read_dir(place)? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(entry.path())?;
                files.insert(path.to_string_lossy().into_owned(), text);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_code_is_what_the_schema_says() {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        run(own.parent().unwrap(), true).unwrap();
    }

    #[test]
    fn names_become_modules_as_kafka_spells_them() {
        let cases = [
            ("Fetch", "fetch"),
            ("KRaftVersionRecord", "kraft_version_record"),
            ("AddPartitionsToTxn", "add_partitions_to_txn"),
        ];
        for (name, module) in cases {
            assert_eq!(snake_case(name), module);
        }
    }

    #[test]
    fn imports_are_what_is_used() {
        let body = "fn take(x: Reader) { tags.put(sink); put_tags(sink); nullable_struct!(A); }";
        let used = |name| uses(body, name);
        assert!(used("Reader") && used("put_tags") && used("nullable_struct"));
        assert!(!used("put") && !used("take") && !used("Read") && !used("struct"));
    }
}
