//! `.thalweg_whole_runs`: the runs of a broker of which a log directory has whatever they have counted
//! as written, however they ended (ADR 31).
//!
//! A run is named before it writes anything, by the id that it draws at its start, and only while its
//! records are synced before they count. Kafka passes over the file; a run of Kafka is not in it.
//!
//! Not here: what follows from it (`metadata`), when a run is named (the node).

use std::path::Path;

use types::Uuid;

use crate::disk::{Disk, read_file_if_exists, remove_if_exists, write_file_atomically};
use crate::error::{IoContext, LogError};

/// Its name.
pub(crate) const WHOLE_RUNS: &str = ".thalweg_whole_runs";
/// The first line; a file of another version says nothing.
const VERSION: &str = "0";

/// The runs of which a directory has all; none where nobody says so.
///
/// # Errors
/// [`LogError::Io`].
pub fn read_whole_runs(disk: &dyn Disk, dir: &Path) -> Result<Vec<Uuid>, LogError> {
    let path = dir.join(WHOLE_RUNS);
    let content = read_file_if_exists(disk, &path).context("read", &path)?;
    Ok(content.as_deref().and_then(parse).unwrap_or_default())
}

/// Names the runs of which a directory has all, in the place of those that were named before. Blocks
/// until that is on the disk.
///
/// # Errors
/// [`LogError::Io`].
pub fn write_whole_runs(disk: &dyn Disk, dir: &Path, runs: &[Uuid]) -> Result<(), LogError> {
    let path = dir.join(WHOLE_RUNS);
    let lines: String = runs.iter().map(|run| format!("{run}\n")).collect();
    let text = format!("{VERSION}\n{lines}");
    write_file_atomically(disk, &path, text.as_bytes()).context("write", &path)
}

/// Takes back that a directory has all of any run. Blocks until that is on the disk.
///
/// # Errors
/// [`LogError::Io`].
pub fn remove_whole_runs(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    let path = dir.join(WHOLE_RUNS);
    remove_if_exists(disk, &path).context("remove", &path)?;
    disk.sync_dir(dir).of_sync(dir)
}

/// What is not whole says nothing: to say too little costs no data.
fn parse(content: &[u8]) -> Option<Vec<Uuid>> {
    let text = str::from_utf8(content).ok()?;
    let mut lines = text.lines();
    if lines.next() != Some(VERSION) {
        return None;
    }
    lines.map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn what_was_named_last_is_read_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let read = || read_whole_runs(&RealDisk, dir.path()).unwrap();
        let run = |byte| Uuid::from_bytes([byte; 16]);
        assert_eq!(read(), []);
        for runs in [&[run(1)][..], &[run(2), run(1)]] {
            write_whole_runs(&RealDisk, dir.path(), runs).unwrap();
            assert_eq!(read(), runs);
        }
        for _ in 0..2 {
            remove_whole_runs(&RealDisk, dir.path()).unwrap();
            assert_eq!(read(), []);
        }
    }

    #[test]
    fn a_file_that_is_not_as_it_was_written_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(WHOLE_RUNS);
        let run = Uuid::from_bytes([1; 16]);
        let whole = format!("0\n{run}\n");
        for text in ["", "0", "1\n", &whole[..10], &whole.replace('0', "1"), &format!("{whole}x\n")]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(read_whole_runs(&RealDisk, dir.path()).unwrap(), [], "{text:?}");
        }
        fs::write(&path, whole).unwrap();
        assert_eq!(read_whole_runs(&RealDisk, dir.path()).unwrap(), [run]);
    }
}
