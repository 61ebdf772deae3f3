//! Health and metrics over HTTP: what a monitor sees is what clients did.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use thalweg_system::client::Client;
use thalweg_system::load::Producer;
use thalweg_system::process::{NodeSpec, free_port, wait_for};

const READY_MAX: Duration = Duration::from_secs(10);
const TOPIC: &str = "measured";

/// Status and body of one page.
pub fn get(port: u16, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(READY_MAX))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the headers")?;
    let status = head.split(' ').nth(1).context("no status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// The value of one sample.
fn sample(page: &str, name: &str) -> anyhow::Result<f64> {
    let line = page.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        // Without labels, braces around nothing are allowed.
        rest.strip_prefix("{}").unwrap_or(rest).strip_prefix(' ')
    });
    Ok(line.with_context(|| format!("no {name} in\n{page}"))?.trim().parse()?)
}

#[test]
fn pages_tell_health_and_what_clients_did() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let spec = NodeSpec::new(folder.path())?
        .with("thalweg.metrics.listener", &format!("127.0.0.1:{port}"));
    let node = spec.start()?;
    wait_for("ready", READY_MAX, || Ok(get(port, "/healthz/ready")?.0 == 200))?;
    for page in ["/healthz/live", "/healthz/started"] {
        ensure!(get(port, page)?.0 == 200, "{page}");
    }
    ensure!(get(port, "/nothing")?.0 == 404);

    let mut client = Client::connect(node.address())?;
    client.create_topic(TOPIC, 2, &[("retention.ms", "-1")])?;
    let mut producer = Producer::new(&mut client, 0, TOPIC, 2, 11)?;
    producer.produce(node.address(), Some(40))?;
    let sent: i32 = producer.acknowledged().iter().map(|batch| batch.records).sum();
    let (status, page) = get(port, "/metrics")?;
    ensure!(status == 200);
    let name = "kafka_server_brokertopicmetrics_messagesin_total";
    ensure!(sample(&page, name)? == f64::from(sent), "{sent} sent\n{page}");
    let of_topic = format!("{name}{{topic=\"{TOPIC}\"}}");
    ensure!(sample(&page, &of_topic)? == f64::from(sent), "{sent} sent\n{page}");
    let end = |partition| {
        sample(
            &page,
            &format!("kafka_log_log_logendoffset{{topic=\"{TOPIC}\",partition=\"{partition}\"}}"),
        )
    };
    ensure!(end(0)? + end(1)? == f64::from(sent), "{page}");
    ensure!(node.stop()?.success());
    Ok(())
}
