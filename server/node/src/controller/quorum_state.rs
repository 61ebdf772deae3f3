//! The file `quorum-state`: what a voter must remember of elections, as JSON in Kafka's form.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use raft::{Election, ReplicaKey, VoterSet};
use serde_json::{Value, json};
use types::{BrokerId, LeaderEpoch, Uuid};

const FILE_NAME: &str = "quorum-state";

/// Reads the file in the metadata partition's folder; `None` where there is none.
///
/// # Errors
/// If it is there but cannot be understood: "unknown" must not become "none".
pub fn read(folder: &Path) -> anyhow::Result<Option<Election>> {
    let path = folder.join(FILE_NAME);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let state: Option<Value> = serde_json::from_str(&text).ok();
    state
        .and_then(|state| parse(&state))
        .map(Some)
        .with_context(|| format!("{} is not the state of a quorum: {text:?}", path.display()))
}

fn parse(state: &Value) -> Option<Election> {
    let number = |name: &str| i32::try_from(state.get(name)?.as_i64()?).ok();
    let node = |id: i32| (id >= 0).then_some(BrokerId(id));
    let directory = match state.get("votedDirectoryId") {
        Some(id) => Some(id.as_str()?.parse::<Uuid>().ok()?).filter(|id| !id.is_zero()),
        None => None,
    };
    let voted = node(number("votedId")?).map(|id| ReplicaKey { id, directory });
    Some(Election {
        epoch: LeaderEpoch(number("leaderEpoch")?),
        leader: node(number("leaderId")?),
        voted,
    })
}

/// Writes the file so that a crash leaves the old or the new one. `fixed` are the voters where they
/// are static (`kraft.version` 0), which is another form of the file.
///
/// # Errors
/// If the file system refuses.
pub fn write(folder: &Path, election: &Election, fixed: Option<&VoterSet>) -> anyhow::Result<()> {
    let leader = election.leader.map_or(-1, |leader| leader.0);
    let voted = election.voted.map_or(-1, |voted| voted.id.0);
    let state = match fixed {
        None => json!({
            "leaderId": leader,
            "leaderEpoch": election.epoch.0,
            "votedId": voted,
            "votedDirectoryId": voted_directory(election).to_string(),
            "data_version": 1,
        }),
        Some(voters) => json!({
            "clusterId": "",
            "leaderId": leader,
            "leaderEpoch": election.epoch.0,
            "votedId": voted,
            "appliedOffset": 0,
            "currentVoters": voters
                .iter()
                .map(|voter| json!({ "voterId": voter.key.id.0 }))
                .collect::<Vec<_>>(),
            "data_version": 0,
        }),
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

fn voted_directory(election: &Election) -> Uuid {
    election.voted.and_then(|voted| voted.directory).unwrap_or(Uuid::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_and_leaders_survive_the_file_in_both_forms() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        let directory = Some(Uuid::from_bytes([7; 16]));
        let voted = Election {
            epoch: LeaderEpoch(7),
            leader: None,
            voted: Some(ReplicaKey { id: BrokerId(2), directory }),
        };
        let led = Election { epoch: LeaderEpoch(8), leader: Some(BrokerId(1)), voted: None };
        for election in [voted, led] {
            write(folder.path(), &election, None).unwrap();
            assert_eq!(read(folder.path()).unwrap(), Some(election));
        }
        // The form for static voters knows no directories.
        write(folder.path(), &voted, Some(&VoterSet::default())).unwrap();
        let read = read(folder.path()).unwrap();
        assert_eq!(read.unwrap().voted, Some(ReplicaKey { id: BrokerId(2), directory: None }));
    }

    #[test]
    fn a_broken_file_is_an_error_and_not_a_new_cluster() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE_NAME), "{\"leaderEpoch\":").unwrap();
        assert!(read(folder.path()).is_err());
    }
}
