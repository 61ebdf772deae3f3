//! What must hold once all is well again: everything comes to rest, nothing is lost, and nothing
//! happens any more.
//!
//! Not here: what must hold all the time (`history`).

use std::collections::BTreeSet;

use types::{BrokerId, LeaderEpoch, Millis, Offset};

use crate::client::Kind;
use crate::machine::Machine;
use crate::message::{Slot, broker_id};
use crate::replica::TOPIC;
use crate::world::{PARTITIONS, World};

/// How long is looked at a cluster at rest: longer than a session lasts.
const LOOK: Millis = Millis(6000);

impl World {
    /// Why the cluster is not at rest, if it is not: all is well, and all logs are the same.
    pub fn unrest(&self) -> Option<String> {
        if let Some(busy) = self.clients.iter().find(|client| !client.is_idle()) {
            return Some(format!("producer {} waits", busy.number));
        }
        let up = self.machines.iter().filter_map(|machine| machine.process.as_ref());
        let known: BTreeSet<_> = up.map(|process| process.broker.image_end).collect();
        if known.len() > 1 {
            return Some(format!("metadata is known up to {known:?}"));
        }
        for (at, machine) in self.machines.iter().enumerate() {
            let Some(process) = &machine.process else { return Some(format!("{at} is down")) };
            if process.broker.is_leaving {
                return Some(format!("{at} is to leave"));
            }
            // One that was taken out of the voters late leads no more, and somebody else is yet to.
            if process.quorum.leader().is_none() {
                return Some(format!("{at} knows of no controller that leads"));
            }
            let broker = process.broker.image.broker(broker_id(at));
            let let_in = broker.filter(|broker| broker.is_active()).map(|broker| broker.epoch);
            if let_in.is_none() || let_in != process.broker.epoch {
                return Some(format!("{at} is not let in"));
            }
        }
        (0..PARTITIONS).find_map(|slot| self.unrest_of(slot))
    }

    fn unrest_of(&self, slot: Slot) -> Option<String> {
        let mut ends = vec![];
        for (at, machine) in self.machines.iter().enumerate() {
            let Some(process) = &machine.process else { return Some(format!("{at} is down")) };
            let topic = process.broker.image.topic(TOPIC);
            let partition = topic.and_then(|topic| topic.partition(slot).cloned());
            let Some(partition) = partition else {
                return Some(format!("{at} does not know the topic"));
            };
            if partition.isr.len() < partition.replicas.len() || partition.is_reassigning() {
                return Some(format!("{at} has {slot} as {partition:?}"));
            }
            if let Some(replica) = process.broker.replicas.get(&slot) {
                ends.push((at, replica.log.end_offset(), replica.high_watermark()));
            }
        }
        let end = ends.iter().map(|(_, end, _)| *end).max().unwrap_or(Offset::ZERO);
        if ends.iter().any(|one| one.1 != end || one.2 != Some(end)) {
            return Some(format!("replicas of {slot} end differently: {ends:?}"));
        }
        if self.clients.iter().any(|one| {
            one.slot == slot && matches!(one.kind, Kind::Consumer { next } if next != end)
        }) {
            return Some(format!("a consumer of {slot} is not at {end}"));
        }
        None
    }

    /// What each machine is, for whoever has to find out why there is no rest.
    pub fn roles(&self) -> String {
        let one = |(at, machine): (usize, &Machine)| match &machine.process {
            Some(process) => format!("\nmachine {at}: {}", process.describe()),
            None => format!("\nmachine {at} is down"),
        };
        self.machines.iter().enumerate().map(one).collect()
    }

    /// What must hold at rest.
    pub fn check_settled(&mut self) {
        for slot in 0..PARTITIONS {
            let mut first: Option<bytes::Bytes> = None;
            // Each has deleted as much as it thought right.
            let processes = self.machines.iter().filter_map(|machine| machine.process.as_ref());
            let replicas = processes.filter_map(|process| process.broker.replicas.get(&slot));
            let common = replicas.map(|replica| replica.log.start_offset()).max();
            for (at, machine) in self.machines.iter_mut().enumerate() {
                let process = machine.process.as_mut().expect("all are up");
                let Some(replica) = process.broker.replicas.get_mut(&slot) else { continue };
                let (start, end) = (replica.log.start_offset(), replica.log.end_offset());
                let all = replica.read_all(common.unwrap_or(start)).expect("disks are well");
                let known = first.get_or_insert_with(|| all.clone());
                assert!(*known == all, "replica {at} of {slot} differs in its bytes");
                let entries = replica.entries(start, end).expect("disks are well");
                self.history.check_settled(slot, start, &entries);
            }
        }
        for client in &self.clients {
            if let Kind::Producer { sent, .. } = client.kind {
                let committed = self.history.committed_of(client.slot, client.number);
                assert_eq!(committed, sent as usize, "records of producer {}", client.number);
            }
        }
        let images = self.machines.iter().map(|machine| {
            let process = machine.process.as_ref().expect("all are up");
            &process.broker.image
        });
        let mut first = None;
        for (at, image) in images.enumerate() {
            assert!(*first.get_or_insert(image) == image, "{at} has another state of the metadata");
            let lost = self.history.topics.iter().find(|name| image.topic(name).is_none());
            assert!(lost.is_none(), "{at} does not know {lost:?}, whose creator was told of it");
        }
    }

    /// Nobody is given up and nobody else leads the quorum while nothing goes wrong, whatever the
    /// clocks say of it.
    pub fn check_stays(&mut self) {
        let before = self.standing();
        let end = self.now + LOOK;
        while self.step(end) {}
        assert_eq!(self.standing(), before, "who leads and who is in has changed at rest");
    }

    /// Who leads the quorum in which epoch, and the epochs of the brokers that are let in.
    fn standing(&self) -> (Option<BrokerId>, LeaderEpoch, Vec<i64>) {
        let process = self.machines[0].process.as_ref().expect("all are up");
        let (image, election) = (&process.broker.image, process.quorum.raft.election());
        let active = image.brokers().filter(|broker| broker.is_active());
        (election.leader, election.epoch, active.map(|broker| broker.epoch).collect())
    }
}
