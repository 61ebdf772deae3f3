//! SIGTERM: the node drains, writes what the next start needs, and ends with 0.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use thalweg_system::client::{Client, LATEST};
use thalweg_system::load::{Committer, Producer, read_back};
use thalweg_system::process::{Node, NodeSpec};
use thalweg_system::verdict::{judge_commit, judge_log};

const TOPIC: &str = "stop";
const CONFIGS: [(&str, &str); 1] = [("retention.ms", "-1")];
const LOAD: Duration = Duration::from_millis(500);
/// Requests in flight may take five seconds; all else takes what the disk needs.
const STOP_MAX: Duration = Duration::from_secs(10);
/// Said at the start, where there is anything to recover.
const RECOVERING: &str = "recovering after an unclean stop";
const CLEAN_MARKER: &str = ".kafka_cleanshutdown";

#[test]
fn a_stop_under_load_loses_nothing_and_the_next_start_recovers_nothing() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = NodeSpec::new(folder.path())?;
    let node = spec.start()?;
    let address = node.address();
    let mut client = Client::connect(address)?;
    client.create_topic(TOPIC, 1, &CONFIGS)?;
    let mut producer = Producer::new(&mut client, 0, TOPIC, 1, 7)?;
    let mut group = Committer::new("stop", TOPIC, 1);
    let load = thread::scope(|scope| {
        let load = [scope.spawn(|| producer.run(address)), scope.spawn(|| group.run(address))];
        thread::sleep(LOAD);
        let asked = Instant::now();
        node.terminate()?;
        let (status, output) = node.wait_end()?;
        ensure!(status.success(), "{status}\n{output}");
        ensure!(asked.elapsed() < STOP_MAX, "{:?}\n{output}", asked.elapsed());
        load.into_iter().try_for_each(|thread| thread.join().expect("the load does not panic"))
    });
    load?;
    ensure!(spec.data().join(CLEAN_MARKER).exists(), "no {CLEAN_MARKER}");

    let node = spec.start()?;
    ensure!(
        !spec.data().join(CLEAN_MARKER).exists(),
        "a crash from now on looks like a clean stop"
    );
    let output = node.output();
    ensure!(!output.contains(RECOVERING), "a recovery after a clean stop\n{output}");
    let mut client = Client::connect(node.address())?;
    let read = read_back(&mut client, TOPIC, 0)?;
    ensure!(judge_log(&read, &[], producer.acknowledged()).is_empty(), "{output}");
    for (found, commits) in group.found(&mut client)? {
        ensure!(judge_commit(found, commits).is_none(), "{found:?} {commits:?}");
    }
    // The producer goes on as if nothing had been: its state was stopped and started too.
    producer.produce(node.address(), Some(3))?;
    ensure!(client.list_offset(TOPIC, 0, LATEST)? > i64::try_from(read.len())?);
    // What a recovery looks like, so that the lack of one above means something.
    node.kill()?;
    let output = spec.start()?.output();
    ensure!(output.contains(RECOVERING), "no recovery after a crash\n{output}");
    Ok(())
}

#[test]
fn an_idle_node_stops_at_once() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeSpec::new(folder.path())?.start()?;
    // A connection that asks nothing holds nobody up.
    let _idle = Client::connect(node.address())?;
    let asked = Instant::now();
    ensure!(node.stop()?.success());
    ensure!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    Ok(())
}

/// A long poll is a request in flight, which a stop waits for; whoever cannot wait asks twice.
#[test]
fn a_second_signal_ends_the_drain_at_once() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeSpec::new(folder.path())?.start()?;
    let mut client = Client::connect(node.address())?;
    client.create_topic(TOPIC, 1, &CONFIGS)?;
    let _held = hold_up(&node)?;
    node.terminate()?;
    thread::sleep(Duration::from_millis(300));
    let again = Instant::now();
    // The node may have been quick enough to end before.
    _ = node.terminate();
    let (_, output) = node.wait_end()?;
    ensure!(again.elapsed() < Duration::from_secs(1), "{:?}\n{output}", again.elapsed());
    Ok(())
}

/// A reader that waits for more than there is, and does not take what it gets.
fn hold_up(node: &Node) -> anyhow::Result<Client> {
    use protocol::ApiKey;
    use thalweg_system::client::{FETCH_VERSION, fetch_request};
    let mut client = Client::connect(node.address())?;
    let mut question = fetch_request(TOPIC, 0, 0);
    question.max_wait_ms = 60_000;
    question.min_bytes = 1;
    client.connection.send(ApiKey::Fetch, FETCH_VERSION, &question)?;
    Ok(client)
}
