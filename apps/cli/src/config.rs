//! `thalweg config`: describe, set and delete settings of topics, brokers and groups.

use clap::{Subcommand, ValueEnum};
use client::{Admin, ConfigChange, ConfigEntry, ConfigResource, ResourceKind};
use serde::Serialize;

use crate::connect::{Common, pair};
use crate::output::{Format, Table, counted, print};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Tells the settings that differ from their defaults
    Describe {
        /// What is configured
        #[arg(value_enum)]
        kind: Kind,
        /// Its name: of a topic or group, or the id of a broker; "default" is all brokers
        name: String,
        /// Defaults too
        #[arg(long)]
        all: bool,
    },
    /// Sets settings, all or none
    Set {
        /// What is configured
        #[arg(value_enum)]
        kind: Kind,
        /// Its name: of a topic or group, or the id of a broker; "default" is all brokers
        name: String,
        /// Settings
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = pair)]
        settings: Vec<(String, String)>,
        /// Only checks whether they could be set
        #[arg(long)]
        dry_run: bool,
    },
    /// Puts settings back to their defaults
    Delete {
        /// What is configured
        #[arg(value_enum)]
        kind: Kind,
        /// Its name: of a topic or group, or the id of a broker; "default" is all brokers
        name: String,
        /// Keys of the settings
        #[arg(required = true)]
        keys: Vec<String>,
    },
}

/// What can be configured.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Topic,
    Broker,
    Group,
}

#[derive(Debug, Serialize)]
struct Described {
    name: String,
    value: Option<String>,
    source: &'static str,
    read_only: bool,
    sensitive: bool,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let admin = arguments.common.connect.client().admin();
    let output = arguments.common.output;
    match arguments.action {
        Action::Describe { kind, name, all } => {
            let entries = admin.describe_configs(&resource(kind, &name), false).await?;
            describe(entries, all, output)
        }
        Action::Set { kind, name, settings, dry_run } => {
            let set = settings.into_iter().map(|(key, value)| (key, ConfigChange::Set(value)));
            let done = if dry_run { "would be set" } else { "set" };
            change(&admin, &resource(kind, &name), set.collect(), dry_run, done, output).await
        }
        Action::Delete { kind, name, keys } => {
            let resource = resource(kind, &name);
            check_known(&admin, &resource, &keys).await?;
            let deleted = keys.into_iter().map(|key| (key, ConfigChange::Delete)).collect();
            change(&admin, &resource, deleted, false, "deleted", output).await
        }
    }
}

fn resource(kind: Kind, name: &str) -> ConfigResource {
    let (kind, name) = match (kind, name) {
        (Kind::Broker, "default") => (ResourceKind::Broker, ""),
        (Kind::Broker, id) => (ResourceKind::Broker, id),
        (Kind::Topic, name) => (ResourceKind::Topic, name),
        (Kind::Group, name) => (ResourceKind::Group, name),
    };
    ConfigResource { kind, name: name.to_owned() }
}

/// Brokers take the deletion of a key that there is not for done.
async fn check_known(
    admin: &Admin,
    resource: &ConfigResource,
    keys: &[String],
) -> anyhow::Result<()> {
    let known = admin.describe_configs(resource, false).await?;
    if let Some(key) = keys.iter().find(|key| known.iter().all(|entry| entry.name != **key)) {
        anyhow::bail!("{key:?} is not set here; `config describe --all` names all that is");
    }
    Ok(())
}

fn describe(entries: Vec<ConfigEntry>, all: bool, output: Format) -> anyhow::Result<()> {
    let shown = entries.into_iter().filter(|entry| all || entry.source != "default");
    let shown: Vec<_> = shown
        .map(|entry| Described {
            name: entry.name,
            value: entry.value,
            source: entry.source,
            read_only: entry.is_read_only,
            sensitive: entry.is_sensitive,
        })
        .collect();
    print(output, &shown, || {
        let mut table = Table::new(["KEY", "VALUE", "SOURCE"]);
        for one in &shown {
            let hidden = if one.sensitive { "(hidden)" } else { "" };
            let value = one.value.clone().unwrap_or_else(|| hidden.to_owned());
            table.row([one.name.clone(), value, one.source.to_owned()]);
        }
        table.text()
    })
}

async fn change(
    admin: &Admin,
    resource: &ConfigResource,
    changes: Vec<(String, ConfigChange)>,
    dry_run: bool,
    done: &str,
    output: Format,
) -> anyhow::Result<()> {
    admin.alter_configs(resource, &changes, dry_run).await?;
    let keys: Vec<_> = changes.into_iter().map(|(key, _)| key).collect();
    print(output, &keys, || {
        format!("{} {done}: {}\n", counted(keys.len(), "setting"), keys.join(", "))
    })
}
