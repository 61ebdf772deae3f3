//! Damage at rest to partitions with replicas on two brokers: what one has lost it gets from the
//! other, whoever leads; what both have lost is named and takes nothing else along.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use protocol::ApiKey;
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use records::{BatchBuilder, Compression, split_batches};
use types::ErrorCode;

use crate::client::{Client, eventually};
use crate::cluster::Cluster;
use crate::configs::{self, set};
use crate::replication::{OFFSETS, TOPIC, commit, committed, coordinator, start, state};

const BATCHES: i64 = 6;

/// What the record at an offset says.
fn value(offset: i64) -> Vec<u8> {
    vec![u8::try_from(offset).unwrap(); 1000]
}

/// A cluster with a row of batches of one record, each of them on both brokers; and who leads.
pub fn filled() -> (Cluster, i32) {
    let cluster = start();
    let (leader, _) = eventually("all in sync", || {
        state(&mut cluster.client(2), TOPIC).filter(|(_, in_sync)| *in_sync == 2)
    });
    let mut client = cluster.client(leader);
    for n in 0..BATCHES {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.append(n, None, Some(&value(n)), &[]);
        let batch = batch.build();
        eventually("the leader to serve", || {
            (client.append(TOPIC, batch.clone(), 9).error_code == 0).then_some(())
        });
    }
    (cluster, leader)
}

/// The log files of a broker's replica of a topic, in order.
fn files(cluster: &Cluster, id: i32, topic: &str) -> Vec<PathBuf> {
    let folder = cluster.folder(id).join(format!("{topic}-0"));
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|it| it == "log")).collect();
    files.sort();
    files
}

/// All batches of a broker's replica, one behind the other.
pub fn batches(cluster: &Cluster, id: i32) -> Vec<u8> {
    batches_of(cluster, id, TOPIC)
}

/// The same of another topic's first partition.
pub fn batches_of(cluster: &Cluster, id: i32, topic: &str) -> Vec<u8> {
    let contents = files(cluster, id, topic).into_iter().map(|path| {
        let content = fs::read(path).unwrap();
        let whole = split_batches(&content).map_while(Result::ok).last();
        content[..whole.map_or(0, |(range, _)| range.end)].to_vec()
    });
    contents.collect::<Vec<_>>().concat()
}

/// Flips a bit in the only record of a batch, while the broker is down.
fn flip(cluster: &mut Cluster, id: i32, batch: usize) {
    flip_at(cluster, id, batch, 900);
}

/// The same at a byte of the batch.
fn flip_at(cluster: &mut Cluster, id: i32, batch: usize, byte: usize) {
    change(cluster, id, TOPIC, batch, |content, range| content[range.start + byte] ^= 4);
}

/// Changes the first file of a broker's replica where it holds a batch, while the broker is down.
fn change(
    cluster: &mut Cluster,
    id: i32,
    topic: &str,
    batch: usize,
    act: impl FnOnce(&mut Vec<u8>, Range<usize>),
) {
    cluster.stop(id);
    let file = &files(cluster, id, topic)[0];
    let mut content = fs::read(file).unwrap();
    let (range, _) = split_batches(&content).nth(batch).unwrap().unwrap();
    act(&mut content, range);
    fs::write(file, content).unwrap();
    cluster.start_broker(id);
    let other = 5 - id;
    eventually("both to be in sync, led by the other", || {
        (state(&mut cluster.client(other), topic)? == (other, 2)).then_some(())
    });
}

/// What a broker answers to a fetch: the first offset and value that it gives, or an error.
fn fetch(client: &mut Client, offset: i64) -> Result<(i64, Vec<u8>), ErrorCode> {
    let partition =
        FetchPartition { fetch_offset: offset, partition_max_bytes: 1, ..Default::default() };
    let topic =
        FetchTopic { topic: TOPIC.to_owned(), partitions: vec![partition], ..Default::default() };
    let request = FetchRequest {
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let answer: FetchResponse = client.call(ApiKey::Fetch, 12, &request);
    let partition = &answer.responses[0].partitions[0];
    if partition.error_code != 0 {
        return Err(ErrorCode::from_wire(partition.error_code));
    }
    let bytes = partition.records.clone().unwrap_or_default();
    let batch = records::Batch::open(&bytes, records::DecompressLimits { bytes_max: 1 << 20 });
    let batch = batch.map_err(|_| ErrorCode::None)?;
    let record = batch.records().next().unwrap().unwrap();
    Ok((record.offset.get(), record.value.unwrap().to_vec()))
}

/// Reads everything from the broker that leads; what is damaged is never served, and is whole
/// sooner or later.
pub fn read_all(cluster: &Cluster, leader: i32) {
    let mut client = cluster.client(leader);
    for n in 0..BATCHES {
        let found = eventually("the record", || match fetch(&mut client, n) {
            Ok(found) => Some(found),
            Err(
                ErrorCode::None | ErrorCode::KafkaStorageError | ErrorCode::NotLeaderOrFollower,
            ) => None,
            Err(other) => panic!("{other} at {n}"),
        });
        assert_eq!(found, (n, value(n)));
    }
}

#[test]
fn each_replica_gets_what_it_has_lost_from_the_other() {
    let (mut cluster, first) = filled();
    let second = 5 - first;
    let before = batches(&cluster, first);
    flip(&mut cluster, second, 1);
    // From now on the second one leads.
    flip(&mut cluster, first, 3);
    assert!(batches(&cluster, first) != before);
    read_all(&cluster, second);

    cluster.stop(second);
    cluster.start_broker(second);
    eventually("the first to lead, with the second in sync", || {
        (state(&mut cluster.client(first), TOPIC)? == (first, 2)).then_some(())
    });
    read_all(&cluster, first);
    for id in [first, second] {
        // Readers have it before its files have their names.
        eventually("the same files", || (batches(&cluster, id) == before).then_some(()));
    }
}

#[test]
fn what_all_have_lost_is_named_and_the_rest_is_served() {
    let (mut cluster, first) = filled();
    let second = 5 - first;
    flip(&mut cluster, second, 2);
    flip(&mut cluster, first, 2);
    let mut client = cluster.client(second);
    let lost = eventually("nobody to have it", || match fetch(&mut client, 2) {
        Ok(found) => panic!("{found:?} is served"),
        Err(ErrorCode::KafkaStorageError) => None,
        Err(code) => Some(code),
    });
    assert_eq!(lost, ErrorCode::CorruptMessage);
    for n in [0, 1, 3, 4, 5] {
        assert_eq!(fetch(&mut client, n), Ok((n, value(n))));
    }
}

/// Byte 16 of a batch is its version; the headers of the last batches are looked at even after a
/// stop in good order.
#[test]
fn a_replica_that_cannot_be_opened_is_given_up_and_follows_anew() {
    let (mut cluster, first) = filled();
    let before = batches(&cluster, first);
    for id in [5 - first, first] {
        // It has stopped in good order, and so would be one to lead.
        flip_at(&mut cluster, id, 5, 16);
        read_all(&cluster, 5 - id);
        eventually("the same files", || (batches(&cluster, id) == before).then_some(()));
    }
}

/// A tombstone may be gone elsewhere whose record is still here.
#[test]
fn nothing_stays_of_a_compacted_replica_that_cannot_be_opened() {
    let (mut cluster, first) = filled();
    let second = 5 - first;
    let compact = Some("compact");
    let code = set(&mut cluster.client(first), configs::TOPIC, TOPIC, "cleanup.policy", compact);
    assert_eq!(code, ErrorCode::None);
    change(&mut cluster, second, TOPIC, 2, |content, range| _ = content.drain(range));
    assert!(batches(&cluster, second) != batches(&cluster, first));
    flip_at(&mut cluster, first, 5, 16);
    eventually("the same files", || {
        (batches(&cluster, first) == batches(&cluster, second)).then_some(())
    });
}

#[test]
fn a_coordinator_whose_log_is_damaged_serves_once_it_is_mended() {
    let mut cluster = start();
    let first = eventually("a coordinator", || coordinator(&mut cluster.client(2)));
    let second = 5 - first;
    eventually("the commit", || commit(&mut cluster.client(first), 42).is_none().then_some(()));
    eventually("both to have it", || {
        (state(&mut cluster.client(second), OFFSETS)?.1 == 2).then_some(())
    });
    change(&mut cluster, second, OFFSETS, 0, |content, range| content[range.end - 1] ^= 4);
    cluster.stop(first);
    eventually("the other to lead", || {
        (state(&mut cluster.client(second), OFFSETS)?.0 == second).then_some(())
    });
    cluster.start_broker(first);
    let found = eventually("the offsets", || committed(&mut cluster.client(second)));
    assert_eq!(found, 42);
}
