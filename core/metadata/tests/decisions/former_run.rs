//! When a broker may say that it has all of its former run.

use protocol::internal::metadata::{PartitionRecord, RegisterBrokerRecord, TopicRecord};
use thalweg_metadata::image::directory;
use thalweg_metadata::{FoundDirectory, Image, NotWhole, epoch_of_former_run};
use types::{BrokerId, TopicPartition, Uuid};

const RUN: Uuid = id(90);
const DIR: Uuid = id(101);
const OTHER: Uuid = id(102);
const NEW: Uuid = id(103);
const EPOCH: i64 = 7;

const fn id(last: u8) -> Uuid {
    Uuid::from_bytes([last; 16])
}

/// Broker 1 has registered with directories, and holds one of two replicas of `t-0`.
fn image(dirs: &[Uuid], isr: &[i32], elr: &[i32], dir: Uuid) -> Image {
    let broker = RegisterBrokerRecord {
        broker_id: 1,
        incarnation_id: RUN,
        broker_epoch: EPOCH,
        log_dirs: dirs.to_vec(),
        ..Default::default()
    };
    let topic = TopicRecord { name: "t".to_owned(), topic_id: id(1), ..Default::default() };
    let partition = PartitionRecord {
        partition_id: 0,
        topic_id: id(1),
        replicas: vec![1, 2],
        isr: isr.to_vec(),
        eligible_leader_replicas: Some(elr.to_vec()),
        directories: vec![dir, DIR],
        ..Default::default()
    };
    let mut image = Image::default();
    for record in [broker.into(), topic.into(), partition.into()] {
        image.apply(&record).unwrap();
    }
    image
}

fn whole(id: Uuid) -> FoundDirectory {
    FoundDirectory { id, whole_runs: vec![id, RUN], ..Default::default() }
}

fn said(image: &Image, dirs: &[FoundDirectory], has_log: bool) -> Result<i64, NotWhole> {
    epoch_of_former_run(image, BrokerId(1), dirs, |_| has_log)
}

#[test]
fn every_directory_of_the_former_run_must_say_that_it_has_all_of_it() {
    let clean = |epoch| FoundDirectory { id: DIR, clean_epoch: Some(epoch), ..Default::default() };
    let another_run = FoundDirectory { id: DIR, whole_runs: vec![id(91)], ..Default::default() };
    let empty = |id| FoundDirectory { id, ..Default::default() };
    let cases = [
        ("after a stop in good order", vec![clean(EPOCH)], Ok(EPOCH)),
        ("after a crash", vec![whole(DIR)], Ok(EPOCH)),
        ("one each", vec![clean(EPOCH), whole(OTHER)], Ok(EPOCH)),
        ("a directory more", vec![whole(DIR), empty(NEW)], Ok(EPOCH)),
        ("one of two replaced", vec![whole(DIR), empty(NEW)], Ok(EPOCH)),
        ("an older stop", vec![clean(EPOCH - 1)], Err(NotWhole::Directory(DIR))),
        (
            "an older run, or one of somebody else since",
            vec![another_run],
            Err(NotWhole::Directory(DIR)),
        ),
        ("one says nothing", vec![whole(DIR), empty(OTHER)], Err(NotWhole::Directory(OTHER))),
        ("an empty disk", vec![empty(NEW)], Err(NotWhole::AllNew)),
        ("none works", vec![], Err(NotWhole::AllNew)),
    ];
    let image = image(&[DIR, OTHER], &[1, 2], &[], DIR);
    for (name, dirs, expected) in cases {
        assert_eq!(said(&image, &dirs, true), expected, "{name}");
    }
    assert_eq!(said(&Image::default(), &[whole(DIR)], true), Err(NotWhole::First));
    let nameless = self::image(&[], &[1, 2], &[], directory::MIGRATING);
    assert_eq!(said(&nameless, &[empty(DIR)], true), Err(NotWhole::Directory(DIR)));
    assert_eq!(said(&nameless, &[whole(DIR)], true), Ok(EPOCH));
}

#[test]
fn a_log_that_others_count_on_must_be_where_it_was() {
    let missing = Err(NotWhole::Log(TopicPartition::new("t", 0)));
    let cases = [
        ("in sync", image(&[DIR, OTHER], &[1, 2], &[], DIR), missing.clone()),
        ("eligible", image(&[DIR, OTHER], &[], &[1], DIR), missing.clone()),
        ("nobody knows where", image(&[DIR, OTHER], &[1], &[], directory::UNASSIGNED), missing),
        ("not counted on", image(&[DIR, OTHER], &[2], &[], DIR), Ok(EPOCH)),
        ("in a directory that is gone", image(&[DIR, OTHER], &[1], &[], OTHER), Ok(EPOCH)),
        ("given up before", image(&[DIR, OTHER], &[1], &[], directory::LOST), Ok(EPOCH)),
    ];
    for (name, image, expected) in cases {
        assert_eq!(said(&image, &[whole(DIR)], false), expected, "{name}");
        assert_eq!(said(&image, &[whole(DIR)], true), Ok(EPOCH), "{name}, and there");
    }
}

/// A run that has ended right after it asked for its registration may be registered late.
#[test]
fn runs_that_are_not_registered_yet_stay_named() {
    let image = image(&[DIR], &[1], &[], DIR);
    let registered = image.broker(BrokerId(1)).map(|broker| &**broker);
    let (now, before) = (id(95), id(94));
    let named = |runs: &[Uuid]| {
        let dir = FoundDirectory { id: DIR, whole_runs: runs.to_vec(), ..Default::default() };
        dir.runs_to_name(now, registered)
    };
    assert_eq!(named(&[before, RUN]), [now, RUN, before]);
    assert_eq!(named(&[before]), [now], "it does not have all of the registered one");
    let clean = FoundDirectory { id: DIR, clean_epoch: Some(EPOCH), ..Default::default() };
    assert_eq!(clean.runs_to_name(now, registered), [now, RUN]);
    assert_eq!(clean.runs_to_name(now, None), [now]);
    let many: Vec<Uuid> = (0..20).map(id).chain([RUN]).collect();
    assert_eq!(named(&many)[..3], [now, RUN, id(0)], "the registered one and the newest");
    assert!(named(&many).len() < many.len());
}
