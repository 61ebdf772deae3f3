//! How logs are shared out to threads, and what they share.

use config::{BrokerLayers, NodeConfig, Sources, StaticConfig};
use log::{LogConfig, Opening, RealDisk};
use types::{Millis, Offset, Rng, Uuid};

use super::*;
use crate::dirs::Dirs;
use crate::shares::testing::Counting;

/// Jobs for so many logs that a crash left.
fn jobs(folder: &std::path::Path, count: i32) -> Vec<Job> {
    let overrides = vec![("log.dirs".to_owned(), folder.to_str().unwrap().to_owned())];
    let (fixed, _) = StaticConfig::new(&Sources { overrides, ..Sources::default() }).unwrap();
    let config = NodeConfig::resolve(&BrokerLayers::at_start(&fixed)).unwrap();
    let (mut dirs, _ends) =
        Dirs::open(Arc::new(RealDisk), &config, None, &mut Rng::new(1)).unwrap();
    dirs.admit(&Image::default(), config.node_id).unwrap();
    let (dirs, config) = (Arc::new(dirs), Arc::new(LogConfig::default()));
    let topic = Uuid::from_bytes([7; 16]);
    let job = |index| {
        let name = TopicPartition::new("t", index);
        let at = dirs.data()[0].log_dir.folder(&name);
        let disk = Arc::new(RealDisk);
        let mut log =
            Log::open(disk, at.clone(), Arc::clone(&config), Opening::NEW, Millis(0)).unwrap();
        log.write_topic_id(topic).unwrap();
        drop(log);
        std::fs::write(at.join("00000000000000000000.log"), batch()).unwrap();
        let closed = dirs.data()[0].closed(name, 0);
        let id = PartitionId { topic, index };
        (id, OpenJob::new(Arc::clone(&dirs), id, closed, Arc::clone(&config)))
    };
    (0..count).map(job).collect()
}

fn batch() -> bytes::Bytes {
    let mut batch = records::BatchBuilder::new(records::Compression::None);
    batch.append(1, None, Some(b"value"), &[]);
    batch.build()
}

fn progress() -> DirProgress {
    DirProgress::new(PathBuf::new(), 9, 2)
}

#[test]
fn many_logs_share_one_sync() {
    let folder = tempfile::tempdir().unwrap();
    let (volume, progress) = (Counting::default(), progress());
    let outcomes = recover(jobs(folder.path(), 9), Some(&volume), (&progress, 1));
    assert_eq!(outcomes.len(), 9);
    for (id, outcome) in outcomes {
        assert_eq!(outcome.unwrap().end_offset, Offset::new(1), "{id:?}");
    }
    // Once for the data, and once where an epoch checkpoint was due.
    assert!((1..=2).contains(&volume.syncs.load(Ordering::Relaxed)));
    assert_eq!(progress.logs_left(), 0);
}

#[test]
fn no_log_is_taken_for_recovered_whose_sync_failed() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Counting { fails: true, ..Counting::default() };
    let outcomes = recover(jobs(folder.path(), 3), Some(&volume), (&progress(), 0));
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes.iter().all(|(_, outcome)| outcome.is_err()));
}

#[test]
fn what_is_left_is_shown_by_directory_and_thread() {
    let dir = DirProgress::new(PathBuf::from("/d"), 3, 2);
    dir.left[1].store(4, Ordering::Relaxed);
    let progress = Progress(OnceLock::from(vec![dir]));
    let page = crate::metrics::render_recovery(&progress);
    for line in [
        "kafka_log_logmanager_remaininglogstorecover{dir=\"/d\"} 3.0",
        "kafka_log_logmanager_remainingsegmentstorecover{dir=\"/d\",threadnum=\"0\"} 0.0",
        "kafka_log_logmanager_remainingsegmentstorecover{dir=\"/d\",threadnum=\"1\"} 4.0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not on {page}");
    }
    assert!(progress.to_string().contains("4 segments left"), "{progress}");
}
