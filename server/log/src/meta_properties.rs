//! `meta.properties`: whose log directory this is.

use std::path::Path;

use types::{BrokerId, Uuid};

use crate::disk::{Disk, read_file_if_exists, write_file_atomically};
use crate::error::{IoContext, LogError};

const FILE_NAME: &str = "meta.properties";

/// The identity of a formatted log directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MetaProperties {
    /// The cluster, as text: clusters made by old Kafka versions have other ids than UUIDs.
    pub cluster_id: String,
    /// The node that owns the directory.
    pub node_id: BrokerId,
    /// The directory itself; `None` where an old Kafka formatted it.
    pub directory_id: Option<Uuid>,
}

impl MetaProperties {
    /// The identity of `dir`; `None` where it is not formatted.
    ///
    /// # Errors
    /// [`LogError::Malformed`]: a file that cannot be read never counts as none.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, LogError> {
        let path = dir.join(FILE_NAME);
        let content = read_file_if_exists(disk, &path).context("read", &path)?;
        content
            .map(|content| parse(&content))
            .transpose()
            .map_err(|reason| LogError::Malformed { file: path, reason })
    }

    /// Formats `dir`.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
        let path = dir.join(FILE_NAME);
        write_file_atomically(disk, &path, self.text().as_bytes()).context("write", &path)
    }

    fn text(&self) -> String {
        let mut text = format!("#\nversion=1\ncluster.id={}\n", escape(&self.cluster_id));
        text += &format!("node.id={}\n", self.node_id);
        if let Some(id) = self.directory_id {
            text += &format!("directory.id={id}\n");
        }
        text
    }
}

/// The characters that mean something in a .properties value.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | '=' | ':' | '#' | '!' | ' ') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn parse(content: &[u8]) -> Result<MetaProperties, String> {
    let content = str::from_utf8(content).map_err(|_| "it is not text".to_owned())?;
    let lines = content.lines().map(str::trim_start);
    let pairs: Vec<(&str, String)> = lines
        .filter(|line| !line.starts_with(['#', '!']))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim().replace('\\', "")))
        .collect();
    let field = |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
    match field("version") {
        Some("1") => {}
        other => return Err(format!("version {other:?} is not 1")),
    }
    let node_id = field("node.id").ok_or("node.id is missing")?;
    let node_id = node_id.parse().map_err(|_| format!("node.id {node_id:?} is no number"))?;
    let directory_id = match field("directory.id") {
        Some(id) => Some(id.parse().map_err(|error| format!("directory.id: {error}"))?),
        None => None,
    };
    Ok(MetaProperties {
        cluster_id: field("cluster.id").ok_or("cluster.id is missing")?.to_owned(),
        node_id: BrokerId(node_id),
        directory_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn identity_survives_the_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(MetaProperties::read(&RealDisk, dir.path()).unwrap(), None);
        let properties = MetaProperties {
            cluster_id: "a b=c".to_owned(),
            node_id: BrokerId(3),
            directory_id: Some("5L6g3nShT-eMCtK--X86sw".parse().unwrap()),
        };
        properties.write(&RealDisk, dir.path()).unwrap();
        assert_eq!(MetaProperties::read(&RealDisk, dir.path()).unwrap(), Some(properties));
    }

    #[test]
    fn what_kafka_storage_format_writes_is_read() {
        let text = "#\n#Sat Nov 21 02:00:00 UTC 2026\ncluster.id=CRo2PxjQSiW6pXOVMmLC8Q\n\
                    directory.id=jqEqSKBJ9dVgDGh36h3Phg\nnode.id=1\nversion=1\n";
        let read = parse(text.as_bytes()).unwrap();
        assert_eq!(read.cluster_id, "CRo2PxjQSiW6pXOVMmLC8Q");
        assert_eq!(read.node_id, BrokerId(1));
        assert_eq!(read.directory_id.unwrap().to_string(), "jqEqSKBJ9dVgDGh36h3Phg");
    }

    #[test]
    fn other_versions_and_gaps_are_refused() {
        for bad in ["", "version=0\nbroker.id=1", "version=1\nnode.id=1", "version=1\ncluster.id=a"]
        {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
