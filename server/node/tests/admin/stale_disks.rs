//! Disks that come back as they were before, or not at all: whoever has them is not counted on.

use std::fs;
use std::path::Path;

use types::ErrorCode;

use crate::client::eventually;
use crate::cluster::brokers;
use crate::mending::{batches, filled, read_all};
use crate::replication::{TOPIC, append, state};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => _ = fs::copy(entry.path(), to).unwrap(),
        }
    }
}

/// It has the mark of a clean stop, and the same directory id; only the epoch of the broker tells.
#[test]
fn a_broker_with_an_old_image_of_its_disk_does_not_lead() {
    let (mut cluster, first) = filled();
    let second = 5 - first;
    let image = tempfile::tempdir().unwrap();
    cluster.stop(second);
    copy(&cluster.folder(second), image.path());
    cluster.start_broker(second);
    eventually("both in sync", || {
        (state(&mut cluster.client(first), TOPIC)? == (first, 2)).then_some(())
    });
    let mut client = cluster.client(first);
    for _ in 0..3 {
        assert_eq!(append(&mut client), ErrorCode::None);
    }
    let before = batches(&cluster, first);
    drop(client);

    // The second one is the last that may lead, and stops in good order, too.
    cluster.stop(first);
    cluster.stop(second);
    fs::remove_dir_all(cluster.folder(second)).unwrap();
    copy(image.path(), &cluster.folder(second));
    assert!(batches(&cluster, second) != before);
    cluster.start_broker(second);
    let mut client = cluster.client(second);
    eventually("the second to be let in", || {
        brokers(&mut client).contains(&(second, false)).then_some(())
    });
    assert_eq!(state(&mut client, TOPIC).unwrap().0, -1, "nobody may lead");

    cluster.start_broker(first);
    eventually("both in sync again", || {
        (state(&mut cluster.client(first), TOPIC)? == (first, 2)).then_some(())
    });
    read_all(&cluster, first);
    eventually("the same files", || (batches(&cluster, second) == before).then_some(()));
}
