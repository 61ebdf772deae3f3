//! One record changes an image.
//!
//! Records come from the log, where only valid ones get in; one that does not fit means that the
//! log and this code disagree. [`ApplyError`] says so, the image is as before, and the node must
//! stop rather than go on with another state than its peers.

use std::sync::Arc;

use protocol::internal::metadata::{
    ClearElrRecord, ClientQuotaRecord, ConfigRecord, FeatureLevelRecord, PartitionChangeRecord,
    PartitionRecord, RegisterBrokerRecord, TopicRecord,
};
use types::{BrokerId, Uuid};

use super::{
    Broker, ConfigResource, Controller, Image, Partition, QuotaEntity, ResourceType, Topic,
    look_alike,
};
use crate::features::KRAFT_VERSION;
use crate::record::MetadataRecord;

/// Why a record does not fit the image.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ApplyError {
    #[error("no topic has id {0}")]
    UnknownTopicId(Uuid),
    #[error("no topic is named {0:?}")]
    UnknownTopic(String),
    #[error("topic {name:?} exists with id {existing}, record says {given}")]
    TopicExists { name: String, existing: Uuid, given: Uuid },
    #[error("topic {topic:?} has no partition {partition}")]
    UnknownPartition { topic: Arc<str>, partition: i32 },
    #[error("broker {0} is not registered")]
    UnknownBroker(BrokerId),
    #[error("broker {broker} has epoch {registered}, record says {given}")]
    StaleBrokerEpoch { broker: BrokerId, registered: i64, given: i64 },
    #[error("producer ids up to {present} are given away, record says {given}")]
    ProducerIdsGoBack { present: i64, given: i64 },
    #[error("configuration is of unknown resource type {0}")]
    UnknownResourceType(i8),
}

impl Image {
    /// Applies one record. Begin, end and abort of a transaction change nothing here; the
    /// [`Loader`](super::Loader) obeys them.
    ///
    /// # Errors
    /// [`ApplyError`] where the record does not fit; the image is unchanged then.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        use MetadataRecord as R;
        match record {
            R::Topic(record) => self.add_topic(record)?,
            R::RemoveTopic(record) => self.remove_topic(record.topic_id)?,
            R::Partition(record) => self.set_partition(record)?,
            R::PartitionChange(record) => self.change_partition(record)?,
            R::ClearElr(record) => self.clear_elr(record)?,
            R::RegisterBroker(record) => self.register_broker(record),
            R::UnregisterBroker(record) => {
                self.change_broker(record.broker_id, record.broker_epoch, |_| {})?;
                self.brokers.remove(&BrokerId(record.broker_id));
            }
            R::FenceBroker(record) => {
                self.change_broker(record.id, record.epoch, |broker| broker.fenced = true)?;
            }
            R::UnfenceBroker(record) => {
                self.change_broker(record.id, record.epoch, |broker| broker.fenced = false)?;
            }
            R::BrokerRegistrationChange(change) => {
                self.change_broker(change.broker_id, change.broker_epoch, |broker| {
                    broker.change(change);
                })?;
            }
            R::RegisterController(record) => {
                let controller = Controller::from_record(record);
                self.controllers.insert(controller.id, Arc::new(controller));
            }
            R::Config(record) => self.set_config(record)?,
            R::FeatureLevel(record) => self.set_feature(record),
            R::ProducerIds(record) => self.give_producer_ids(record.next_producer_id)?,
            R::ClientQuota(record) => self.set_quota(record),
            R::AccessControlEntry(record) => {
                self.acls.insert(record.id, Arc::new(record.clone()));
            }
            R::RemoveAccessControlEntry(record) => {
                self.acls.remove(&record.id);
            }
            R::UserScramCredential(record) => {
                let key = (record.mechanism, record.name.clone());
                self.scram.insert(key, Arc::new(record.clone()));
            }
            R::RemoveUserScramCredential(record) => {
                self.scram.remove(&(record.mechanism, record.name.clone()));
            }
            R::DelegationToken(record) => {
                self.tokens.insert(record.token_id.clone(), Arc::new(record.clone()));
            }
            R::RemoveDelegationToken(record) => {
                self.tokens.remove(record.token_id.as_str());
            }
            // Migration from ZooKeeper ended with Kafka 3.9; its record may still lie in a log.
            R::NoOp(_) | R::ZkMigrationState(_) => {}
            R::BeginTransaction(_) | R::EndTransaction(_) | R::AbortTransaction(_) => {}
        }
        Ok(())
    }

    /// A name belongs to one topic; the log removes the old one before it makes another.
    fn add_topic(&mut self, record: &TopicRecord) -> Result<(), ApplyError> {
        let (id, given) = (record.topic_id, record.name.as_str());
        if let Some(&existing) = self.topic_ids.get(given) {
            return Err(ApplyError::TopicExists { name: given.to_owned(), existing, given: id });
        }
        let name: Arc<str> = given.into();
        self.topics.insert(id, Arc::new(Topic::new(id, Arc::clone(&name))));
        if let Some(plain) = look_alike(given) {
            self.look_alikes.insert((plain.into(), Arc::clone(&name)), ());
        }
        self.topic_ids.insert(name, id);
        Ok(())
    }

    /// The settings go too: a topic made anew under the name starts without any.
    fn remove_topic(&mut self, id: Uuid) -> Result<(), ApplyError> {
        let topic = self.topics.remove(&id).ok_or(ApplyError::UnknownTopicId(id))?;
        self.topic_ids.remove(&topic.name);
        if let Some(plain) = look_alike(&topic.name) {
            self.look_alikes.remove(&(Arc::from(plain), Arc::clone(&topic.name)));
        }
        self.configs.remove(&ConfigResource::topic(Arc::clone(&topic.name)));
        Ok(())
    }

    fn set_partition(&mut self, record: &PartitionRecord) -> Result<(), ApplyError> {
        let partition = Partition::from_record(record);
        self.topic_mut(record.topic_id)?.set_partition(record.partition_id, partition);
        Ok(())
    }

    fn change_partition(&mut self, change: &PartitionChangeRecord) -> Result<(), ApplyError> {
        let index = change.partition_id;
        let topic = self.topic_mut(change.topic_id)?;
        let unknown = ApplyError::UnknownPartition { topic: topic.name.clone(), partition: index };
        let changed = topic.partition(index).ok_or(unknown)?.changed_by(change);
        topic.set_partition(index, changed);
        Ok(())
    }

    /// An empty name clears the eligible leader replicas of every topic.
    fn clear_elr(&mut self, record: &ClearElrRecord) -> Result<(), ApplyError> {
        let topics = match record.topic_name.as_str() {
            "" => self.topics.iter().map(|(&id, _)| id).collect(),
            name => {
                let unknown = || ApplyError::UnknownTopic(name.to_owned());
                vec![*self.topic_ids.get(name).ok_or_else(unknown)?]
            }
        };
        let change = PartitionChangeRecord {
            eligible_leader_replicas: Some(vec![]),
            last_known_elr: Some(vec![]),
            ..Default::default()
        };
        for id in topics {
            // Looked at first, since looking copies nothing.
            let stale: Vec<_> = self
                .known_topic(id)
                .partitions()
                .filter(|(_, old)| !old.elr.is_empty() || !old.last_known_elr.is_empty())
                .map(|(index, old)| (index, old.changed_by(&change)))
                .collect();
            for (index, cleared) in stale {
                self.topic_mut(id)?.set_partition(index, cleared);
            }
        }
        Ok(())
    }

    fn register_broker(&mut self, record: &RegisterBrokerRecord) {
        let broker = Broker::from_record(record);
        self.brokers.insert(broker.id, Arc::new(broker));
    }

    /// Only the run of a broker that is registered can change; anything else is from the past.
    fn change_broker(
        &mut self,
        id: i32,
        epoch: i64,
        change: impl FnOnce(&mut Broker),
    ) -> Result<(), ApplyError> {
        let id = BrokerId(id);
        let broker = self.brokers.get_mut(&id).ok_or(ApplyError::UnknownBroker(id))?;
        let registered = broker.epoch;
        if registered != epoch {
            return Err(ApplyError::StaleBrokerEpoch { broker: id, registered, given: epoch });
        }
        change(Arc::make_mut(broker));
        Ok(())
    }

    /// A record without value takes the setting away; the last one takes the resource along.
    fn set_config(&mut self, record: &ConfigRecord) -> Result<(), ApplyError> {
        let kind = ResourceType::from_wire(record.resource_type)
            .ok_or(ApplyError::UnknownResourceType(record.resource_type))?;
        let resource = ConfigResource::new(kind, record.resource_name.as_str());
        let mut settings = self.settings(&resource).clone();
        match &record.value {
            Some(value) => settings.insert(record.name.clone(), value.clone()),
            None => settings.remove(&record.name),
        };
        if settings.is_empty() {
            self.configs.remove(&resource);
        } else {
            self.configs.insert(resource, Arc::new(settings));
        }
        Ok(())
    }

    /// Ids that go back would be given twice, and two producers would pass for one.
    fn give_producer_ids(&mut self, next: i64) -> Result<(), ApplyError> {
        if next < self.next_producer_id {
            let present = self.next_producer_id;
            return Err(ApplyError::ProducerIdsGoBack { present, given: next });
        }
        self.next_producer_id = next;
        Ok(())
    }

    /// Level 0 is the same as absent. `kraft.version` lives in control records; Kafka before 4.1
    /// wrote it here by mistake.
    fn set_feature(&mut self, record: &FeatureLevelRecord) {
        if record.name == KRAFT_VERSION {
            return;
        }
        let features = Arc::make_mut(&mut self.features);
        if record.feature_level == 0 {
            features.remove(&record.name);
        } else {
            features.insert(record.name.clone(), record.feature_level);
        }
    }

    fn set_quota(&mut self, record: &ClientQuotaRecord) {
        let entity = QuotaEntity::from_record(record);
        let limits = self.quotas.get(&entity).map(|limits| limits.as_ref().clone());
        let mut limits = limits.unwrap_or_default();
        if record.remove {
            limits.remove(&record.key);
        } else {
            limits.insert(record.key.clone(), record.value);
        }
        if limits.is_empty() {
            self.quotas.remove(&entity);
        } else {
            self.quotas.insert(entity, Arc::new(limits));
        }
    }

    fn topic_mut(&mut self, id: Uuid) -> Result<&mut Topic, ApplyError> {
        self.topics.get_mut(&id).map(Arc::make_mut).ok_or(ApplyError::UnknownTopicId(id))
    }
}
