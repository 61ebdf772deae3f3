//! In which directory each replica lies, and what becomes of those in one that has failed.

use std::path::Path;

use log::{Disk, Opening};
use metadata::image::{Partition, directory};
use metadata::{FoundDirectory, epoch_of_former_run};
use protocol::messages::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, DirectoryData, PartitionData, TopicData,
};
use types::{Offset, TopicPartition, Uuid};

use super::{Broker, fetching};
use crate::bug::Bug;
use crate::clock::Now;
use crate::dirs::{Dir, ROOT, Refused, refused};
use crate::happening::Happening;
use crate::message::{Ask, Message, Sending, Slot};
use crate::replica::{Replica, TOPIC, folder};

/// The replicas that a directory has, as a start finds them.
pub fn found(dir: &Dir) -> anyhow::Result<Vec<Slot>> {
    let entries = match dir.disk.list(Path::new(ROOT)) {
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        listed => listed?,
    };
    let slot = |name: &str| name.strip_prefix(TOPIC)?.strip_prefix('-')?.parse().ok();
    Ok(entries.iter().filter_map(|entry| slot(&entry.name)).collect())
}

impl Broker {
    /// Ids of the directories that work, or of those that do not any more.
    pub(super) fn dir_ids(&self, are_online: bool) -> Vec<Uuid> {
        let dirs = self.dirs.iter().enumerate();
        let dirs = dirs.filter(|(at, _)| self.failed.contains(at) != are_online);
        dirs.map(|(_, dir)| dir.id).collect()
    }

    /// The epoch of the former process, if all that it had is there.
    pub(super) fn epoch_of_former(&self) -> Option<i64> {
        if self.bug == Some(Bug::EmptyDiskKeepsId) {
            return self.known.broker(self.id()).map(|former| former.epoch);
        }
        let works = |(at, _): &(usize, &FoundDirectory)| !self.failed.contains(at);
        let dirs = self.of_former.iter().enumerate().filter(works).map(|(_, dir)| dir.clone());
        let has_log = |name: &TopicPartition| self.places.contains_key(&name.partition);
        let dirs: Vec<_> = dirs.collect();
        epoch_of_former_run(&self.known, self.id(), &dirs, has_log).ok()
    }

    /// Has each directory vouch for this process, and on for the former one where it has all of that.
    pub(super) fn vouch(&mut self) -> anyhow::Result<()> {
        self.vouches = true;
        let former = self.known.broker(self.id()).cloned();
        for at in 0..self.dirs.len() {
            let runs = self.of_former[at].runs_to_name(self.incarnation, former.as_deref());
            let written = log::write_whole_runs(&self.dirs[at].disk, Path::new(ROOT), &runs);
            let Err(fault) = written.map_err(anyhow::Error::from) else { continue };
            match refused(&fault) {
                Some(_) => self.fail_dir(at, fault)?,
                None => return Err(fault),
            }
        }
        Ok(())
    }

    /// Whether something is out of use until the next start.
    pub fn is_crippled(&self) -> bool {
        !self.failed.is_empty() || !self.unusable.is_empty()
    }

    /// Opens a replica where it lies, or makes it; whether it is open now.
    pub(super) fn open(
        &mut self,
        slot: Slot,
        partition: &Partition,
        now: Now,
    ) -> anyhow::Result<bool> {
        let Some(at) = self.place(slot, partition) else { return Ok(false) };
        // A try that fails leaves its folder there.
        self.places.insert(slot, at);
        let opening = Opening { is_clean: self.previous_epoch.is_some(), ..Opening::NEW };
        match Replica::open(slot, &self.dirs[at].disk, opening, now.wall, self.bug) {
            Ok(replica) => {
                self.replicas.insert(slot, replica);
                Ok(true)
            }
            Err(fault) => self.note_refused(slot, fault).map(|()| false),
        }
    }

    /// The directory in which a replica lies or is to lie, if it works. One that lay in a directory
    /// which this machine does not have any more begins anew in another one, unless it may be
    /// elected: others would take an empty log for all there is.
    fn place(&mut self, slot: Slot, partition: &Partition) -> Option<usize> {
        let works = |at: &usize| !self.failed.contains(at);
        if self.unusable.contains(&slot) {
            return None;
        }
        if let Some(at) = self.places.get(&slot) {
            return Some(*at).filter(works);
        }
        let me = self.id();
        let wanted = partition.directory_of(me).filter(|id| !directory::is_reserved(*id));
        let electable = [&partition.isr, &partition.elr, &partition.last_known_elr];
        let may_lead = electable.iter().any(|ids| ids.contains(&me));
        match wanted.map(|id| self.dirs.iter().position(|dir| dir.id == id)) {
            Some(Some(at)) => Some(at).filter(works),
            Some(None) if may_lead => None,
            Some(None) | None => {
                let working: Vec<usize> = (0..self.dirs.len()).filter(works).collect();
                let count = u32::try_from(working.len()).expect("there are few directories");
                (count > 0).then(|| working[self.rng.below(count) as usize])
            }
        }
    }

    /// Tells the controller where replicas lie of which it believes otherwise, or knows nothing: also
    /// of those in a directory that has failed, or it would have them lead on.
    pub(super) fn tell_places(&mut self, controller: usize) {
        let (Some(broker_epoch), Some(topic)) = (self.epoch, self.image.topic(TOPIC)) else {
            return;
        };
        let me = self.id();
        let told = |slot: &Slot| topic.partition(*slot)?.directory_of(me);
        let (topic_id, mut directories) = (topic.id, vec![]);
        for (slot, place) in &self.places {
            let id = self.dirs[*place].id;
            if told(slot).is_some_and(|told| told != id) {
                let partition = PartitionData { partition_index: *slot, ..Default::default() };
                let partitions = vec![partition];
                let topic = TopicData { topic_id, partitions, ..Default::default() };
                directories.push(DirectoryData { id, topics: vec![topic], ..Default::default() });
            }
        }
        if directories.is_empty() {
            return;
        }
        let request = AssignReplicasToDirsRequest {
            broker_id: me.0,
            broker_epoch,
            directories,
            ..Default::default()
        };
        let (id, ask) = (self.request_id(), Ask::Assign(request));
        self.out.push(Sending::request(controller, Message::Ask { id, ask }));
    }

    /// Takes note of what went wrong with a replica. Where the operating system has refused a read,
    /// that is all; after anything else the directory is not used any more until the next start.
    ///
    /// # Errors
    /// The fault itself, if the process cannot go on with it.
    pub(super) fn note_refused(
        &mut self,
        slot: Slot,
        fault: impl Into<anyhow::Error>,
    ) -> anyhow::Result<()> {
        let fault = fault.into();
        match refused(&fault) {
            None if self.bug == Some(Bug::AckAfterFailedSync) && !self.is_dead() => Ok(()),
            None => Err(fault),
            Some(Refused::Read) => {
                self.trace.happens(Happening::FailedRead);
                // One that could not be opened, or cut, is of no use before the next start.
                if self.replicas.get(&slot).is_none_or(|one| one.log.is_offline()) {
                    self.drop_replica(slot);
                    self.unusable.insert(slot);
                }
                Ok(())
            }
            Some(Refused::Change) => self.fail_dir(self.places[&slot], fault),
        }
    }

    fn is_dead(&self) -> bool {
        self.dirs.iter().any(|dir| dir.disk.is_dead())
    }

    /// Gives up a directory: without its metadata, or without any directory, a node cannot go on.
    fn fail_dir(&mut self, at: usize, fault: anyhow::Error) -> anyhow::Result<()> {
        self.failed.insert(at);
        if at == 0 || self.failed.len() == self.dirs.len() {
            return Err(fault);
        }
        self.trace.happens(Happening::FailedDirectory);
        let lost = self.places.iter().filter(|(_, place)| **place == at).map(|(slot, _)| *slot);
        for slot in lost.collect::<Vec<_>>() {
            self.drop_replica(slot);
        }
        // The next heartbeat names the directory.
        self.next_beat = self.next_beat.min(self.next_poll);
        Ok(())
    }

    fn drop_replica(&mut self, slot: Slot) {
        let gone = self.replicas.remove(&slot);
        self.gone.extend(gone.map(|replica| (slot, replica.log.durable_end())));
        self.pairs.values_mut().for_each(|pair| pair.fetcher.remove(fetching::key(slot)));
    }

    /// Takes away the folder, if there is one, of a replica that has moved elsewhere.
    pub(super) fn forget(&mut self, slot: Slot) -> anyhow::Result<()> {
        self.drop_replica(slot);
        self.unusable.remove(&slot);
        let at = self.places.get(&slot).copied().filter(|at| !self.failed.contains(at));
        let Some(at) = at else { return Ok(()) };
        match remove(&self.dirs[at], slot, self.image_end) {
            Ok(()) => {
                self.places.remove(&slot);
                Ok(())
            }
            Err(fault) => self.note_refused(slot, fault),
        }
    }
}

fn remove(dir: &Dir, slot: Slot, image_end: Offset) -> anyhow::Result<()> {
    let aside = format!("{ROOT}/deleted-{slot}-{image_end}");
    dir.disk.rename(Path::new(&folder(slot)), Path::new(&aside))?;
    dir.disk.sync_dir(Path::new(ROOT))?;
    Ok(dir.disk.remove_dir_all(Path::new(&aside))?)
}
