//! What a broker may say of its former run when it registers: whether it still has all of it.
//!
//! KIP-966 has a broker name the epoch of its former run if that has stopped in good order, and a
//! controller counts on nothing of one that does not. A broker that counts nothing as written before
//! its disk has it may name the epoch after a crash, too, as long as its directories are those of that
//! run (ADR 31).
//!
//! Not here: what the controller makes of it (`controller`), the files that tell of a run (`log`).

use types::{BrokerId, TopicPartition, Uuid};

use crate::image::{Broker, Image, Partition, directory};

/// So many runs are named beside one that begins: more do not end before any of them is registered.
const RUNS_MAX: usize = 8;

/// What a log directory that works says of the runs of its broker.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FoundDirectory {
    /// Its id.
    pub id: Uuid,
    /// The epoch of a run that has stopped in good order.
    pub clean_epoch: Option<i64>,
    /// Incarnations of runs of which it has whatever they have counted as written.
    pub whole_runs: Vec<Uuid>,
}

/// Why a broker must not say that it has all of its former run.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotWhole {
    /// There was none.
    #[error("the cluster knows no former run of this broker")]
    First,
    /// None of its directories is there any more.
    #[error("all log directories are new")]
    AllNew,
    /// It may have lost something, or it is an older copy.
    #[error("nothing says that log directory {0} has all that it had")]
    Directory(Uuid),
    /// Its directory is there, and it is not.
    #[error("the log of {0} is not where it was")]
    Log(TopicPartition),
}

impl FoundDirectory {
    /// Whether it has all that a run has counted as written to it.
    pub fn has_all_of(&self, run: &Broker) -> bool {
        self.clean_epoch == Some(run.epoch) || self.whole_runs.contains(&run.incarnation_id)
    }

    /// The runs to name when one begins: that one, and those before it if the directory has all of the
    /// registered run. Not that one alone: a later one may have ended as soon as it had asked for its
    /// registration, and be registered only now.
    pub fn runs_to_name(&self, begun: Uuid, registered: Option<&Broker>) -> Vec<Uuid> {
        let mut runs = vec![begun];
        if let Some(registered) = registered.filter(|run| self.has_all_of(run)) {
            let before = [&registered.incarnation_id].into_iter().chain(&self.whole_runs);
            for run in before.take(RUNS_MAX) {
                if !runs.contains(run) {
                    runs.push(*run);
                }
            }
        }
        runs
    }
}

/// The epoch of a broker's former run, if whatever that had is in the directories which it still has.
/// What lay in others the controller finds out, as the registration does not name them.
///
/// `has_log` says whether the broker has found a partition's log; `dirs` are the directories that it
/// registers with.
///
/// # Errors
/// [`NotWhole`]: it is to be taken for one that has lost something.
pub fn epoch_of_former_run(
    image: &Image,
    id: BrokerId,
    dirs: &[FoundDirectory],
    has_log: impl Fn(&TopicPartition) -> bool,
) -> Result<i64, NotWhole> {
    let former = image.broker(id).ok_or(NotWhole::First)?;
    // A broker of before 3.7 names no directories, so any may have been there.
    let is_old = |dir: &&FoundDirectory| {
        former.directories.is_empty() || former.directories.contains(&dir.id)
    };
    let mut old = dirs.iter().filter(is_old).peekable();
    old.peek().ok_or(NotWhole::AllNew)?;
    if let Some(dir) = old.find(|dir| !dir.has_all_of(former)) {
        return Err(NotWhole::Directory(dir.id));
    }
    for topic in image.topics() {
        for (index, partition) in topic.partitions() {
            if !is_counted_on(partition, id) || is_known_to_be_gone(partition, id, dirs) {
                continue;
            }
            let name = TopicPartition::new(topic.name.clone(), index);
            if !has_log(&name) {
                return Err(NotWhole::Log(name));
            }
        }
    }
    Ok(former.epoch)
}

/// Whether a replica may lead others by what it has.
fn is_counted_on(partition: &Partition, id: BrokerId) -> bool {
    partition.replicas.len() > 1 && (partition.isr.contains(&id) || partition.elr.contains(&id))
}

/// Whether the cluster sees that a replica's directory is none of those that there are now.
fn is_known_to_be_gone(partition: &Partition, id: BrokerId, dirs: &[FoundDirectory]) -> bool {
    match partition.directory_of(id) {
        Some(directory::LOST) => true,
        Some(dir) if directory::is_reserved(dir) => false,
        Some(dir) => !dirs.iter().any(|one| one.id == dir),
        None => false,
    }
}
