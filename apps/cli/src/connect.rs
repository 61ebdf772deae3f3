//! What every command is told: where the cluster is, and how to print.

use std::time::Duration;

use client::{Client, ClientSettings};

use crate::output::Format;

/// Where the cluster is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Connect {
    /// Some brokers of the cluster, as host:port, separated by commas
    #[arg(
        short,
        long = "bootstrap-server",
        env = "THALWEG_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        value_name = "ADDRESSES",
        global = true
    )]
    pub(crate) bootstrap: String,
}

/// Somebody sits and waits.
const PATIENCE: Duration = Duration::from_secs(15);

impl Connect {
    pub(crate) fn client(&self) -> Client {
        let settings = ClientSettings::new(&self.bootstrap);
        let client_id = "thalweg-cli".to_owned();
        Client::new(ClientSettings { client_id, call_timeout: PATIENCE, ..settings })
    }
}

/// Where the cluster is and how to print.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) connect: Connect,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) output: Format,
}

/// `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("KEY=VALUE is expected".to_owned()),
    }
}

/// The first error among outcomes, if there is one.
pub(crate) fn all<K, T>(each: client::Each<K, T>) -> Result<Vec<(K, T)>, client::ClientError> {
    each.into_iter().map(|(key, result)| result.map(|value| (key, value))).collect()
}
