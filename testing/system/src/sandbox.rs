//! A test again in a world of its own: mounts, network and processes that end with it.
//!
//! The test's program runs itself once more in new namespaces. Whatever it mounts, links or starts
//! there is taken away by the kernel with its last process, however it ends, and two such tests never
//! meet. Needs root. Not here: what is built inside (`power`, `cluster::network`).

use std::process::Command;

use anyhow::{bail, ensure};

/// Set inside to the id of the process outside, so that the program knows where it is.
const INSIDE: &str = "THALWEG_TEST_OWN_WORLD";

/// A program that a world cannot be made without, and the Debian package that has it.
pub type Tool = (&'static str, &'static str);

/// What it takes to make and mount disks.
pub const MOUNT_TOOLS: [Tool; 4] = [
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("python3", "python3"),
];
const NETWORK_TOOLS: [Tool; 3] =
    [("unshare", "util-linux"), ("nsenter", "util-linux"), ("ip", "iproute2")];

/// Runs the test of this name again in mounts of its own; there, and only there, does `body` run.
///
/// # Errors
/// If `body` fails, or the machine lacks what it takes: it says what.
pub fn in_own_mounts(test: &str, body: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    run_inside(&MOUNT_TOOLS, &["--mount"], &["--exact", test, "--nocapture"], body)
}

/// The same with a network and processes of its own, too: nothing outside can be reached, and all
/// that was started is killed with the test.
///
/// # Errors
/// As [`in_own_mounts`].
pub fn in_own_network(test: &str, body: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    program_in_own_network(&["--exact", test, "--nocapture"], body)
}

/// As [`in_own_network`] for a program that is no test: `arguments` are what it runs again with.
///
/// # Errors
/// As [`in_own_mounts`].
pub fn program_in_own_network(
    arguments: &[&str],
    body: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let own = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    run_inside(&NETWORK_TOOLS, &own, arguments, body)
}

fn run_inside(
    tools: &[Tool],
    namespaces: &[&str],
    arguments: &[&str],
    body: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    need(tools)?;
    let mut command = Command::new("unshare");
    command.args(namespaces).args(["--propagation", "private", "--"]);
    command
        .arg(std::env::current_exe()?)
        .args(arguments)
        .env(INSIDE, std::process::id().to_string());
    // Not inherited: the harness shows what a test prints only where the test itself prints it.
    let output = command.output()?;
    let said = [output.stdout, output.stderr].map(|all| String::from_utf8_lossy(&all).into_owned());
    println!("{}", said.concat());
    if !output.status.success() {
        bail!(
            "{arguments:?} fails in its own namespaces ({}); it must be root there and may need loop devices",
            output.status
        );
    }
    Ok(())
}

/// The same inside and outside of a world, and of no other world: the id of the process that made it.
pub fn mark() -> String {
    std::env::var(INSIDE).unwrap_or_else(|_| std::process::id().to_string())
}

/// Says which tools are missing and where they come from.
///
/// # Errors
/// If one is.
pub fn need(tools: &[Tool]) -> anyhow::Result<()> {
    for (program, package) in tools {
        let found = Command::new(program).arg("-V").output();
        ensure!(found.is_ok(), "{program} is missing: install the package {package}");
    }
    Ok(())
}
