//! Which replica holds how much: no clean election loses what was committed.
//!
//! The leader of each partition writes all the time. Followers in sync have what it has; what as
//! many as `min.insync.replicas` have is committed. Whoever follows a new leader is cut to what
//! that one has; a crash, or a directory that is gone, loses everything.

use std::collections::BTreeMap;

use thalweg_metadata::image::{Partition, Topic};
use thalweg_metadata::{Changes, Image};
use types::{BrokerId, Uuid};

use super::steps::Taken;

type Key = (Uuid, i32);

#[derive(Default)]
pub struct Model {
    partitions: BTreeMap<Key, Data>,
    /// By leader epoch.
    leaders: BTreeMap<(Key, i32), BrokerId>,
}

#[derive(Default)]
struct Data {
    committed: u32,
    held: BTreeMap<BrokerId, u32>,
}

impl Model {
    /// Takes in what a step has changed, and lets leaders write.
    pub fn follow(&mut self, before: &Image, after: &Image, taken: &Taken, place: &str) {
        // Without ELR every replica is taken for one that has what it had; so it is in this world.
        for (key, data) in self.partitions.iter_mut().filter(|_| has_elr(before)) {
            let partition = before.topic_by_id(key.0).and_then(|topic| topic.partition(key.1));
            if let Some(partition) = partition {
                data.lose(partition, taken);
            }
        }
        for change in Changes::between(before, after).partitions {
            let key = (change.topic_id, change.partition);
            let place = format!("{place}: {:?} -> {:?}", change.before, change.after);
            let Some(now) = &change.after else {
                self.partitions.remove(&key);
                continue;
            };
            if let Some(leader) = now.leader {
                let first = *self.leaders.entry((key, now.leader_epoch.0)).or_insert(leader);
                assert_eq!(first, leader, "two leaders of one epoch: {place}");
            }
            let data = self.partitions.entry(key).or_default();
            if let Some(then) = &change.before {
                check_epochs(then, now, &place);
                let may_lose = may_lose(after, change.topic_id, then, now, taken);
                if let Taken::InSync(named) = taken {
                    data.catch_up(then, named.get(&key).map_or(&[], Vec::as_slice));
                }
                data.change(then, now, may_lose, &place);
            }
        }
        for topic in after.topics() {
            for (index, partition) in topic.partitions() {
                let data = self.partitions.get_mut(&(topic.id, index)).unwrap();
                data.write(partition, min_isr(after, topic, partition));
            }
        }
    }
}

impl Data {
    fn lose(&mut self, partition: &Partition, taken: &Taken) {
        match *taken {
            Taken::Crashed(id) => _ = self.held.remove(&id),
            Taken::LostDirectory(id, directory)
                if partition.directory_of(id) == Some(directory) =>
            {
                self.held.remove(&id);
            }
            Taken::LostDirectory(..) | Taken::InSync(_) | Taken::Uncleanly | Taken::Other => {}
        }
    }

    /// The leader lets in only who has what it has.
    fn catch_up(&mut self, then: &Partition, named: &[BrokerId]) {
        let led = then.leader.and_then(|leader| self.held.get(&leader)).copied().unwrap_or(0);
        for &id in named.iter().filter(|id| !then.isr.contains(id)) {
            self.held.insert(id, led);
        }
    }

    fn change(&mut self, then: &Partition, now: &Partition, may_lose: bool, place: &str) {
        self.held.retain(|id, _| now.replicas.contains(id));
        let Some(leader) = now.leader.filter(|_| now.leader != then.leader) else { return };
        let led = self.held.get(&leader).copied().unwrap_or(0);
        let is_clean = !now.recovering || then.recovering;
        assert!(is_clean || may_lose, "an unclean election that nobody wants: {place}");
        assert!(
            led >= self.committed || now.recovering,
            "lost {led} of {}: {place}",
            self.committed
        );
        self.committed = self.committed.min(led);
        self.held.values_mut().for_each(|held| *held = (*held).min(led));
    }

    fn write(&mut self, partition: &Partition, min_isr: usize) {
        let Some(leader) = partition.leader else { return };
        let held = self.held.get(&leader).copied().unwrap_or(0) + 1;
        partition.isr.iter().for_each(|&id| _ = self.held.insert(id, held));
        if partition.isr.len() >= min_isr {
            self.committed = held;
        }
    }
}

fn check_epochs(then: &Partition, now: &Partition, place: &str) {
    assert!(now.partition_epoch > then.partition_epoch, "{place}");
    let leads_on = now.leader == then.leader;
    assert!(now.leader_epoch.0 >= then.leader_epoch.0 + i32::from(!leads_on), "{place}");
    let gone = then.replicas.iter().any(|id| !now.replicas.contains(id));
    assert!(!gone || now.leader_epoch > then.leader_epoch, "a replica goes quietly: {place}");
}

/// Whether a leader may be elected that was neither in sync nor eligible.
fn may_lose(image: &Image, topic: Uuid, then: &Partition, now: &Partition, taken: &Taken) -> bool {
    let topic = image.topic_by_id(topic).unwrap();
    let settings = image.topic_settings(&topic.name);
    let allowed = settings.get("unclean.leader.election.enable").is_some_and(|one| one == "true");
    let is_last = now.leader.is_some_and(|leader| then.last_known_elr[..] == [leader]);
    allowed || is_last || matches!(taken, Taken::Uncleanly)
}

/// As the leader counts; without ELR it commits alone.
fn min_isr(image: &Image, topic: &Topic, partition: &Partition) -> usize {
    if !has_elr(image) {
        return 1;
    }
    let settings = image.topic_settings(&topic.name);
    let wanted = settings.get("min.insync.replicas").map_or(1, |value| value.parse().unwrap());
    partition.replicas.len().min(wanted)
}

fn has_elr(image: &Image) -> bool {
    image.feature("eligible.leader.replicas.version") > 0
}
