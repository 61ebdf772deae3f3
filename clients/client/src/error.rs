//! What can go wrong for a client: cause, broker, API and, where there is one, the cure.

use std::sync::Arc;
use std::time::Duration;

use protocol::ApiKey;
use types::ErrorCode;

/// Why a call failed. The text is one line: the cause first, then what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The TCP connection was refused.
    #[error("nothing listens at {address}: is the broker running, and is this its address?")]
    Refused {
        /// `host:port` that was tried.
        address: Arc<str>,
    },
    /// There is no way to the address, or no such name.
    #[error("cannot reach {address}: {cause}")]
    Unreachable {
        /// `host:port` that was tried.
        address: Arc<str>,
        /// What the system said.
        cause: String,
    },
    /// Something answers there, but not in Kafka's protocol.
    #[error("{address} {cause}")]
    NotKafka {
        /// `host:port` that was tried.
        address: Arc<str>,
        /// What it did instead, and what it may be.
        cause: &'static str,
    },
    /// The connection ended before the answer came.
    #[error("{broker} closed the connection before it answered {api}: {cause}")]
    Disconnected {
        /// Address of the broker.
        broker: Arc<str>,
        /// What was asked.
        api: ApiKey,
        /// How the connection ended.
        cause: String,
    },
    /// No answer came in time.
    #[error("{broker} did not answer {api} within {} ms: {}", after.as_millis(), silence(*api))]
    TimedOut {
        /// Address of the broker.
        broker: Arc<str>,
        /// What was asked.
        api: ApiKey,
        /// How long the client waited.
        after: Duration,
    },
    /// The answer is not what the protocol says.
    #[error("{broker} sent an answer to {api} that cannot be read: {cause}")]
    Malformed {
        /// Address of the broker.
        broker: Arc<str>,
        /// What was asked.
        api: ApiKey,
        /// Where it went wrong.
        cause: String,
    },
    /// The request cannot be expressed in a version that both sides know.
    #[error("{broker} cannot be asked for {api}: {cause}")]
    Unsupported {
        /// Address of the broker.
        broker: Arc<str>,
        /// What was to be asked.
        api: ApiKey,
        /// What is missing.
        cause: String,
    },
    /// The broker understood and refused.
    #[error("{}", refusal(*api, subject, *code, message.as_deref()))]
    Refusal {
        /// What was asked.
        api: ApiKey,
        /// What it was asked for, such as `topic "orders"`; may be empty.
        subject: String,
        /// Kafka's code.
        code: ErrorCode,
        /// The broker's own words, if it had any.
        message: Option<String>,
    },
    /// A partition has no leader, or the topic has no such partition.
    #[error("{partition} has no leader at the moment: its brokers are down or just starting")]
    NoLeader {
        /// `topic-index` of the partition.
        partition: String,
    },
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// A record is larger than the producer may send.
    #[error(
        "record of {bytes} bytes is over the limit of {limit}: raise `request_bytes_max` and the topic's max.message.bytes"
    )]
    RecordTooLarge {
        /// Size of the record.
        bytes: usize,
        /// Size that is allowed.
        limit: usize,
    },
    /// Records waited longer than `delivery_timeout`.
    #[error("records for {partition} were not acknowledged within {} ms; last cause: {cause}", after.as_millis())]
    DeliveryTimedOut {
        /// `topic-index` of the partition.
        partition: String,
        /// The limit.
        after: Duration,
        /// Why they could not be sent.
        cause: String,
    },
    /// The client was closed while the call was under way, or before.
    #[error("the client is closed")]
    Closed,
}

impl ClientError {
    /// A refusal, unless `code` says that all went well.
    pub(crate) fn check(
        api: ApiKey,
        subject: impl FnOnce() -> String,
        code: i16,
        message: Option<&String>,
    ) -> Result<(), Self> {
        match ErrorCode::from_wire(code) {
            ErrorCode::None => Ok(()),
            code => {
                let message = message.filter(|text| !text.is_empty()).cloned();
                Err(Self::Refusal { api, subject: subject(), code, message })
            }
        }
    }

    /// Kafka's code, where the broker gave one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refusal { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later, without anybody changing anything.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Refusal { code, .. } => code.is_retriable(),
            Self::Disconnected { .. } | Self::TimedOut { .. } | Self::NoLeader { .. } => true,
            Self::Refused { .. } | Self::Unreachable { .. } => true,
            Self::DeliveryTimedOut { .. } => true,
            Self::NotKafka { .. }
            | Self::Malformed { .. }
            | Self::Unsupported { .. }
            | Self::Invalid(_)
            | Self::RecordTooLarge { .. }
            | Self::Closed => false,
        }
    }
}

/// Why a broker may leave a request unanswered.
pub(crate) fn silence(api: ApiKey) -> &'static str {
    match api {
        // A broker hands these on, and waits for a controller that leads.
        ApiKey::DescribeQuorum
        | ApiKey::InitProducerId
        | ApiKey::CreateTopics
        | ApiKey::DeleteTopics
        | ApiKey::CreatePartitions
        | ApiKey::IncrementalAlterConfigs
        | ApiKey::AlterPartitionReassignments
        | ApiKey::ListPartitionReassignments
        | ApiKey::ElectLeaders
        | ApiKey::UpdateFeatures
        | ApiKey::AddRaftVoter
        | ApiKey::RemoveRaftVoter
        | ApiKey::UnregisterBroker => {
            "it is for the controllers, and no majority of them may be running"
        }
        _ => "it is overloaded or cut off",
    }
}

fn refusal(api: ApiKey, subject: &str, code: ErrorCode, message: Option<&str>) -> String {
    let mut text = api.name().to_owned();
    if !subject.is_empty() {
        text.push_str(" for ");
        text.push_str(subject);
    }
    text.push_str(" was refused: ");
    text.push_str(code.name());
    if let Some(message) = message {
        text.push_str(": ");
        text.push_str(message.trim_end_matches('.'));
    }
    let cure = match api {
        // The same code has another cause elsewhere.
        ApiKey::DescribeQuorum if code == ErrorCode::NotLeaderOrFollower => {
            Some("no controller leads: most of them are down or cut off, or just elect one")
        }
        _ => cure(code),
    };
    if let Some(cure) = cure {
        text.push_str("; ");
        text.push_str(cure);
    }
    text
}

/// What to do about a code, where that is not plain from its name.
fn cure(code: ErrorCode) -> Option<&'static str> {
    let cure = match code {
        ErrorCode::UnknownTopicOrPartition => "create the topic first, or check its spelling",
        ErrorCode::NotController => {
            "no controller leads: no majority of the voters can be reached, or they just elect one"
        }
        ErrorCode::UnknownTopicId => "the topic was deleted or made anew meanwhile",
        ErrorCode::TopicAlreadyExists => "delete it first, or use it as it is",
        ErrorCode::InvalidReplicationFactor => "it cannot exceed the number of running brokers",
        ErrorCode::MessageTooLarge => "raise the topic's max.message.bytes or send less at once",
        ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => {
            "fewer replicas are in sync than min.insync.replicas asks for"
        }
        ErrorCode::OffsetOutOfRange => "the offset was deleted by retention, or never written",
        ErrorCode::NonEmptyGroup => "stop its members first",
        ErrorCode::GroupIdNotFound => "check its spelling; empty groups without offsets vanish",
        ErrorCode::GroupSubscribedToTopic => "stop the members that subscribe to it first",
        ErrorCode::InconsistentGroupProtocol => {
            "the group's members use other assignors, or another kind of protocol"
        }
        ErrorCode::CoordinatorNotAvailable => {
            "the broker is starting, or has fewer brokers than offsets.topic.replication.factor"
        }
        ErrorCode::FencedInstanceId => "another member runs with the same group.instance.id",
        ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
            "the group went on without this member; its partitions belong to others now"
        }
        ErrorCode::RebalanceInProgress => {
            "the group shares out its partitions anew; what was not committed is read again"
        }
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::TransactionalIdAuthorizationFailed => "an ACL must allow it",
        ErrorCode::TopicDeletionDisabled => "set delete.topic.enable=true on the broker",
        ErrorCode::InvalidSessionTimeout => {
            "it must lie between the broker's group.min and group.max.session.timeout.ms"
        }
        ErrorCode::UnknownServerError => "the broker's log tells more",
        _ => return None,
    };
    Some(cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_api_subject_cause_and_cure() {
        let code = ErrorCode::UnknownTopicOrPartition;
        let subject = || "topic \"a\"".to_owned();
        let error = ClientError::check(ApiKey::Metadata, subject, code.to_wire(), None);
        let error = error.unwrap_err();
        assert_eq!(
            error.to_string(),
            "Metadata for topic \"a\" was refused: UNKNOWN_TOPIC_OR_PARTITION; \
             create the topic first, or check its spelling"
        );
        assert!(error.is_retriable());
    }

    #[test]
    fn a_quorum_without_a_leader_is_told_from_a_partition_without_one() {
        let code = ErrorCode::NotLeaderOrFollower;
        let text = |api| refusal(api, "", code, None);
        assert!(text(ApiKey::DescribeQuorum).contains("no controller leads"));
        assert!(!text(ApiKey::Produce).contains("controller"));
        assert!(silence(ApiKey::DescribeQuorum).contains("majority"));
        assert!(!silence(ApiKey::Fetch).contains("majority"));
    }

    #[test]
    fn code_zero_is_no_error() {
        assert!(ClientError::check(ApiKey::Metadata, String::new, 0, None).is_ok());
    }
}
