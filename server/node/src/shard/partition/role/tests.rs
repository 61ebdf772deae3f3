//! When a follower asks for more, and when it does not.

use std::path::Path;

use config::{BrokerLayers, NodeConfig, Sources, StaticConfig};
use log::{LogConfig, Opening, RealDisk};
use types::{Rng, TopicPartition, Uuid};

use super::*;
use crate::dirs::Dirs;
use crate::shard::PartitionId;

const HERE: BrokerId = BrokerId(1);
const LEADER: BrokerId = BrokerId(2);
const EPOCH: LeaderEpoch = LeaderEpoch(5);

fn follow(partition: &mut Partition, epoch: LeaderEpoch) {
    let replicas = [HERE, LEADER];
    let (isr, min_isr) = (&replicas[..], 1);
    let term = Term { epoch, partition_epoch: 1, replicas: &replicas, isr, min_isr };
    assert_eq!(partition.take_role(HERE, &term, Some(LEADER)), RoleChange::Follows);
}

/// A partition that follows another node in [`EPOCH`].
fn follower(folder: &Path) -> Partition {
    let overrides = vec![("log.dirs".to_owned(), folder.to_str().unwrap().to_owned())];
    let (fixed, _) = StaticConfig::new(&Sources { overrides, ..Sources::default() }).unwrap();
    let settings = NodeConfig::resolve(&BrokerLayers::at_start(&fixed)).unwrap();
    let disk = Arc::new(RealDisk);
    let (dirs, _ends) = Dirs::open(disk.clone(), &settings, None, &mut Rng::new(1)).unwrap();
    let (name, config) = (TopicPartition::new("t", 0), Arc::new(LogConfig::default()));
    let log = Log::open(disk, folder.join("t-0"), config, Opening::NEW, Millis(0)).unwrap();
    let id = PartitionId { topic: Uuid::from_bytes([7; 16]), index: 0 };
    let role = Role::unknown(Offset::ZERO);
    let mut partition = Partition::new(id, name, log, role, &Arc::default(), Arc::new(dirs));
    follow(&mut partition, EPOCH);
    partition
}

#[test]
fn who_asks_the_leader_for_its_range_fetches_nothing_in_that_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let mut partition = follower(folder.path());
    assert!(partition.want().is_some());
    partition.begin_to_ask();
    assert_eq!(partition.want(), None);
    partition.end_asking(LeaderEpoch(4));
    assert_eq!(partition.want(), None, "that was asked of a former leader");
    partition.end_asking(EPOCH);
    assert!(partition.want().is_some());

    partition.begin_to_ask();
    follow(&mut partition, LeaderEpoch(6));
    assert!(partition.want().is_some(), "the next leader is not waited with");
}

/// A sync that is under way when a replica goes ends later, and would have it ask for more.
#[test]
fn a_replica_that_is_taken_away_follows_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut partition = follower(folder.path());
    assert_eq!(partition.followed(), Some(LEADER));
    partition.retire(ErrorCode::UnknownTopicOrPartition);
    assert_eq!((partition.followed(), partition.want()), (None, None));
}
