//! Damage at rest on real files: it is named and not served, and all else is.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use anyhow::ensure;
use records::{BatchBuilder, Compression};
use thalweg_system::client::Client;
use thalweg_system::process::NodeSpec;

const TOPIC: &str = "damage";
/// Two of these do not fit into a segment.
const VALUE_BYTES: usize = 600_000;

#[test]
fn a_flipped_bit_is_named_once_and_takes_only_its_batch() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = NodeSpec::new(folder.path())?;
    let node = spec.start()?;
    let mut client = Client::connect(node.address())?;
    client.create_topic(TOPIC, 1, &[("segment.bytes", "1048576")])?;
    for n in 0..4_u8 {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.append(0, None, Some(&vec![n; VALUE_BYTES]), &[]);
        client.produce(TOPIC, 0, batch.build())?;
    }
    drop(client);
    ensure!(node.stop()?.success());

    let segment = spec.data().join(format!("{TOPIC}-0/{:020}.log", 1));
    let file = OpenOptions::new().read(true).write(true).open(&segment)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, 300_000)?;
    file.write_all_at(&[byte[0] ^ 0x10], 300_000)?;
    // The way to the third one must be found without its index.
    std::fs::remove_file(spec.data().join(format!("{TOPIC}-0/{:020}.index", 2)))?;

    let node = spec.start()?;
    let mut client = Client::connect(node.address())?;
    for round in 0..3 {
        for offset in [0, 2, 3] {
            let found = client.fetch(TOPIC, 0, offset)?.records.unwrap_or_default();
            ensure!(found.len() > VALUE_BYTES, "round {round}: {offset} is served");
        }
        let lost = client.fetch(TOPIC, 0, 1).unwrap_err().to_string();
        ensure!(lost.contains("CORRUPT_MESSAGE"), "round {round}: {lost}");
    }
    let output = node.output();
    let told = output.lines().filter(|line| line.contains("is damaged")).collect::<Vec<_>>();
    // Each batch fills a segment, so that the damaged one begins its file.
    let file = segment.display().to_string();
    for part in [file.as_str(), " position=0 ", " first=1 ", "from a backup"] {
        ensure!(told.len() == 1 && told[0].contains(part), "{part}: {output}");
    }
    ensure!(node.stop()?.success());
    Ok(())
}
