//! Which partitions a shard has: opened, configured and deleted as the cluster's state says.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::metadata::image::Topic;
use ::metadata::{Changes, Image};
use config::GROUP_METADATA_TOPIC;
use log::{FolderKind, Log, LogError};
use types::{ErrorCode, TopicPartition, Uuid};

use super::Shard;
use super::closed::{Closed, OpenJob};
use super::partition::{Partition, PartitionId};
use crate::recovery::Recovered;
use crate::{dynamic, threads};

/// How long a log rests that is needed and could not be opened for want of descriptors.
const OPEN_RETRY: Duration = Duration::from_secs(1);

/// A log that its shard has given up.
pub struct LeftLog {
    /// Whose it is.
    pub name: TopicPartition,
    /// The log directory.
    pub dir: PathBuf,
    /// `None` where something still holds it, as a sync does that is under way.
    pub log: Option<Log>,
}

impl Shard {
    /// Takes every partition of the image that this shard owns, as at the start. Their logs stay
    /// closed: what needed it is `recovered`. Damage takes only its own partition offline, a
    /// directory that cannot be read all that lie in it.
    pub fn open_all(self: &Rc<Self>, image: &Arc<Image>, recovered: &Recovered) {
        self.image.replace(Arc::clone(image));
        for topic in image.topics() {
            for (index, _) in topic.partitions() {
                self.take_if_owned(topic, index, Some(recovered));
            }
        }
        self.tell_assigned();
    }

    /// Takes away what belongs to deleted topics.
    pub fn delete_topics(self: &Rc<Self>, changes: &Changes) {
        for topic in &changes.topics_deleted {
            for (index, _) in topic.partitions() {
                let id = PartitionId { topic: topic.id, index };
                self.delete(id, ErrorCode::UnknownTopicOrPartition);
            }
            self.forget_settings(topic.id);
            self.metrics.forget_topic(&topic.name);
            self.groups.topic_deleted(self, &topic.name, topic.id);
        }
    }

    /// Acts on a new state of the cluster; [`Shard::delete_topics`] has run on every shard.
    pub fn apply(self: &Rc<Self>, image: &Arc<Image>, changes: &Changes) {
        let before = self.image.replace(Arc::clone(image));
        self.apply_partitions(image, changes);
        self.clear_strays(image);
        if changes.brokers.contains(&self.shared.config.node_id) {
            // This run's registration may be among it.
            self.take_roles();
        }
        self.restart_fetches(image, changes);
        self.tell_assigned();
        self.reconfigure(image, changes);
        if self.index == 0 {
            // These are the node's, not a shard's.
            self.metrics.replication.count_elections(&before, image, changes);
            dynamic::apply(&self.shared, image, changes);
        }
    }

    /// Takes a partition that is new to this shard, and to the cluster where nothing may have been
    /// `recovered`.
    pub(super) fn take_if_owned(
        self: &Rc<Self>,
        topic: &Topic,
        index: i32,
        recovered: Option<&Recovered>,
    ) {
        let id = PartitionId { topic: topic.id, index };
        let Some(replica) = topic.partition(index) else { return };
        let here = self.shared.config.node_id;
        if self.owner_of(id) != self.index || !replica.replicas.contains(&here) || self.has(id) {
            return;
        }
        let name = TopicPartition::new(Arc::clone(&topic.name), index);
        let dirs = &self.shared.dirs;
        let dir = match self.place(&name, replica, recovered.is_none()) {
            Ok(dir) => dir,
            Err(fault) => return self.note_unopened(id, Closed::new(name, 0), &fault),
        };
        dir.count(true);
        if replica.directory_of(here) != Some(dir.id) {
            self.note_assigned((id, dir.id));
        }
        let at = dirs.data().iter().position(|one| std::ptr::eq(one, dir));
        let at = at.expect("a partition is placed in a directory for partitions");
        let closed = match recovered.and_then(|recovered| recovered.take(id)) {
            Some(Ok(rested)) => Closed::rested(name.clone(), at, rested),
            Some(Err(fault)) => {
                return self.settle_opening(id, dir.closed(name, at), Err(fault));
            }
            None if dirs.found(&name).is_some() => dir.closed(name.clone(), at),
            None => Closed::new(name.clone(), at),
        };
        let is_replicated = replica.replicas.len() > 1 && dirs.found(&name).is_some();
        let closed =
            if is_replicated { closed.committed_to(dir.high_watermark(&name)) } else { closed };
        if &*closed.name.topic == GROUP_METADATA_TOPIC {
            return self.open_now(id, closed);
        }
        self.closed.borrow_mut().insert(id, closed);
    }

    /// Opens a partition on this thread.
    fn open_now(self: &Rc<Self>, id: PartitionId, closed: Closed) {
        let settings = self.settings_of(id, &closed.name.topic);
        let dirs = Arc::clone(&self.shared.dirs);
        let opened = OpenJob::new(dirs, id, closed.clone(), settings.log).run();
        let is_late = opened.as_ref().is_err_and(LogError::is_passing);
        self.settle_opening(id, closed, opened);
        if is_late {
            let shard = Rc::clone(self);
            tokio::task::spawn_local(async move {
                while !shard.is_at_hand(id) {
                    tokio::time::sleep(OPEN_RETRY).await;
                    shard.when_open(id, |_| {});
                }
            });
        }
    }

    /// Takes what became of opening a log. Where there was no room or no descriptor it stays
    /// closed, and whoever comes next tries again.
    pub(super) fn settle_opening(
        self: &Rc<Self>,
        id: PartitionId,
        closed: Closed,
        opened: Result<Log, LogError>,
    ) {
        match opened {
            Ok(log) => self.take_open(id, closed, log),
            Err(fault) if fault.is_passing() => {
                self.shared.dirs.report(&fault);
                self.closed.borrow_mut().insert(id, closed);
            }
            Err(fault) => self.note_unopened(id, closed, &fault),
        }
    }

    /// From now on a partition is served from this log.
    fn take_open(self: &Rc<Self>, id: PartitionId, closed: Closed, log: Log) {
        let high_watermark = closed.high_watermark();
        let name = closed.name;
        let image = self.image();
        let topic = image.topic_by_id(id.topic);
        let Some(replica) = topic.and_then(|topic| topic.partition(id.index)) else { return };
        let settings = self.settings_of(id, &name.topic);
        let dirs = Arc::clone(&self.shared.dirs);
        let is_offline = dirs.is_offline(log.dir());
        let role = self.first_role(replica, settings.min_isr, high_watermark, log.end_offset());
        let mut partition = Partition::new(id, name, log, role, replica, dirs);
        partition.set_settings(&settings);
        if is_offline {
            partition.go_offline();
        }
        let leads = partition.leads();
        let partition = Rc::new(RefCell::new(partition));
        self.partitions.borrow_mut().insert(id, Rc::clone(&partition));
        if leads {
            self.groups.partition_opened(self, &partition);
        } else {
            self.take_role(id);
        }
    }

    /// Takes a partition offline that cannot be opened.
    pub(super) fn note_unopened(&self, id: PartitionId, mut closed: Closed, fault: &LogError) {
        let name = &closed.name;
        self.shared.dirs.report(fault);
        match fault {
            // One line says it for all partitions of a directory that is offline.
            LogError::Offline { .. } => {}
            LogError::Missing { .. } if self.others_have(id) => self.shared.dirs.tell_replaced(),
            _ => tracing::error!(
                partition = %name,
                "partition is offline, cannot open its log: {fault}"
            ),
        }
        closed.note_fault(fault);
        self.unopened.borrow_mut().insert(id, closed);
    }

    /// Whether another replica is in sync, of which this one can begin anew.
    fn others_have(&self, id: PartitionId) -> bool {
        let (image, here) = (self.image(), self.shared.config.node_id);
        let topic = image.topic_by_id(id.topic);
        let replica = topic.and_then(|topic| topic.partition(id.index));
        replica.is_some_and(|replica| replica.isr.iter().any(|id| *id != here))
    }

    /// Serves none of the partitions any more whose directory has failed.
    pub fn take_offline(self: &Rc<Self>) {
        let dirs = &self.shared.dirs;
        for partition in self.partitions() {
            if dirs.is_offline(partition.borrow().log().dir()) {
                partition.borrow_mut().go_offline();
                self.groups.partition_closed(&partition);
            }
        }
        let mut closed = self.closed.borrow_mut();
        let lost = closed.extract_if(|_, closed| !dirs.data()[closed.dir].is_online());
        self.unopened.borrow_mut().extend(lost);
    }

    /// Takes a partition away: nobody reads it any more, its folder goes after a while.
    pub(super) fn delete(self: &Rc<Self>, id: PartitionId, why: ErrorCode) {
        self.replicas.forget(id);
        // Its folder is to be free when this returns, as a new topic may have the name.
        let waiting = self.end_opening(id);
        self.delete_log(id, why);
        waiting.into_iter().for_each(|work| work(self));
    }

    fn delete_log(self: &Rc<Self>, id: PartitionId, why: ErrorCode) {
        if let Some(closed) = self.unopened.borrow_mut().remove(&id) {
            self.delete_unopened(id, &closed.name);
            return;
        }
        if let Some(closed) = self.closed.borrow_mut().remove(&id) {
            self.delete_closed(&closed);
            return;
        }
        let Some(partition) = self.partitions.borrow_mut().remove(&id) else { return };
        self.groups.partition_closed(&partition);
        let mut partition = partition.borrow_mut();
        partition.retire(why);
        let name = partition.name().clone();
        let parent = partition.log().dir().parent().map(ToOwned::to_owned);
        let all = &self.shared.dirs.all;
        let Some(dir) = all.iter().find(|dir| Some(dir.path()) == parent.as_deref()) else {
            return;
        };
        dir.count(false);
        let deleted = dir.log_dir.folder_of_kind(&name, FolderKind::Deleted, self.unique());
        let delay = partition.log().config().file_delete_delay_ms;
        match partition.log_mut().set_aside(deleted.clone()) {
            Ok(()) => self.remove_later(deleted, delay),
            Err(fault) => {
                self.shared.dirs.report(&fault);
                tracing::error!(partition = %name, "cannot delete: {fault}");
            }
        }
    }

    /// Takes away the folder of a partition whose log is closed.
    fn delete_closed(self: &Rc<Self>, closed: &Closed) {
        let dir = &self.shared.dirs.data()[closed.dir];
        dir.count(false);
        if !closed.may_have_folder() {
            return;
        }
        let folder = dir.log_dir.folder(&closed.name);
        let deleted = dir.log_dir.folder_of_kind(&closed.name, FolderKind::Deleted, self.unique());
        match self.shared.dirs.disk.rename(&folder, &deleted) {
            // Nobody has it open.
            Ok(()) => self.remove_later(deleted, types::Millis(0)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(cause) => self.note_undeleted(&closed.name, folder, cause),
        }
    }

    /// Takes away the folders of a partition that never was opened, so that the name is free.
    pub(super) fn delete_unopened(self: &Rc<Self>, id: PartitionId, name: &TopicPartition) {
        let disk = &self.shared.dirs.disk;
        for dir in self.shared.dirs.data() {
            let folder = dir.log_dir.folder(name);
            match log::read_topic_id(disk.as_ref(), &folder) {
                Ok(Some(known)) if known == id.topic => {}
                // Nobody finds out whose it is: it has the name, which is to be free.
                Err(LogError::Malformed { .. }) => {}
                Err(fault) if fault.is_unreadable() => {}
                // Another topic's, not there, or not to be read now.
                Ok(_) | Err(_) => continue,
            }
            let deleted = dir.log_dir.folder_of_kind(name, FolderKind::Deleted, self.unique());
            match disk.rename(&folder, &deleted) {
                Ok(()) => self.remove_later(deleted, types::Millis(0)),
                Err(cause) => self.note_undeleted(name, folder, cause),
            }
        }
    }

    /// For the name of a folder: one of an earlier move or deletion may still be on its way out.
    pub(super) fn unique(&self) -> Uuid {
        Uuid::from_random(self.rng.borrow_mut().bytes16())
    }

    pub(super) fn note_undeleted(
        &self,
        name: &TopicPartition,
        path: PathBuf,
        cause: std::io::Error,
    ) {
        let fault = LogError::Io { action: "rename", path, cause };
        self.shared.dirs.report(&fault);
        tracing::error!(partition = %name, "cannot delete: {fault}");
    }

    /// Removes a folder once readers have had time to end.
    ///
    /// Its name is made durable before: a power cut must not bring it back half empty under the
    /// former one, without the id that tells it from the next topic of that name.
    pub(super) fn remove_later(self: &Rc<Self>, folder: PathBuf, delay: types::Millis) {
        let disk = Arc::clone(&self.shared.dirs.disk);
        let delay = std::time::Duration::from_millis(u64::try_from(delay.get()).unwrap_or(0));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            let remove = move || {
                let parent = folder.parent().unwrap_or(Path::new("/"));
                let removed = disk.sync_dir(parent).and_then(|()| disk.remove_dir_all(&folder));
                (removed, folder)
            };
            let (removed, folder) = threads::blocking(remove).await;
            if let Err(error) = removed {
                tracing::warn!("cannot remove {}: {error}", folder.display());
            }
        });
    }

    /// Whether something beside the shard itself still holds a partition, as a sync does that is
    /// under way.
    pub fn is_in_use(&self) -> bool {
        self.partitions.borrow().values().any(|partition| Rc::strong_count(partition) > 1)
    }

    /// Gives up every log, for a stop, those in failed directories apart.
    pub fn leave_logs(self: &Rc<Self>) -> Vec<LeftLog> {
        self.finish_all_openings();
        let partitions = std::mem::take(&mut *self.partitions.borrow_mut());
        let mut left = Vec::with_capacity(partitions.len());
        for partition in partitions.into_values() {
            let name = partition.borrow().name().clone();
            let folder = partition.borrow().log().dir().to_owned();
            if self.shared.dirs.is_offline(&folder) {
                continue;
            }
            let log = Rc::try_unwrap(partition).ok().map(|cell| cell.into_inner().into_log());
            let dir = folder.parent().unwrap_or(Path::new("/")).to_owned();
            left.push(LeftLog { name, dir, log });
        }
        left
    }
}
