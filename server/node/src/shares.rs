//! Many logs at once, in a recovery and at a stop: shares for a few threads of each directory, and
//! one sync for all logs of a share.

use std::sync::{Mutex, PoisonError};

use config::{BrokerLayers, NodeConfig};
use log::{DiskVolume, SyncError, SyncTicket, Synced, sync_together};

/// Logs that share one sync of the volume. Each has some files open, in every thread.
const SYNCED_AT_ONCE: usize = 64;

/// More threads than this for a directory bring nothing, and their number comes from a setting that
/// holds for a whole cluster: were it obeyed at any size, no node would start again to undo it.
const THREADS_MAX: usize = 256;

/// Threads for each directory, as the cluster's settings have it now.
pub fn threads(at_start: &NodeConfig, layers: &BrokerLayers<'_>) -> usize {
    let threads = |config: &NodeConfig| config.upkeep.recovery_threads as usize;
    // The controller has checked each change; only settings of another version end here.
    let wanted = NodeConfig::resolve(layers).map_or(threads(at_start), |now| threads(&now));
    wanted.min(THREADS_MAX)
}

/// A share of what is left; `None` at the end. The last logs are spread over all threads.
pub fn next<T>(logs: &Mutex<Vec<T>>, threads: usize) -> Option<Vec<T>> {
    let mut logs = logs.lock().unwrap_or_else(PoisonError::into_inner);
    let share = logs.len().div_ceil(threads).min(SYNCED_AT_ONCE);
    let rest = logs.len() - share;
    (share > 0).then(|| logs.split_off(rest))
}

/// Runs the tickets of a share. Blocks.
pub fn sync(
    volume: Option<&dyn DiskVolume>,
    tickets: Vec<SyncTicket>,
) -> Vec<Result<Synced, SyncError>> {
    match volume.filter(|_| tickets.len() > 1) {
        Some(volume) => sync_together(volume, tickets),
        None => tickets.into_iter().map(SyncTicket::sync).collect(),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use log::DiskVolume;

    /// A volume that counts its syncs.
    #[derive(Debug, Default)]
    pub(crate) struct Counting {
        pub(crate) syncs: AtomicUsize,
        pub(crate) fails: bool,
    }

    impl DiskVolume for Counting {
        fn sync(&self) -> io::Result<()> {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            if self.fails { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use config::{Sources, StaticConfig};

    use super::*;

    #[test]
    fn last_logs_are_spread_over_all_threads() {
        let logs = Mutex::new(vec![(); 70]);
        let mut shares = vec![];
        while let Some(share) = next(&logs, 1) {
            shares.push(share.len());
            while let Some(share) = next(&logs, 4) {
                shares.push(share.len());
            }
        }
        assert_eq!(shares, [SYNCED_AT_ONCE, 2, 1, 1, 1, 1]);
    }

    #[test]
    fn threads_are_as_many_as_the_cluster_was_told_last() {
        let (fixed, _) = StaticConfig::new(&Sources::default()).unwrap();
        let at_start = BrokerLayers::at_start(&fixed);
        let config = NodeConfig::resolve(&at_start).unwrap();
        let name = "num.recovery.threads.per.data.dir".to_owned();
        assert_eq!(threads(&config, &at_start), 2);
        for (told, meant) in [("7", 7), ("2147483647", THREADS_MAX)] {
            let cluster = [(name.clone(), told.to_owned())].into();
            assert_eq!(threads(&config, &BrokerLayers { cluster: &cluster, ..at_start }), meant);
        }
    }
}
