//! Which crate may know which: the table, compared with every `Cargo.toml`.
//!
//! An edge that is not in the table is a decision about the design, so it is made here, in review,
//! and not in passing by whoever needs a type from next door.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::scan::Source;

struct Room {
    name: &'static str,
    /// Crates of the workspace that its code may use.
    uses: &'static [&'static str],
}

/// Every crate of the workspace, from the ground up. Core never knows the server; apps know the
/// cluster only through `client`.
const ROOMS: &[Room] = &[
    Room { name: "types", uses: &[] },
    Room { name: "protocol", uses: &["types"] },
    Room { name: "records", uses: &["types"] },
    Room { name: "config", uses: &["types"] },
    Room { name: "balance", uses: &["types"] },
    Room { name: "raft", uses: &["types", "protocol"] },
    Room { name: "metadata", uses: &["types", "protocol", "records", "config"] },
    Room { name: "replication", uses: &["types", "protocol", "records", "config"] },
    Room { name: "coordinator", uses: &["types", "protocol", "records", "config"] },
    Room { name: "log", uses: &["types", "protocol", "records", "config"] },
    Room { name: "net", uses: &["types", "protocol", "config"] },
    Room {
        name: "node",
        uses: &[
            "types",
            "protocol",
            "records",
            "config",
            "balance",
            "metadata",
            "raft",
            "replication",
            "coordinator",
            "log",
            "net",
        ],
    },
    Room {
        name: "sim",
        uses: &["types", "protocol", "records", "config", "metadata", "raft", "replication", "log"],
    },
    Room { name: "client", uses: &["types", "protocol", "records", "config"] },
    Room { name: "cli", uses: &["types", "protocol", "records", "config", "balance", "client"] },
    Room { name: "thalweg", uses: &["types", "config", "client", "node", "cli"] },
    Room { name: "system", uses: &["types", "protocol", "records", "config", "client"] },
    Room { name: "xtask", uses: &["config"] },
];

/// All that code under `core/` may take from outside: no runtime, no clock, no randomness.
const CORE_EXTERNAL: &[&str] =
    &["base64", "bytes", "crc-fast", "flate2", "lz4", "snap", "thiserror", "zstd"];
/// What tests, benches and examples under `core/` may use on top.
const CORE_TESTS: &[&str] =
    &["anyhow", "divan", "kafka-protocol", "peak_alloc", "proptest", "stateright"];

/// One crypto provider for the whole house, and none that brings a system library.
const BANNED: &[&str] = &["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "openssl-sys"];

pub struct Package {
    name: String,
    /// Group folder: `core`, `server`, ...
    group: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    in_workspace: bool,
    for_tests: bool,
}

/// Crates of the workspace with what their manifests declare.
pub fn packages(root: &Path) -> anyhow::Result<Vec<Package>> {
    let metadata = Command::new(crate::ci::cargo())
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("start cargo metadata")?;
    ensure!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata without packages")?;
    packages.iter().map(|package| read_package(root, package)).collect()
}

fn read_package(root: &Path, package: &Value) -> anyhow::Result<Package> {
    let manifest = package["manifest_path"].as_str().context("manifest_path")?;
    let inside = Path::new(manifest).strip_prefix(root)?;
    let group = inside.iter().next().context("group folder")?.to_string_lossy().into_owned();
    let declared = package["dependencies"].as_array().context("dependencies")?;
    let dependencies = declared.iter().map(|dependency| Dependency {
        name: room_name(&dependency["name"]),
        in_workspace: dependency["path"].is_string(),
        for_tests: dependency["kind"].as_str() == Some("dev"),
    });
    let dependencies = dependencies.collect();
    Ok(Package { name: room_name(&package["name"]), group, dependencies })
}

/// Folder name of a crate: published crates carry a prefix.
fn room_name(package: &Value) -> String {
    let name = package.as_str().unwrap_or_default();
    name.strip_prefix("thalweg-").unwrap_or(name).to_string()
}

pub fn check(packages: &[Package]) -> Vec<String> {
    packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<String> {
    let Some(room) = ROOMS.iter().find(|room| room.name == package.name) else {
        return vec![format!("crate {} is not in the table of edges", package.name)];
    };
    let complain = |dependency: &Dependency| refusal(package, room, dependency);
    package.dependencies.iter().filter_map(complain).collect()
}

fn refusal(package: &Package, room: &Room, dependency: &Dependency) -> Option<String> {
    let (from, to) = (&package.name, dependency.name.as_str());
    if BANNED.contains(&to) {
        return Some(format!("{from} must not use {to}: rustls with ring is the only crypto"));
    }
    if dependency.in_workspace {
        let allowed = room.uses.contains(&to);
        return (!allowed).then(|| format!("{from} must not use {to}: no such edge in the table"));
    }
    let allowed = package.group != "core"
        || CORE_EXTERNAL.contains(&to)
        || (dependency.for_tests && CORE_TESTS.contains(&to));
    (!allowed).then(|| format!("{from} must not use {to}: core decides, server acts"))
}

/// Inside the node, the controller role does not import the broker role.
pub fn check_node_roles(sources: &[Source]) -> Vec<String> {
    let imports_broker = |source: &&Source| {
        source.path.starts_with("server/node/src/controller")
            && source.code.iter().any(|line| line.contains("crate::broker"))
    };
    sources
        .iter()
        .filter(imports_broker)
        .map(|source| format!("{}: controller must not import broker", source.path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, group: &str, to: &str, in_workspace: bool, for_tests: bool) -> Package {
        let dependencies = vec![Dependency { name: to.into(), in_workspace, for_tests }];
        Package { name: name.into(), group: group.into(), dependencies }
    }

    #[test]
    fn only_edges_of_the_table_are_allowed() {
        let cases = [
            ("core to core below it", package("protocol", "core", "types", true, false), true),
            ("core to server", package("metadata", "core", "log", true, false), false),
            ("core to server in tests", package("metadata", "core", "log", true, true), false),
            ("core to a runtime", package("records", "core", "tokio", false, false), false),
            (
                "core to proptest in tests",
                package("records", "core", "proptest", false, true),
                true,
            ),
            ("core to proptest", package("records", "core", "proptest", false, false), false),
            ("server to a runtime", package("net", "server", "tokio", false, false), true),
            ("app to server", package("cli", "apps", "node", true, false), false),
            ("second crypto", package("client", "clients", "openssl", false, false), false),
            ("unknown crate", package("shed", "core", "types", true, false), false),
        ];
        for (name, package, allowed) in cases {
            assert_eq!(check(&[package]).is_empty(), allowed, "{name}");
        }
    }

    #[test]
    fn the_table_has_no_cycle() {
        for (index, room) in ROOMS.iter().enumerate() {
            for used in room.uses {
                let at = ROOMS.iter().position(|other| other.name == *used);
                assert!(at.is_some_and(|at| at < index), "{}", room.name);
            }
        }
    }

    #[test]
    fn controller_role_must_not_import_broker_role() {
        let path = "server/node/src/controller/topics.rs";
        let bad = Source::scan(path, "//! Topics.\nuse crate::broker::api;\n");
        let named = Source::scan(path, "//! Unlike crate::broker, decides.\n");
        assert_eq!(check_node_roles(&[bad]).len(), 1);
        assert_eq!(check_node_roles(&[named]).len(), 0);
    }
}
