//! Opening the log directories: locked, checked against each other, formatted where they are new.
//!
//! One that cannot be used is set aside and the others serve, unless it holds the metadata log.
//! One that belongs to another node or process, or has been used and does not say by whom, ends the
//! start: that is a mistake, no failure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, Once, OnceLock};

use ::metadata::Image;
use ::metadata::image::directory;
use anyhow::bail;
use config::NodeConfig;
use log::checkpoint::OffsetCheckpoint;
use log::{Disk, FolderKind, LogDir, LogError, MetaProperties};
use tokio::sync::Notify;
use types::{BrokerId, Rng, TopicPartition, Uuid};

use super::{Dir, Dirs, TELL_EVERY_MS, Unusable};

/// A directory and what it says of itself.
type Opened = (LogDir, Option<MetaProperties>);

impl Dirs {
    /// Opens and locks every directory. Those that nobody has formatted wait for
    /// [`Dirs::admit`], but for the metadata directory.
    ///
    /// A new cluster takes `cluster_id` if given, else a random id. The receiver tells when the
    /// node cannot go on.
    ///
    /// # Errors
    /// If a directory is in use, belongs to another node or cluster or has lost its
    /// `meta.properties`, if the metadata directory cannot be used, or none of the others.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: &NodeConfig,
        cluster_id: Option<&str>,
        rng: &mut Rng,
    ) -> anyhow::Result<(Self, Receiver<String>)> {
        let mut paths: Vec<PathBuf> = config.log_dirs.iter().map(PathBuf::from).collect();
        let data_dirs = paths.len();
        let metadata_path = PathBuf::from(&config.metadata_log_dir);
        if !paths.contains(&metadata_path) {
            paths.push(metadata_path.clone());
        }
        let mut unusable = Vec::new();
        let mut opened = Vec::new();
        for (at, path) in paths.iter().enumerate() {
            match open_one(&disk, path, config.node_id) {
                Ok(found) => opened.push((at, found)),
                Err(fault) if *path == metadata_path || is_mistake(&fault) => {
                    return Err(fault.into());
                }
                Err(fault) => unusable.push(Unusable::new(path.clone(), fault.to_string())),
            }
        }
        let cluster_id = agree_on_cluster(opened.iter().map(|(_, one)| one), cluster_id, rng)?;
        let (end_of_node, ends) = channel();
        let mut dirs = Self {
            all: Vec::new(),
            unusable,
            data_dirs: 0,
            metadata: 0,
            cluster_id,
            disk,
            failed: Notify::new(),
            found: BTreeMap::new(),
            end_of_node: Mutex::new(end_of_node),
            told_at: AtomicI64::new(i64::MIN / 2 + TELL_EVERY_MS),
            told_replaced: Once::new(),
        };
        for (at, (log_dir, properties)) in opened {
            let is_metadata = paths[at] == metadata_path;
            match dirs.read_one(log_dir, properties, is_metadata, config.node_id, rng) {
                Ok(dir) => {
                    dirs.metadata = if is_metadata { dirs.all.len() } else { dirs.metadata };
                    dirs.data_dirs += usize::from(at < data_dirs);
                    dirs.all.push(dir);
                }
                Err(fault) if is_metadata => return Err(fault.into()),
                Err(fault) => {
                    dirs.unusable.push(Unusable::new(paths[at].clone(), fault.to_string()));
                }
            }
        }
        Ok((dirs, ends))
    }

    /// Reads what a directory says, and formats it if it is the new one of the metadata log.
    fn read_one(
        &self,
        log_dir: LogDir,
        properties: Option<MetaProperties>,
        is_metadata: bool,
        node: BrokerId,
        rng: &mut Rng,
    ) -> Result<Dir, LogError> {
        let is_unformatted = properties.is_none() && !is_metadata;
        let known = properties.and_then(|properties| properties.directory_id);
        let id = known.unwrap_or_else(|| fresh_id(rng));
        if known.is_none() && !is_unformatted {
            self.format(&log_dir, node, id)?;
        }
        let clean_stop = log_dir.take_clean_shutdown()?;
        let whole_runs = log::read_whole_runs(self.disk.as_ref(), log_dir.path())?;
        let recovery_points = log_dir.recovery_points()?;
        let start_offsets = log_dir.start_offsets()?;
        let high_watermarks = log_dir.high_watermarks().unwrap_or_else(|fault| {
            // The leaders know them, or find out.
            tracing::warn!("what is committed is to be learned anew: {fault}");
            OffsetCheckpoint::new()
        });
        let compacted_ends = log_dir.compacted_ends().unwrap_or_else(|fault| {
            // The logs count as never compacted, which costs work and nothing else.
            tracing::warn!("compaction begins anew: {fault}");
            OffsetCheckpoint::new()
        });
        Ok(Dir {
            log_dir,
            id,
            clean_stop,
            whole_runs,
            recovery_points,
            start_offsets,
            high_watermarks,
            compacted_ends,
            logs: AtomicUsize::new(0),
            is_unformatted,
            is_cordoned: AtomicBool::new(false),
            failure: OnceLock::new(),
            calls: Arc::default(),
        })
    }

    fn format(&self, log_dir: &LogDir, node_id: BrokerId, id: Uuid) -> Result<(), LogError> {
        log_dir.write_meta_properties(&MetaProperties {
            cluster_id: self.cluster_id.clone(),
            node_id,
            directory_id: Some(id),
        })
    }

    /// Takes in the directories that nobody has formatted, and finds partitions.
    ///
    /// A directory without a word of whose it is may be the empty place of a disk that is not
    /// mounted. So it is set aside as long as a directory is missing that the cluster knows.
    ///
    /// # Errors
    /// If no directory is left that can be used, or a partition lies in two.
    pub fn admit(&mut self, image: &Image, node: BrokerId) -> anyhow::Result<()> {
        let missing = self.missing_ids(image, node);
        let mut found = Vec::new();
        while found.len() < self.all.len() {
            let at = found.len();
            match self.admit_one(at, &missing, node) {
                Ok(partitions) => found.push(partitions),
                Err(reason) if at == self.metadata => bail!("{reason}"),
                Err(reason) => {
                    let dir = self.all.remove(at);
                    self.data_dirs -= usize::from(at < self.data_dirs);
                    self.metadata -= usize::from(at < self.metadata);
                    self.unusable.push(Unusable::new(dir.path().to_owned(), reason));
                }
            }
        }
        if self.data_dirs == 0 {
            bail!("none of log.dirs can be used");
        }
        for (at, partitions) in found.into_iter().enumerate() {
            for partition in partitions {
                let at = match self.found.get(&partition) {
                    Some(&other) => self.choose(&partition, [other, at], image, node)?,
                    None => at,
                };
                self.found.insert(partition, at);
            }
        }
        Ok(())
    }

    /// Which of two directories has a partition that lies in both, as a crash at the end of a move
    /// leaves it: the one that the cluster knows. The other folder is set aside.
    fn choose(
        &self,
        partition: &TopicPartition,
        found: [usize; 2],
        image: &Image,
        node: BrokerId,
    ) -> anyhow::Result<usize> {
        let topic = image.topic(&partition.topic);
        let replica = topic.and_then(|topic| topic.partition(partition.partition));
        let recorded = replica.and_then(|replica| replica.directory_of(node));
        let [first, second] = found.map(|at| &self.all[at]);
        let (at, other) = match recorded {
            Some(id) if id == first.id => (found[0], second),
            Some(id) if id == second.id => (found[1], first),
            Some(_) | None => bail!(
                "partition {partition} lies in both {} and {}: remove one of the two",
                first.path().display(),
                second.path().display()
            ),
        };
        let folder = other.log_dir.folder(partition);
        let unique = topic.map_or(Uuid::ZERO, |topic| topic.id);
        let stray = other.log_dir.folder_of_kind(partition, FolderKind::Stray, unique);
        tracing::warn!(
            "{} was moved to {}, set aside",
            folder.display(),
            self.all[at].path().display()
        );
        if let Err(cause) = self.disk.rename(&folder, &stray) {
            // The directory that has the partition serves all the same.
            self.report(&LogError::Io { action: "rename", path: folder, cause });
        }
        Ok(at)
    }

    /// Makes sure that a directory is this node's, clears away what moves and deletions left in
    /// it, and gives its partitions.
    fn admit_one(
        &self,
        at: usize,
        missing: &[Uuid],
        node: BrokerId,
    ) -> Result<Vec<TopicPartition>, String> {
        let dir = &self.all[at];
        if dir.is_unformatted {
            if let Some(id) = missing.first() {
                return Err(format!(
                    "it is empty, while a directory that this node had, id {id}, is missing: is \
                     its disk mounted? If the disk was replaced, format the directory"
                ));
            }
            self.format(&dir.log_dir, node, dir.id).map_err(|fault| fault.to_string())?;
        }
        if at >= self.data_dirs {
            return Ok(Vec::new());
        }
        partitions_of(&dir.log_dir).map_err(|fault| fault.to_string())
    }

    /// Ids of directories that the cluster knows of this node and that are not here.
    fn missing_ids(&self, image: &Image, node: BrokerId) -> Vec<Uuid> {
        if !self.all.iter().any(|dir| dir.is_unformatted) {
            return Vec::new();
        }
        let registered = image.broker(node).into_iter().flat_map(|broker| &broker.directories);
        let partitions = image.topics().flat_map(|topic| topic.partitions());
        let named = partitions.filter_map(|(_, partition)| partition.directory_of(node));
        let known: BTreeSet<Uuid> = registered.copied().chain(named).collect();
        let is_here = |id: &Uuid| self.all.iter().any(|dir| !dir.is_unformatted && dir.id == *id);
        known.into_iter().filter(|id| !directory::is_reserved(*id) && !is_here(id)).collect()
    }
}

impl Unusable {
    fn new(path: PathBuf, reason: String) -> Self {
        tracing::error!(
            "log directory {} is offline until restart: {reason}. Its partitions are not served, \
             others are",
            path.display()
        );
        Self { path, reason }
    }
}

fn open_one(disk: &Arc<dyn Disk>, path: &Path, node: BrokerId) -> Result<Opened, LogError> {
    let log_dir = LogDir::open(Arc::clone(disk), path.to_owned())?;
    let properties = log_dir.meta_properties()?;
    match &properties {
        Some(properties) if properties.node_id != node => {
            let reason = format!(
                "it belongs to node {}, this is node {node}: change node.id or log.dirs",
                properties.node_id
            );
            Err(LogError::Foreign { dir: path.to_owned(), reason })
        }
        Some(_) => Ok((log_dir, properties)),
        None => {
            refuse_remains(&log_dir)?;
            Ok((log_dir, None))
        }
    }
}

/// Refuses to format a directory that has been used: under a new id, what lies there would be in
/// no cluster, or in the wrong one.
fn refuse_remains(log_dir: &LogDir) -> Result<(), LogError> {
    let remains = log_dir.remains()?;
    let Some((first, others)) = remains.split_first() else { return Ok(()) };
    let more =
        if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
    let reason = format!(
        "it has been used, {first}{more} lies there, but meta.properties is missing, which says \
         whose it is: put that file back, or move what is in the directory away to begin anew"
    );
    Err(LogError::Foreign { dir: log_dir.path().to_owned(), reason })
}

/// Whether the settings are wrong, and not the disk.
fn is_mistake(fault: &LogError) -> bool {
    matches!(fault, LogError::Locked { .. } | LogError::Foreign { .. })
}

fn partitions_of(log_dir: &LogDir) -> Result<Vec<TopicPartition>, LogError> {
    let mut found = Vec::new();
    for folder in log_dir.folders()? {
        match folder.kind {
            FolderKind::Current => found.push(folder.partition),
            // A move that was not finished begins anew; a deletion is finished.
            FolderKind::Future | FolderKind::Deleted => log_dir.remove_folder(&folder.path)?,
            FolderKind::Stray => {}
        }
    }
    Ok(found)
}

fn agree_on_cluster<'a>(
    opened: impl Iterator<Item = &'a Opened>,
    wanted: Option<&str>,
    rng: &mut Rng,
) -> anyhow::Result<String> {
    let mut known: Option<(&str, &Path)> = None;
    for (dir, properties) in opened {
        let Some(properties) = properties else { continue };
        match known {
            Some((id, first)) if id != properties.cluster_id => bail!(
                "{} belongs to cluster {id} and {} to cluster {}: one node has one cluster",
                first.display(),
                dir.path().display(),
                properties.cluster_id
            ),
            _ => known = Some((&properties.cluster_id, dir.path())),
        }
    }
    match (known, wanted) {
        (Some((id, dir)), Some(wanted)) if id != wanted => bail!(
            "{} belongs to cluster {id}, not to {wanted}: change CLUSTER_ID or log.dirs",
            dir.display()
        ),
        (Some((id, _)), _) => Ok(id.to_owned()),
        (None, Some(wanted)) => Ok(wanted.to_owned()),
        (None, None) => Ok(fresh_id(rng).to_string()),
    }
}

/// A random id that no command line takes for an option.
pub fn fresh_id(rng: &mut Rng) -> Uuid {
    loop {
        let id = Uuid::from_random(rng.bytes16());
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

/// A directory as it is named in answers and looked up by in requests.
pub fn absolute(dir: &Path) -> String {
    let path = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    path.to_string_lossy().into_owned()
}
