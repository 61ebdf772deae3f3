//! The first seconds of a node, and what it says when it cannot start.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::ensure;
use thalweg_system::process::{NodeSpec, free_port};

/// Whoever starts a node reads these lines; there may not be more.
const LINES_TO_READY_MAX: usize = 20;

#[test]
fn a_start_says_little() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeSpec::new(folder.path())?.start()?;
    let output = node.output();
    println!("{output}");
    ensure!(output.lines().count() <= LINES_TO_READY_MAX, "{output}");
    ensure!(!output.contains("ERROR"), "{output}");
    Ok(())
}

#[test]
fn an_unknown_key_is_named_with_the_nearest() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = NodeSpec::new(folder.path())?.with("log.retention.hour", "1");
    let output = spec.start()?.output();
    ensure!(output.contains("log.retention.hour"), "{output}");
    ensure!(output.contains("log.retention.hours"), "{output}");
    Ok(())
}

#[test]
fn a_key_that_does_not_act_yet_is_named() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = NodeSpec::new(folder.path())?.with("background.threads", "11");
    let output = spec.start()?.output();
    ensure!(output.contains("background.threads"), "{output}");
    Ok(())
}

/// What a start that must fail says.
fn refusal(spec: &NodeSpec) -> anyhow::Result<String> {
    let (status, output) = spec.spawn()?.wait_end()?;
    ensure!(!status.success(), "it starts\n{output}");
    ensure!(!output.contains("panicked"), "{output}");
    ensure!(output.lines().count() <= LINES_TO_READY_MAX, "{output}");
    Ok(output)
}

#[test]
fn a_bad_value_is_refused_with_its_key() -> anyhow::Result<()> {
    let cases = [
        ("num.partitions", "many"),
        ("log.segment.bytes", "-1"),
        ("compression.type", "brotli"),
        ("listeners", "nonsense"),
    ];
    for (key, value) in cases {
        let folder = tempfile::tempdir()?;
        let output = refusal(&NodeSpec::new(folder.path())?.with(key, value))?;
        ensure!(output.contains(key) && output.contains(value), "{key}={value}: {output}");
    }
    Ok(())
}

#[test]
fn a_listener_that_cannot_be_secured_yet_is_refused() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let listeners = format!("SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{}", free_port()?);
    let spec = NodeSpec::new(folder.path())?
        .with("listeners", &listeners)
        .with("listener.security.protocol.map", "SSL:SSL,CONTROLLER:PLAINTEXT")
        .with("inter.broker.listener.name", "SSL");
    let output = refusal(&spec)?;
    ensure!(output.contains("SSL"), "{output}");
    Ok(())
}

#[test]
fn a_node_that_names_another_controller_does_not_begin_a_cluster() -> anyhow::Result<()> {
    let servers = "controller.quorum.bootstrap.servers";
    for named in ["127.0.0.1:9,127.0.0.1:10", "127.0.0.1:9", "nowhere.invalid:9"] {
        let folder = tempfile::tempdir()?;
        let spec = NodeSpec::new(folder.path())?.with(servers, named);
        let output = refusal(&spec)?;
        let is_told = [servers, "not formatted", "--join"].iter().all(|one| output.contains(one));
        ensure!(is_told && !spec.data().exists(), "{named}: {output}");
    }
    Ok(())
}

#[test]
fn a_port_in_use_is_named() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = NodeSpec::new(folder.path())?;
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, spec.port))?;
    let output = refusal(&spec)?;
    ensure!(output.contains(&spec.port.to_string()), "{output}");
    ensure!(output.to_lowercase().contains("in use"), "{output}");
    Ok(())
}

#[test]
fn a_directory_in_use_is_refused() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = NodeSpec::new(folder.path())?;
    let node = spec.start()?;
    let second = NodeSpec::new(&folder.path().join("second"))?;
    let data = spec.data().display().to_string();
    let output = refusal(&second.with("log.dirs", &data))?;
    ensure!(output.contains(&data), "{output}");
    // The first has not noticed.
    thalweg_system::client::Client::connect(node.address())?.topics()?;
    Ok(())
}

#[test]
fn a_directory_of_another_node_or_cluster_is_refused() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = NodeSpec::new(folder.path())?;
    spec.start()?.stop()?;
    let moved = spec.clone().with("node.id", "2");
    let moved = moved.with("controller.quorum.bootstrap.servers", "127.0.0.1:9");
    let output = refusal(&moved)?;
    ensure!(output.contains("node.id"), "{output}");

    // A second directory that another cluster has used.
    let other = folder.path().join("other");
    fs::create_dir(&other)?;
    let own = meta_properties(&spec.data())?;
    let foreign = format!(
        "version=1\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\nnode.id=1\ndirectory.id={}\n",
        own["directory.id"].replace(|c: char| c.is_ascii_digit(), "x")
    );
    fs::write(other.join("meta.properties"), foreign)?;
    let both = format!("{},{}", spec.data().display(), other.display());
    let output = refusal(&spec.with("log.dirs", &both))?;
    ensure!(output.contains("AAAAAAAAAAAAAAAAAAAAAA"), "{output}");
    ensure!(output.contains(&other.display().to_string()), "{output}");
    Ok(())
}

fn meta_properties(dir: &std::path::Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(dir.join("meta.properties"))?;
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}
