//! Which directories are taken, and where partitions go.

use std::fs;

use ::metadata::Image;
use config::{BrokerLayers, NodeConfig, Sources, StaticConfig};
use log::RealDisk;
use protocol::internal::metadata::{PartitionRecord, TopicRecord};
use types::Rng;

use super::*;

/// Directories `names` below `folder`, as a node opens them that has registered with `image`.
fn open(folder: &Path, names: &[&str], image: &Image) -> anyhow::Result<Dirs> {
    let paths: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
    let text: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let overrides = vec![("log.dirs".to_owned(), text.join(","))];
    let (fixed, _) = StaticConfig::new(&Sources { overrides, ..Sources::default() }).unwrap();
    let config = NodeConfig::resolve(&BrokerLayers::at_start(&fixed)).unwrap();
    let (mut dirs, _ends) = Dirs::open(Arc::new(RealDisk), &config, None, &mut Rng::new(1))?;
    dirs.admit(image, config.node_id)?;
    Ok(dirs)
}

/// A cluster in which node 1 has these directories.
fn registered(ids: &[Uuid]) -> Image {
    let record = protocol::internal::metadata::RegisterBrokerRecord {
        broker_id: 1,
        log_dirs: ids.to_vec(),
        ..Default::default()
    };
    let mut image = Image::default();
    image.apply(&record.into()).unwrap();
    image
}

#[test]
fn a_partition_of_a_directory_that_was_taken_away_gets_no_empty_log_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let dirs = open(folder.path(), &["a"], &Image::default()).unwrap();
    let partition = TopicPartition::new("a", 0);
    let own = dirs.data()[0].id;
    assert_eq!(dirs.place(&partition, Some(own), false).unwrap().id, own);
    assert_eq!(dirs.place(&partition, None, false).unwrap().id, own);
    assert!(dirs.place(&partition, Some(Uuid::from_bytes([7; 16])), false).is_err());
}

#[test]
fn an_empty_place_where_a_disk_should_be_is_not_taken_for_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let dirs = open(folder.path(), &["a", "b"], &Image::default()).unwrap();
    let (ids, missing) = (dirs.ids(true), dirs.all[1].id);
    let image = registered(&ids);
    drop(dirs);
    fs::remove_dir_all(folder.path().join("b")).unwrap();
    let dirs = open(folder.path(), &["a", "b"], &image).unwrap();
    assert_eq!(dirs.ids(true), ids[..1]);
    let [unusable] = &dirs.unusable[..] else { panic!("one is set aside") };
    assert!(unusable.reason.contains(&missing.to_string()), "{}", unusable.reason);
    assert!(!folder.path().join("b/meta.properties").exists());
    // What was written may lie there; what is new does not.
    let partition = TopicPartition::new("t", 0);
    assert!(dirs.place(&partition, None, false).is_err());
    assert_eq!(dirs.place(&partition, None, true).unwrap().id, ids[0]);
    drop(dirs);
    // The administrator says that the disk is a new one.
    let text = fs::read_to_string(folder.path().join("a/meta.properties")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("directory.id"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    fs::write(folder.path().join("b/meta.properties"), text).unwrap();
    let dirs = open(folder.path(), &["a", "b"], &image).unwrap();
    assert_eq!((dirs.unusable.len(), dirs.ids(true).len()), (0, 2));
    assert_ne!(dirs.ids(true)[1], missing);
}

#[test]
fn a_directory_more_is_formatted_where_none_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let ids = open(folder.path(), &["a"], &Image::default()).unwrap().ids(true);
    let dirs = open(folder.path(), &["a", "b"], &registered(&ids)).unwrap();
    assert_eq!((dirs.unusable.len(), dirs.ids(true).len()), (0, 2));
}

#[test]
fn a_used_directory_that_has_lost_its_meta_properties_is_refused_and_left_as_it_is() {
    let cases: &[(&str, &[&str])] = &[
        ("a", &["__cluster_metadata-0", "t-0"]),
        ("a", &["t-0"]),
        ("b", &["t-0.00000000000000000000000000000007-stray"]),
    ];
    for (lost, left) in cases {
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path(), &["a", "b"], &Image::default()).unwrap());
        let dir = folder.path().join(lost);
        left.iter().for_each(|name| fs::create_dir(dir.join(name)).unwrap());
        fs::remove_file(dir.join("meta.properties")).unwrap();
        let refusal = open(folder.path(), &["a", "b"], &Image::default()).err().unwrap();
        let refusal = format!("{refusal:#}");
        for said in [dir.to_str().unwrap(), "meta.properties", left[0]] {
            assert!(refusal.contains(said), "{refusal}");
        }
        assert!(!dir.join("meta.properties").exists(), "{left:?} in {lost}");
    }
}

#[test]
fn checkpoints_alone_show_that_a_directory_was_used() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a/recovery-point-offset-checkpoint"), "0\n0\n").unwrap();
    let refusal = open(folder.path(), &["a"], &Image::default()).err().unwrap();
    assert!(format!("{refusal:#}").contains("recovery-point-offset-checkpoint"), "{refusal:#}");
}

#[test]
fn a_new_volume_and_what_is_there_before_formatting_are_not_taken_for_use() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("a/lost+found")).unwrap();
    for name in [".lock", "meta.properties.tmp", "notes.txt"] {
        fs::write(folder.path().join("a").join(name), "").unwrap();
    }
    open(folder.path(), &["a"], &Image::default()).unwrap();
    assert!(folder.path().join("a/meta.properties").exists());
}

#[test]
fn a_directory_that_cannot_be_used_leaves_the_others() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), &["a", "b"], &Image::default()).unwrap());
    fs::write(folder.path().join("b/meta.properties"), "cluster.id").unwrap();
    let dirs = open(folder.path(), &["a", "b"], &Image::default()).unwrap();
    assert_eq!((dirs.data().len(), dirs.unusable.len()), (1, 1));
    drop(dirs);
    // The first holds the metadata.
    fs::write(folder.path().join("a/meta.properties"), "cluster.id").unwrap();
    let refusal = open(folder.path(), &["a", "b"], &Image::default()).err().unwrap();
    assert!(format!("{refusal:#}").contains("a/meta.properties"), "{refusal:#}");
}

#[test]
fn a_directory_fails_by_what_the_system_refuses_and_not_by_want_of_room() {
    let folder = tempfile::tempdir().unwrap();
    let dirs = open(folder.path(), &["a", "b"], &Image::default()).unwrap();
    let fault = |name: &str, errno| LogError::Io {
        action: "write",
        path: folder.path().join(name).join("t-0/0.log"),
        cause: std::io::Error::from_raw_os_error(errno),
    };
    let (eio, emfile, enospc, erofs) = (5, 24, 28, 30);
    for errno in [emfile, enospc] {
        dirs.report(&fault("b", errno));
        assert!(dirs.data()[1].is_online(), "{errno}");
    }
    dirs.report(&fault("b", erofs));
    assert!(!dirs.data()[1].is_online() && dirs.data()[0].is_online());
    assert_eq!(dirs.lost(), None);
    let (partition, failed) = (TopicPartition::new("t", 0), dirs.data()[1].id);
    assert!(dirs.place(&partition, Some(failed), true).is_err());
    assert_eq!(dirs.place(&partition, None, true).unwrap().id, dirs.data()[0].id);
    dirs.report(&fault("a", eio));
    assert!(dirs.lost().unwrap().contains("metadata"));
}

#[test]
fn a_cordoned_directory_takes_a_partition_only_where_all_are() {
    let folder = tempfile::tempdir().unwrap();
    let dirs = open(folder.path(), &["a", "b"], &Image::default()).unwrap();
    let placed = |dirs: &Dirs| {
        let dir = dirs.place(&TopicPartition::new("t", 0), None, true).unwrap();
        dir.count(true);
        dir.path().file_name().unwrap().to_owned()
    };
    let cordoned = folder.path().join("a").to_str().unwrap().to_owned();
    assert!(dirs.set_cordoned(std::slice::from_ref(&cordoned)));
    assert!(!dirs.set_cordoned(&[cordoned]), "nothing changes");
    assert_eq!([placed(&dirs), placed(&dirs)], ["b", "b"]);
    assert_eq!(dirs.cordoned_ids(), [dirs.data()[0].id]);
    assert!(dirs.set_cordoned(&["*".to_owned()]));
    assert_eq!(placed(&dirs), "a");
}

/// A crash at the end of a move left the partition in both; the cluster knows it in the first.
#[test]
fn a_directory_that_refuses_to_set_a_folder_aside_is_offline_and_the_other_serves() {
    let folder = tempfile::tempdir().unwrap();
    let ids = open(folder.path(), &["a", "b"], &Image::default()).unwrap().ids(true);
    let (topic_id, node) = (Uuid::from_bytes([7; 16]), 1);
    let mut image = registered(&ids);
    let topic = TopicRecord { name: "t".to_owned(), topic_id, ..Default::default() };
    image.apply(&topic.into()).unwrap();
    let replica = PartitionRecord {
        topic_id,
        partition_id: 0,
        replicas: vec![node],
        isr: vec![node],
        leader: node,
        directories: vec![ids[0]],
        ..Default::default()
    };
    image.apply(&replica.into()).unwrap();
    for name in ["a", "b"] {
        fs::create_dir(folder.path().join(name).join("t-0")).unwrap();
    }
    // Something lies where the folder would go.
    let stray = format!("b/t-0.{}-stray", "07".repeat(16));
    fs::create_dir_all(folder.path().join(stray).join("full")).unwrap();
    let dirs = open(folder.path(), &["a", "b"], &image).unwrap();
    assert_eq!(dirs.found(&TopicPartition::new("t", 0)).unwrap().id, ids[0]);
    assert_eq!((dirs.ids(true), dirs.ids(false)), (vec![ids[0]], vec![ids[1]]));
}

#[test]
fn a_log_in_a_directory_that_is_not_named_any_more_is_said_to_miss_it() {
    let folder = tempfile::tempdir().unwrap();
    let dirs = open(folder.path(), &["a"], &Image::default()).unwrap();
    let gone = Some(Uuid::from_bytes([7; 16]));
    let fault = dirs.place(&TopicPartition::new("t", 0), gone, false).err().unwrap();
    let expected = "its directory is missing: it lies in one that log.dirs does not name any more";
    assert!(fault.to_string().starts_with(expected), "{fault}");
}
