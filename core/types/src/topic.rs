//! Topic names and partitions.

use std::fmt;
use std::sync::Arc;

/// The longest topic name, in bytes: `<name>-<partition>` must stay a file name.
const TOPIC_NAME_BYTES_MAX: usize = 249;

/// One partition of a topic, by name. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicPartition {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Index of the partition, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of the topic named `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

/// As Kafka names the partition's directory.
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Why a topic cannot have this name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidTopicName {
    /// The name has no characters.
    #[error("topic name is empty")]
    Empty,
    /// The name means a directory.
    #[error("topic name cannot be \".\" or \"..\"")]
    Dots,
    /// The name does not fit into a file name.
    #[error("topic name has {0} bytes, at most {TOPIC_NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The name has a character that is not allowed.
    #[error("topic name {0:?} has a character other than ASCII letters, digits, '.', '_' and '-'")]
    Character(String),
}

/// Checks a topic name by Kafka's rules.
///
/// # Errors
/// [`InvalidTopicName`] says which rule is broken; on the wire it is `INVALID_TOPIC_EXCEPTION`.
pub fn validate_topic_name(name: &str) -> Result<(), InvalidTopicName> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name {
        "" => Err(InvalidTopicName::Empty),
        "." | ".." => Err(InvalidTopicName::Dots),
        _ if name.len() > TOPIC_NAME_BYTES_MAX => Err(InvalidTopicName::TooLong(name.len())),
        _ if !name.chars().all(allowed) => Err(InvalidTopicName::Character(name.to_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        let longest = "a".repeat(TOPIC_NAME_BYTES_MAX);
        for good in ["a", "A.b_c-9", "...", longest.as_str()] {
            assert_eq!(validate_topic_name(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(TOPIC_NAME_BYTES_MAX + 1);
        for bad in ["", ".", "..", "a/b", "a b", "é", "a\0", too_long.as_str()] {
            assert!(validate_topic_name(bad).is_err(), "{bad:?}");
        }
    }
}
