//! What protects a node from those who ask too much, with limits small enough to meet them.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use protocol::ApiKey;
use records::{BatchBuilder, Compression};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thalweg_system::client::{Client, FETCH_VERSION, fetch_request};
use thalweg_system::memory_cap::MemoryCap;
use thalweg_system::process::{Node, NodeSpec, wait_for};
use thalweg_system::wire::Connection;

/// Longer than a node takes to answer anything, even on a busy machine.
const SILENCE: Duration = Duration::from_millis(500);
const NOTICED_MAX: Duration = Duration::from_secs(10);

fn start(folder: &tempfile::TempDir, properties: &[(&str, &str)]) -> anyhow::Result<Node> {
    let spec = NodeSpec::new(folder.path())?;
    let with = |spec: NodeSpec, &(key, value): &(&str, &str)| spec.with(key, value);
    properties.iter().fold(spec, with).start()
}

/// A connection that the node has answered on, so that it is past the door.
fn admitted(address: SocketAddr) -> anyhow::Result<Client> {
    let mut client = Client::connect(address)?;
    client.topics()?;
    Ok(client)
}

/// Whether the node closes the connection by itself within the limit.
fn is_closed_within(client: &Client, limit: Duration) -> anyhow::Result<bool> {
    let mut stream = client.connection.stream();
    stream.set_read_timeout(Some(limit))?;
    match stream.read(&mut [0; 64]) {
        Ok(0) => Ok(true),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(false)
        }
        other => anyhow::bail!("an answer to nothing: {other:?}"),
    }
}

#[test]
fn connections_beyond_the_limit_wait_until_one_goes() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = start(&folder, &[("max.connections", "3")])?;
    // The look whether the node serves may not have been taken out of the count yet.
    thread::sleep(SILENCE);
    let mut clients =
        (0..3).map(|_| admitted(node.address())).collect::<anyhow::Result<Vec<_>>>()?;
    let mut waiting = Client::connect(node.address())?;
    waiting.connection.stream().set_read_timeout(Some(SILENCE))?;
    ensure!(waiting.topics().is_err(), "a fourth connection is served");
    drop(clients.pop());
    let mut next = Client::connect(node.address())?;
    ensure!(clients[0].topics().is_ok(), "who is inside is not served");
    // The one that gave up and the new one both want the place that is free.
    drop(waiting);
    next.topics()?;
    let told = "new connections wait because of max.connections";
    ensure!(node.output().matches(told).count() == 1, "{}", node.output());
    Ok(())
}

#[test]
fn connections_of_one_address_beyond_its_limit_are_closed() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = start(&folder, &[("max.connections.per.ip", "2")])?;
    thread::sleep(SILENCE);
    let clients = [admitted(node.address())?, admitted(node.address())?];
    let third = Client::connect(node.address())?;
    ensure!(is_closed_within(&third, NOTICED_MAX)?, "a third connection stays open");
    drop(clients);
    wait_for("a place for the next", NOTICED_MAX, || Ok(admitted(node.address()).is_ok()))
}

#[test]
fn idle_connections_are_closed_and_busy_ones_not() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = start(&folder, &[("connections.max.idle.ms", "1000")])?;
    let idle = admitted(node.address())?;
    let mut busy = admitted(node.address())?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) {
        busy.topics()?;
        thread::sleep(Duration::from_millis(100));
    }
    ensure!(is_closed_within(&idle, NOTICED_MAX)?, "an idle connection stays open");
    Ok(())
}

#[test]
fn a_request_larger_than_the_limit_closes_its_connection_alone() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = start(&folder, &[("socket.request.max.bytes", "100000")])?;
    let mut good = admitted(node.address())?;
    let large = admitted(node.address())?;
    large.connection.stream().write_all(&100_001_u32.to_be_bytes())?;
    ensure!(is_closed_within(&large, NOTICED_MAX)?, "it stays open");
    good.topics()?;
    Ok(())
}

/// Makes the topic `slow` with 8 batches of 900 KB.
fn write_large_batches(client: &mut Client) -> anyhow::Result<()> {
    client.create_topic("slow", 1, &[("retention.ms", "-1")])?;
    for _ in 0..8 {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.append(1_700_000_000_000, None, Some(&[b'x'; 900_000]), &[]);
        client.produce("slow", 0, batch.build())?;
    }
    Ok(())
}

/// Whether a client gets records of it at once.
fn is_served(client: &mut Client) -> anyhow::Result<bool> {
    let data = client.fetch("slow", 0, 0)?;
    Ok(data.records.is_some_and(|records| !records.is_empty()))
}

/// Readers that have asked for all of it three times and take nothing. Every other one waits for it
/// as long as it takes.
fn readers_that_do_not_read(
    address: SocketAddr,
    readers: usize,
) -> anyhow::Result<Vec<Connection>> {
    const ASKED_EACH: usize = 3;
    const FOR_EVER_MS: i32 = 600_000;
    let mut all = Vec::with_capacity(readers);
    for number in 0..readers {
        let mut reader = Connection::open(address)?;
        // From the beginning the kernel sends the file; from within, the node has to read it.
        let mut request = fetch_request("slow", 0, i64::from(number % 4 < 2));
        if number % 2 == 1 {
            (request.min_bytes, request.max_wait_ms) = (1, FOR_EVER_MS);
        }
        for _ in 0..ASKED_EACH {
            reader.send(ApiKey::Fetch, FETCH_VERSION, &request)?;
        }
        all.push(reader);
    }
    Ok(all)
}

/// Each answer is 7 MiB and nobody takes one: the node must neither keep them all nor let others
/// wait for those who do not read.
#[test]
fn readers_that_do_not_read_cost_bounded_memory_and_nobody_else_waits() -> anyhow::Result<()> {
    const READERS: usize = 100;
    const GROWTH_BYTES_MAX: u64 = 256 << 20;
    let folder = tempfile::tempdir()?;
    let node = start(&folder, &[("queued.max.request.bytes", "16777216")])?;
    let mut client = admitted(node.address())?;
    write_large_batches(&mut client)?;
    let before = node.resident_bytes_peak()?;
    let _readers = readers_that_do_not_read(node.address(), READERS)?;
    thread::sleep(SILENCE);
    let growth = node.resident_bytes_peak()? - before;
    println!("{READERS} readers that do not read: {} KiB more", growth >> 10);
    let begun = Instant::now();
    client.topics()?;
    let waited = begun.elapsed();
    ensure!(growth < GROWTH_BYTES_MAX, "{growth} bytes\n{}", node.output());
    ensure!(waited < NOTICED_MAX, "a good client waits for {waited:?}");
    Ok(())
}

/// The kernel ends who takes more memory than its cgroup may have. Who has read before goes on.
#[test]
fn a_thousand_readers_that_do_not_read_fit_into_little_memory() -> anyhow::Result<()> {
    const READERS: usize = 1000;
    let cap = MemoryCap::new("readers", 256 << 20)?;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let folder = tempfile::tempdir()?;
    let node = cap.around(NodeSpec::new(folder.path())?).start()?;
    ensure!(node.output().contains("is 256 MiB"), "it does not know:\n{}", node.output());
    let mut client = admitted(node.address())?;
    write_large_batches(&mut client)?;
    for _ in 0..3 {
        ensure!(is_served(&mut client)?);
    }
    let readers = readers_that_do_not_read(node.address(), READERS)?;
    thread::sleep(SILENCE);
    client.topics().with_context(|| node.output())?;
    wait_for("who reads to go on", NOTICED_MAX, || is_served(&mut client))?;
    let mut late = admitted(node.address())?;
    ensure!(!is_served(&mut late)?, "readers took less memory than there is: no test");
    println!("{READERS} readers: {} KiB resident at most", node.resident_bytes_peak()? >> 10);
    drop(readers);
    wait_for("everybody to be served", NOTICED_MAX, || is_served(&mut late))
}

#[test]
fn connections_opened_and_dropped_leave_nothing_behind() -> anyhow::Result<()> {
    const CONNECTIONS: usize = 10_000;
    const GROWTH_BYTES_MAX: u64 = 32 << 20;
    let folder = tempfile::tempdir()?;
    // Where the backlog is full, the kernel lets the next one wait for a second.
    let node = start(&folder, &[("socket.listen.backlog.size", "4096")])?;
    let mut client = admitted(node.address())?;
    let before = node.resident_bytes()?;
    for _ in 0..CONNECTIONS {
        // Dropped at once, most before they are accepted.
        drop(std::net::TcpStream::connect(node.address())?);
    }
    client.topics()?;
    wait_for("the memory to be flat", NOTICED_MAX, || {
        Ok(node.resident_bytes()? < before + GROWTH_BYTES_MAX)
    })?;
    wait_for("the sockets to be closed", NOTICED_MAX, || Ok(node.open_files()? < 200))
}
