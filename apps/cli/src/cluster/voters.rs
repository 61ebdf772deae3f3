//! `thalweg cluster voters`: which controllers vote.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;
use client::{
    Admin, Client, ClientSettings, ConfigEntry, ConfigResource, QuorumDescription, ResourceKind,
    Uuid,
};
use tokio::time::timeout;

/// Has a controller make itself a voter whenever it is none.
const AUTO_JOIN: &str = "controller.quorum.auto.join.enable";
/// How long the node may take to tell its settings: it may be down.
const SETTINGS_WAIT: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Makes a controller that runs a voter
    ///
    /// One with controller.quorum.auto.join.enable, as thalweg server --join sets it, does so by
    /// itself.
    #[command(after_help = "Examples:\n  \
        thalweg cluster voters add 4\n  \
        thalweg cluster quorum          shows who votes, and who only follows")]
    Add {
        /// Id of the node
        id: i32,
    },
    /// Takes the vote of a node away
    ///
    /// A node that runs with controller.quorum.auto.join.enable would make itself a voter again, and is
    /// refused: stop it first, or start it with that set to false.
    #[command(after_help = "Examples:\n  \
        thalweg cluster voters remove 4\n  \
        thalweg broker remove 4         for a node that has gone for good")]
    Remove {
        /// Id of the node
        id: i32,
        /// Directory of the voter, where the node has several [default: the only one]
        #[arg(long)]
        directory: Option<Uuid>,
    },
}

pub(crate) async fn run(admin: &Admin, arguments: Arguments) -> anyhow::Result<()> {
    let quorum = admin.describe_quorum().await?;
    match arguments.action {
        Action::Add { id } => {
            let directory = candidate(&quorum, id)?;
            let endpoints = endpoints(&quorum, id).await?;
            admin.add_voter(id, directory, &endpoints).await?;
            println!("node {id} votes");
        }
        Action::Remove { id, directory } => {
            let directory = voter(&quorum, id, directory)?;
            let resource = ConfigResource { kind: ResourceKind::Broker, name: id.to_string() };
            let settings = timeout(SETTINGS_WAIT, admin.describe_configs(&resource, false)).await;
            // A node that is down, or is no broker, does not tell.
            let settings = settings.ok().and_then(Result::ok);
            refuse_to_return(id, settings.as_deref().unwrap_or_default())?;
            admin.remove_voter(id, directory).await?;
            println!("node {id} does not vote any more");
            if settings.is_none() {
                println!("should it run with {AUTO_JOIN}=true, it makes itself a voter again");
            }
        }
    }
    Ok(())
}

/// Refuses what would not last: a node that makes itself a voter does so again within a second.
fn refuse_to_return(id: i32, settings: &[ConfigEntry]) -> anyhow::Result<()> {
    let value = |name| settings.iter().find(|one| one.name == name)?.value.as_deref();
    let is_controller = value("process.roles").is_some_and(|roles| roles.contains("controller"));
    if is_controller && value(AUTO_JOIN) == Some("true") {
        bail!(
            "node {id} runs with {AUTO_JOIN}=true and would make itself a voter again: stop it first \
             (thalweg broker remove {id} takes its vote away, too), or start it with {AUTO_JOIN}=false"
        );
    }
    Ok(())
}

/// The directory of a node that follows; the newest where it has had several.
fn candidate(quorum: &QuorumDescription, id: i32) -> anyhow::Result<Uuid> {
    if quorum.voters.iter().any(|voter| voter.id == id) {
        bail!("node {id} votes already");
    }
    let own = quorum.observers.iter().filter(|one| one.id == id);
    let newest = own.max_by_key(|one| one.last_fetch_ms);
    let newest = newest.with_context(|| {
        format!("no node {id} follows the metadata log: is it running, with the same cluster.id?")
    })?;
    Ok(newest.directory)
}

/// Where a controller listens: its fellows know, and brokers do not tell.
async fn endpoints(
    quorum: &QuorumDescription,
    id: i32,
) -> anyhow::Result<Vec<(String, String, u16)>> {
    let leader = quorum.endpoints.iter().find(|one| one.id == quorum.leader);
    let leader = leader.context("the cluster does not tell where its controllers listen")?;
    let host = &leader.host;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let settings = ClientSettings::new(&format!("{host}:{}", leader.port));
    let settings = ClientSettings { client_id: "thalweg-cli".to_owned(), ..settings };
    let controllers = Client::new(settings).admin().describe_controllers().await;
    let controllers = controllers.context("the leading controller does not answer")?;
    let own = controllers.into_iter().find(|one| one.id == id);
    let own = own.with_context(|| format!("node {id} has no controller role (process.roles)"))?;
    Ok(vec![(leader.listener.clone(), own.host, own.port)])
}

fn voter(quorum: &QuorumDescription, id: i32, named: Option<Uuid>) -> anyhow::Result<Uuid> {
    let own: Vec<Uuid> =
        quorum.voters.iter().filter(|one| one.id == id).map(|one| one.directory).collect();
    if own.iter().any(Uuid::is_zero) {
        bail!("the voters are fixed by controller.quorum.voters; only their settings change them");
    }
    match (&own[..], named) {
        ([], _) => bail!("node {id} does not vote"),
        ([only], None) => Ok(*only),
        (several, Some(named)) if several.contains(&named) => Ok(named),
        (_, Some(named)) => bail!("node {id} does not vote with directory {named}"),
        (several, None) => {
            let listed: Vec<String> = several.iter().map(Uuid::to_string).collect();
            bail!("node {id} votes with several directories; name one: {}", listed.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use client::QuorumReplica;

    use super::*;

    fn replica(id: i32, byte: u8, last_fetch_ms: i64) -> QuorumReplica {
        let directory = Uuid::from_bytes([byte; 16]);
        QuorumReplica { id, directory, log_end_offset: 0, last_fetch_ms, last_caught_up_ms: -1 }
    }

    fn quorum(voters: Vec<QuorumReplica>, observers: Vec<QuorumReplica>) -> QuorumDescription {
        QuorumDescription {
            leader: 1,
            leader_epoch: 1,
            high_watermark: 1,
            voters,
            observers,
            endpoints: Vec::new(),
        }
    }

    #[test]
    fn a_candidate_follows_and_has_its_newest_directory() {
        let quorum = quorum(vec![replica(1, 1, 0)], vec![replica(4, 2, 5), replica(4, 3, 9)]);
        assert_eq!(candidate(&quorum, 4).unwrap(), Uuid::from_bytes([3; 16]));
        assert!(candidate(&quorum, 1).unwrap_err().to_string().contains("votes already"));
        assert!(candidate(&quorum, 7).unwrap_err().to_string().contains("is it running"));
    }

    #[test]
    fn a_voter_is_named_by_its_directory_where_it_has_several() {
        let [a, b, c] = [1, 2, 3].map(|byte| Uuid::from_bytes([byte; 16]));
        let quorum = quorum(vec![replica(1, 1, 0), replica(2, 1, 0), replica(2, 2, 0)], vec![]);
        assert_eq!(voter(&quorum, 1, None).unwrap(), a);
        assert_eq!(voter(&quorum, 2, Some(b)).unwrap(), b);
        for (id, named) in [(2, None), (2, Some(c)), (1, Some(b)), (7, None)] {
            assert!(voter(&quorum, id, named).is_err(), "{id} {named:?}");
        }
    }

    #[test]
    fn a_node_that_would_vote_again_keeps_its_vote() {
        let setting = |(name, value): (&str, &str)| ConfigEntry {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            source: "static",
            is_read_only: true,
            is_sensitive: false,
            documentation: None,
        };
        let refuse = |roles, joins| {
            refuse_to_return(4, &[("process.roles", roles), (AUTO_JOIN, joins)].map(setting))
        };
        let refusal = refuse("broker,controller", "true").unwrap_err().to_string();
        assert!(refusal.contains("stop it first"), "{refusal}");
        refuse("broker,controller", "false").unwrap();
        refuse("broker", "true").expect("it is no controller any more");
        refuse_to_return(4, &[]).expect("it is down");
    }

    #[test]
    fn fixed_voters_stay() {
        let quorum = quorum(vec![replica(1, 0, 0)], vec![]);
        let refusal = voter(&quorum, 1, None).unwrap_err().to_string();
        assert!(refusal.contains("controller.quorum.voters"), "{refusal}");
    }
}
