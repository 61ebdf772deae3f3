//! A cluster made by one command per machine: `thalweg server --join`.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use client::{Admin, Client, ClientSettings, NewTopic, QuorumDescription};
use tempfile::TempDir;
use thalweg_system::process::{Node, NodeSpec, wait_for};

/// For three nodes in three processes, on a machine with other work.
const LIMIT: Duration = Duration::from_secs(60);

/// Calls of the client, one at a time.
struct Eyes {
    runtime: tokio::runtime::Runtime,
    admin: Admin,
}

impl Eyes {
    fn on(node: &Node) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let admin = Client::new(ClientSettings::new(&node.address().to_string())).admin();
        Ok(Self { runtime, admin })
    }

    /// Ids of the brokers that serve.
    fn brokers(&self) -> anyhow::Result<Vec<i32>> {
        let cluster = self.runtime.block_on(self.admin.describe_cluster())?;
        Ok(cluster.brokers.iter().map(|broker| broker.id).collect())
    }

    /// Makes a topic and gives the brokers that have replicas of it.
    fn create(&self, name: &str, partitions: i32, replicas: i16) -> anyhow::Result<Vec<i32>> {
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: Some(partitions),
            replication_factor: Some(replicas),
            configs: Vec::new(),
        };
        self.runtime.block_on(async {
            self.admin.create_topics(&[topic], false).await?;
            self.admin.await_topic(name).await?;
            let described = self.admin.describe_topics(&[name.to_owned()]).await?;
            let topic = described.into_iter().next().context("no topic")?.1?;
            Ok(topic.partitions.iter().flat_map(|one| one.replicas.clone()).collect())
        })
    }

    fn quorum(&self) -> anyhow::Result<QuorumDescription> {
        Ok(self.runtime.block_on(self.admin.describe_quorum())?)
    }

    fn voters(&self) -> anyhow::Result<Vec<i32>> {
        let mut ids: Vec<_> = self.quorum()?.voters.iter().map(|voter| voter.id).collect();
        ids.sort_unstable();
        Ok(ids)
    }
}

/// One node that began the cluster, and two that joined it at the same time.
struct Three {
    folder: TempDir,
    first: Node,
    joined: Vec<(NodeSpec, Node)>,
    eyes: Eyes,
}

fn three() -> anyhow::Result<Three> {
    let folder = tempfile::tempdir()?;
    let first = NodeSpec::new(&folder.path().join("first"))?.start()?;
    let eyes = Eyes::on(&first)?;
    let join = |name: &str| {
        let spec = NodeSpec::joining(&folder.path().join(name), first.address())?;
        let node = spec.spawn()?;
        anyhow::Ok((spec, node))
    };
    let mut joined = vec![join("second")?, join("third")?];
    for (_, node) in &mut joined {
        node.wait_until_serving()?;
    }
    wait_for("three voters", LIMIT, || Ok(eyes.voters()? == [1, 2, 3]))?;
    Ok(Three { folder, first, joined, eyes })
}

fn node_id(spec: &NodeSpec) -> anyhow::Result<i32> {
    let text = fs::read_to_string(spec.data().join("meta.properties"))?;
    let id = text.lines().find_map(|line| line.strip_prefix("node.id="));
    Ok(id.unwrap_or_default().parse()?)
}

#[test]
fn nodes_that_join_at_once_get_ids_votes_and_one_cluster() -> anyhow::Result<()> {
    let three = three()?;
    ensure!(three.eyes.brokers()? == [1, 2, 3]);
    let mut ids = Vec::new();
    for (spec, node) in &three.joined {
        ids.push(node_id(spec)?);
        ensure!(!node.output().contains("ERROR"), "{}", node.output());
    }
    ids.sort_unstable();
    ensure!(ids == [2, 3], "{ids:?}");
    // Two of three are a majority.
    three.first.kill()?;
    let eyes = Eyes::on(&three.joined[0].1)?;
    wait_for("another leader", LIMIT, || Ok(eyes.quorum().is_ok_and(|quorum| quorum.leader > 1)))
}

#[test]
fn a_node_that_joined_comes_back_by_itself_and_with_a_new_disk() -> anyhow::Result<()> {
    let Three { folder, first, mut joined, eyes } = three()?;
    let (mut spec, node) = joined.remove(0);
    let id = node_id(&spec)?;
    node.stop()?;
    // It knows the way, even if the broker that it joined by is not there any more.
    let known = spec.join.take();
    let back = spec.start()?;
    ensure!(node_id(&spec)? == id && eyes.voters()? == [1, 2, 3]);

    let directory = |eyes: &Eyes| {
        let quorum = eyes.quorum()?;
        let voter = quorum.voters.into_iter().find(|voter| voter.id == id);
        anyhow::Ok(voter.map(|voter| voter.directory))
    };
    let former = directory(&eyes)?;
    let (one, three) = (eyes.create("one", 6, 1)?, eyes.create("three", 2, 3)?);
    ensure!(one.contains(&id) && three.contains(&id));
    back.kill()?;
    fs::remove_dir_all(spec.data())?;
    spec.join = known;
    let back = spec.start()?;
    ensure!(node_id(&spec)? == id, "the address tells who it was\n{}", back.output());
    let output = back.output();
    let is_named = |topic: &str| output.contains(&format!("partition={topic}-"));
    ensure!(is_named("one") && !is_named("three"), "what is lost is named, no more\n{output}");
    wait_for("the new disk votes and the old one does not", LIMIT, || {
        Ok(eyes.voters()? == [1, 2, 3] && directory(&eyes)? != former)
    })?;
    drop((folder, first));
    Ok(())
}

#[test]
fn a_second_node_of_the_same_id_is_told_so() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let first = NodeSpec::new(&folder.path().join("first"))?.start()?;
    let twin = NodeSpec::joining(&folder.path().join("twin"), first.address())?;
    let twin = twin.with("node.id", "1").spawn()?;
    wait_for("the reason", LIMIT, || {
        let output = twin.output();
        Ok(output.contains("DUPLICATE_BROKER_REGISTRATION") && output.contains("node.id 1"))
    })?;
    ensure!(Eyes::on(&first)?.brokers()? == [1]);
    Ok(())
}

#[test]
fn a_node_of_another_cluster_does_not_join() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let first = NodeSpec::new(&folder.path().join("first"))?.start()?;
    let mut other = NodeSpec::new(&folder.path().join("other"))?;
    other.start()?.stop()?;
    other.join = Some(first.address());
    let (status, output) = other.spawn()?.wait_end()?;
    ensure!(!status.success() && output.contains("choose other log.dirs"), "{output}");
    Ok(())
}

#[test]
fn a_node_without_a_port_of_its_own_leaves_no_trace() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let first = NodeSpec::new(&folder.path().join("first"))?.start()?;
    let mut second = NodeSpec::joining(&folder.path().join("second"), first.address())?;
    let own = second.properties["listeners"].clone();
    let taken = format!("PLAINTEXT://{},CONTROLLER://127.0.0.1:0", first.address());
    second = second.with("listeners", &taken);
    let (status, output) = second.spawn()?.wait_end()?;
    let is_told = output.contains("in use") && output.contains("Change listeners");
    ensure!(!status.success() && is_told, "{output}");
    ensure!(!second.data().exists(), "{output}");
    // The next try begins as if there had been none.
    second.with("listeners", &own).start()?;
    wait_for("two brokers", LIMIT, || Ok(Eyes::on(&first)?.brokers()? == [1, 2]))
}

#[test]
fn a_node_that_waits_for_a_majority_ends_when_it_is_asked_to() -> anyhow::Result<()> {
    let Three { folder, first, joined, .. } = three()?;
    first.kill()?;
    let mut specs = Vec::new();
    for (spec, node) in joined {
        node.kill()?;
        specs.push(spec);
    }
    let alone = specs[0].spawn()?;
    wait_for("it listens", LIMIT, || Ok(TcpStream::connect(alone.address()).is_ok()))?;
    alone.stop()?;
    drop(folder);
    Ok(())
}

#[test]
fn a_first_node_that_has_lost_its_disk_hears_of_its_former_cluster() -> anyhow::Result<()> {
    let Three { folder, first, joined, .. } = three()?;
    first.kill()?;
    let mut spec = NodeSpec::new(&folder.path().join("first"))?;
    spec.properties = properties(&folder.path().join("first"))?;
    fs::remove_dir_all(spec.data())?;
    let anew = spec.spawn()?;
    wait_for("what to do", LIMIT, || {
        let output = anew.output();
        Ok(output.contains("another cluster") && output.contains("--join"))
    })?;
    drop((folder, joined));
    Ok(())
}

/// The settings of a node that was started in a folder.
fn properties(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(folder.join("server.properties"))?;
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}
