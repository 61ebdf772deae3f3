//! Folders of replicas that were taken from this broker while it was down: moved away, or their topic
//! deleted. Nobody would ever use them, and they would take their room for good.

use std::rc::Rc;

use ::metadata::Image;
use log::FolderKind;

use super::Shard;
use super::partition::PartitionId;
use crate::controller::wire::METADATA_TOPIC;

impl Shard {
    /// Clears away, once in a run, what this shard would own if its replica were still here: with the first
    /// image of after this broker's registration. One from before may not know yet of replicas that
    /// the broker was given last.
    ///
    /// What others have is deleted. Of a topic that the cluster does not know nothing is: the folder is set
    /// aside, as Kafka does, since it may be the cluster that has forgotten it.
    ///
    /// No new topic of the same name gets in between: all shards take one image before any takes the next.
    pub(super) fn clear_strays(self: &Rc<Self>, image: &Image) {
        if self.has_cleared.get() || !self.heeds(image) {
            return;
        }
        self.has_cleared.set(true);
        let (dirs, here) = (&self.shared.dirs, self.shared.config.node_id);
        for (name, dir) in dirs.all_found() {
            let named = image.topic(&name.topic).and_then(|topic| topic.partition(name.partition));
            let is_here = named.is_some_and(|replica| replica.replicas.contains(&here));
            if is_here || &*name.topic == METADATA_TOPIC || !dir.is_online() {
                continue;
            }
            let folder = dir.log_dir.folder(name);
            // Without an id nobody knows whose it is. It may be gone, too: deleted since the start.
            let Ok(Some(topic)) = log::read_topic_id(dirs.disk.as_ref(), &folder) else { continue };
            let id = PartitionId { topic, index: name.partition };
            if self.owner_of(id) != self.index || self.has(id) {
                continue;
            }
            if image.topic_by_id(topic).is_some_and(|topic| topic.partition(id.index).is_some()) {
                tracing::info!(partition = %name, "deleted: it was moved to other brokers");
                self.delete_unopened(id, name);
                continue;
            }
            let stray = dir.log_dir.folder_of_kind(name, FolderKind::Stray, self.unique());
            tracing::warn!(
                "the cluster has no topic {topic} named {}: its folder is set aside, delete {} for its room",
                name.topic,
                stray.display()
            );
            if let Err(cause) = dirs.disk.rename(&folder, &stray) {
                self.note_undeleted(name, folder, cause);
            }
        }
    }
}
