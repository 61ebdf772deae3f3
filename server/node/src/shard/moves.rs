//! What each log takes up, in its directory and in the one that it moves to.

use std::path::PathBuf;
use std::rc::Rc;

use types::TopicPartition;

use super::Shard;

/// One log in a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogSize {
    /// The directory.
    pub dir: PathBuf,
    /// Whose log it is.
    pub partition: TopicPartition,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Records that it still lacks of what it is to hold.
    pub offset_lag: i64,
    /// Whether it is to take the place of the partition's log.
    pub is_future: bool,
}

impl Shard {
    /// Every log that this shard has.
    pub fn log_sizes(self: &Rc<Self>) -> Vec<LogSize> {
        let mut sizes = Vec::new();
        for partition in self.partitions() {
            let partition = partition.borrow();
            let log = partition.log();
            let Some(dir) = log.dir().parent() else { continue };
            sizes.push(LogSize {
                dir: dir.to_owned(),
                partition: partition.name().clone(),
                bytes: log.bytes(),
                // What the log holds and is not committed is no lag.
                offset_lag: 0,
                is_future: false,
            });
        }
        sizes
    }
}
