//! Moving a partition to another directory: a future log is filled, then takes the name.

#![allow(clippy::unwrap_used, reason = "all of this file is a test")]

use std::sync::Arc;

use bytes::BytesMut;
use records::{BatchBuilder, Compression};
use thalweg_log::{AppendOrigin, Disk, FolderKind, Log, LogConfig, LogDir, Opening, RealDisk};
use types::{LeaderEpoch, Millis, Offset, TopicPartition, Uuid};

#[test]
fn future_log_takes_the_place_of_the_current_one() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let from = LogDir::open(Arc::clone(&disk), one.path().to_owned()).unwrap();
    let to = LogDir::open(Arc::clone(&disk), other.path().to_owned()).unwrap();
    let partition = TopicPartition::new("t", 0);
    let unique = Uuid::from_bytes([9; 16]);
    let config = Arc::new(LogConfig { segment_bytes: 500, ..LogConfig::default() });
    let open = |path, opening| {
        Log::open(Arc::clone(&disk), path, Arc::clone(&config), opening, Millis(0)).unwrap()
    };

    let mut current = open(from.folder(&partition), Opening::NEW);
    for n in 0..20 {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(n, None, Some(&[1; 50]), &[]);
        let (batch, epoch) = (BytesMut::from(builder.build()), LeaderEpoch(0));
        current.append_as_leader(batch, epoch, AppendOrigin::Client, Millis(0)).unwrap();
    }
    current.delete_records(Offset::new(7), Offset::new(20)).unwrap();

    let start_offset = current.start_offset();
    let path = to.folder_of_kind(&partition, FolderKind::Future, unique);
    let mut future = open(path, Opening { start_offset, ..Opening::NEW });
    while future.end_offset() < current.end_offset() {
        let next = future.end_offset();
        let read = current.read_blocking(next, 300, Offset::MAX, true).unwrap();
        future.append_as_follower(&read.bytes, Millis(0)).unwrap();
    }
    assert_eq!(to.folders().unwrap()[0].kind, FolderKind::Future);

    let deleted = from.folder_of_kind(&partition, FolderKind::Deleted, unique);
    current.rename(deleted.clone()).unwrap();
    future.rename(to.folder(&partition)).unwrap();
    current.close().unwrap();
    from.remove_folder(&deleted).unwrap();
    assert_eq!(from.folders().unwrap(), []);
    assert_eq!(to.folders().unwrap()[0].kind, FolderKind::Current);

    let recovery_point = future.close().unwrap();
    let moved = open(
        to.folder(&partition),
        Opening { start_offset, recovery_point, is_clean: true, ..Opening::NEW },
    );
    assert_eq!((moved.start_offset(), moved.end_offset()), (Offset::new(7), Offset::new(20)));
}
