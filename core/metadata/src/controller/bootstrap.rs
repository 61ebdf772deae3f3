//! The first records of a new cluster, and what a former build has begun one with by mistake.

use protocol::internal::metadata::{
    BeginTransactionRecord, ConfigRecord, EndTransactionRecord, FeatureLevelRecord,
};

use super::{Context, MIN_ISR};
use crate::features::{
    ELR_VERSION, FEATURES, GROUP_VERSION, KRAFT_VERSION, METADATA_VERSION, TRANSACTION_VERSION,
    feature,
};
use crate::image::{ConfigResource, Image};
use crate::record::MetadataRecord;

/// What an empty metadata log begins with: the feature levels of a new cluster, `metadata.version`
/// first and the rest by name, and the cluster's `min.insync.replicas`, which eligible leader
/// replicas need to be one for all brokers. One transaction, so that a controller that fails in
/// between leaves nothing half done.
pub fn bootstrap_records(context: &Context<'_>) -> Vec<MetadataRecord> {
    let level = |name: &str, feature_level| {
        FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() }.into()
    };
    // The level of kraft.version is a control record of the log, not one of these.
    let mut served: Vec<_> = FEATURES
        .iter()
        .filter(|feature| feature.served > 0 && feature.name != KRAFT_VERSION)
        .collect();
    served.sort_by_key(|feature| (feature.name != METADATA_VERSION, feature.name));

    let begin =
        BeginTransactionRecord { name: Some("Bootstrap records".to_owned()), ..Default::default() };
    let mut records: Vec<MetadataRecord> = vec![begin.into()];
    records.extend(served.iter().map(|feature| level(feature.name, feature.served)));
    if served.iter().any(|feature| feature.name == ELR_VERSION) {
        let cluster = ConfigResource::cluster();
        let record = ConfigRecord {
            resource_type: cluster.kind.to_wire(),
            resource_name: cluster.name.to_string(),
            name: MIN_ISR.to_owned(),
            value: Some(context.start_count(MIN_ISR).to_string()),
            ..Default::default()
        };
        records.push(record.into());
    }
    records.push(EndTransactionRecord::default().into());
    records
}

/// Earlier builds began clusters at `group.version` 1, and served nothing of it. That level, where it
/// can be no more than such a mistake: where no broker of Kafka is registered, whose groups may need it.
/// These are known by `transaction.version`.
pub fn mistaken_group_version(image: &Image) -> Option<i16> {
    let served = feature(GROUP_VERSION).map_or(0, |feature| feature.served);
    let mut offered = image.brokers().flat_map(|broker| &broker.features);
    let has_kafka = offered.any(|offered| offered.name == TRANSACTION_VERSION);
    Some(image.feature(GROUP_VERSION)).filter(|level| *level > served && !has_kafka)
}

/// What puts such a level right.
pub fn corrected_levels(image: &Image) -> Vec<MetadataRecord> {
    let served = feature(GROUP_VERSION).map_or(0, |feature| feature.served);
    let corrected = mistaken_group_version(image).map(|_| FeatureLevelRecord {
        name: GROUP_VERSION.to_owned(),
        feature_level: served,
        ..Default::default()
    });
    corrected.into_iter().map(MetadataRecord::from).collect()
}

/// What a tool has formatted a new cluster with, less the levels of features that are not served:
/// Kafka's tool takes the highest of each, nobody has used them yet, and no node of this build could
/// come in.
pub fn formatted_records(mut records: Vec<MetadataRecord>) -> Vec<MetadataRecord> {
    for record in &mut records {
        if let MetadataRecord::FeatureLevel(record) = record
            && record.name != METADATA_VERSION
            && let Some(feature) = feature(&record.name)
        {
            record.feature_level = record.feature_level.min(feature.served);
        }
    }
    records
}
