//! An image as the records of a checkpoint: replayed from nothing they make the same image.

use protocol::internal::metadata::{ConfigRecord, FeatureLevelRecord, ProducerIdsRecord};

use super::Image;
use crate::features::METADATA_VERSION;
use crate::record::MetadataRecord;

impl Image {
    /// The whole image as records, `metadata.version` first, since it says how to read the rest.
    pub fn snapshot_records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.feature_records()
            .chain(self.brokers.values().map(|broker| broker.to_record().into()))
            .chain(self.controllers.values().map(|controller| controller.to_record().into()))
            .chain(self.topics.values().flat_map(|topic| {
                let partitions = topic.partitions();
                let partitions =
                    partitions.map(|(index, partition)| partition.to_record(topic.id, index));
                std::iter::once(topic.to_record().into()).chain(partitions.map(Into::into))
            }))
            .chain(self.config_records())
            .chain(self.quotas.iter().flat_map(|(entity, limits)| {
                limits.iter().map(|(key, &value)| entity.to_record(key, value).into())
            }))
            .chain(self.producer_id_record())
            .chain(self.acls.values().map(|acl| acl.as_ref().clone().into()))
            .chain(self.scram.values().map(|credential| credential.as_ref().clone().into()))
            .chain(self.tokens.values().map(|token| token.as_ref().clone().into()))
    }

    fn feature_records(&self) -> impl Iterator<Item = MetadataRecord> {
        let record = |name: &str, feature_level| {
            FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() }.into()
        };
        let version = self.features().filter(|(name, _)| *name == METADATA_VERSION);
        let others = self.features().filter(|(name, _)| *name != METADATA_VERSION);
        version.chain(others).map(move |(name, level)| record(name, level))
    }

    fn config_records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.configs.iter().flat_map(|(resource, settings)| {
            settings.iter().map(|(name, value)| {
                ConfigRecord {
                    resource_type: resource.kind.to_wire(),
                    resource_name: resource.name.to_string(),
                    name: name.clone(),
                    value: Some(value.clone()),
                    ..Default::default()
                }
                .into()
            })
        })
    }

    /// Who was given the last block does not matter in a checkpoint; Kafka writes -1 too.
    fn producer_id_record(&self) -> Option<MetadataRecord> {
        (self.next_producer_id > 0).then(|| {
            ProducerIdsRecord {
                broker_id: -1,
                broker_epoch: -1,
                next_producer_id: self.next_producer_id,
                ..Default::default()
            }
            .into()
        })
    }
}
