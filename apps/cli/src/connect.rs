//! What every command is told: where the cluster is, and how to print.

use std::time::Duration;

use client::{Client, ClientSettings};
use config::HostPort;

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
        value_parser = addresses,
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

/// Addresses of brokers, separated by commas. One without a port would be tried as long as a broker
/// that is down.
///
/// # Errors
/// Where one is not `HOST:PORT`, or there is none.
pub fn addresses(text: &str) -> Result<String, String> {
    let mut listed = text.split(',').map(str::trim).filter(|one| !one.is_empty()).peekable();
    if listed.peek().is_none() || listed.any(|one| HostPort::read(one).is_none()) {
        return Err("HOST:PORT expected, such as localhost:9092".to_owned());
    }
    Ok(text.to_owned())
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
