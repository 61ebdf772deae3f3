//! Why another node gave no answer.

use std::sync::Arc;
use std::time::Duration;

use protocol::ApiKey;

/// Why a request to another node has no answer. Whether it was carried out is unknown after
/// [`PeerError::Disconnected`], [`PeerError::TimedOut`] and [`PeerError::Stopped`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum PeerError {
    #[error("cannot connect to {address}: {cause}")]
    Unreachable { address: Arc<str>, cause: String },
    #[error("{address} speaks {protocol}; connections to other nodes are PLAINTEXT only so far")]
    Secured { address: Arc<str>, protocol: &'static str },
    #[error("the connection to {address} ended before {api} was answered: {cause}")]
    Disconnected { address: Arc<str>, api: ApiKey, cause: Arc<str> },
    #[error("{address} did not answer {api} in {} ms", after.as_millis())]
    TimedOut { address: Arc<str>, api: ApiKey, after: Duration },
    #[error("{address} cannot be asked for {api}: {cause}")]
    Unsupported { address: Arc<str>, api: ApiKey, cause: String },
    #[error("{address} answered {api} with something else: {cause}")]
    Malformed { address: Arc<str>, api: ApiKey, cause: String },
    #[error("{waiting} requests wait for {address} already")]
    Overloaded { address: Arc<str>, waiting: usize },
    #[error("this node is stopping")]
    Stopped,
}
