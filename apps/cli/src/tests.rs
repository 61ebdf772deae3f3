//! The command line as people type it.

use clap::{CommandFactory, Parser};

use crate::{Command, is_broken_pipe};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn parse(line: &str) -> Result<String, String> {
    let words = std::iter::once("thalweg").chain(line.split_whitespace());
    match Arguments::try_parse_from(words) {
        Ok(arguments) => Ok(format!("{:?}", arguments.command)),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn the_definitions_hold_together() {
    Arguments::command().debug_assert();
}

#[test]
fn what_people_type_is_understood() {
    let cases = [
        ("topic create a b -p 3 -r 1 -c retention.ms=5 --if-not-exists", "partitions: Some(3)"),
        ("topic create a --replication-factor 2", "replicas: Some(2)"),
        ("topic create a -c k=a=b", r#"("k", "a=b")"#),
        ("topic list -b h:1 --output json", "bootstrap: \"h:1\""),
        ("topic -b h:1 list", "bootstrap: \"h:1\""),
        ("topic list", "bootstrap: \"127.0.0.1:9092\""),
        ("topic list -b a-1.b_2:1,[::1]:9092,", "bootstrap: \"a-1.b_2:1,[::1]:9092,\""),
        ("topic alter a -d retention.ms", r#"deleted: ["retention.ms"]"#),
        ("produce a -k : -z zstd -H x=y -p 2", "compression: Zstd"),
        ("produce a --key-json-field id -f lines", r#"key_json_field: Some("id")"#),
        ("consume a b -o -10 -n 5 -e", "offset: Some(Last(10))"),
        ("consume a -o @-1h", "offset: Some(Ago(3600000))"),
        ("consume a --from-beginning -g g", "from_beginning: true"),
        ("consume a -f %k=%v", "format: Some(Template("),
        ("consume a --output json", "output: Json"),
        ("consume a -g g --rack zone-1", r#"rack: Some("zone-1")"#),
        ("group seek g --to -5 -t a -t b:1", "to: Last(5)"),
        ("config set topic a retention.ms=5 cleanup.policy=compact", "kind: Topic"),
        ("config describe broker default --all", "all: true"),
        ("cluster health", "Health"),
        ("cluster voters add 4", "Add { id: 4 }"),
        ("cluster voters remove 4", "directory: None"),
        ("broker remove 4", "Remove { id: 4 }"),
        ("topic reassign a b:7 --to 1,2 -r 2", r#"[("a", None), ("b", Some(7))], to: [1, 2]"#),
        ("topic reassign --status", "status: true"),
    ];
    for (line, expected) in cases {
        let parsed = parse(line).unwrap();
        assert!(parsed.contains(expected), "{line}: {parsed}");
    }
}

#[test]
fn the_cluster_can_be_named_before_any_command() {
    let commands = [
        "topic list",
        "produce a",
        "consume a",
        "group list",
        "config describe topic a",
        "cluster info",
    ];
    for line in commands {
        let words = std::iter::once("thalweg").chain(line.split_whitespace());
        let mut command = Arguments::try_parse_from(words).unwrap().command;
        command.set_bootstrap("h:1".to_owned());
        assert!(format!("{command:?}").contains("bootstrap: \"h:1\""), "{line}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let cases = [
        "topic create",
        "topic create a -p 0",
        "topic create a -c retention.ms",
        "produce a -k : --key-json-field id",
        "produce a -z rar",
        "consume",
        "consume a -o soon",
        "consume a -o 5 --from-beginning",
        "consume a -g g -p 0",
        "consume a -f %q",
        "consume a -f %v --output json",
        "group seek g",
        "config set topic a",
        "config describe planet a",
        "cluster",
        "cluster voters add",
        "topic reassign a:b --to 1",
        "topic reassign a --to one",
        "topic reassign a --cancel --status",
        "topic reassign a --cancel --to 1",
        "topic reassign a --replicas 3",
    ];
    for line in cases {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn an_address_without_a_port_is_refused_at_once() {
    for wrong in ["127.0.0.1", "localhost", "h:1,localhost", "h:", ":1", "h:65536", "::1", ","] {
        let refusal = parse(&format!("topic list -b {wrong}")).unwrap_err();
        assert!(refusal.contains("HOST:PORT expected"), "{wrong}: {refusal}");
    }
}

#[test]
fn only_a_broken_pipe_is_no_failure() {
    let of = |kind| anyhow::Error::new(std::io::Error::from(kind));
    assert!(is_broken_pipe(&of(std::io::ErrorKind::BrokenPipe)));
    assert!(!is_broken_pipe(&of(std::io::ErrorKind::NotFound)));
}
