//! A disk that neither works nor fails, under a node that has nobody to lead in its place.

use anyhow::ensure;
use protocol::ApiKey;
use records::{BatchBuilder, Compression};
use thalweg_system::client::{Client, PRODUCE_VERSION, produce_request, produced};
use thalweg_system::process::{NodeSpec, free_port, wait_for};
use thalweg_system::volume::Volume;

use crate::disks::NOTICED_MAX;
use crate::metrics::get;

#[test]
fn a_node_says_that_its_disk_hangs_and_goes_on_by_itself_when_it_answers() -> anyhow::Result<()> {
    let (folder, port) = (tempfile::tempdir()?, free_port()?);
    let volume = Volume::new(folder.path(), "disk", 24)?;
    let logs = volume.path.join("logs").display().to_string();
    let spec = NodeSpec::new(folder.path())?
        .with("log.dirs", &logs)
        .with("thalweg.disk.hung.ms", "500")
        .with("thalweg.metrics.listener", &format!("127.0.0.1:{port}"));
    let node = volume.mounted_by(spec).start()?;
    let mut client = Client::connect(node.address())?;
    client.create_topic("t", 1, &[])?;
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(1_700_000_000_000, None, Some(b"v"), &[]);
    let batch = batch.build();
    client.produce("t", 0, batch.clone())?;
    let is_ready = || Ok(get(port, "/healthz/ready")?.0 == 200);
    wait_for("the node to be ready", NOTICED_MAX, is_ready)?;

    let hung = volume.hang(&node)?;
    client.connection.send(ApiKey::Produce, PRODUCE_VERSION, &produce_request("t", 0, batch))?;
    let said = format!("log directory {logs} does not answer");
    wait_for("the node to say so", NOTICED_MAX, || Ok(node.output().contains(&said)))?;
    let (status, body) = get(port, "/healthz/ready")?;
    ensure!(status == 503 && body.contains(&said), "{status} {body}");
    drop(hung);

    ensure!(produced(&mut client.connection)? == 1, "what waited is written once");
    wait_for("the node to be ready again", NOTICED_MAX, is_ready)?;
    let output = node.output();
    ensure!(output.contains(&format!("log directory {logs} answers again")), "{output}");
    ensure!(!output.contains("has fenced this broker"), "nobody else leads\n{output}");
    ensure!(node.stop()?.success());
    Ok(())
}
