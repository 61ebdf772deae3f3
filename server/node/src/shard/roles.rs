//! Which role each partition of a shard has, as the metadata says: leader, follower, or none here.
//!
//! A partition with no replica elsewhere is led by whoever has it and stays closed until somebody
//! needs it. Others are opened as soon as this broker is registered: their leader has to be
//! followed, or led by.

use std::rc::Rc;
use std::sync::Arc;

use ::metadata::image::{Partition as Replica, Topic, directory};
use ::metadata::{Changes, Image};
use log::LogError;
use replication::{Leader, Term};
use types::{BrokerId, ErrorCode, Millis, Offset, TopicPartition};

use super::Shard;
use super::closed::{Closed, Damage};
use super::partition::{PartitionId, Role, RoleChange};
use crate::dirs::Dir;

impl Shard {
    /// Acts on changes of partitions; the image is in place.
    pub(super) fn apply_partitions(self: &Rc<Self>, image: &Image, changes: &Changes) {
        let here = self.shared.config.node_id;
        for change in &changes.partitions {
            let Some(topic) = image.topic_by_id(change.topic_id) else { continue };
            let id = PartitionId { topic: topic.id, index: change.partition };
            let Some(replica) = topic.partition(id.index) else { continue };
            if self.owner_of(id) != self.index {
                continue;
            }
            if !replica.replicas.contains(&here) {
                // A reassignment has taken it away.
                self.delete(id, ErrorCode::NotLeaderOrFollower);
                continue;
            }
            self.begin_anew(id, replica);
            self.take_if_owned(topic, id.index, None);
            self.learn_role(id, replica, image);
        }
    }

    /// The directory of a partition, or where a replica begins anew whose directory this node does
    /// not have any more: a disk was replaced. It must not be one that could be elected, since
    /// others would take an empty log for all there is.
    pub(super) fn place(
        &self,
        name: &TopicPartition,
        replica: &Replica,
        is_new: bool,
    ) -> Result<&Dir, LogError> {
        let (dirs, here) = (&self.shared.dirs, self.shared.config.node_id);
        let wanted = replica.directory_of(here).filter(|id| !directory::is_reserved(*id));
        match dirs.place(name, wanted, is_new) {
            Err(LogError::Missing { .. }) if !may_lead(replica, here) => {
                dirs.place(name, None, false)
            }
            placed => placed,
        }
    }

    /// Forgets that a replica had no place, where it can have one now.
    fn begin_anew(&self, id: PartitionId, replica: &Replica) {
        let mut unopened = self.unopened.borrow_mut();
        let Some(closed) = unopened.get(&id) else { return };
        let is_found = self.shared.dirs.found(&closed.name).is_some();
        if !is_found && self.place(&closed.name, replica, false).is_ok() {
            unopened.remove(&id);
        }
    }

    /// This broker is registered: from now on the metadata speaks of this run of it.
    pub fn take_roles(self: &Rc<Self>) {
        let image = self.image();
        for topic in image.topics() {
            for (index, replica) in topic.partitions() {
                let id = PartitionId { topic: topic.id, index };
                if replica.replicas.len() > 1 && self.has(id) {
                    self.learn_role(id, replica, &image);
                }
            }
        }
    }

    fn learn_role(self: &Rc<Self>, id: PartitionId, replica: &Replica, image: &Image) {
        if replica.replicas.len() > 1 {
            if self.heeds(image) {
                self.when_open(id, move |shard| shard.take_role(id));
            }
        } else if self.partition(id).is_some() {
            self.take_role(id);
        }
    }

    /// What is done about a log that is damaged so that it cannot be opened, where others have it:
    /// the cluster is told that this replica is lost, so that it is in no ISR and leads nothing;
    /// once it says so, the log ends where it is damaged and follows from there, or begins anew.
    /// Whether it is to be opened so.
    fn give_up_damage(self: &Rc<Self>, id: PartitionId, replica: &Replica) -> bool {
        let here = self.shared.config.node_id;
        let mut unopened = self.unopened.borrow_mut();
        let damaged = unopened.get(&id).and_then(|closed| Some((closed, closed.damage?)));
        let Some((closed, damage)) = damaged else { return false };
        let (name, at) = (closed.name.clone(), closed.dir);
        if may_lead(replica, here) {
            let mut others = replica.isr.iter().chain(&*replica.elr);
            let is_told = replica.directory_of(here) == Some(directory::LOST);
            if !is_told && others.any(|other| *other != here) {
                tracing::warn!(partition = %name, "giving up a damaged replica, which others have");
                self.note_assigned((id, directory::LOST));
                self.tell_assigned();
            }
            false
        } else if replica.leader.is_some_and(|leader| leader != here) {
            let Some(closed) = unopened.remove(&id) else { return false };
            drop(unopened);
            // What others have compacted does not fit to what is left here: a record may have lost
            // its tombstone there.
            let is_compacted = self.settings_of(id, &name.topic).log.compact
                || closed.compacted_end() > Offset::ZERO;
            let closed = if is_compacted || damage == Damage::Useless {
                tracing::warn!(partition = %name, "a damaged replica is copied anew");
                self.delete_unopened(id, &name);
                Closed::new(name, at).committed_to(Offset::ZERO)
            } else {
                tracing::warn!(partition = %name, "a replica is cut where it is damaged, and follows");
                closed.cutting_damage()
            };
            self.closed.borrow_mut().insert(id, closed);
            // Whatever the image says: that it is lost may still be on its way to the controller.
            self.note_assigned((id, self.shared.dirs.data()[at].id));
            self.tell_assigned();
            true
        } else {
            false
        }
    }

    /// Whether an image is of after this broker's registration. What it led before it may have lost
    /// in part, and must not lead again in the same epoch.
    pub(super) fn heeds(&self, image: &Image) -> bool {
        let own = image.broker(self.shared.config.node_id);
        own.is_some_and(|broker| broker.epoch == self.shared.membership.epoch())
    }

    /// The role of a log that is being opened, before the metadata is asked.
    pub(super) fn first_role(
        &self,
        replica: &Replica,
        min_isr: usize,
        high_watermark: Option<Offset>,
        end: Offset,
    ) -> Role {
        // Everything in it is committed, where one replica is all there are.
        let high_watermark = high_watermark.unwrap_or(end).min(end);
        if replica.replicas.len() > 1 {
            return Role::unknown(high_watermark);
        }
        let here = self.shared.config.node_id;
        let term = term_of(replica, min_isr);
        Role::Leader(Leader::new(here, &term, (end, end), high_watermark, Millis::ZERO))
    }

    /// Has an open partition play the role that the newest metadata gives it.
    pub(super) fn take_role(self: &Rc<Self>, id: PartitionId) {
        let image = self.image();
        let here = self.shared.config.node_id;
        let topic: Option<&Arc<Topic>> = image.topic_by_id(id.topic);
        let Some((topic, replica)) = topic.and_then(|one| Some((one, one.partition(id.index)?)))
        else {
            return;
        };
        let is_alone = replica.replicas.len() == 1;
        let is_heeded = replica.replicas.contains(&here) && (is_alone || self.heeds(&image));
        let Some(partition) = self.partition(id) else {
            // Just now, or long ago, it was found that it cannot be opened.
            if is_heeded && self.give_up_damage(id, replica) {
                self.when_open(id, move |shard| shard.take_role(id));
            }
            return;
        };
        partition.borrow_mut().set_state(replica);
        if !is_heeded {
            return;
        }
        // Nobody else can lead it; whether this node does now, each request finds out.
        let leads = if is_alone { Some(here) } else { replica.leader };
        let min_isr = self.settings_of(id, &topic.name).min_isr;
        let term = term_of(replica, min_isr);
        let change = partition.borrow_mut().take_role(here, &term, leads);
        self.hand_over.note(&partition.borrow());
        match change {
            RoleChange::None => return,
            RoleChange::Leads => self.groups.partition_opened(self, &partition),
            RoleChange::Follows => {
                self.groups.partition_closed(&partition);
                self.hand_over.refuse(id);
            }
        }
        self.replicas.forget(id);
        self.ask_for_more(&partition, None);
        // A leader's epoch begins on the disk, too.
        self.commits.push(&partition);
    }
}

/// Whether a replica may be elected, as far as the cluster knows, or is the only one. Where nobody is
/// in sync or eligible, the last leader may.
fn may_lead(replica: &Replica, id: BrokerId) -> bool {
    let electable = [&replica.isr, &replica.elr, &replica.last_known_elr];
    replica.replicas.len() == 1 || electable.iter().any(|ids| ids.contains(&id))
}

fn term_of(replica: &Replica, min_isr: usize) -> Term<'_> {
    Term {
        epoch: replica.leader_epoch,
        partition_epoch: replica.partition_epoch,
        replicas: &replica.replicas,
        isr: &replica.isr,
        min_isr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_could_be_elected_must_not_begin_anew() {
        let ids = |ids: &[i32]| ids.iter().map(|id| BrokerId(*id)).collect();
        let of = |isr: &[i32], elr: &[i32], last: &[i32]| Replica {
            replicas: ids(&[1, 2, 3]),
            isr: ids(isr),
            elr: ids(elr),
            last_known_elr: ids(last),
            ..Default::default()
        };
        let cases = [
            ("in sync", of(&[1, 2], &[], &[]), true),
            ("eligible", of(&[], &[1], &[]), true),
            ("the last leader of a partition that has none", of(&[], &[], &[1]), true),
            ("others are in sync", of(&[2, 3], &[], &[]), false),
            ("another one led last", of(&[], &[], &[2]), false),
        ];
        for (name, replica, expected) in cases {
            assert_eq!(may_lead(&replica, BrokerId(1)), expected, "{name}");
        }
    }
}
