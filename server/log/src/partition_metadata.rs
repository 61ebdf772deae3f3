//! `partition.metadata`: which topic the folder of a partition belongs to.

use std::path::Path;

use types::Uuid;

use crate::Log;
use crate::disk::{Disk, read_file_if_exists, write_file, write_file_atomically};
use crate::error::{IoContext, LogError};

pub(crate) const FILE_NAME: &str = "partition.metadata";

/// The topic's id; `None` where the file is missing, or was made and never written: a power cut
/// came before the first sync of its log.
///
/// # Errors
/// [`LogError::Malformed`] where the file says something else.
pub fn read_topic_id(disk: &dyn Disk, folder: &Path) -> Result<Option<Uuid>, LogError> {
    let path = folder.join(FILE_NAME);
    let content = read_file_if_exists(disk, &path).context("read", &path)?;
    content
        .filter(|content| content.iter().any(|byte| *byte != 0))
        .map(|content| parse(&content))
        .transpose()
        .map_err(|reason| LogError::Malformed { file: path, reason })
}

/// Writes the topic's id and syncs it.
///
/// # Errors
/// [`LogError::Io`].
pub fn write_topic_id(disk: &dyn Disk, folder: &Path, topic_id: Uuid) -> Result<(), LogError> {
    let path = folder.join(FILE_NAME);
    write_file_atomically(disk, &path, content(topic_id).as_bytes()).context("write", &path)
}

impl Log {
    /// Writes the topic's id; it becomes durable with the log's first sync, so that making a
    /// partition waits for no disk.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn write_topic_id(&mut self, topic_id: Uuid) -> Result<(), LogError> {
        let path = self.dir.join(FILE_NAME);
        write_file(self.disk.as_ref(), &path, content(topic_id).as_bytes())
            .context("write", &path)?;
        self.sync.topic_id_is_new = true;
        self.sync.dir_is_dirty = true;
        Ok(())
    }
}

fn content(topic_id: Uuid) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

fn parse(content: &[u8]) -> Result<Uuid, String> {
    let content = str::from_utf8(content).map_err(|_| "it is not text".to_owned())?;
    let field = |name: &str| {
        let mut lines = content.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
        found.ok_or_else(|| format!("{name} is missing"))
    };
    let version = field("version")?;
    if version != "0" {
        return Err(format!("version {version:?} is not 0"));
    }
    let id: Uuid = field("topic_id")?.parse().map_err(|error| format!("{error}"))?;
    if id.is_zero() { Err("the topic id is zero".to_owned()) } else { Ok(id) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{RealDisk, read_file};

    #[test]
    fn topic_id_is_written_as_kafka_writes_it() {
        let dir = tempfile::tempdir().unwrap();
        let id: Uuid = "5L6g3nShT-eMCtK--X86sw".parse().unwrap();
        assert_eq!(read_topic_id(&RealDisk, dir.path()).unwrap(), None);
        write_topic_id(&RealDisk, dir.path(), id).unwrap();
        let content = read_file(&RealDisk, &dir.path().join("partition.metadata")).unwrap();
        assert_eq!(content, b"version: 0\ntopic_id: 5L6g3nShT-eMCtK--X86sw");
        assert_eq!(read_topic_id(&RealDisk, dir.path()).unwrap(), Some(id));
    }

    #[test]
    fn a_file_that_was_never_written_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for unwritten in [&b""[..], &[0; 43]] {
            write_file(&RealDisk, &dir.path().join(FILE_NAME), unwritten).unwrap();
            assert_eq!(read_topic_id(&RealDisk, dir.path()).unwrap(), None);
        }
    }

    #[test]
    fn other_content_is_refused() {
        for bad in [
            "version: 0",
            "topic_id: 5L6g3nShT-eMCtK--X86sw",
            "version: 1\ntopic_id: 5L6g3nShT-eMCtK--X86sw",
            "version: 0\ntopic_id: x",
            "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
