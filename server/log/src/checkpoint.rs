//! Kafka's text checkpoints, version 0: a version, a count, then one line an entry.
//!
//! `recovery-point-offset-checkpoint`, `replication-offset-checkpoint`,
//! `cleaner-offset-checkpoint` and `log-start-offset-checkpoint` hold `topic partition offset`;
//! `leader-epoch-checkpoint` holds `epoch start-offset`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use types::{LeaderEpoch, Offset, TopicPartition};

use crate::disk::{Disk, read_file_if_exists, write_file_atomically};
use crate::error::{IoContext, LogError};

/// One offset per partition, as a directory's checkpoint files keep them.
pub type OffsetCheckpoint = BTreeMap<TopicPartition, Offset>;

/// Reads an offset checkpoint; a missing file is an empty one.
///
/// # Errors
/// [`LogError::Malformed`] where the text breaks the format: an unreadable checkpoint never counts
/// as an empty one.
pub fn read_offsets(disk: &dyn Disk, path: &Path) -> Result<OffsetCheckpoint, LogError> {
    read(disk, path, |fields| {
        let [topic, partition, offset] = fields else { return None };
        let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
        Some((TopicPartition::new(*topic, partition), offset_from(offset)?))
    })
    .map(|entries| entries.into_iter().collect())
}

/// Replaces an offset checkpoint.
///
/// # Errors
/// [`LogError::Io`]; the former file is intact then.
pub fn write_offsets(
    disk: &dyn Disk,
    path: &Path,
    offsets: &OffsetCheckpoint,
) -> Result<(), LogError> {
    let lines = offsets
        .iter()
        .map(|(partition, offset)| format!("{} {} {offset}", partition.topic, partition.partition));
    write_file_atomically(disk, path, text(lines).as_bytes()).context("write", path)
}

/// Reads a leader epoch checkpoint; a missing file is an empty one.
pub(crate) fn read_epochs(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Vec<(LeaderEpoch, Offset)>, LogError> {
    read(disk, path, |fields| {
        let [epoch, offset] = fields else { return None };
        let epoch = epoch.parse().ok().filter(|epoch| *epoch >= 0)?;
        Some((LeaderEpoch(epoch), offset_from(offset)?))
    })
}

/// The content of a leader epoch checkpoint.
pub(crate) fn epochs_text(epochs: &[(LeaderEpoch, Offset)]) -> String {
    text(epochs.iter().map(|(epoch, start)| format!("{epoch} {start}")))
}

fn offset_from(text: &str) -> Option<Offset> {
    text.parse().ok().and_then(Offset::from_wire)
}

fn text(lines: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("0\n{}\n", lines.len());
    for line in lines {
        writeln!(text, "{line}").expect("a string takes everything");
    }
    text
}

fn read<T>(
    disk: &dyn Disk,
    path: &Path,
    entry: impl Fn(&[&str]) -> Option<T>,
) -> Result<Vec<T>, LogError> {
    let Some(content) = read_file_if_exists(disk, path).context("read", path)? else {
        return Ok(Vec::new());
    };
    parse(&content, entry).map_err(|reason| LogError::Malformed { file: path.to_owned(), reason })
}

fn parse<T>(content: &[u8], entry: impl Fn(&[&str]) -> Option<T>) -> Result<Vec<T>, String> {
    let content = str::from_utf8(content).map_err(|_| "it is not text".to_owned())?;
    // Kafka makes the files empty and fills them later.
    if content.is_empty() {
        return Ok(Vec::new());
    }
    let mut lines = content.lines();
    let version = lines.next().unwrap_or_default();
    if version.trim() != "0" {
        return Err(format!("version {version:?} is not 0"));
    }
    let count: Option<usize> = lines.next().and_then(|line| line.trim().parse().ok());
    let count = count.ok_or_else(|| "line 2 is not a count".to_owned())?;
    let mut entries = Vec::new();
    for (number, line) in lines.enumerate() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let parsed = entry(&fields);
        entries.push(parsed.ok_or_else(|| format!("line {} is {line:?}", number + 3))?);
    }
    if entries.len() != count {
        return Err(format!("it announces {count} entries and holds {}", entries.len()));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{RealDisk, read_file};

    #[test]
    fn offsets_are_written_as_kafka_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recovery-point-offset-checkpoint");
        let offsets = OffsetCheckpoint::from([
            (TopicPartition::new("b", 0), Offset::new(7)),
            (TopicPartition::new("a", 10), Offset::new(0)),
        ]);
        write_offsets(&RealDisk, &path, &offsets).unwrap();
        assert_eq!(read_file(&RealDisk, &path).unwrap(), b"0\n2\na 10 0\nb 0 7\n");
        assert_eq!(read_offsets(&RealDisk, &path).unwrap(), offsets);
    }

    #[test]
    fn missing_checkpoint_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_offsets(&RealDisk, &dir.path().join("none")).unwrap(), BTreeMap::new());
    }

    #[test]
    fn broken_text_is_refused() {
        let epochs =
            |text: &str| parse(text.as_bytes(), |fields| (fields.len() == 2).then_some(())).is_ok();
        assert!(epochs("0\n1\n3 4\n"));
        assert!(epochs("0\n0\n"));
        assert!(epochs(""), "Kafka makes the files empty");
        for bad in ["1\n0\n", "0\n", "0\nx\n", "0\n2\n1 2\n", "0\n0\n1 2\n", "0\n1\n1\n"] {
            assert!(!epochs(bad), "{bad:?}");
        }
    }

    #[test]
    fn negative_offsets_are_refused() {
        assert_eq!(offset_from("-1"), None);
    }
}
