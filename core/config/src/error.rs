//! Why a configuration is refused. Every message names the key, the value and what is allowed.

use types::ErrorCode;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The value does not pass the key's own check.
    #[error("{key} = {value:?} is refused, expected {allowed}")]
    Value {
        key: String,
        /// `[hidden]` for passwords.
        value: String,
        /// What would pass.
        allowed: String,
    },
    /// A required key is not set.
    #[error("{key} is not set, expected {allowed}")]
    Missing { key: String, allowed: String },
    /// Keys that are right on their own do not fit together.
    #[error("{keys}: {reason}")]
    Conflict { keys: String, reason: String },
    /// The key does not exist where it was set.
    #[error("{key} is not a {scope} setting{}", did_you_mean(.nearest))]
    Unknown { key: String, scope: &'static str, nearest: Option<&'static str> },
    /// The key changes only by a restart.
    #[error("{key} cannot change while the broker runs; set it in its file and restart")]
    ReadOnly { key: String },
    /// The key has no cluster-wide value.
    #[error("{key} has no cluster-wide default; name the broker to change it for")]
    PerBrokerOnly { key: String },
    /// Key material is set for a listener, never for all of them.
    #[error("{key} can change only for one listener, as listener.name.<listener>.{key}")]
    NeedsListener { key: String },
    /// APPEND or SUBTRACT on a key that is not a list.
    #[error("{key} is a {kind} and not a list, so nothing can be appended or subtracted")]
    NotAList { key: String, kind: &'static str },
    /// Two changes of one request name the same key.
    #[error("{key} is changed twice in one request")]
    Twice { key: String },
    /// A change other than DELETE came without a value.
    #[error("{key} came without a value")]
    NoValue { key: String },
    /// There were enough mistakes before these keys.
    #[error("{count} more keys were not checked")]
    Unchecked { count: usize },
}

fn did_you_mean(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

impl ConfigError {
    pub(crate) fn conflict(keys: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Conflict { keys: keys.into(), reason: reason.into() }
    }

    /// What the client sees when it tried to alter a topic, group or client-metrics config.
    /// Kafka answers a broker's alterations with INVALID_REQUEST whatever is wrong; see
    /// [`crate::Scope::refusal_code`].
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Value { .. }
            | Self::Missing { .. }
            | Self::Conflict { .. }
            | Self::Unknown { .. }
            | Self::Unchecked { .. }
            | Self::NotAList { .. } => ErrorCode::InvalidConfig,
            Self::ReadOnly { .. }
            | Self::PerBrokerOnly { .. }
            | Self::NeedsListener { .. }
            | Self::Twice { .. }
            | Self::NoValue { .. } => ErrorCode::InvalidRequest,
        }
    }
}

/// All that is wrong with a configuration, so that one start shows every mistake.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}
