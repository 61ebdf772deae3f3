//! Disks that fill up, turn read-only, are pulled or are not there: real file systems, a real node.
//!
//! Each node sees its disks in a mount namespace of its own. Without the right to mount, these tests
//! fail and say so.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, ensure};
use protocol::ApiKey;
use protocol::messages::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use protocol::messages::produce::ProduceRequest;
use records::{Batch, BatchBuilder, Compression, DecompressLimits, split_batches};
use tempfile::TempDir;
use thalweg_system::client::{Client, LATEST, PRODUCE_VERSION, Refused, produce_request, produced};
use thalweg_system::process::{Node, NodeSpec, wait_for};
use thalweg_system::volume::Volume;
use types::ErrorCode;

pub const NOTICED_MAX: Duration = Duration::from_secs(20);
pub const STORAGE: ErrorCode = ErrorCode::KafkaStorageError;
const LIMITS: DecompressLimits = DecompressLimits { bytes_max: 16 << 20 };

/// One topic of one partition, and what the node said it has of it.
pub struct Topic {
    name: &'static str,
    next: usize,
    acknowledged: Vec<(i64, usize)>,
}

impl Topic {
    pub fn create(client: &mut Client, name: &'static str) -> anyhow::Result<Self> {
        // Segments roll often, so that indexes and snapshots are written on the full disk, too.
        client.create_topic(
            name,
            1,
            &[("segment.bytes", "1048576"), ("segment.index.bytes", "256")],
        )?;
        Ok(Self { name, next: 0, acknowledged: Vec::new() })
    }

    /// Produces a record that tells its number.
    pub fn produce(&mut self, client: &mut Client, bytes: usize) -> anyhow::Result<()> {
        let number = self.next;
        self.next += 1;
        let mut batch = BatchBuilder::new(Compression::None);
        let value = format!("{number} {}", "v".repeat(bytes));
        batch.append(1_700_000_000_000, None, Some(value.as_bytes()), &[]);
        // The shortest time that the node waits for the disk.
        let request = produce_request(self.name, 0, batch.build());
        let request = ProduceRequest { timeout_ms: 1000, ..request };
        client.connection.send(ApiKey::Produce, PRODUCE_VERSION, &request)?;
        let offset = produced(&mut client.connection)?;
        self.acknowledged.push((offset, number));
        Ok(())
    }

    pub fn produce_some(&mut self, client: &mut Client) -> anyhow::Result<()> {
        (0..20).try_for_each(|_| self.produce(client, 1000))
    }

    /// Produces until the node says that it cannot.
    fn produce_until_refused(&mut self, client: &mut Client) -> anyhow::Result<()> {
        wait_for("a refusal", NOTICED_MAX, || Ok(code(self.produce(client, 10_000))? == STORAGE))
    }

    /// Every acknowledged record is where the node said, and no offset is missing.
    pub fn verify(&self, client: &mut Client) -> anyhow::Result<()> {
        let end = client.list_offset(self.name, 0, LATEST)?;
        let mut found = Vec::new();
        let mut next = 0;
        while next < end {
            let records = client.fetch(self.name, 0, next)?.records.context("nothing to read")?;
            for cut in split_batches(&records) {
                let Ok((range, _)) = cut else { break };
                let batch = Batch::open(&records[range], LIMITS)?;
                for record in batch.records() {
                    let record = record?;
                    ensure!(record.offset.get() == next, "{} is at {next}", record.offset);
                    let text = str::from_utf8(record.value.unwrap_or_default())?;
                    found.push(text.split(' ').next().unwrap_or_default().parse::<usize>()?);
                    next += 1;
                }
            }
        }
        for &(offset, number) in &self.acknowledged {
            let there = found.get(usize::try_from(offset)?);
            ensure!(there == Some(&number), "{}: {number} is not at {offset}", self.name);
        }
        Ok(())
    }
}

/// The code of a refusal; none where there was none.
fn code<T>(outcome: anyhow::Result<T>) -> anyhow::Result<ErrorCode> {
    match outcome {
        Ok(_) => Ok(ErrorCode::None),
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(refused) => Ok(refused.code),
            None => Err(error),
        },
    }
}

/// A node with its metadata and the topic `safe` on the machine's disk, and `risky` on its own.
pub struct TwoDirs {
    folder: TempDir,
    pub volume: Volume,
    pub safe: Topic,
    pub risky: Topic,
}

impl TwoDirs {
    pub fn start() -> anyhow::Result<(Self, Node)> {
        let folder = tempfile::tempdir()?;
        let volume = Volume::new(folder.path(), "disk", 24)?;
        let spec = Self::spec(&folder, &volume)?;
        let node = volume.mounted_by(spec).start()?;
        let mut client = Client::connect(node.address())?;
        let (safe, risky) =
            (Topic::create(&mut client, "safe")?, Topic::create(&mut client, "risky")?);
        let mut this = Self { folder, volume, safe, risky };
        this.safe.produce_some(&mut client)?;
        this.risky.produce_some(&mut client)?;
        this.volume.act(&node, "test -d logs/risky-0").context("risky lies on its own disk")?;
        Ok((this, node))
    }

    fn spec(folder: &TempDir, volume: &Volume) -> anyhow::Result<NodeSpec> {
        let spec = NodeSpec::new(folder.path())?;
        let dirs = format!("{},{}", spec.data().display(), volume.path.join("logs").display());
        Ok(spec.with("log.dirs", &dirs))
    }

    /// Starts the node anew, with the disk.
    pub fn restart(&self) -> anyhow::Result<Node> {
        self.volume.mounted_by(Self::spec(&self.folder, &self.volume)?).start()
    }

    /// What follows when the disk has failed.
    pub fn check_failed(&mut self, node: &Node) -> anyhow::Result<()> {
        let mut client = Client::connect(node.address())?;
        self.risky.produce_until_refused(&mut client)?;
        ensure!(code(client.list_offset("risky", 0, LATEST))? == STORAGE);
        ensure!(code(client.fetch("risky", 0, 0))? == STORAGE);
        ensure!(directories(&mut client)? == [ErrorCode::None, STORAGE]);
        self.safe.produce_some(&mut client)?;
        self.safe.verify(&mut client)?;
        wait_for("a line that says it", NOTICED_MAX, || {
            Ok(node.output().contains("is offline until restart"))
        })
    }

    /// What follows when the disk is back.
    pub fn check_recovered(&mut self) -> anyhow::Result<()> {
        let node = self.restart()?;
        let mut client = Client::connect(node.address())?;
        for topic in [&mut self.safe, &mut self.risky] {
            topic.verify(&mut client)?;
            topic.produce_some(&mut client)?;
            topic.verify(&mut client)?;
        }
        ensure!(directories(&mut client)? == [ErrorCode::None, ErrorCode::None]);
        ensure!(node.stop()?.success());
        Ok(())
    }
}

/// What DescribeLogDirs says of each directory.
fn directories(client: &mut Client) -> anyhow::Result<Vec<ErrorCode>> {
    let question = DescribeLogDirsRequest::default();
    let answer: DescribeLogDirsResponse =
        client.connection.ask(ApiKey::DescribeLogDirs, 4, &question)?;
    Ok(answer.results.iter().map(|one| ErrorCode::from_wire(one.error_code)).collect())
}

#[test]
fn a_node_on_a_full_disk_refuses_records_and_goes_on_by_itself_once_there_is_room()
-> anyhow::Result<()> {
    for is_killed in [false, true] {
        let folder = tempfile::tempdir()?;
        // Data and metadata.
        let volume = Volume::new(folder.path(), "disk", 24)?;
        let logs = volume.path.join("logs").display().to_string();
        let spec = volume.mounted_by(NodeSpec::new(folder.path())?.with("log.dirs", &logs));
        let mut node = spec.start()?;
        let mut client = Client::connect(node.address())?;
        let mut topic = Topic::create(&mut client, "t")?;
        topic.produce_some(&mut client)?;
        volume.fill(&node)?;
        topic.produce_until_refused(&mut client)?;
        topic.verify(&mut client).context("readers are served")?;
        if is_killed {
            node.kill()?;
            // What took the room goes before the start.
            let mut roomy = spec.clone();
            roomy.prelude += &format!("rm {}/ballast\n", volume.path.display());
            node = roomy.start()?;
            client = Client::connect(node.address())?;
        } else {
            volume.empty(&node)?;
        }
        let again = || Ok(code(topic.produce(&mut client, 1000))?.is_none());
        wait_for("records to be taken again", NOTICED_MAX, again)?;
        topic.produce_some(&mut client)?;
        topic.verify(&mut client)?;
        client.create_topic("after", 1, &[])?;
        ensure!(!node.output().contains("offline"), "{}", node.output());
        ensure!(node.stop()?.success());
        let node = spec.start()?;
        topic.verify(&mut Client::connect(node.address())?)?;
    }
    Ok(())
}

/// Fills the disk of a node: a topic `t`, which finds no room any more, and `large`, whose deletion makes some.
fn filled(volume: &Volume, node: &Node) -> anyhow::Result<(Client, [Topic; 2])> {
    let mut client = Client::connect(node.address())?;
    let mut large = Topic::create(&mut client, "large")?;
    for _ in 0..30 {
        large.produce(&mut client, 100_000)?;
    }
    let mut topic = Topic::create(&mut client, "t")?;
    topic.produce_some(&mut client)?;
    volume.fill(node)?;
    topic.produce_until_refused(&mut client)?;
    Ok((client, [large, topic]))
}

#[test]
fn a_topic_can_be_deleted_on_a_full_disk_and_makes_room() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let volume = Volume::new(folder.path(), "disk", 24)?;
    let logs = volume.path.join("logs").display().to_string();
    let spec = NodeSpec::new(folder.path())?.with("log.dirs", &logs);
    let node = volume.mounted_by(spec.with("log.segment.delete.delay.ms", "0")).start()?;
    let (mut client, [_, mut topic]) = filled(&volume, &node)?;
    client.delete_topic("large")?;
    let again = || Ok(code(topic.produce(&mut client, 1000))?.is_none());
    wait_for("records to be taken again", NOTICED_MAX, again)?;
    topic.produce_some(&mut client)?;
    topic.verify(&mut client)?;
    ensure!(node.stop()?.success());
    Ok(())
}

#[test]
fn a_node_starts_on_a_full_disk_and_takes_the_deletion_that_makes_room() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let volume = Volume::new(folder.path(), "disk", 24)?;
    let logs = volume.path.join("logs").display().to_string();
    let spec = NodeSpec::new(folder.path())?.with("log.dirs", &logs);
    let spec = volume.mounted_by(spec.with("log.segment.delete.delay.ms", "0"));
    let mut node = spec.start()?;
    let (mut client, [large, mut topic]) = filled(&volume, &node)?;
    for is_killed in [true, false, true] {
        match is_killed {
            true => node.kill()?,
            // It cannot write its checkpoints, and says so by its code.
            false => _ = node.stop()?,
        }
        node = spec.start()?;
        client = Client::connect(node.address())?;
        large.verify(&mut client).context("readers are served")?;
    }
    client.delete_topic("large")?;
    let again = || Ok(code(topic.produce(&mut client, 1000))?.is_none());
    wait_for("records to be taken again", NOTICED_MAX, again)?;
    topic.verify(&mut client)?;
    ensure!(node.stop()?.success());
    Ok(())
}

#[test]
fn a_disk_that_turns_read_only_fails_alone() -> anyhow::Result<()> {
    let (mut dirs, node) = TwoDirs::start()?;
    dirs.volume.turn_read_only(&node)?;
    dirs.check_failed(&node)?;
    ensure!(node.stop()?.success());
    dirs.check_recovered()
}

#[test]
fn a_disk_that_is_pulled_fails_alone() -> anyhow::Result<()> {
    let (mut dirs, node) = TwoDirs::start()?;
    dirs.volume.pull(&node)?;
    dirs.check_failed(&node)?;
    node.kill()?;
    dirs.check_recovered()
}

#[test]
fn a_directory_that_may_not_be_written_any_more_fails_alone() -> anyhow::Result<()> {
    let (mut dirs, node) = TwoDirs::start()?;
    // No right of root overrides this one. The next file is a segment or a checkpoint.
    dirs.volume.act(&node, "chattr +i logs logs/risky-0")?;
    dirs.check_failed(&node)?;
    dirs.volume.act(&node, "chattr -i logs logs/risky-0")?;
    ensure!(node.stop()?.success());
    dirs.check_recovered()
}

#[test]
fn a_disk_that_is_not_mounted_at_the_start_is_not_taken_for_an_empty_one() -> anyhow::Result<()> {
    let (mut dirs, node) = TwoDirs::start()?;
    ensure!(node.stop()?.success());
    let node = TwoDirs::spec(&dirs.folder, &dirs.volume)?.start()?;
    dirs.check_failed(&node)?;
    ensure!(node.output().contains("is its disk mounted?"), "{}", node.output());
    ensure!(node.stop()?.success());
    dirs.check_recovered()
}

#[test]
fn a_node_whose_metadata_disk_fails_stops_with_the_reason() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let volume = Volume::new(folder.path(), "disk", 24)?;
    let metadata = volume.path.join("metadata").display().to_string();
    let spec = NodeSpec::new(folder.path())?.with("metadata.log.dir", &metadata);
    let spec = volume.mounted_by(spec);
    let node = spec.start()?;
    let mut client = Client::connect(node.address())?;
    let mut topic = Topic::create(&mut client, "t")?;
    topic.produce_some(&mut client)?;
    volume.pull(&node)?;
    // The next decision finds it out; it is never answered.
    _ = client.create_topic("u", 1, &[]);
    let (status, output) = node.wait_end()?;
    ensure!(status.code() == Some(1), "{status}\n{output}");
    ensure!(output.contains("the node cannot go on: the"), "{output}");
    ensure!(spec.data().join(".kafka_cleanshutdown").exists(), "the others are closed in order");
    let node = spec.start()?;
    topic.verify(&mut Client::connect(node.address())?)
}

#[test]
fn a_node_without_inodes_serves_what_it_has_and_takes_topics_once_some_are_free()
-> anyhow::Result<()> {
    const INODES: u32 = 300;
    let folder = tempfile::tempdir()?;
    let volume = Volume::with_inodes(folder.path(), INODES)?;
    let data = volume.path.join("data").display().to_string();
    let spec = NodeSpec::new(folder.path())?.with("log.dirs", &data);
    let node = volume.mounted_by(spec).start()?;
    let mut client = Client::connect(node.address())?;
    let mut topic = Topic::create(&mut client, "t")?;
    topic.produce_some(&mut client)?;
    // All inodes that are left, at once: topics would come to their end in their own way each.
    volume.act(&node, "mkdir many; i=0; while touch many/$i 2>&-; do i=$((i + 1)); done")?;
    topic.produce_some(&mut client)?;
    _ = client.create_topic("more", 1, &[]);
    topic.produce_some(&mut client)?;
    volume.act(&node, "rm -r many")?;
    let mut attempts = 0;
    wait_for("a topic that takes records", NOTICED_MAX, || {
        attempts += 1;
        let name = format!("later-{attempts}");
        let mut batch = BatchBuilder::new(Compression::None);
        batch.append(1_700_000_000_000, None, Some(b"v"), &[]);
        _ = client.create_topic(&name, 1, &[]);
        Ok(client.produce(&name, 0, batch.build()).is_ok())
    })?;
    topic.verify(&mut client)?;
    ensure!(node.stop()?.success());
    Ok(())
}

#[test]
fn a_node_without_descriptors_keeps_some_for_its_files() -> anyhow::Result<()> {
    const LIMIT: usize = 200;
    let folder = tempfile::tempdir()?;
    let mut spec = NodeSpec::new(folder.path())?;
    spec.prelude = format!("ulimit -n {LIMIT}\n");
    let node = spec.start()?;
    let mut client = Client::connect(node.address())?;
    let mut topic = Topic::create(&mut client, "t")?;
    topic.produce_some(&mut client)?;
    // More than there are descriptors; the backlog takes the rest.
    let crowd = (0..LIMIT + 50).map(|_| TcpStream::connect(node.address()));
    let crowd = crowd.collect::<Result<Vec<_>, _>>()?;
    wait_for("refusals", NOTICED_MAX, || Ok(node.output().contains("connections are refused")))?;
    // Segments roll, which needs new files.
    for _ in 0..30 {
        topic.produce(&mut client, 100_000)?;
    }
    drop(crowd);
    wait_for("room for new clients", NOTICED_MAX, || {
        let client = Client::connect(node.address());
        Ok(client.is_ok_and(|mut client| client.topics().is_ok()))
    })?;
    topic.verify(&mut client)?;
    ensure!(!node.output().contains("offline"), "{}", node.output());
    ensure!(node.stop()?.success());
    Ok(())
}
