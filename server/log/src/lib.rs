//! Partition logs on disk, in Kafka's own layout and formats.
//!
//! [`Log`] is one partition's log: a plain value with one owner, without locks, threads or timers;
//! the caller brings the time. [`LogDir`] is a directory that holds many of them. All file access
//! goes through [`Disk`].
//!
//! Not here: who may append or read (`replication`), the bytes of a batch (`records`), which
//! thread runs what (`node`).

// What tests of modules share with tests of the whole crate names it from outside.
#[cfg(test)]
extern crate self as thalweg_log;

mod ages;
mod ahead;
mod append;
pub mod checkpoint;
mod compaction;
mod config;
mod dir;
mod disk;
mod errand;
mod error;
mod index_file;
mod leader_epochs;
mod log;
mod lost_sectors;
mod meta_properties;
mod offset_index;
mod partition_metadata;
mod producer_snapshot;
mod producer_state;
mod read;
mod recall;
mod recovery;
mod rest;
mod retention;
mod rolling;
mod scan;
mod segment;
mod snapshots;
mod sync;
mod tail;
#[cfg(test)]
mod testing;
mod time_index;
mod timestamps;
mod truncate;
mod txn_index;
mod whole_runs;

pub use ages::{AgesLearned, AgesRead};
pub use append::AppendInfo;
pub use compaction::{
    CleanerBuffers, Compaction, CompactionError, CompactionNeed, CompactionTally, Donor, Mended,
    Mending, Pace, Rewritten, SwapStep,
};
pub use config::LogConfig;
pub use dir::{CleanShutdown, FolderKind, LogDir, PartitionFolder};
pub use disk::{
    Corruption, DirEntry, DirLock, Disk, DiskFile, DiskVolume, Fault, FaultyDisk, Loss, Once, Op,
    OpenMode, RealDisk,
};
pub use error::{AppendError, LogError, ProducerError, ReadError, lacks_room_or_descriptors};
pub use leader_epochs::LeaderEpochs;
pub use log::{Log, Opening};
pub use meta_properties::MetaProperties;
pub use partition_metadata::{read_topic_id, write_topic_id};
pub use producer_state::{AppendOrigin, BatchMetadata, ProducerEntry, ProducerStates};
pub use read::{Batches, ColdRead, Learned, Read, Received, RecentBatches};
pub use rest::{Oldest, Rested, Size, measure};
pub use retention::{Deletion, Removal};
pub use rolling::Rolling;
pub use sync::{SyncError, SyncTicket, Synced, sync_together};
pub use timestamps::{TimeLookup, TimeWanted, TimesLearned, TimestampedOffset};
pub use txn_index::{AbortedLookup, AbortedTxn};
pub use whole_runs::{read_whole_runs, remove_whole_runs, write_whole_runs};
