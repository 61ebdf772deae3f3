//! Random decisions in a small cluster: what the controller decides always fits the image, keeps its
//! invariants, loses nothing that was committed, and a checkpoint makes the same image.

mod model;
mod steps;

use thalweg_metadata::{Changes, Image, MetadataRecord};
use types::Rng;

use self::model::Model;
use crate::world::World;

const BROKERS: i32 = 5;
const STEPS: u32 = 100;

#[test]
fn every_decision_keeps_the_invariants() {
    for seed in 0..50 {
        run(World::with(&[]), seed);
    }
}

/// Without eligible leader replicas and directories, as Kafka 3.6.
#[test]
fn every_decision_keeps_the_invariants_of_older_clusters() {
    for seed in 0..20 {
        run(World::at_level(14), seed);
    }
}

fn run(mut world: World, seed: u64) {
    (1..=BROKERS).for_each(|id| steps::join(&mut world, id));
    let mut model = Model::default();
    let mut dice = Rng::new(seed);
    for step in 0..STEPS {
        let before = world.image().clone();
        let taken = steps::act(&mut world, &mut dice, u8::try_from(step).unwrap());
        let place = format!("seed {seed} step {step} {taken:?}");
        check(world.image(), &place);
        check_changes(&before, world.image(), &place);
        model.follow(&before, world.image(), &taken, &place);
    }
    check_checkpoint(world.image(), &format!("seed {seed}"));
    check_replay(&world, &format!("seed {seed}"));
}

fn check(image: &Image, place: &str) {
    let elr = image.feature("eligible.leader.replicas.version") > 0;
    assert_eq!(image.topics().count(), image.topic_count(), "{place}");
    for topic in image.topics() {
        assert_eq!(image.topic(&topic.name), image.topic_by_id(topic.id), "{place}");
        assert!(topic.partition_count() > 0, "{place}: {}", topic.name);
        for (expected, (index, partition)) in (0..).zip(topic.partitions()) {
            let place = format!("{place}: {}-{index} {partition:?}", topic.name);
            assert_eq!(index, expected, "{place}");
            let replicas = &partition.replicas;
            let mut sorted = replicas.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!((sorted.len(), partition.directories.len()), (replicas.len(), sorted.len()));
            let (isr, eligible) = (&partition.isr, &partition.elr);
            let moving = partition.adding.iter().chain(&partition.removing);
            let mut named = isr.iter().chain(eligible).chain(moving);
            assert!(named.all(|id| replicas.contains(id)), "{place}");
            assert!(!eligible.iter().any(|id| isr.contains(id)), "{place}");
            match partition.leader {
                Some(leader) => {
                    assert!(isr.contains(&leader) && image.is_active(leader), "{place}")
                }
                None => assert_eq!(isr.is_empty(), elr, "{place}"),
            }
            // The last replica in sync stays written down where there is no ELR.
            assert!(isr.iter().all(|&id| image.is_active(id)) || !elr, "{place}");
            assert!(eligible.iter().all(|&id| elr && image.broker(id).is_some()), "{place}");
        }
    }
    for (resource, settings) in image.config_resources() {
        assert!(!settings.is_empty(), "{place}: {resource:?}");
    }
}

/// The changes are exactly what takes one image to the other.
fn check_changes(before: &Image, after: &Image, place: &str) {
    let changes = Changes::between(before, after);
    assert_eq!(changes.is_empty(), before == after, "{place}");
    for one in &changes.partitions {
        let of = |image: &Image| {
            image
                .topic_by_id(one.topic_id)
                .and_then(|topic| topic.partition(one.partition).cloned())
        };
        assert_eq!((of(before), of(after)), (one.before.clone(), one.after.clone()), "{place}");
        assert_ne!(one.before, one.after, "{place}");
    }
}

fn check_checkpoint(image: &Image, place: &str) {
    let level = image.metadata_version();
    assert_eq!(&replayed(image.snapshot_records(), level), image, "{place}");
}

fn check_replay(world: &World, place: &str) {
    let level = world.image().metadata_version();
    assert_eq!(&replayed(world.log.iter().cloned(), level), world.image(), "{place}");
}

fn replayed(records: impl Iterator<Item = MetadataRecord>, level: i16) -> Image {
    let mut copy = Image::default();
    for record in records {
        let bytes = record.encode(level).unwrap();
        copy.apply(&MetadataRecord::decode(&bytes).unwrap()).unwrap();
    }
    copy
}
