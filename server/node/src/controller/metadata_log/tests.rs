//! What a leader sends is taken only where it is sound and follows; what is missing is not made up.

use std::fs;

use config::{BrokerLayers, NodeConfig, Sources, StaticConfig};
use protocol::internal::metadata::TopicRecord;
use raft::{Election, ReplicaKey, Voter};
use types::BrokerId;

use super::*;

const EPOCH: LeaderEpoch = LeaderEpoch(3);
const NOW: Millis = Millis(1000);

fn voters(count: i32) -> VoterSet {
    VoterSet::new((1..=count).map(|id| Voter {
        key: ReplicaKey { id: BrokerId(id), directory: None },
        endpoints: vec![],
        kraft_versions: (0, 1),
    }))
}

fn try_open(dir: &Path, fixed: VoterSet) -> anyhow::Result<(MetadataLog, Found)> {
    let (fixed_config, _) = StaticConfig::new(&Sources::default()).unwrap();
    let config = NodeConfig::resolve(&BrokerLayers::at_start(&fixed_config)).unwrap();
    let quorum = &config.quorum;
    MetadataLog::open(Setup { dir, quorum, fixed, first: None, is_clean: false, now: NOW })
}

/// A log with some topics, each in a batch.
fn log_of(dir: &Path, topics: u8) -> MetadataLog {
    let (mut log, _) = try_open(dir, voters(3)).unwrap();
    let election = Election { epoch: EPOCH, ..Election::default() };
    log.persist(&election, None).unwrap();
    for number in 1..=topics {
        let (name, topic_id) = (format!("t{number}"), Uuid::from_bytes([number; 16]));
        let record = TopicRecord { name, topic_id, ..Default::default() }.into();
        log.append(&[record], 29, EPOCH, NOW).unwrap();
    }
    log.sync().unwrap();
    log
}

#[test]
fn batches_of_a_leader_are_taken_only_if_they_are_sound_and_follow() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let sent = log_of(dirs[0].path(), 3).read(Offset::ZERO, usize::MAX).unwrap();
    let ends: Vec<_> = split_batches(&sent).map(|cut| cut.unwrap().0.end).collect();
    let (mut log, _) = try_open(dirs[1].path(), voters(3)).unwrap();
    let mut flipped = sent.to_vec();
    flipped[ends[1] - 1] ^= 1;
    let wrong = [
        ("damaged", Bytes::from(flipped), EPOCH),
        ("from later on", sent.slice(ends[0]..), EPOCH),
        ("one twice", [&sent[..ends[0]], &sent[..]].concat().into(), EPOCH),
        ("of a later epoch", sent.clone(), LeaderEpoch(2)),
        ("less than a batch", sent.slice(..ends[0] - 1), EPOCH),
        ("nothing", Bytes::new(), EPOCH),
    ];
    for (name, bytes, epoch) in wrong {
        assert!(log.check_fetched(&bytes, epoch).is_err(), "{name}");
    }
    // An answer may end within a batch.
    let (whole, contents) = log.check_fetched(&sent.slice(..ends[2] - 1), EPOCH).unwrap();
    assert_eq!((whole.len(), contents.records.len()), (ends[1], 2));
    // The second attempt, where the first had no room for the rest.
    log.append_fetched(&whole.slice(..ends[0]), NOW).unwrap();
    log.append_fetched(&whole, NOW).unwrap();
    assert_eq!(log.end().offset, Offset::new(2));
}

#[test]
fn a_voter_that_has_lost_its_vote_does_not_start_beside_others() {
    let dir = tempfile::tempdir().unwrap();
    drop(log_of(dir.path(), 1));
    fs::remove_file(dir.path().join(METADATA_FOLDER).join("quorum-state")).unwrap();
    assert!(try_open(dir.path(), voters(3)).is_err());
    assert!(try_open(dir.path(), voters(1)).is_ok(), "alone it can only have voted for itself");
}

#[test]
fn a_damaged_snapshot_leaves_the_log_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log_of(dir.path(), 2);
    let at = LogPosition { offset: Offset::new(9), epoch: EPOCH };
    for piece in [&b"no snapshot"[..], &[]] {
        log.take_piece(at, 0, piece).unwrap();
        assert!(log.install_snapshot(NOW).unwrap().is_none());
    }
    assert_eq!((log.end().offset, log.latest_snapshot()), (Offset::new(2), None));
    log.take_piece(at, 0, b"a crash while it comes").unwrap();
    drop(log);
    let (log, _) = try_open(dir.path(), voters(3)).unwrap();
    assert_eq!((log.end().offset, log.latest_snapshot()), (Offset::new(2), None));
    let names = fs::read_dir(dir.path().join(METADATA_FOLDER)).unwrap();
    let mut names = names.map(|name| name.unwrap().file_name().into_string().unwrap());
    assert!(names.all(|name| !name.ends_with(".part")));
}

#[test]
fn a_crash_while_a_snapshot_replaces_the_log_is_made_good_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(METADATA_FOLDER);
    drop(log_of(dir.path(), 2));
    // In its place already, while the log still is the former one.
    let at = LogPosition { offset: Offset::new(9), epoch: EPOCH };
    snapshot::write(&folder, at, None, &Image::default(), NOW).unwrap();
    for _ in 0..2 {
        let (log, found) = try_open(dir.path(), voters(3)).unwrap();
        let ends = (log.start(), log.end(), found.images.committed_end());
        assert_eq!(ends, (at.offset, at, at.offset));
        assert_eq!(found.images.deciding().topics().count(), 0);
        drop(log);
        // A crash between the last two steps: an older one is still there.
        let older = LogPosition { offset: Offset::new(1), epoch: EPOCH };
        snapshot::write(&folder, older, None, &Image::default(), NOW).unwrap();
    }
}

/// Else a follower that has the newest snapshot and nothing else would be told to take it for ever.
#[test]
fn the_epoch_of_the_snapshot_that_the_log_begins_with_is_known_beside_older_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(METADATA_FOLDER);
    drop(log_of(dir.path(), 2));
    let at = |offset, epoch| LogPosition { offset: Offset::new(offset), epoch };
    for snapshot in [at(1, LeaderEpoch(1)), at(9, EPOCH)] {
        snapshot::write(&folder, snapshot, None, &Image::default(), NOW).unwrap();
    }
    let (mut log, _) = try_open(dir.path(), voters(3)).unwrap();
    let record = TopicRecord { name: "t".to_owned(), ..Default::default() }.into();
    log.append(&[record], 29, LeaderEpoch(4), NOW).unwrap();
    assert_eq!(log.end_of_epoch(EPOCH), at(9, EPOCH));
}
