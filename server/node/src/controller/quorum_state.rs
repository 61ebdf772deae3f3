//! The file `quorum-state`: what a voter must remember of elections, as JSON in Kafka's form.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use types::{BrokerId, Uuid};

const FILE_NAME: &str = "quorum-state";

/// Leader and epoch that this voter has seen last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct QuorumState {
    /// The last epoch.
    pub leader_epoch: i32,
}

/// Reads the file in the metadata partition's folder; epoch 0 where there is none.
///
/// # Errors
/// If it is there but cannot be understood: "unknown" must not become "none".
pub fn read(folder: &Path) -> anyhow::Result<QuorumState> {
    let path = folder.join(FILE_NAME);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(QuorumState::default()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let parse = || {
        let state: Value = serde_json::from_str(&text).ok()?;
        let epoch = state.get("leaderEpoch")?.as_i64()?;
        Some(QuorumState { leader_epoch: i32::try_from(epoch).ok()? })
    };
    parse().with_context(|| format!("{} does not hold a leaderEpoch: {text:?}", path.display()))
}

/// Writes the file so that a crash leaves the old or the new one. `dynamic` says whether the
/// voters are in the log (kraft.version 1), which is another form of the file.
///
/// # Errors
/// If the file system refuses.
pub fn write(folder: &Path, node: BrokerId, epoch: i32, dynamic: bool) -> anyhow::Result<()> {
    let state = if dynamic {
        json!({
            "leaderId": node.0,
            "leaderEpoch": epoch,
            "votedId": -1,
            "votedDirectoryId": Uuid::ZERO.to_string(),
            "data_version": 1,
        })
    } else {
        json!({
            "clusterId": "",
            "leaderId": node.0,
            "leaderEpoch": epoch,
            "votedId": -1,
            "appliedOffset": 0,
            "currentVoters": [{ "voterId": node.0 }],
            "data_version": 0,
        })
    };
    let write = || -> io::Result<()> {
        let temporary = folder.join(format!("{FILE_NAME}.tmp"));
        let mut file = File::create(&temporary)?;
        file.write_all(state.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, folder.join(FILE_NAME))?;
        File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {FILE_NAME} in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_survives_the_file_in_both_forms() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap().leader_epoch, 0);
        for (epoch, dynamic) in [(7, true), (8, false)] {
            write(folder.path(), BrokerId(1), epoch, dynamic).unwrap();
            assert_eq!(read(folder.path()).unwrap().leader_epoch, epoch);
        }
    }

    #[test]
    fn a_broken_file_is_an_error_and_not_a_new_cluster() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE_NAME), "{\"leaderEpoch\":").unwrap();
        assert!(read(folder.path()).is_err());
    }
}
