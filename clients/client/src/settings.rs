//! What every client of a cluster is told at its start.

use std::time::Duration;

/// How to reach a cluster and how patient to be. `Default` fits a broker on this machine.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// `host:port` of some brokers; the others are learnt from them.
    pub bootstrap: Vec<String>,
    /// What the broker's logs and quotas call this client.
    pub client_id: String,
    /// For one TCP connection to stand, name look-up included.
    pub connect_timeout: Duration,
    /// For one answer; afterwards the connection is given up. A leader in whose place another one
    /// leads by then is not waited for so long.
    pub request_timeout: Duration,
    /// For one call with all its retries.
    pub call_timeout: Duration,
    /// First pause between tries; it doubles up to `retry_pause_max`.
    pub retry_pause: Duration,
    /// Longest pause between tries.
    pub retry_pause_max: Duration,
    /// Age at which what is known of a topic is asked for again.
    pub metadata_age_max: Duration,
    /// Largest answer that is accepted, in bytes.
    pub answer_bytes_max: usize,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            bootstrap: vec!["127.0.0.1:9092".to_owned()],
            client_id: "thalweg-client".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(60),
            retry_pause: Duration::from_millis(50),
            retry_pause_max: Duration::from_secs(1),
            metadata_age_max: Duration::from_secs(300),
            answer_bytes_max: 256 << 20,
        }
    }
}

impl ClientSettings {
    /// The defaults with this comma-separated list of brokers.
    pub fn new(bootstrap: &str) -> Self {
        let bootstrap = bootstrap.split(',').map(|part| part.trim().to_owned());
        Self { bootstrap: bootstrap.filter(|part| !part.is_empty()).collect(), ..Self::default() }
    }
}
